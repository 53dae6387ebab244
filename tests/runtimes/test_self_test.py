import numpy as np
import pytest

from neuroscan_edge.model.bundle import KNOWN_ANSWERS, open_bundle, write_files
from neuroscan_edge.model.calibration import quantize_bundle
from neuroscan_edge.runtimes import Parallelism, RuntimeOptions, open_runtime
from neuroscan_edge.runtimes.ov import runner as openvino_
from neuroscan_edge.runtimes.parallelism import PART
from neuroscan_edge.runtimes.self_test import (
    LARGEST_DIFFERENCE,
    PROBES,
    WrongAnswersError,
    check_answers,
    probe_slices,
    stated_answers,
)
from neuroscan_edge.spec import Precision, RuntimeName
from support.tiny_models import tiny_bundle
from training.judge.run import with_known_answers

RUN = RuntimeOptions(Precision.INT8, threads=1, runtime=RuntimeName.ONNXRUNTIME)


@pytest.fixture
def bundle(tmp_path):
    return with_known_answers(tiny_bundle(tmp_path / "bundle"))


def altered(bundle, by: float):
    """State other answers, the first class's off by so much."""
    answers = {name: np.array(rows) for name, rows in bundle.manifest[KNOWN_ANSWERS].items()}
    for rows in answers.values():
        rows[2, 0] += by
    stated = {name: rows.tolist() for name, rows in answers.items()}
    return write_files(bundle.folder, {**bundle.manifest, KNOWN_ANSWERS: stated}, {})


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.INT8])
@pytest.mark.parametrize("runtime", [RuntimeName.ONNXRUNTIME, RuntimeName.OPENVINO])
def test_a_model_that_answers_as_stated_opens(bundle, precision, runtime):
    with open_runtime(bundle, RuntimeOptions(precision, threads=1, runtime=runtime)) as opened:
        found = opened(probe_slices(*bundle.preprocessing.shape))
    assert np.abs(found - stated_answers(bundle, precision)).max() < LARGEST_DIFFERENCE


def test_a_model_that_answers_otherwise_is_refused_with_what_to_do(bundle):
    with pytest.raises(WrongAnswersError, match="off by 0.5.*run again, or with another --runtime"):
        open_runtime(altered(bundle, 0.5), RUN)


def test_rounding_is_not_a_wrong_answer(bundle):
    with open_runtime(altered(bundle, 0.05), RUN):
        pass


def test_answers_that_are_no_numbers_are_wrong(bundle):
    class Broken:
        info = None

        def __call__(self, batch):
            return np.full((len(batch), 4), np.nan, np.float32)

    with open_runtime(bundle, RUN) as runtime:
        Broken.info = runtime.info
    with pytest.raises(WrongAnswersError):
        check_answers(Broken(), bundle)


def test_a_stream_is_asked_everything_at_once():
    assert PART >= PROBES, "shared out, some streams would never see some probes"


def test_a_wrong_stream_of_openvino_is_refused(bundle, monkeypatch):
    real, streams = openvino_._run, []

    def second_stream_mistaken_of_the_first_probe(request, names, batch):
        found = real(request, names, batch)
        streams.append(request)
        if request is not streams[0] and len(batch) == PROBES:
            found.probabilities[0] = found.probabilities[0, ::-1]
        return found

    monkeypatch.setattr(openvino_, "_run", second_stream_mistaken_of_the_first_probe)
    options = {"precision": Precision.FP32, "runtime": RuntimeName.OPENVINO}
    with open_runtime(bundle, RuntimeOptions(**options, parallelism=Parallelism(1, 1))):
        streams.clear()
    with pytest.raises(WrongAnswersError):
        open_runtime(bundle, RuntimeOptions(**options, parallelism=Parallelism(1, 2)))


def test_every_stream_is_asked_everything(bundle):
    expected = stated_answers(bundle, Precision.INT8)

    class SecondStreamBroken:
        info = None

        def __call__(self, batch):
            wrong = expected[::-1, ::-1]
            return np.concatenate([expected, wrong, expected])[: len(batch)]

    with open_runtime(bundle, RUN) as runtime:
        SecondStreamBroken.info = runtime.info
    check_answers(SecondStreamBroken(), bundle)
    with pytest.raises(WrongAnswersError):
        check_answers(SecondStreamBroken(), bundle, streams=3)


def test_a_bundle_that_states_none_is_not_asked(tmp_path):
    plain = tiny_bundle(tmp_path / "plain")
    assert stated_answers(plain, Precision.INT8) is None
    with open_runtime(plain, RUN):
        pass


def test_probes_are_the_same_everywhere_and_differ_from_one_another():
    probes = probe_slices(224, 224)
    assert probes.shape == (PROBES, 224, 224, 1) and probes.dtype == np.uint8
    np.testing.assert_array_equal(probes, probe_slices(224, 224))
    assert min(np.abs(probes[0].astype(int) - each).mean() for each in probes[1:]) > 5


def test_a_new_int8_graph_drops_what_the_earlier_one_said(tmp_path):
    from neuroscan_edge.model.calibration import read_table
    from support.tiny_models import calibrated_bundle

    bundle = with_known_answers(calibrated_bundle(tmp_path / "bundle"))
    assert set(bundle.manifest[KNOWN_ANSWERS]) == {"fp32", "fp16", "int8"}
    again = quantize_bundle(bundle, read_table(bundle.folder / "calibration.json"))
    assert set(open_bundle(again.folder).manifest[KNOWN_ANSWERS]) == {"fp32", "fp16"}
