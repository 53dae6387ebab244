"""Pictures of records: nothing of them lies outside."""

import re

import pytest

from neuroscan_edge.report.charts import stacked_bars


@pytest.mark.parametrize("largest", [0.9, 9.6, 21.0, 51.6, 58.0, 740.0])
def test_labels_of_the_axis_lie_within_the_picture(largest):
    drawn = stacked_bars({"one": {"decode": 0.1 * largest, "compute": 0.9 * largest}}, "ms", "bars")
    width = int(re.search(r'viewBox="0 0 (\d+)', drawn)[1])
    places = [float(x) for x in re.findall(r'<text x="([\d.]+)"[^>]*text-anchor="middle"', drawn)]
    assert len(places) > 1
    assert max(places) <= width - 20
