"""The best model for each class."""

from collections.abc import Mapping, Sequence
from typing import Any

from neuroscan_edge.parity.evaluation.bootstrap import percentile_interval
from neuroscan_edge.parity.evaluation.comparison import Measured


def best_by_class(
    models: Mapping[str, Measured], labels: Sequence[str], level: float
) -> dict[str, dict[str, Any]]:
    """Name the model with the best recall and the best F1 of each class that occurs.

    Returns
    -------
    dict
        By class, then ``recall`` and ``f1``: ``best``, its ``value``, the runner-up ``next``, the
        ``lead`` over it and the lead's paired ``interval``. A lead of 0 is a tie; the model given
        first is then named.
    """
    by_class: dict[str, dict[str, Any]] = {}
    for index, label in enumerate(labels):
        if not next(iter(models.values())).metrics["per_class"][label]["images"]:
            continue
        by_class[label] = {}
        for key in ("recall", "f1"):
            values = {name: each.metrics["per_class"][label][key] for name, each in models.items()}
            first, second = sorted(values, key=values.__getitem__, reverse=True)[:2]
            drawn = [
                getattr(models[name].resampled, f"class_{key}")[:, index]
                for name in (first, second)
            ]
            by_class[label][key] = {
                "best": first,
                "value": values[first],
                "next": second,
                "lead": values[first] - values[second],
                "interval": percentile_interval(drawn[0] - drawn[1], level),
            }
    return by_class
