"""Curves of metrics that all media share: means over texts on an even grid, and the band of random orders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from interpreto.errors import InputError
from interpreto.metrics.mean_curves import GRID, curve_sums
from interpreto.metrics.result import MetricResult
from interpreto.renderable import visible

COLORS = ("#d9730d", "#2a6fc9", "#2b8a57", "#a23b9a", "#8a6d00", "#555555")
"""Colors that color-blind readers can tell apart."""
AXIS = "share of the units, the most important first"


@dataclass(frozen=True, eq=False)
class Curve:
    """Mean curve over texts and targets, on an even grid from 0 to 1.

    Attributes:
        name: Name of the method.
        mean: Heights, ``(GRID,)``.
        low: Lower end of a band, the lowest of the draws' mean curves; None for a single order.
        high: Upper end of the band.
    """

    name: str
    mean: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None

    @property
    def area(self) -> float:
        """Mean height."""
        return float((self.mean[1:] + self.mean[:-1]).mean() / 2)

    def chance(self) -> Curve:
        """Return the curve that random orders have on average where the effects of units add up: the straight line."""
        line = np.linspace(self.mean[0], self.mean[-1], GRID)
        return Curve("random, if units add up", line, line, line)


def read_curves(results: MetricResult | Mapping[str, MetricResult]) -> tuple[str, str, list[Curve]]:
    """Read the curves of one metric off its results.

    Args:
        results: One result, or results by the name of their method.

    Returns:
        The metric's name, the label of the vertical axis, and a curve per result; names have no control characters.

    Raises:
        InputError: There are no results, they are of several metrics, or of one without curves.
    """
    found = {results.name: results} if isinstance(results, MetricResult) else dict(results)
    if not found:
        raise InputError("`results`: got none; pass results of a metric, by name.")
    metrics = {result.name for result in found.values()}
    if len(metrics) > 1:
        raise InputError(f"`results`: got results of {', '.join(sorted(metrics))}; curves of one metric can be compared.")
    (metric,) = metrics
    curves = [_curve(" ".join(visible(name).split()), result) for name, result in found.items()]
    measure = next(iter(found.values())).config.get("measure", "score")
    return visible(metric), visible(f"{str(measure).replace('_', '-')} ({metric})"), curves


def _curve(name: str, result: MetricResult) -> Curve:
    """Return the mean over all texts and targets; of several draws, their mean and the band that they span."""
    sums = curve_sums(result)
    if not sums:
        raise InputError(f"`results`: {name!r} has no curve; pass results of Deletion, Insertion, MoRF, LeRF or ABPC.")
    if len(sums) == 1:
        return Curve(name, sums[0].mean)
    rows = np.stack([own.mean for own in sums])
    return Curve(name, rows.mean(0), rows.min(0), rows.max(0))
