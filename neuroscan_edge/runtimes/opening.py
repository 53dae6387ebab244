"""Loading what was chosen."""

from typing import TYPE_CHECKING

from neuroscan_edge.errors import DevicePreprocessingError, MissingDependencyError, UsageError
from neuroscan_edge.model.bundle import Bundle, Graph
from neuroscan_edge.model.engine.checks import verify_engine
from neuroscan_edge.runtimes.parallelism import streams_are_models
from neuroscan_edge.runtimes.protocol import Runtime
from neuroscan_edge.runtimes.selection import Choice, RuntimeOptions, choose_runtime
from neuroscan_edge.runtimes.self_test import check_answers
from neuroscan_edge.spec import PreprocessOn, RuntimeName
from neuroscan_edge.system.machine import this_machine
from neuroscan_edge.system.optional import require

if TYPE_CHECKING:
    from neuroscan_edge.runtimes.onnxrt.runner import OnnxRuntime


def open_runtime(bundle: Bundle, options: RuntimeOptions | None = None) -> Runtime:
    """Choose a runtime for this machine and load a bundle into it.

    Raises
    ------
    PrecisionNotAvailableError
        If the bundle holds no graph of the precision asked for, or none at all.
    MissingDependencyError
        If the runtime is not installed.
    EngineError
        If the engine asked for does not fit this machine.
    """
    options = options or RuntimeOptions()
    return open_choice(bundle, choose_runtime(bundle, options), options)


def open_choice(bundle: Bundle, choice: Choice, options: RuntimeOptions) -> Runtime:
    """Load what `choose_runtime` chose, and have it answer the bundle's probes.

    An engine is verified again: these bytes are loaded.

    Raises
    ------
    UsageError
        If preprocessing on the GPU is asked for and the runtime does not offer it.
    DevicePreprocessingError
        If it is asked for and this GPU cannot.
    WrongAnswersError
        If it computes wrongly.
    """
    runtime = _open(bundle, choice, options)
    try:
        separate = streams_are_models(choice.installed.name)
        check_answers(runtime, bundle, options.on_cpu.streams if separate else 1)
    except BaseException as error:
        runtime.__exit__(type(error), error, error.__traceback__)
        raise
    return runtime


def _open(bundle: Bundle, choice: Choice, options: RuntimeOptions) -> Runtime:
    if options.preprocess is PreprocessOn.CUDA and not choice.on_gpu:
        raise UsageError(
            f"{choice.installed} runs on the CPU; leave --preprocess cuda out, or use a runtime on "
            "the GPU"
        )
    if choice.engine is None:
        return _open_graph(bundle, choice, options)
    files = verify_engine(
        choice.engine, bundle, choice.installed, this_machine(), options.batch_size
    )
    manifest = choice.engine.manifest
    data, *others = files.values()
    if choice.installed.name.on_gpu:
        from neuroscan_edge.runtimes.trt.runner import open_tensorrt

        return open_tensorrt(choice.engine, data, bundle.preprocessing, options.preprocess)
    if choice.installed.name is RuntimeName.OPENVINO:
        from neuroscan_edge.runtimes.ov.runner import OpenVinoRuntime

        return OpenVinoRuntime(
            bundle,
            data,
            manifest.precision,
            manifest.engine_sha256,
            weights=others[0],
            parallelism=options.on_cpu,
            timed_layers=options.timed_layers,
        )
    from neuroscan_edge.runtimes.onnxrt.runner import OnnxRuntime

    graph = Graph(manifest.precision, data, manifest.engine_sha256)
    return OnnxRuntime(
        bundle, graph, options.on_cpu, optimised=True, timed_layers=options.timed_layers
    )


def _open_graph(bundle: Bundle, choice: Choice, options: RuntimeOptions) -> Runtime:
    graph = bundle.graph(choice.precision)
    if options.heatmaps:
        graph = _drawing(graph)
    if choice.installed.name is RuntimeName.OPENVINO:
        from neuroscan_edge.runtimes.ov.runner import OpenVinoRuntime

        return OpenVinoRuntime(
            bundle,
            graph.data,
            graph.precision,
            graph.sha256,
            parallelism=options.on_cpu,
            timed_layers=options.timed_layers,
        )
    from neuroscan_edge.runtimes.onnxrt.runner import OnnxRuntime

    runtime = OnnxRuntime(
        bundle, graph, options.on_cpu, cuda=choice.cuda, timed_layers=options.timed_layers
    )
    if not choice.cuda:
        return runtime
    batch_size = options.batch_size or runtime.info.batch_size or 1
    runtime.warm_up(batch_size)
    if options.preprocess is PreprocessOn.CPU:
        return runtime
    return _with_raw_slices(runtime, bundle, batch_size, options.preprocess)


def _drawing(graph: Graph) -> Graph:
    """Return a graph that also gives heatmaps; its hash stays that of what was verified."""
    onnx = require("onnx", extra="cpu", why="to draw heatmaps")
    from neuroscan_edge.model.graph.extra_outputs import with_heatmaps

    model = with_heatmaps(onnx.load_from_string(graph.data))
    return Graph(graph.precision, bytes(model.SerializeToString(deterministic=True)), graph.sha256)


def _with_raw_slices(
    runtime: "OnnxRuntime", bundle: Bundle, batch_size: int, place: PreprocessOn
) -> Runtime:
    from neuroscan_edge.runtimes.onnxrt.cuda_runner import RawOnnxRuntime
    from neuroscan_edge.system.cuda.context import Device, load_driver

    auto = place is PreprocessOn.AUTO
    try:
        device = Device(load_driver("gpu"))
        return RawOnnxRuntime(runtime, runtime.session, device, bundle, batch_size, fall_back=auto)
    except (DevicePreprocessingError, MissingDependencyError) as error:
        if not auto:
            raise
        runtime.say_preprocessing(f"cpu ({error})")
        return runtime
