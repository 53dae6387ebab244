import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, load_from_string

from neuroscan_edge.errors import BundleError, ExportError
from neuroscan_edge.model.graph.extra_outputs import (
    outlier_layers,
    with_heatmaps,
    with_outlier_score,
    without_outputs,
)
from neuroscan_edge.model.graph.gpu_form import to_gpu_int8
from neuroscan_edge.model.graph.outlier import OutlierLayer, outlier_scores
from neuroscan_edge.model.graph.output_names import HEATMAPS, OUTLIER_SCORE
from neuroscan_edge.model.graph.quantize import QuantizationPlan, to_fp16, to_int8
from neuroscan_edge.model.judging import Judging
from neuroscan_edge.runtimes import RuntimeOptions, open_runtime
from neuroscan_edge.runtimes.protocol import Outputs
from neuroscan_edge.spec import Precision, RuntimeName
from support.judged import MAP, POOLED, features_of, judged_bundle, tiny_layers
from support.tiny_models import activations, observed_ranges, tiny_graph, tiny_images

ROUNDING = 2e-3


def int8_graph():
    model = tiny_graph()
    return to_int8(model, observed_ranges(model, tiny_images(32)), QuantizationPlan())


GRAPHS = {
    "fp32": tiny_graph,
    "fp16": lambda: to_fp16(tiny_graph()),
    "int8": int8_graph,
}


def run(model, images):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    # As the pairs are defined: without VNNI, integer kernels of this form saturate.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": images}), strict=True))


@pytest.mark.parametrize("form", GRAPHS)
def test_judging_changes_no_probability(form):
    model, images = GRAPHS[form](), tiny_images(12, seed=5)
    plain = run(model, images)["probabilities"]
    judged = run(with_heatmaps(with_outlier_score(model, tiny_layers())), images)
    assert set(judged) == {"probabilities", OUTLIER_SCORE, HEATMAPS}
    np.testing.assert_allclose(judged["probabilities"], plain, atol=1e-3 if form == "fp16" else 0)


def test_the_graph_computes_the_reference_scores():
    images, layers = tiny_images(40, seed=7), tiny_layers()
    images[:8] = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 1))
    expected = outlier_scores(layers, features_of(tiny_graph(), images))
    found = run(with_outlier_score(tiny_graph(), layers), images)[OUTLIER_SCORE]
    assert found.dtype == np.float32 and found.shape == (40,)
    np.testing.assert_allclose(found, expected, rtol=ROUNDING, atol=ROUNDING)
    assert (expected > 1).any() and (expected < 1).any()


@pytest.mark.parametrize("form", GRAPHS)
def test_scores_of_every_precision_are_near_the_reference(form):
    images, layers = tiny_images(40, seed=7), tiny_layers()
    expected = outlier_scores(layers, features_of(tiny_graph(), images))
    found = run(with_outlier_score(GRAPHS[form](), layers), images)[OUTLIER_SCORE]
    assert np.median(np.abs(found - expected) / expected) < 0.2


@pytest.mark.parametrize("form", GRAPHS)
def test_what_was_added_can_be_taken_away_byte_for_byte(form):
    model = GRAPHS[form]()
    before = model.SerializeToString(deterministic=True)
    judged = with_heatmaps(with_outlier_score(model, tiny_layers()))
    assert model.SerializeToString(deterministic=True) == before
    assert without_outputs(judged).SerializeToString(deterministic=True) == before
    only_scores = without_outputs(judged, (HEATMAPS,))
    assert [each.name for each in only_scores.graph.output] == ["probabilities", OUTLIER_SCORE]


def test_statistics_read_back_from_a_graph_and_are_replaced_by_new_ones():
    layers = tiny_layers()
    judged = with_outlier_score(tiny_graph(), layers)
    for found, expected in zip(outlier_layers(judged), layers, strict=True):
        assert found.tensor == expected.tensor
        np.testing.assert_array_equal(found.directions, expected.directions)
        assert found.rate == pytest.approx(expected.rate)
    again = with_outlier_score(judged, layers[:1])
    assert [layer.tensor for layer in outlier_layers(again)] == [POOLED]
    assert outlier_layers(tiny_graph()) == ()


def test_a_layer_that_the_graph_lacks_is_an_error():
    (layer, *_) = tiny_layers()
    other = OutlierLayer("elsewhere", layer.means, layer.directions, layer.rate)
    with pytest.raises(ExportError, match="no tensor elsewhere"):
        with_outlier_score(tiny_graph(), [other])


