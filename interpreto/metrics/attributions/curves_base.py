"""Bases of the metrics of perturbation curves: schedules of masking, and the curves that they give."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interpreto.errors import OptionError
from interpreto.metrics.attributions.base import CaseResult, GameMetric
from interpreto.metrics.attributions.cases import Case
from interpreto.metrics.attributions.game import Scores
from interpreto.metrics.attributions.readouts import PROBABILITY, check_measure
from interpreto.metrics.ranking import area, first_of, steps
from interpreto.validation import check_count, is_number

ERASER = (0.01, 0.05, 0.1, 0.2, 0.5)
MOST_MASKED, MOST_KEPT, LEAST_MASKED = "most masked", "most kept", "least masked"

Schedule = Callable[[int], Int[Tensor, " k"]]
"""Maps a number of units to the numbers of units taken at each step."""


@dataclass(frozen=True, eq=False)
class Curves:
    """Scores along the order of a case's units; of equal attributions, along an order and its reverse.

    Attributes:
        fractions: Share of the units at each step.
        by_name: Scores ``(o, k)`` of each curve that was asked for.
        full: Score of the unmasked input.
    """

    fractions: Float[Tensor, " k"]
    by_name: dict[str, Float[Tensor, "o k"]]
    full: float

    @property
    def most_masked(self) -> Float[Tensor, "o k"]:
        """Scores without the most important units."""
        return self.by_name[MOST_MASKED]

    @property
    def most_kept(self) -> Float[Tensor, "o k"]:
        """Scores with the most important units alone."""
        return self.by_name[MOST_KEPT]

    @property
    def least_masked(self) -> Float[Tensor, "o k"]:
        """Scores without the least important units."""
        return self.by_name[LEAST_MASKED]


class CurveMetric(GameMetric):
    """A metric of one or more perturbation curves, whose perturbed inputs are shared with every other metric of the call.

    Attributes:
        curves: The curves that the metric needs.
        fixed_measure: The quantity that is read, where the metric leaves no choice.

    Args:
        model: The explained model. Unchanged after every call.
        tokenizer: Its tokenizer.
        batch_size: Rows per forward pass; None: as many as a token budget holds.
        device: Where to run the model for the call; None: where it is.
        schedule: Numbers of units taken at each step.
        measure: The quantity read at each step: ``"probability"`` (default), ``"log_probability"`` or ``"score"``, the
            explained score; see `Measures`.
        **options: See `GameMetric`.
    """

    curves: ClassVar[tuple[str, ...]]
    fixed_measure: ClassVar[str | None] = None

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        device: Any = None,
        *,
        schedule: Schedule,
        measure: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(model, tokenizer, batch_size, device, **options)
        if self.fixed_measure is not None and measure not in (None, self.fixed_measure):
            raise OptionError(f"`measure`: got {measure!r}; {type(self).__name__} reads {self.fixed_measure!r}.")
        self.measure = self.fixed_measure or check_measure(PROBABILITY if measure is None else measure)
        self.measures = (self.measure,)
        self._schedule = schedule

    def masks(self, case: Case) -> Bool[Tensor, "p u"]:
        counts = self._schedule(len(case))
        most, all_but_least = (first_of(case.orders, k).flatten(0, 1) for k in (counts, len(case) - counts))
        masks = {MOST_MASKED: most, MOST_KEPT: ~most, LEAST_MASKED: ~all_but_least}
        return torch.cat([masks[name] for name in self.curves])

    def score(self, case: Case, scores: Scores) -> CaseResult:
        counts = self._schedule(len(case))
        parts = scores.masked[self.measure].chunk(len(self.curves))
        by_name = {name: part.unflatten(0, (-1, len(counts))) for name, part in zip(self.curves, parts, strict=True)}
        curves = Curves(counts.double() / len(case), by_name, scores.full[self.measure])
        found = self.score_curves(curves)
        return replace(found, details={**found.details, "fractions": curves.fractions}) if found.details else found

    @abstractmethod
    def score_curves(self, curves: Curves) -> CaseResult:
        """Return the value of a case from its curves."""


class StepMetric(CurveMetric):
    """A metric of whole curves, in evenly spaced steps.

    Args:
        model: The explained model. Unchanged after every call.
        tokenizer: Its tokenizer.
        batch_size: Rows per forward pass; None: as many as a token budget holds.
        device: Where to run the model for the call; None: where it is.
        n_perturbations: Largest number of steps along the order.
        max_percentage_perturbed: Where the curve ends, as a share of the units.
        measure: The quantity read at each step; see `CurveMetric`.
        **options: See `GameMetric`.
    """

    def __init__(  # noqa: PLR0917  (the reference library's order)
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        device: Any = None,
        n_perturbations: int = 100,
        max_percentage_perturbed: int | float = 1.0,
        *,
        measure: str | None = None,
        **options: Any,
    ) -> None:
        self.n_perturbations = check_count(n_perturbations, "n_perturbations")
        share = max_percentage_perturbed
        if not is_number(share) or not 0 < share <= 1:
            raise OptionError(f"`max_percentage_perturbed`: got {share!r}; pass a share in (0, 1].")
        self.max_percentage_perturbed = float(share)
        schedule = EvenSteps(self.n_perturbations, self.max_percentage_perturbed)
        super().__init__(model, tokenizer, batch_size, device, schedule=schedule, measure=measure, **options)


class ShareMetric(CurveMetric):
    """A metric of few shares of the units, most important first.

    Args:
        model: The explained model. Unchanged after every call.
        tokenizer: Its tokenizer.
        batch_size: Rows per forward pass; None: as many as a token budget holds.
        device: Where to run the model for the call; None: where it is.
        bins: Shares, each rounded up to whole units; ``"eraser"``: 1, 5, 10, 20 and 50 %; ``"all"``: every number of
            units from 1 on.
        measure: The quantity read at each share; see `CurveMetric`.
        **options: See `GameMetric`.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        device: Any = None,
        *,
        bins: str | Sequence[float] = "eraser",
        measure: str | None = None,
        **options: Any,
    ) -> None:
        for name in ("n_perturbations", "max_percentage_perturbed"):
            if name in options:
                raise OptionError(f"`{name}`: {type(self).__name__} has no steps but shares; pass `bins`.")
        self.bins = _check_bins(bins)
        schedule = every_count if isinstance(self.bins, str) else Shares(self.bins)
        super().__init__(model, tokenizer, batch_size, device, schedule=schedule, measure=measure, **options)


