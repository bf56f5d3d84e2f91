"""Mean curves over texts and targets on an even grid, as sums that add up over parts of a data set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from interpreto.metrics.result import MetricResult

GRID = 101
"""Points of a curve, from 0 to 1."""


@dataclass(frozen=True, eq=False)
class CurveSum:
    """Sum of curves on the grid.

    Attributes:
        total: Sum of their heights, ``(GRID,)``.
        n: Number of curves.
    """

    total: np.ndarray
    n: int

    def __add__(self, other: CurveSum) -> CurveSum:
        """Return the sum of the curves of both."""
        return CurveSum(self.total + other.total, self.n + other.n)

    @staticmethod
    def none() -> CurveSum:
        """Return the sum of no curves."""
        return CurveSum(np.zeros(GRID), 0)

    @property
    def mean(self) -> np.ndarray:
        """Return the mean curve."""
        return self.total / self.n


def curve_sums(result: MetricResult) -> list[CurveSum]:
    """Return the curves of a result, summed over texts and targets; of a baseline of several draws, those of each draw.

    Returns:
        An empty list where the metric has no curve.
    """
    merged = result.details.get("curve_sums")
    if merged is not None:
        return list(merged)
    found = [_summed(draw) for draw in result.details.get("results", [result])]
    return found if all(own.n for own in found) else []


def _summed(result: MetricResult) -> CurveSum:
    """Return the sum over all texts and targets, after reading each curve off at the grid."""
    grid, total, n = np.linspace(0, 1, GRID), np.zeros(GRID), 0
    for curves, fractions in zip(result.details.get("curves", []), result.details.get("fractions", []), strict=True):
        for curve, at in zip(curves, fractions, strict=True):
            if isinstance(curve, Tensor) and isinstance(at, Tensor) and len(curve) == len(at):
                total, n = total + np.interp(grid, at.double().numpy(), curve.double().numpy()), n + 1
    return CurveSum(total, n)
