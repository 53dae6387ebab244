"""Built engines: their manifests, the checks before one is loaded, what is inside."""

from neuroscan_edge.model.engine.checks import verify_engine
from neuroscan_edge.model.engine.installed import Installed, installed
from neuroscan_edge.model.engine.manifest import (
    EngineManifest,
    StoredEngine,
    find_engines,
    open_engine,
)

__all__ = [
    "EngineManifest",
    "Installed",
    "StoredEngine",
    "find_engines",
    "installed",
    "open_engine",
    "verify_engine",
]
