"""What a metric answers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from interpreto.errors import OptionError


@dataclass(frozen=True, eq=False)
class MetricResult:
    """A score, what it is the mean of, and how to read it; ``float(result)`` is the score.

    Attributes:
        score: The metric's value; NaN where nothing could be scored.
        per_sample: A value for each sample, ``(n,)``, NaN where it has none; None where the score is of all together.
        details: What else was found, by name.
        higher_is_better: The metric's direction.
        value_range: Least and largest possible value; None where there is no bound.
        n_valid: Samples that were scored.
        n_skipped: Samples that could not be.
        config: How the metric was made.
        name: The metric.

    Examples:
        >>> import torch
        >>> result = MetricResult(0.5, torch.tensor([0.4, 0.6]), {}, True, (0.0, 1.0), 2, 0, {}, "Insertion")
        >>> float(result), result
        (0.5, Insertion 0.5 (2 samples, higher is better, in [0, 1]))
    """

    score: float
    per_sample: Tensor | None
    details: Mapping[str, Any]
    higher_is_better: bool
    value_range: tuple[float | None, float | None]
    n_valid: int
    n_skipped: int
    config: Mapping[str, Any]
    name: str

    def __float__(self) -> float:
        return self.score

    def __repr__(self) -> str:
        low, high = ("∞" if bound is None else f"{bound:g}" for bound in self.value_range)
        skipped = f", {self.n_skipped} skipped" if self.n_skipped else ""
        direction = "higher" if self.higher_is_better else "lower"
        low = "−∞" if self.value_range[0] is None else low
        return f"{self.name} {self.score:.4g} ({self.n_valid} samples{skipped}, {direction} is better, in [{low}, {high}])"

    def interval(self, level: float = 0.95, draws: int = 1000, random_state: int = 0) -> tuple[float, float]:
        """Bootstrap interval of the mean over samples: percentiles of the means of samples drawn with replacement.

        Raises:
            OptionError: the score is of all samples together, or the level is not between 0 and 1.

        References:
            Efron, 1979, https://doi.org/10.1214/aos/1176344552.
        """
        if self.per_sample is None:
            raise OptionError(f"`interval`: {self.name} is of all samples together; it has no value for each to draw from.")
        return _resampled(self.per_sample, level, draws, random_state)

    def difference(
        self, other: MetricResult, level: float = 0.95, draws: int = 1000, random_state: int = 0
    ) -> tuple[float, float]:
        """Bootstrap interval of how much higher this is than another result on the same samples, sample by sample.

        Raises:
            OptionError: the results are of different metrics, or of different numbers of samples.
        """
        ours, theirs = self.per_sample, other.per_sample
        if ours is None or theirs is None or len(ours) != len(theirs) or self.name != other.name:
            raise OptionError(f"`other`: {self.name} and {other.name} are not of the same samples; only pairs can be compared.")
        return _resampled(ours - theirs, level, draws, random_state)


def _resampled(values: Float[Tensor, " n"], level: float, draws: int, random_state: int) -> tuple[float, float]:
    """Percentiles of the means of values drawn with replacement; NaN counts for nothing."""
    if not 0 < level < 1:
        raise OptionError(f"`level`: got {level!r}; pass a share between 0 and 1.")
    values = values.double()[~values.isnan()]
    if not len(values):
        return math.nan, math.nan
    picked = torch.randint(len(values), (draws, len(values)), generator=Generator().manual_seed(random_state))
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = values[picked].mean(1).quantile(ends).tolist()
    return low, high
