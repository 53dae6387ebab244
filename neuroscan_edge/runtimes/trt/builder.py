"""One strongly typed builder for TensorRT 10.3 and later and for TensorRT for RTX.

Precision is in the graph; no flag here turns it on. What differs between versions is found by
looking for the attribute, never by comparing version numbers.
"""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from neuroscan_edge.errors import BuildError
from neuroscan_edge.model.engine.layers import BuiltLayer, inspected_layers, listed_layers
from neuroscan_edge.model.engine.manifest import BatchProfile
from neuroscan_edge.runtimes.build_progress import BuildCanceller, PhaseTree, Report

if TYPE_CHECKING:
    import tensorrt

_FATAL = {"ERROR", "INTERNAL_ERROR"}
_LAYER_LISTING = "LayerType:"
_POLL_S = 0.1
_SHOWN_ERRORS = 5


@dataclass(frozen=True, slots=True)
class TensorRTOptions:
    """What the builder is asked for.

    Parameters
    ----------
    input_name : str
        The graph's input.
    slice_shape : tuple of int
        Its shape without the batch.
    batch : BatchProfile
        Batches to tune for.
    targets : tuple of str
        Compute capabilities such as ``8.6``; empty is the GPU at hand.
    optimization_level : int or None
        0 to 5; None is the builder's own default.
    workspace_bytes : int or None
        Most scratch memory a layer may use; None is all there is.
    timing_cache : bytes or None
        Of earlier builds; None leaves it alone.
    """

    input_name: str
    slice_shape: tuple[int, ...]
    batch: BatchProfile
    targets: tuple[str, ...] = ()
    optimization_level: int | None = None
    workspace_bytes: int | None = None
    timing_cache: bytes | None = None


@dataclass(frozen=True, slots=True)
class TensorRTBuild:
    """A built engine.

    Parameters
    ----------
    plan : bytes
        The engine.
    layers : sequence of BuiltLayer
        What is in it; empty if nothing could be read from it.
    timing_cache : bytes or None
        With what this build added.
    """

    plan: bytes
    layers: Sequence[BuiltLayer]
    timing_cache: bytes | None


def supported_targets(trt: ModuleType) -> tuple[str, ...]:
    """List the compute capabilities a builder can be told to build for; empty if it cannot."""
    names = dir(getattr(trt, "ComputeCapability", object()))
    digits = (name[2:] for name in names if name.startswith("SM") and name[2:].isdigit())
    return tuple(sorted((f"{each[:-1]}.{each[-1]}" for each in digits), key=_by_number))


def build_plan(
    trt: ModuleType, graph: bytes, options: TensorRTOptions, report: Report
) -> TensorRTBuild:
    """Compile an ONNX graph.

    The build runs in a thread of its own, so that Ctrl-C reaches the caller's: it cancels the
    build at its next step and is raised again here.

    Raises
    ------
    BuildError
        If the graph cannot be parsed, the builder fails, or it logs any error.
    """
    canceller = BuildCanceller()
    outcome: list[TensorRTBuild | BaseException] = []
    done = threading.Event()

    def work() -> None:
        try:
            outcome.append(_build(trt, graph, options, report, canceller))
        except BaseException as error:  # Whatever it is, it belongs to the caller.
            outcome.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=work, name="build")
    thread.start()
    # Not Thread.join: interrupted, it may take a running thread for a finished one.
    try:
        while not done.wait(_POLL_S):
            pass
    finally:
        # Only an interrupt leaves the loop early; the builder must not outlive this call.
        canceller.cancel()
        done.wait()
        thread.join()
    result = outcome[0]
    if isinstance(result, BaseException):
        raise result
    return result


class _Log:
    """What a builder logs: errors, and the listing of layers."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.listing: list[str] = []

    def add(self, severity: str, message: str) -> None:
        if severity in _FATAL:
            self.errors.append(message)
        if _LAYER_LISTING in message:
            self.listing += message.splitlines()

    def raise_errors(self, doing: str) -> None:
        if self.errors:
            shown = "; ".join(self.errors[:_SHOWN_ERRORS])
            raise BuildError(f"the builder failed {doing}: {shown}")


def _build(
    trt: ModuleType,
    graph: bytes,
    options: TensorRTOptions,
    report: Report,
    canceller: BuildCanceller,
) -> TensorRTBuild:
    log = _Log()
    logger = _logger(trt, log)
    with _failures(log, "to start"):
        builder = trt.Builder(logger)
        network = builder.create_network(_network_flags(trt))
        config = builder.create_builder_config()
    parser = trt.OnnxParser(network, logger)
    parsed = parser.parse(graph)
    if not parsed:
        reasons = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise BuildError(f"the graph cannot be parsed: {reasons}")
    log.raise_errors("to parse the graph")
    _check_input(network, options)
    with _failures(log, "to take its options"):
        _configure(trt, builder, config, options)
        cache = _timing_cache(config, options)
    monitor = _monitor(trt, PhaseTree(report), canceller)
    config.progress_monitor = monitor
    with _failures(log, "to build"):
        serialized = builder.build_serialized_network(network, config)
    if canceller.cancelled:
        raise KeyboardInterrupt
    log.raise_errors("to build")
    if serialized is None:
        raise BuildError("the builder returned no engine and logged no reason")
    plan = bytes(serialized)
    layers = listed_layers(log.listing) or _inspect(trt, logger, plan)
    return TensorRTBuild(plan, layers, None if cache is None else bytes(cache.serialize()))


def _logger(trt: ModuleType, log: _Log) -> Any:
    class Logger(trt.ILogger):  # type: ignore[misc,name-defined]
        """Passes every line on; nothing is printed."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            log.add(severity.name, message)

    return Logger()


