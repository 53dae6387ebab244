"""Threads and streams for this machine and bundle: measured once, then remembered."""

from dataclasses import dataclass, replace

from neuroscan_edge.model.bundle import GRAPHS, Bundle
from neuroscan_edge.runtimes.opening import open_choice
from neuroscan_edge.runtimes.parallelism import (
    MAX_STREAMS,
    Parallelism,
    candidates,
    measured_best,
    random_slices,
    read_parallelism,
    streams_are_models,
    unmeasured,
    write_parallelism,
)
from neuroscan_edge.runtimes.protocol import Runtime
from neuroscan_edge.runtimes.selection import Choice, RuntimeOptions
from neuroscan_edge.spec import RuntimeName
from neuroscan_edge.system.machine import this_machine, usable_cores

MOST_MODELS = 4
"""Streams that are tried where each is a model of its own."""
WORTH_MEASURING = 4096
"""Slices from which on a run is long enough to repay the seconds that measuring takes."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """Options with threads and streams filled in, and how these were come by.

    Parameters
    ----------
    options : RuntimeOptions
        To open the choice with.
    reason : str
        ``asked for``, ``measured now``, ``measured before``, ``default``, ``on the GPU``.
    """

    options: RuntimeOptions
    reason: str


def tune(
    bundle: Bundle,
    choice: Choice,
    options: RuntimeOptions,
    *,
    batch_size: int,
    slices: int,
    again: bool = False,
) -> Tuned:
    """Fill in threads and streams where none are asked for and a CPU runs the model.

    Parameters
    ----------
    bundle, choice, options
        What is to be run.
    batch_size : int
        Slices a batch; one slice and many have different answers.
    slices : int
        How many will be run: below `WORTH_MEASURING` nothing is measured, see `unmeasured`.
    again : bool
        Measure even if there is an earlier answer.
    """
    if choice.on_gpu:
        return Tuned(options, "on the GPU")
    if options.threads or options.parallelism is not None:
        return Tuned(options, "asked for")
    key = tuning_key(bundle, choice, batch_size)
    known = None if again else read_parallelism(key)
    if known is not None:
        return Tuned(replace(options, parallelism=known), "measured before")
    if slices < WORTH_MEASURING:
        if choice.installed.name is RuntimeName.ONNXRUNTIME:
            options = replace(options, parallelism=unmeasured(usable_cores(), batch_size))
        return Tuned(options, "default")

    def open_with(parallelism: Parallelism) -> Runtime:
        return open_choice(bundle, choice, replace(options, parallelism=parallelism))

    choices = _candidates(choice, batch_size)
    if len(choices) == 1:
        return Tuned(replace(options, parallelism=choices[0]), "default")
    batch = random_slices(bundle.preprocessing, batch_size)
    best, medians = measured_best(open_with, choices, batch)
    write_parallelism(key, best, medians)
    return Tuned(replace(options, parallelism=best), "measured now")


def tuning_key(bundle: Bundle, choice: Choice, batch_size: int) -> dict[str, str]:
    """Return what an answer belongs to."""
    if choice.engine is not None:
        sha256 = choice.engine.manifest.engine_sha256
    else:
        sha256 = bundle.files[GRAPHS[choice.precision]].sha256
    return {
        "cpu": this_machine().cpu,
        "cores": str(usable_cores()),
        "runtime": str(choice.installed.name),
        "version": choice.installed.version,
        "graph_sha256": sha256,
        # What may be chosen from: a small batch has fewer streams to try.
        "choices": ", ".join(map(str, _candidates(choice, batch_size))),
    }


def _candidates(choice: Choice, batch_size: int) -> tuple[Parallelism, ...]:
    most = MOST_MODELS if streams_are_models(choice.installed.name) else MAX_STREAMS
    return candidates(usable_cores(), batch_size, most)
