"""Means, spreads and skewness of samples that come in parts: those of parts merge into those of all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.intervals import interval_of_moments


@dataclass(frozen=True)
class SampleSummary:
    """Everything that a confidence interval of the mean of a sample needs.

    Attributes:
        n: Number of values.
        mean: Their mean; NaN where there is none.
        spread: Standard deviation, with n − 1; NaN for fewer than two.
        skewness: Mean cubed deviation over the cube of the standard deviation with n; 0 where all values are equal.
    """

    n: int
    mean: float
    spread: float
    skewness: float

    def interval(self, level: int | float = 0.95) -> tuple[float, float]:
        """Return the interval that `interpreto.intervals.mean_interval` has for the same values; NaN for fewer than two.

        Args:
            level: Nominal coverage, in (0, 1).
        """
        if self.n < 2:
            return math.nan, math.nan
        return interval_of_moments(self.n, self.mean, self.spread, self.skewness, level)


@dataclass(frozen=True, eq=False)
class Moments:
    """Number, mean, and sums of squared and cubed deviations from the mean, of several columns; those of parts merge.

    Attributes:
        n: Number of values in each column, ``(k,)``.
        mean: Their mean; 0 where there is none.
        second: Sum of squared deviations from the mean.
        third: Sum of cubed deviations from the mean.

    References:
        Chan, Golub and LeVeque, The American Statistician 1983, https://doi.org/10.1080/00031305.1983.10483115; for the third
        moment Pébay, 2008, https://doi.org/10.2172/1028931.

    Examples:
        >>> import torch
        >>> values = torch.tensor([[1.0], [2.0], [3.0], [10.0]], dtype=torch.float64)
        >>> both = Moments.of(values[:1]).merged(Moments.of(values[1:]))
        >>> both.summary(0).n, both.summary(0).mean, [round(end, 3) for end in both.summary(0).interval()]
        (4, 4.0, [-4.837, 28.976])
    """

    n: Float[Tensor, " k"]
    mean: Float[Tensor, " k"]
    second: Float[Tensor, " k"]
    third: Float[Tensor, " k"]

    @staticmethod
    def of(values: Float[Tensor, "n k"]) -> Moments:
        """Return the moments of columns; NaN is left out."""
        values = values.double()
        known = ~values.isnan()
        n = known.sum(0).double()
        mean = values.where(known, 0.0).sum(0) / n.clamp(min=1)
        deviations = (values - mean).where(known, 0.0)
        return Moments(n, mean, deviations.square().sum(0), deviations.pow(3).sum(0))

    @staticmethod
    def none(k: int) -> Moments:
        """Return the moments of columns without a value."""
        return Moments(*(torch.zeros(k, dtype=torch.float64) for _ in range(4)))

    def merged(self, other: Moments) -> Moments:
        """Return the moments of the values of both."""
        n, gap = self.n + other.n, other.mean - self.mean
        total = n.clamp(min=1)
        product = self.n * other.n / total
        third = gap.pow(3) * product * (self.n - other.n) / total
        third = third + 3 * gap * (self.n * other.second - other.n * self.second) / total
        return Moments(
            n,
            torch.where(self.n > 0, self.mean + gap * other.n / total, other.mean),
            self.second + other.second + gap.square() * product,
            self.third + other.third + third,
        )

    def summary(self, i: int) -> SampleSummary:
        """Return what the interval of a column's mean needs."""
        n = int(self.n[i])
        if n < 2:
            return SampleSummary(n, float(self.mean[i]) if n else math.nan, math.nan, 0.0)
        spread = math.sqrt(float(self.second[i]) / (n - 1))
        skewness = 0.0 if spread == 0 else float(self.third[i]) / n / spread**3 * (n / (n - 1)) ** 1.5
        return SampleSummary(n, float(self.mean[i]), spread, skewness)


def merged_moments(k: int, parts: list[Moments]) -> Moments:
    """Return the moments of all values of parts with ``k`` columns each."""
    return reduce(Moments.merged, parts, Moments.none(k))