def _monitor(trt: ModuleType, phases: PhaseTree, canceller: BuildCanceller) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc,name-defined]
        """Called from the builder's threads: an exception here would end the process."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            with contextlib.suppress(Exception):
                phases.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            with contextlib.suppress(Exception):
                phases.step(phase_name, step)
            return not canceller.cancelled

        def phase_finish(self, phase_name: str) -> None:
            with contextlib.suppress(Exception):
                phases.finish(phase_name)

    return Monitor()


def _network_flags(trt: ModuleType) -> int:
    # Without it TensorRT 10 is weakly typed and chooses precisions itself; 11 knows no other way.
    strongly_typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if strongly_typed is None else 1 << int(strongly_typed)


def _check_input(network: "tensorrt.INetworkDefinition", options: TensorRTOptions) -> None:
    found = [
        (network.get_input(i).name, tuple(network.get_input(i).shape)[1:])
        for i in range(network.num_inputs)
    ]
    if found != [(options.input_name, options.slice_shape)]:
        raise BuildError(
            f"the graph reads {found}, the bundle states "
            f"{[(options.input_name, options.slice_shape)]}; export the bundle again"
        )


def _configure(
    trt: ModuleType,
    builder: "tensorrt.Builder",
    config: "tensorrt.IBuilderConfig",
    options: TensorRTOptions,
) -> None:
    profile = builder.create_optimization_profile()
    batch = options.batch
    shapes = [(count, *options.slice_shape) for count in (batch.min, batch.opt, batch.max)]
    profile.set_shape(options.input_name, *shapes)
    if config.add_optimization_profile(profile) < 0:
        raise BuildError(f"the builder refused the batch profile of {batch}")
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if options.optimization_level is not None:
        config.builder_optimization_level = options.optimization_level
    if options.workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
    if options.targets:
        _set_targets(trt, config, options.targets)


def _set_targets(trt: ModuleType, config: Any, targets: tuple[str, ...]) -> None:
    known = supported_targets(trt)
    unknown = [target for target in targets if target not in known]
    if unknown:
        raise BuildError(
            f"{trt.__name__} {trt.__version__} cannot build for compute capability "
            f"{', '.join(unknown)}; it builds for {', '.join(known) or 'the GPU at hand only'}"
        )
    config.num_compute_capabilities = len(targets)
    for index, target in enumerate(targets):
        capability = getattr(trt.ComputeCapability, f"SM{target.replace('.', '')}")
        config.set_compute_capability(capability, index)


def _timing_cache(config: "tensorrt.IBuilderConfig", options: TensorRTOptions) -> Any:
    if options.timing_cache is None:
        return None
    cache = config.create_timing_cache(options.timing_cache)
    # False: a cache of another GPU or version is refused rather than trusted.
    if cache is None or not config.set_timing_cache(cache, False):
        raise BuildError(
            "the timing cache is of another GPU or version; delete it, or name another file"
        )
    return cache


def _inspect(trt: ModuleType, logger: Any, plan: bytes) -> list[BuiltLayer]:
    """Read the layers from the engine itself, which needs the GPU it was built for."""
    engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
    if engine is None:
        return []
    inspector = engine.create_engine_inspector()
    return inspected_layers(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


@contextlib.contextmanager
def _failures(log: _Log, doing: str) -> Iterator[None]:
    """Turn the bindings' exceptions, which say little, into what the logger was told."""
    try:
        yield
    except (BuildError, KeyboardInterrupt):
        raise
    except Exception as error:
        log.raise_errors(doing)
        raise BuildError(f"the builder failed {doing}: {error}") from error


def _by_number(target: str) -> tuple[int, int]:
    major, minor = target.split(".")
    return int(major), int(minor)
