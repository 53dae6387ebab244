"""The pipeline: order, overlap, bounds, errors in their place."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from neuroscan_edge.classify.pipeline import NonFiniteOutputError, PipelineOptions, classify_files
from neuroscan_edge.errors import SpecError
from neuroscan_edge.preprocess import reference
from neuroscan_edge.runtimes import RuntimeOptions, open_runtime
from neuroscan_edge.scans import find_scans, read_scans
from neuroscan_edge.scans.quality import QualityThresholds
from neuroscan_edge.spec import Decision, Finding, Precision
from support.fakes.fake_runtime import FakeRuntime, OverlappingFake
from support.scan_cases import dicom_file


@pytest.mark.parametrize(
    ("wanted", "asked", "batches"),
    [(None, 0, [16, 4]), (12, 0, [12, 8]), (12, 7, [7, 7, 6])],
    ids=["neither says", "the runtime says", "the caller says"],
)
def test_a_batch_is_as_large_as_the_caller_or_else_the_runtime_wants(
    scans, bundle, wanted, asked, batches
):
    runtime = FakeRuntime()
    runtime.info = replace(runtime.info, batch_size=wanted)
    options = PipelineOptions(batch_size=asked)
    list(classify_files(find_scans([scans]).files, bundle, runtime, options))
    assert [len(batch) for batch in runtime.batches] == batches


@pytest.mark.parametrize("batch_size", [1, 3, 7, 64])
@pytest.mark.parametrize("workers", [1, 4])
def test_results_come_in_input_order(scans, bundle, batch_size, workers):
    files = find_scans([scans]).files
    options = PipelineOptions(batch_size=batch_size, workers=workers)
    results = list(classify_files(files, bundle, FakeRuntime(), options))
    assert [result.provenance.path for result in results] == [str(file) for file in files]
    for file, result in zip(files, results, strict=True):
        pixels = next(read_scans(file)).pixels
        mean = reference.preprocess(pixels, bundle.preprocessing).mean() / 255
        assert result.probabilities["glioma_tumor"] == pytest.approx(mean, abs=1e-6)


def test_batches_are_full_but_the_last(scans, bundle):
    runtime = FakeRuntime()
    list(classify_files(find_scans([scans]).files, bundle, runtime, PipelineOptions(8, 2)))
    assert [len(batch) for batch in runtime.batches] == [8, 8, 4]
    assert {batch.dtype for batch in runtime.batches} == {np.dtype(np.uint8)}
    assert {batch.shape[1:] for batch in runtime.batches} == {(32, 32, 1)}


def test_batches_do_not_share_memory(scans, bundle):
    runtime = FakeRuntime()
    list(classify_files(find_scans([scans]).files, bundle, runtime, PipelineOptions(10, 2)))
    first, second = runtime.batches
    assert not np.shares_memory(first, second)
    assert (first != second).any()


def test_a_bad_file_is_an_error_row_in_its_place(scans, bundle):
    files = list(find_scans([scans]).files)
    bad = scans / "bad.png"
    bad.write_bytes(b"no image")
    files.insert(5, bad)
    results = list(classify_files(files, bundle, FakeRuntime(), PipelineOptions(4, 2)))
    assert [bool(result.error) for result in results] == [index == 5 for index in range(21)]
    assert results[5].prediction is None
    assert results[5].error.startswith("corrupt: ")


def test_only_bad_files_run_no_batch(tmp_path, bundle):
    bad = [tmp_path / f"{index}.png" for index in range(3)]
    for path in bad:
        path.write_bytes(b"")
    runtime = FakeRuntime()
    results = list(classify_files([path for path in bad], bundle, runtime))
    assert [result.error.split(":")[0] for result in results] == ["corrupt"] * 3
    assert runtime.batches == []


def test_every_page_of_a_tiff_is_a_slice(tmp_path, bundle):
    pages = [Image.fromarray(np.full((40, 40), level, np.uint8)) for level in (10, 90, 200)]
    pages[0].save(tmp_path / "pages.tiff", save_all=True, append_images=pages[1:])
    files = find_scans([tmp_path]).files
    results = list(classify_files(files, bundle, FakeRuntime(), PipelineOptions(2, 1)))
    assert [result.provenance.frame for result in results] == [0, 1, 2]


def test_files_are_read_only_a_window_ahead(scans, bundle):
    """However many files there are, few are decoded before their turn."""
    taken: list[int] = []
    path = find_scans([scans]).files[0]

    def endless() -> Iterator[Path]:
        for index in range(10_000):
            taken.append(index)
            yield path

    results = classify_files(endless(), bundle, FakeRuntime(), PipelineOptions(4, 2))
    for _ in range(8):
        next(results)
    assert len(taken) <= 8 + 2 * (4 + 2)
    results.close()


def test_decoding_goes_on_while_the_model_runs(scans, bundle, monkeypatch):
    """With a model as slow as decoding, the two together take little more than one."""
    delay_s = 0.05
    decode = CountingDecode(delay_s)
    monkeypatch.setattr("neuroscan_edge.classify.pipeline.read_scans", decode)
    files = find_scans([scans]).files
    runtime = FakeRuntime(delay_s=delay_s)
    started = time.perf_counter()
    list(classify_files(files, bundle, runtime, PipelineOptions(1, 1)))
    elapsed_s = time.perf_counter() - started
    assert decode.threads and threading.get_ident() not in decode.threads
    one_after_the_other_s = 2 * delay_s * len(files)
    assert elapsed_s < 0.8 * one_after_the_other_s


class CountingDecode:
    """A decoder that takes a known time and notes where it ran."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self.threads: set[int] = set()

    def __call__(self, path: Path, limits: object) -> Iterator[object]:
        self.threads.add(threading.get_ident())
        time.sleep(self._delay_s)
        return read_scans(path)