def test_heatmaps_of_a_linear_head_are_class_activation_maps():
    model, images = tiny_graph(), tiny_images(6)
    feature_map = activations(model, ["h"], images)["h"]
    weight = next(w for w in model.graph.initializer if w.name == "head/w")
    weight = np.frombuffer(weight.raw_data, np.float32).reshape(8, 4)
    pixels = feature_map.shape[2] * feature_map.shape[3]
    expected = np.maximum(np.einsum("nfhw,fc->nchw", feature_map, weight) / pixels, 0)
    found = run(with_heatmaps(model), images)[HEATMAPS]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.max() > 0


def test_the_form_for_gpus_keeps_judging_in_float32():
    form = to_gpu_int8(with_heatmaps(with_outlier_score(int8_graph(), tiny_layers())))
    kinds = {w.name: w.data_type for w in form.graph.initializer if w.name.startswith("judging/")}
    assert TensorProto.FLOAT in kinds.values() and TensorProto.FLOAT16 not in kinds.values()
    assert {each.type.tensor_type.elem_type for each in form.graph.output} == {TensorProto.FLOAT}


def test_a_graph_with_another_end_cannot_be_drawn():
    model = tiny_graph()
    kept = [node for node in model.graph.node if node.op_type != "Softmax"]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    model.graph.output[0].name = "l"
    with pytest.raises(ExportError, match="no Softmax"):
        with_heatmaps(model)


@pytest.mark.parametrize("runtime", [RuntimeName.ONNXRUNTIME, RuntimeName.OPENVINO])
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.INT8])
@pytest.mark.parametrize("heatmaps", [False, True])
def test_runtimes_give_scores_and_heatmaps(tmp_path, runtime, precision, heatmaps):
    bundle = judged_bundle(tmp_path / "bundle")
    images = tiny_images(7, seed=3)
    options = RuntimeOptions(precision, threads=1, runtime=runtime, heatmaps=heatmaps)
    with open_runtime(bundle, options) as opened:
        found, plain = opened.outputs(images), opened(images)
    assert isinstance(found, Outputs)
    np.testing.assert_array_equal(found.probabilities, plain)
    judged = run(load_from_string(bundle.graph(precision).data), images)
    assert found.outlier_scores is not None
    np.testing.assert_allclose(found.outlier_scores, judged[OUTLIER_SCORE], rtol=0.1)
    assert (found.heatmaps is not None) == heatmaps
    if heatmaps:
        assert found.heatmaps.shape == (7, 4, 8, 8)


def test_a_graph_without_the_score_that_its_bundle_promises_is_refused(tmp_path):
    from neuroscan_edge.model.bundle import open_bundle, write_files
    from support.tiny_models import tiny_bundle

    bundle = tiny_bundle(tmp_path / "plain")
    rules = Judging(outliers=True).to_json()
    write_files(bundle.folder, {**bundle.manifest, "judging": rules}, {})
    with pytest.raises(BundleError, match="outlier_score"):
        open_runtime(open_bundle(bundle.folder), RuntimeOptions(runtime=RuntimeName.ONNXRUNTIME))


def test_a_map_in_the_middle_is_averaged(tmp_path):
    layers = [layer for layer in tiny_layers() if layer.tensor == MAP]
    images = tiny_images(10, seed=2)
    found = run(with_outlier_score(tiny_graph(), layers), images)[OUTLIER_SCORE]
    expected = outlier_scores(layers, features_of(tiny_graph(), images))
    np.testing.assert_allclose(found, expected, rtol=ROUNDING, atol=ROUNDING)


def test_a_judged_bundle_is_quantised_again_from_its_own_table(tmp_path):
    from neuroscan_edge.model.bundle import GRAPHS as FILES
    from neuroscan_edge.model.bundle import write_files
    from neuroscan_edge.model.calibration import plain_fp32, quantize_bundle, read_table
    from neuroscan_edge.parity.graph_faults import graph_faults
    from support.tiny_models import calibrated_bundle

    bundle = calibrated_bundle(tmp_path / "bundle")
    before = bundle.files[FILES[Precision.FP32]].sha256
    files = {}
    for precision in bundle.precisions:
        graph = load_from_string(bundle.graph(precision).data)
        judged = with_outlier_score(graph, tiny_layers())
        files[FILES[precision]] = judged.SerializeToString(deterministic=True)
    manifest = {**bundle.manifest, "judging": Judging(outliers=True).to_json()}
    judged_bundle_ = write_files(bundle.folder, manifest, files)
    assert plain_fp32(judged_bundle_).sha256 == before
    table = read_table(bundle.folder / "calibration.json")
    again = quantize_bundle(judged_bundle_, table)
    assert again.files == judged_bundle_.files
    assert graph_faults(again, Precision.INT8, before) == []
