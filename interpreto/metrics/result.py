"""Results of metrics."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor

from interpreto.errors import EstimateWarning, OptionError
from interpreto.intervals import mean_interval
from interpreto.moments import SampleSummary


@dataclass(frozen=True, eq=False)
class PairedSummary:
    """Moments that take the place of the values of samples, where there are too many of these to be kept.

    Attributes:
        row: Name of the result among those that it can be compared with.
        own: Of the values of the samples.
        less: Of the differences from another result, sample by sample, by its name.
    """

    row: str
    own: SampleSummary
    less: Mapping[str, SampleSummary]


@dataclass(frozen=True, eq=False)
class MetricResult:
    """The score of a metric, the samples it is the mean of, and how to read it; ``float(result)`` is the score.

    Attributes:
        score: The metric's value; NaN where no sample could be scored.
        per_sample: The value of each sample, ``(n,)``, NaN where it has none; None where the score is of all samples
            together.
        details: Further quantities, by name.
        higher_is_better: The metric's direction.
        value_range: Least and largest possible value; None where there is no bound.
        n_valid: Number of samples that were scored.
        n_skipped: Number of samples that could not be scored.
        config: The metric's options.
        name: The metric.
        parts: Where the score is a function of several means: the numbers of each sample, ``(n, p)``, whose means it is
            computed from; None: it is the mean of `per_sample`.
        combined: That function, from means ``(…, p)`` to scores ``(…)``.
        summary: Moments of the samples, where `per_sample` is not kept; see `PairedSummary`.

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
    summary: PairedSummary | None = None

    def __float__(self) -> float:
        return self.score

    def __repr__(self) -> str:
        low, high = ("∞" if bound is None else f"{bound:g}" for bound in self.value_range)
        skipped = f", {self.n_skipped} skipped" if self.n_skipped else ""
        direction = "higher" if self.higher_is_better else "lower"
        low = "−∞" if self.value_range[0] is None else low
        return f"{self.name} {self.score:.4g} ({self.n_valid} samples{skipped}, {direction} is better, in [{low}, {high}])"

    def interval(
        self, level: int | float = 0.95, draws: int | None = None, random_state: int | None = None
    ) -> tuple[float, float]:
        """Return a confidence interval of the score over samples like these; see `mean_interval`.

        Args:
            level: Nominal coverage, in (0, 1).
            draws: Ignored: the interval is a closed form. It was a bootstrap once.
            random_state: Ignored, for the same reason.

        Returns:
            Lower and upper end, within the metric's range; NaN, with an `EstimateWarning`, where one sample alone was scored.

        Raises:
            OptionError: The score is of all samples together, or `level` is not between 0 and 1.
        """
        if not self.has_samples:
            raise OptionError(f"`interval`: {self.name} is of all samples together; there is no value for each of them.")
        self._warn_of_one(self.n_valid if self.per_sample is None else int(self._known().sum()))
        return self.quiet_interval(level)

    def quiet_interval(self, level: int | float = 0.95) -> tuple[float, float]:
        """Return `interval` without a warning; NaN too where the score is of all samples together."""
        if self.summary is not None:
            return _clipped(self.summary.own.interval(level), self.value_range)
        if self.per_sample is None:
            return math.nan, math.nan
        values, score = self._influences(self._known())
        return _clipped(mean_interval(values, level, score), self.value_range)

    def difference(
        self, other: MetricResult, level: int | float = 0.95, draws: int | None = None, random_state: int | None = None
    ) -> tuple[float, float]:
        """Return a confidence interval of this score less that of another result on the same samples, sample by sample.

        Samples that either result could not score are left out.

        Args:
            other: The other result of the same metric.
            level: Nominal coverage, in (0, 1).
            draws: Ignored: the interval is a closed form. It was a bootstrap once.
            random_state: Ignored, for the same reason.

        Returns:
            Lower and upper end; NaN, with an `EstimateWarning`, where one sample alone was scored by both.

        Raises:
            OptionError: The results are of different metrics or of different numbers of samples, or `level` is not between
                0 and 1.
        """
        common = self.common(other)
        if common is None:
            raise OptionError(f"`other`: {self.name} and {other.name} are not of the same samples; only pairs can be compared.")
        self._warn_of_one(common)
        (low, high), (least, most) = self.value_range, other.value_range
        bounds = None if low is None or most is None else low - most, None if high is None or least is None else high - least
        if self.summary is not None and other.summary is not None:
            return _clipped(self.summary.less[other.summary.row].interval(level), bounds)
        both = self._known() & other._known()
        (a, score), (b, against) = self._influences(both), other._influences(both)
        return _clipped(mean_interval(a - b, level, score - against), bounds)

    @property
    def has_samples(self) -> bool:
        """Return True if the score is a mean over samples, whose values or moments are known."""
        return self.per_sample is not None or self.summary is not None

    def common(self, other: MetricResult) -> int | None:
        """Return the number of samples that both results scored; None: they are not of the same metric and samples."""
        if self.name != other.name:
            return None
        if self.summary is not None and other.summary is not None:
            found = self.summary.less.get(other.summary.row)
            return None if found is None else found.n
        if self.per_sample is None or other.per_sample is None or len(self.per_sample) != len(other.per_sample):
            return None
        return int((self._known() & other._known()).sum())

    def _known(self) -> Bool[Tensor, " n"]:
        assert self.per_sample is not None
        return ~self.per_sample.isnan()

    def _warn_of_one(self, n: int) -> None:
        if n == 1:
            warnings.warn(
                f"{self.name} was scored on one sample, which has no interval; pass at least two, better ten or more.",
                EstimateWarning,
                stacklevel=3,
            )

    def _influences(self, known: Bool[Tensor, " n"]) -> tuple[Float[Tensor, " m"], float]:
        """Return a value for each known sample whose spread is that of the score, and the score of these samples.

        Where the score is a function of several means, the values are the jackknife's pseudo-values.
        """
        assert self.per_sample is not None
        if self.parts is None or self.combined is None:
            values = self.per_sample[known].double()
            return values, float(values.mean()) if len(values) else math.nan
        parts = self.parts[known].double()
        n = len(parts)
        score = self.combined(parts.mean(0))
        others = self.combined((parts.sum(0) - parts) / max(1, n - 1))
        return n * score - (n - 1) * others, float(score)


def _clipped(ends: tuple[float, float], bounds: tuple[float | None, float | None]) -> tuple[float, float]:
    """Return the part of an interval that lies within bounds."""
    low, high = bounds
    lower, upper = (end if low is None else max(end, low) for end in ends)
    return (lower, upper) if high is None else (min(lower, high), min(upper, high))