def test_a_runtime_that_can_is_given_the_next_batch_before_it_is_done_with_one(scans, bundle):
    files = find_scans([scans]).files
    runtime = OverlappingFake()
    found = list(classify_files(files, bundle, runtime, PipelineOptions(8, 2)))
    assert runtime.said == ["begun 0", "begun 1", "done 0", "begun 2", "done 1", "done 2"]
    expected = list(classify_files(files, bundle, FakeRuntime(), PipelineOptions(8, 2)))
    assert [each.to_json() for each in found] == [each.to_json() for each in expected]


def test_the_next_batch_is_decoded_before_it_is_to_be_begun(scans, bundle):
    """What is decoded while one batch is computed is the one after the next."""
    runtime = OverlappingFake(start_s=0, delay_s=0.2)
    list(classify_files(find_scans([scans]).files, bundle, runtime, PipelineOptions(4, 1)))
    said = runtime.said
    for number in (1, 2, 3):
        assert said.index(f"begun {number + 1}") < said.index(f"done {number}")


def test_what_is_slow_to_decode_holds_no_result_back(scans, bundle, monkeypatch):
    files = find_scans([scans]).files
    may_decode = threading.Event()

    def decode(path: Path, limits: object) -> Iterator[object]:
        assert path in files[:4] or may_decode.wait(20)
        return read_scans(path)

    monkeypatch.setattr("neuroscan_edge.classify.pipeline.read_scans", decode)
    runtime = OverlappingFake(start_s=0.1)
    results = classify_files(files, bundle, runtime, PipelineOptions(4, 2))
    first = [next(results) for _ in range(4)]
    assert [result.provenance.path for result in first] == [str(file) for file in files[:4]]
    assert runtime.said == ["begun 0", "done 0"]
    may_decode.set()
    assert len(list(results)) == len(files) - 4


def test_an_error_on_the_way_to_the_next_batch_costs_none_that_was_begun(scans, bundle):
    files = find_scans([scans]).files

    def broken() -> Iterator[Path]:
        # Thirteen are asked for at first, and one more for each that is taken.
        yield from files[:18]
        raise OSError("the list of files is gone")

    runtime = OverlappingFake()
    results = classify_files(broken(), bundle, runtime, PipelineOptions(4, 5))
    found = []
    with pytest.raises(OSError, match="is gone"):
        for result in results:
            found.append(result)
    assert runtime.said == ["begun 0", "done 0"]
    assert [result.provenance.path for result in found] == [str(file) for file in files[:4]]


def test_what_was_begun_is_cancelled_when_nobody_wants_it(scans, bundle):
    runtime = OverlappingFake()
    results = classify_files(find_scans([scans]).files, bundle, runtime, PipelineOptions(8, 2))
    next(results)
    results.close()
    assert runtime.said == ["begun 0", "begun 1", "done 0", "cancelled 1"]


def test_where_the_steps_are_timed_one_batch_is_done_before_the_next(scans, bundle):
    files = find_scans([scans]).files
    runtime = OverlappingFake()
    list(classify_files(files, bundle, runtime, PipelineOptions(8, 2), wrap=lambda steps: steps))
    assert runtime.said == []
    assert [len(batch) for batch in runtime.batches] == [8, 8, 4]


def test_a_batch_without_a_slice_stands_between_others_in_its_place(scans, bundle, tmp_path):
    good = list(find_scans([scans]).files[:4])
    bad = [tmp_path / f"{index}.png" for index in range(3)]
    for path in bad:
        path.write_bytes(b"")
    runtime = OverlappingFake()
    files = [*good, *bad]
    results = list(classify_files(files, bundle, runtime, PipelineOptions(4, 2)))
    assert [bool(result.error) for result in results] == [False] * 4 + [True] * 3
    assert runtime.said == ["begun 0", "done 0"]


def test_overlapping_batches_that_are_no_probabilities_stop_the_run(scans, bundle):
    runtime = OverlappingFake(spoil=np.nan)
    with pytest.raises(NonFiniteOutputError):
        list(classify_files(find_scans([scans]).files, bundle, runtime, PipelineOptions(8, 2)))
    assert runtime.said == ["begun 0", "begun 1", "done 0", "cancelled 1"]


