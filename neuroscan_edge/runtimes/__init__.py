"""Inference runtimes behind one protocol: ``with open_runtime(bundle) as run: run(batch)``."""

from neuroscan_edge.runtimes.opening import open_choice, open_runtime
from neuroscan_edge.runtimes.parallelism import Parallelism
from neuroscan_edge.runtimes.protocol import Runtime, RuntimeInfo
from neuroscan_edge.runtimes.selection import Choice, RuntimeOptions, choose_runtime
from neuroscan_edge.runtimes.thread_tuning import Tuned, tune

__all__ = [
    "Choice",
    "Parallelism",
    "Runtime",
    "RuntimeInfo",
    "RuntimeOptions",
    "Tuned",
    "choose_runtime",
    "open_choice",
    "open_runtime",
    "tune",
]
