"""Which runtime, precision and engine to take, and why: decided before anything is loaded."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from neuroscan_edge.errors import (
    EngineContractError,
    EngineError,
    EngineMissingError,
    MissingDependencyError,
    NeuroScanError,
    PrecisionNotAvailableError,
    RuntimeNotAvailableError,
    SpecError,
    UsageError,
)
from neuroscan_edge.model.bundle import Bundle
from neuroscan_edge.model.engine.checks import rebuild_command, verify_engine
from neuroscan_edge.model.engine.installed import Installed, installed
from neuroscan_edge.model.engine.manifest import StoredEngine, find_engines, open_engine
from neuroscan_edge.runtimes.parallelism import Parallelism
from neuroscan_edge.spec import Precision, PreprocessOn, RuntimeName
from neuroscan_edge.system.machine import Machine, this_machine

MAX_THREADS = 1024
# On a CPU: INT8 is the fastest, FP16 is computed as FP32 with casts around.
_CPU_PREFERENCE = (Precision.INT8, Precision.FP32, Precision.FP16)
# On a GPU: FP16, until INT8 has been measured to be faster there.
_GPU_PREFERENCE = (Precision.FP16, Precision.INT8, Precision.FP32)
_WHY = "to run the model"
_UNUSABLE = (MissingDependencyError, RuntimeNotAvailableError)


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """How to run a bundle.

    Parameters
    ----------
    precision : Precision or None
        None takes the fastest that there is.
    threads : int
        Threads within an operator on a CPU; 0 leaves it to `parallelism`, else takes every core.
    runtime : RuntimeName or None
        None takes the fastest that runs here.
    engine : Path or None
        Folder of a built engine; None looks in the bundle.
    batch_size : int or None
        Slices a batch that an engine must take.
    preprocess : PreprocessOn
        Where to preprocess; auto takes the GPU with a GPU's engine.
    parallelism : Parallelism or None
        Threads and streams on a CPU, in place of `threads`.
    heatmaps : bool
        Whether the model also draws heatmaps.
    timed_layers : bool
        Whether a CPU runtime can tell the time of its layers, which slows it down.
    """

    precision: Precision | None = None
    threads: int = 0
    runtime: RuntimeName | None = None
    engine: Path | None = None
    batch_size: int | None = None
    preprocess: PreprocessOn = PreprocessOn.AUTO
    parallelism: Parallelism | None = None
    heatmaps: bool = False
    timed_layers: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.threads <= MAX_THREADS:
            raise SpecError(f"threads is {self.threads}; give 1 to {MAX_THREADS}, or 0")

    @property
    def on_cpu(self) -> Parallelism:
        """Threads and streams to load a CPU runtime with."""
        return self.parallelism or Parallelism(self.threads)


@dataclass(frozen=True, slots=True)
class Choice:
    """What to load.

    Parameters
    ----------
    installed : Installed
        The runtime.
    precision : Precision
        Of the graph.
    reason : str
        Why this one.
    engine : StoredEngine or None
        A built engine; None loads the bundle's graph.
    cuda : bool
        Whether ONNX Runtime is to use the GPU.
    """

    installed: Installed
    precision: Precision
    reason: str
    engine: StoredEngine | None = None
    cuda: bool = False

    @property
    def on_gpu(self) -> bool:
        """Whether a GPU runs the model."""
        return self.cuda or self.installed.name.on_gpu

    def __str__(self) -> str:
        device = "gpu" if self.on_gpu else "cpu"
        form = f"engine {self.engine.folder.name}" if self.engine else f"{self.precision} graph"
        return f"{self.installed}, {form}, on {device}: {self.reason}"


def choose_runtime(
    bundle: Bundle, options: RuntimeOptions, machine: Machine | None = None
) -> Choice:
    """Choose: what was asked for, else the first that runs here.

    The order is tensorrt, tensorrt-rtx, onnxruntime with CUDA, then on a CPU ONNX Runtime, and
    OpenVINO only where there is no other: it is no faster, and was seen to compute INT8 wrongly,
    see docs/engines.md.

    Raises
    ------
    MissingDependencyError
        If the runtime asked for, or every one, is not installed.
    EngineError
        If the engine or runtime asked for does not fit this machine.
    PrecisionNotAvailableError
        If the bundle holds no graph of the precision asked for, or none at all.
    """
    machine = machine or this_machine()
    if options.engine is not None:
        return _choose_engine(bundle, options, machine, options.engine)
    if options.runtime is not None:
        return _choose_named(bundle, options, machine, options.runtime, "asked for")
    if not machine.gpu.gpus:
        return _choose_cpu(bundle, options, machine, [machine.gpu.reason or "there is no GPU"])
    passed_over: list[str] = []
    for name in (RuntimeName.TENSORRT, RuntimeName.TENSORRT_RTX):
        try:
            return _choose_named(bundle, options, machine, name, "the fastest on this GPU")
        except (EngineError, *_UNUSABLE) as error:
            passed_over.append(f"{name} has {_briefly(error)}")
    return _choose_cpu(bundle, options, machine, passed_over)


def _choose_engine(
    bundle: Bundle, options: RuntimeOptions, machine: Machine, folder: Path
) -> Choice:
    engine = open_engine(folder)
    manifest = engine.manifest
    if options.precision not in {None, manifest.precision}:
        raise UsageError(
            f"{folder} is an {manifest.precision} engine, --precision asks for "
            f"{options.precision}; leave one of them out"
        )
    here = installed(options.runtime or manifest.runtime, _WHY)
    verify_engine(engine, bundle, here, machine, options.batch_size)
    if options.heatmaps and not manifest.gives_heatmaps:
        raise EngineContractError(
            str(folder),
            found="an engine without heatmaps",
            wanted="one that draws",
            fix=f"{rebuild_command(bundle, engine)} --heatmaps",
        )
    return Choice(here, manifest.precision, "asked for", engine)


def _choose_named(
    bundle: Bundle, options: RuntimeOptions, machine: Machine, name: RuntimeName, reason: str
) -> Choice:
    here = installed(name, _WHY)
    engine, refusal = _fitting_engine(bundle, options, here, machine)
    if engine is not None:
        return Choice(here, engine.manifest.precision, reason, engine)
    if name.on_gpu:
        raise refusal or _no_engine(bundle, options, here)
    cuda = name is RuntimeName.ONNXRUNTIME and _cuda(machine)
    precision = options.precision or _preferred(bundle, cuda=cuda)
    # Refused now rather than when it is loaded.
    bundle.graph(precision)
    if refusal is not None:
        reason += f"; its built engine was passed over ({_briefly(refusal)})"
    return Choice(here, precision, reason, cuda=cuda)


def _choose_cpu(
    bundle: Bundle, options: RuntimeOptions, machine: Machine, passed_over: list[str]
) -> Choice:
    order = [RuntimeName.ONNXRUNTIME, RuntimeName.OPENVINO]
    reason = "the default for this processor"
    if _cuda(machine):
        reason = "the GPU's, through CUDA"
    missing: dict[RuntimeName, NeuroScanError] = {}
    for name in order:
        why = "; ".join([reason, *passed_over])
        try:
            return _choose_named(bundle, options, machine, name, why)
        except _UNUSABLE as error:
            missing[name] = error
            reason = f"{name} has {_briefly(error)}"
    # Of the two, the one that runs every precision on every processor.
    raise missing[RuntimeName.ONNXRUNTIME]


def _fitting_engine(
    bundle: Bundle, options: RuntimeOptions, here: Installed, machine: Machine
) -> tuple[StoredEngine | None, EngineError | None]:
    """Find the preferred engine in the bundle that fits, and why the first other one does not."""
    refusal: EngineError | None = None
    for engine in _engines(bundle, here.name, options):
        try:
            verify_engine(engine, bundle, here, machine, options.batch_size)
        except EngineError as error:
            refusal = refusal or error
        else:
            return engine, None
    return None, refusal


def _engines(bundle: Bundle, name: RuntimeName, options: RuntimeOptions) -> Iterator[StoredEngine]:
    found: list[StoredEngine] = []
    for folder in find_engines(bundle):
        try:
            found.append(open_engine(folder))
        except EngineError:
            # Listed, with what is wrong, by `inspect` and `doctor`.
            continue
    preference = _GPU_PREFERENCE if name.on_gpu else _CPU_PREFERENCE
    found.sort(key=lambda engine: engine.manifest.gives_heatmaps)
    for each in (options.precision,) if options.precision else preference:
        for engine in found:
            manifest = engine.manifest
            fits = manifest.runtime is name and manifest.precision is each
            # One that draws serves too where no drawing is asked for, but slower: it comes last.
            if fits and manifest.gives_heatmaps >= options.heatmaps:
                yield engine


def _no_engine(bundle: Bundle, options: RuntimeOptions, here: Installed) -> EngineMissingError:
    precision = options.precision or Precision.FP16
    drawing = " --heatmaps" if options.heatmaps else ""
    return EngineMissingError(
        str(bundle.folder),
        found=f"no {here.name} engine",
        wanted="one built for this GPU",
        fix=f'run "neuroscan-edge build-engine {bundle.folder} --runtime {here.name} '
        f'--precision {precision}{drawing}"',
    )


def _cuda(machine: Machine) -> bool:
    if not machine.gpu.gpus:
        return False
    try:
        from neuroscan_edge.runtimes.onnxrt.runner import cuda_provider_installed
    except MissingDependencyError:
        return False
    return cuda_provider_installed()


def _preferred(bundle: Bundle, *, cuda: bool) -> Precision:
    for precision in _GPU_PREFERENCE if cuda else _CPU_PREFERENCE:
        if precision in bundle.precisions:
            return precision
    raise PrecisionNotAvailableError(
        f'{bundle.folder} holds no graph; make one with "neuroscan-edge export"'
    )


def _briefly(error: NeuroScanError) -> str:
    if isinstance(error, EngineMissingError):
        return "no engine here"
    if isinstance(error, EngineError):
        return f"{error.found}, not {error.wanted}"
    return "no Python module here" if isinstance(error, MissingDependencyError) else str(error)