def test_closing_early_stops_the_workers(scans, bundle):
    results = classify_files(
        find_scans([scans]).files, bundle, FakeRuntime(), PipelineOptions(2, 2)
    )
    next(results)
    results.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_probabilities_stop_the_run(scans, bundle, value):
    files = find_scans([scans]).files
    with pytest.raises(NonFiniteOutputError, match="build or copy it again"):
        list(classify_files(files, bundle, FakeRuntime(spoil=value)))


@pytest.mark.parametrize("options", [{"batch_size": -1}, {"batch_size": 5000}, {"workers": 0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(SpecError):
        PipelineOptions(**options)


@pytest.mark.parametrize("precision", list(Precision))
def test_onnxruntime_runs_every_precision_alike(scans, bundle, precision):
    files = find_scans([scans]).files
    with open_runtime(bundle, RuntimeOptions(Precision.FP32)) as runtime:
        expected = list(classify_files(files, bundle, runtime))
    with open_runtime(bundle, RuntimeOptions(precision)) as runtime:
        found = list(classify_files(files, bundle, runtime))
        assert runtime.info.precision is precision
    for one, other in zip(expected, found, strict=True):
        for label, probability in one.probabilities.items():
            assert other.probabilities[label] == pytest.approx(probability, abs=0.06)


def test_batch_size_does_not_change_decisions(scans, bundle):
    files = find_scans([scans]).files
    with open_runtime(bundle) as runtime:
        runs = [
            [
                result.prediction
                for result in classify_files(files, bundle, runtime, PipelineOptions(size, 2))
            ]
            for size in (1, 6, 20)
        ]
    assert runs[0] == runs[1] == runs[2]


def test_large_slices_are_decoded_to_the_models_size(tmp_path, bundle):
    ramp = np.linspace(0, 200, 900).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "large.png"), np.broadcast_to(ramp, (1500, 900)))
    runtime = FakeRuntime()
    list(classify_files(find_scans([tmp_path]).files, bundle, runtime))
    assert runtime.batches[0].shape == (1, 32, 32, 1)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_rejected_slice_never_reaches_the_model(scans, bundle, workers):
    """It is a row in its place, with its reason and without a prediction."""
    cv2.imwrite(str(scans / "series0" / "slice05a.png"), np.zeros((50, 50), np.uint8))
    cv2.imwrite(str(scans / "series0" / "slice05b.png"), np.full((9, 50), 90, np.uint8))
    runtime = FakeRuntime()
    files = find_scans([scans]).files
    results = list(classify_files(files, bundle, runtime, PipelineOptions(4, workers)))
    assert sum(map(len, runtime.batches)) == 20
    rejected = [result for result in results if result.decision is Decision.REJECTED]
    assert [Path(result.provenance.path).name for result in rejected] == [
        "slice05a.png",
        "slice05b.png",
    ]
    assert [result.findings for result in rejected] == [
        (Finding.BLANK,),
        (Finding.TOO_SMALL, Finding.BLANK),
    ]
    assert all(result.prediction is None and result.error is None for result in rejected)
    assert results.index(rejected[0]) == 6


def test_what_is_found_rides_along_to_the_result(scans, bundle):
    clipping = QualityThresholds(most_saturated=0.0)
    options = PipelineOptions(quality=clipping)
    pixels = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (64, 1))
    cv2.imwrite(str(scans / "bright.png"), pixels)
    (result,) = classify_files([scans / "bright.png"], bundle, FakeRuntime(), options)
    assert (result.decision, result.findings) == (Decision.REFER, (Finding.CLIPPED,))
    assert result.prediction is not None
    (plain,) = classify_files([scans / "bright.png"], bundle, FakeRuntime())
    assert (plain.decision, plain.findings) == (Decision.ANSWER, ())


def test_a_dicom_header_is_judged(tmp_path, bundle):
    ramp = np.tile(np.arange(64, dtype=np.uint16) * 60, (64, 1))
    for name, elements in {
        "1mr": {},
        "2ct": {"Modality": "CT"},
        "3knee": {"BodyPartExamined": "KNEE"},
        "4adc": {"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]},
        "5mpr": {"ImageType": ["DERIVED", "PRIMARY", "MPR"]},
        "6text": {"BurnedInAnnotation": "YES"},
    }.items():
        (tmp_path / f"{name}.dcm").write_bytes(dicom_file(ramp, **elements))
    files = sorted(tmp_path.glob("*.dcm"))
    results = list(classify_files(files, bundle, FakeRuntime()))
    assert [(str(result.decision), [*map(str, result.findings)]) for result in results] == [
        ("answer", []),
        ("rejected", ["not_mr"]),
        ("rejected", ["not_head"]),
        ("rejected", ["computed"]),
        ("refer", ["derived"]),
        ("refer", ["burned_in_annotation"]),
    ]