@dataclass(frozen=True)
class EvenSteps:
    """Evenly spaced steps from none to a share of the units.

    Attributes:
        n: Largest number of steps.
        end: Where the last one is, as a share.
    """

    n: int
    end: float

    def __call__(self, u: int) -> Int[Tensor, " k"]:
        """Return the number of units at each step."""
        return steps(u, self.n, self.end)


@dataclass(frozen=True)
class Shares:
    """Given shares of the units, each rounded up.

    Attributes:
        shares: In (0, 1].
    """

    shares: tuple[float, ...]

    def __call__(self, u: int) -> Int[Tensor, " k"]:
        """Return the number of units of each share."""
        return torch.tensor([math.ceil(share * u - 1e-9) for share in self.shares])


def every_count(u: int) -> Int[Tensor, " k"]:
    """Return all numbers of units from 1 on."""
    return torch.arange(1, u + 1)


def area_of(curves: Curves, curve: Float[Tensor, "o k"], **details: float) -> CaseResult:
    """Return the area under a curve, the mean over orders of equal attributions."""
    return CaseResult(float(area(curves.fractions, curve).mean()), {"curves": curve.mean(0), **details})


def _check_bins(bins: str | Sequence[float]) -> str | tuple[float, ...]:
    if isinstance(bins, str):
        if bins not in ("eraser", "all"):
            raise OptionError(f"`bins`: got {bins!r}; pass 'eraser', 'all', or shares in (0, 1].")
        return ERASER if bins == "eraser" else bins
    shares = tuple(float(share) for share in bins)
    if not shares or not all(0 < share <= 1 for share in shares):
        raise OptionError(f"`bins`: got {list(bins)}; pass shares in (0, 1].")
    return shares
