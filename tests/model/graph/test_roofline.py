"""The floor: operations and bytes counted by hand, ceilings applied, and what limits."""

import pytest

from neuroscan_edge.model.graph.roofline import Ceilings, count_work, floor_ms, limit
from neuroscan_edge.spec import Precision
from support.tiny_models import tiny_graph

# The tiny classifier at 32x32: output pixels x channels x weights of a filter, by hand.
STEM = 16 * 16 * 8 * (1 * 3 * 3)
DEPTHWISE = 16 * 16 * 8 * (1 * 3 * 3)
POINTWISE = 2 * (16 * 16 * 8 * 8)
HEAD = 8 * 4


def test_operations_are_counted_by_hand():
    work = count_work(tiny_graph().SerializeToString())
    assert work.operations == 2 * (STEM + DEPTHWISE + POINTWISE + HEAD)
    assert work.weight_values == 8 * 9 + 8 * 9 + 2 * 8 * 8 + 8 * 4
    plane = 8 * 16 * 16
    stem, head = 32 * 32 + plane, 8 + 4
    assert work.activation_values == stem + 3 * 2 * plane + head


@pytest.mark.parametrize("precision", list(Precision), ids=str)
def test_every_precision_does_the_same_work(bundle, precision):
    assert count_work(bundle.graph(precision).data) == count_work(tiny_graph().SerializeToString())


def test_the_floor_is_work_over_ceiling():
    work = count_work(tiny_graph().SerializeToString())
    ceilings = Ceilings({Precision.FP32: 1e9, Precision.INT8: 4e9}, bytes_per_s=1e9)
    fp32 = floor_ms(work, ceilings, Precision.FP32, 1)
    int8 = floor_ms(work, ceilings, Precision.INT8, 1)
    assert fp32["arithmetic"] == pytest.approx(work.operations / 1e6)
    assert int8["arithmetic"] == pytest.approx(fp32["arithmetic"] / 4)
    assert int8["memory"] == pytest.approx(fp32["memory"] / 4)
    # A batch shares the weights.
    many = floor_ms(work, ceilings, Precision.FP32, 16)
    assert fp32["memory"] - many["memory"] == pytest.approx(4 * work.weight_values * 15 / 16 / 1e6)
    assert floor_ms(work, ceilings, Precision.FP16, 1)["arithmetic"] == fp32["arithmetic"]


def test_the_limit_is_what_takes_most():
    assert limit({"arithmetic": 3.0, "memory": 1.0, "decode": 4.0}) == "decode"
