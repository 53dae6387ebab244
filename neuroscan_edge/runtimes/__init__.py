"""Inference runtimes behind one protocol: ``with open_runtime(bundle) as run: run(batch)``."""

from neuroscan_edge.runtimes.base import Runtime, RuntimeInfo
from neuroscan_edge.runtimes.choosing import Choice, RuntimeOptions, choose_runtime
from neuroscan_edge.runtimes.opening import open_choice, open_runtime

__all__ = [
    "Choice",
    "Runtime",
    "RuntimeInfo",
    "RuntimeOptions",
    "choose_runtime",
    "open_choice",
    "open_runtime",
]
