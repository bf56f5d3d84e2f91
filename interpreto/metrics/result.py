"""What a metric answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
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
        parts: Where the score is not the mean of `per_sample`: the numbers of each sample, ``(n, p)``, whose means it is
            made of; None: it is that mean.
        combined: How: from means ``(…, p)`` to scores ``(…)``.

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
    parts: Float[Tensor, "n p"] | None = None
    combined: Callable[[Float[Tensor, "*b p"]], Float[Tensor, "*b"]] | None = None

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
        return _ends(self._resampled(self._known(), draws, random_state), level)

    def difference(
        self, other: MetricResult, level: float = 0.95, draws: int = 1000, random_state: int = 0
    ) -> tuple[float, float]:
        """Bootstrap interval of how much higher this is than another result on the same samples, sample by sample.

        Samples that either could not score count for nothing.

        Raises:
            OptionError: the results are of different metrics, or of different numbers of samples.
        """
        ours, theirs = self.per_sample, other.per_sample
        if ours is None or theirs is None or len(ours) != len(theirs) or self.name != other.name:
            raise OptionError(f"`other`: {self.name} and {other.name} are not of the same samples; only pairs can be compared.")
        both = self._known() & other._known()
        gaps = [result._resampled(both, draws, random_state) for result in (self, other)]
        return _ends(gaps[0] - gaps[1], level)

    def _known(self) -> Bool[Tensor, " n"]:
        assert self.per_sample is not None
        return ~self.per_sample.isnan()

    def _resampled(self, known: Bool[Tensor, " n"], draws: int, random_state: int) -> Float[Tensor, " b"]:
        """The score on samples drawn with replacement; the same ones for results of as many samples."""
        assert self.per_sample is not None
        values = (self.per_sample[:, None] if self.parts is None else self.parts)[known].double()
        if not len(values):
            return torch.full((1,), math.nan, dtype=torch.float64)
        picked = torch.randint(len(values), (draws, len(values)), generator=Generator().manual_seed(random_state))
        means = torch.stack([column[picked].mean(1) for column in values.T], dim=1)
        return means[:, 0] if self.combined is None else self.combined(means)


def _ends(values: Float[Tensor, " b"], level: float) -> tuple[float, float]:
    if not 0 < level < 1:
        raise OptionError(f"`level`: got {level!r}; pass a share between 0 and 1.")
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = values.quantile(ends).tolist()
    return low, high
