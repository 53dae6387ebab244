"""Batches on bound memory: the CPU stands for the GPU, through the same calls."""

import numpy as np
import onnxruntime as ort
import pytest

from neuroscan_edge.runtimes.onnxrt.runner import BoundBatches
from neuroscan_edge.spec import Precision
from support.tiny_models import tiny_images


@pytest.fixture
def session(bundle):
    graph = bundle.graph(Precision.FP32).data
    return ort.InferenceSession(graph, providers=["CPUExecutionProvider"])


def test_bound_batches_of_changing_sizes_give_what_a_plain_run_gives(bundle, session):
    run = BoundBatches(session, bundle.input_name, [bundle.output_name], device="cpu")
    for seed, count in enumerate((4, 4, 2, 4, 1, 1)):
        batch = tiny_images(count, seed=seed)
        (expected,) = session.run(None, {bundle.input_name: batch})
        np.testing.assert_array_equal(run(batch).probabilities, expected)


def test_neither_batch_nor_result_is_shared_with_the_next_call(bundle, session):
    run = BoundBatches(session, bundle.input_name, [bundle.output_name], device="cpu")
    first, second = tiny_images(3, seed=1), tiny_images(3, seed=2)
    given = first.copy()
    found = run(given).probabilities
    kept = found.copy()
    other = run(second).probabilities
    np.testing.assert_array_equal(given, first)
    np.testing.assert_array_equal(found, kept)
    assert np.abs(other - found).max() > 0


def test_a_batch_that_is_a_view_of_others_is_read_in_its_own_order(bundle, session):
    run = BoundBatches(session, bundle.input_name, [bundle.output_name], device="cpu")
    batch = tiny_images(6)[::2]
    (expected,) = session.run(None, {bundle.input_name: np.ascontiguousarray(batch)})
    np.testing.assert_array_equal(run(batch).probabilities, expected)
