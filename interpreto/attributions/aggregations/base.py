"""From the scores of variants to one value a target and a unit."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.errors import OptionError
from interpreto.inputs.samples import MaskVariants, Variants
from interpreto.intervals import student_quantile
from interpreto.models.gradients import ContractedGradients, GradientReducer


@dataclass(frozen=True, eq=False)
class Estimate:
    """What an aggregator found.

    Attributes:
        values: ``(t, u)`` from scores; ``(t, l)`` from gradients, pooled to units by the explainer.
        standard_error: Of the values, where they were sampled.
        left_out: The values without each group of copies; the explainer pools them and takes their jackknife.
        reference: Score of the input with everything removed, where it was scored.
    """

    values: Float[Tensor, "t x"]
    standard_error: Float[Tensor, "t x"] | None = None
    left_out: Float[Tensor, "j t x"] | None = None
    reference: Float[Tensor, " t"] | None = None


class Aggregator(ABC):
    """Turns what the variants scored into attributions. Never touches the model or the tokenizer.

    Attributes:
        reducer: How gradients are reduced before they reach `aggregate`.

    Examples:
        >>> class KeptMean(Aggregator):  # RISE: the mean score of the copies that kept a unit
        ...     def aggregate(self, scores, variants):
        ...         kept = 1 - variants.mask
        ...         return torch.einsum("pt,pu->tu", scores, kept) / kept.sum(0)
    """

    reducer: type[GradientReducer] = ContractedGradients

    @abstractmethod
    def aggregate(self, scores: Any, variants: Any) -> Estimate | Tensor:
        """Attributions of one sample.

        Args:
            scores: ``(p, t)`` scores of the copies; of gradients, what the reducer kept, ``(p, t, l)`` by default.
            variants: The copies: `MaskVariants` or `EmbeddingVariants`.
        """


class MeanAggregator(Aggregator):
    """Mean over the copies."""

    def aggregate(self, scores: Float[Tensor, "p t x"], variants: Variants) -> Estimate:
        p = len(scores)
        total = scores.sum(0)
        return Estimate(total / p, left_out=(total - scores) / (p - 1) if p > 1 else None)


class SumAggregator(Aggregator):
    """Sum over the copies."""

    def aggregate(self, scores: Float[Tensor, "p t x"], variants: Variants) -> Estimate:
        return Estimate(scores.sum(0))


class SquaredMeanAggregator(Aggregator):
    """Mean of squares over the copies."""

    def aggregate(self, scores: Float[Tensor, "p t x"], variants: Variants) -> Estimate:
        return MeanAggregator().aggregate(scores.square(), variants)


class VarianceAggregator(Aggregator):
    """Unbiased variance over the copies."""

    def aggregate(self, scores: Float[Tensor, "p t x"], variants: Variants) -> Estimate:
        return Estimate(scores.var(0))


class TrapezoidalMeanAggregator(Aggregator):
    """Mean over copies at equal steps of a path, ends included, by the trapezoidal rule."""

    def aggregate(self, scores: Float[Tensor, "p t x"], variants: Variants) -> Estimate:
        return Estimate(torch.trapezoid(scores, dim=0) / (len(scores) - 1) if len(scores) > 1 else scores[0])


class WeightedMeanAggregator(Aggregator):
    """Mean over the copies with the variants' quadrature weights."""

    def aggregate(self, scores: Float[Tensor, "p t x"], variants: Variants) -> Estimate:
        if variants.weights is None:
            return Estimate(scores.mean(0))
        return Estimate(torch.einsum("ptx,p->tx", scores.double(), variants.weights.double()))


class MaskwiseMeanAggregator(Aggregator):
    """Mean score of the copies that removed a unit."""

    def aggregate(self, scores: Float[Tensor, "p t"], variants: MaskVariants) -> Estimate:
        mask = variants.mask.to(scores)
        return Estimate(torch.einsum("pt,pu->tu", scores, mask) / removals(mask))


class OcclusionAggregator(Aggregator):
    """Score lost by removal: that of the untouched input minus the mean over the copies that removed the unit.

    The untouched input is the copy that removes nothing; the perturbator must have it, as `OcclusionPerturbator` does.
    """

    def aggregate(self, scores: Float[Tensor, "p t"], variants: MaskVariants) -> Estimate:
        mask = variants.mask.to(scores)
        whole = (mask.sum(1) == 0).nonzero()
        if not len(whole):
            raise OptionError("`perturbator`: no copy is the untouched input; a row of zeros in its masks makes one.")
        untouched = scores[whole[0, 0]]
        return Estimate(torch.einsum("pt,pu->tu", untouched - scores, mask) / removals(mask))


def by_reach(scores: Float[Tensor, "p t"], variants: MaskVariants, estimate: Callable[[Tensor, Tensor], Estimate]) -> Estimate:
    """An estimate for each score over the units that it can depend on; the copies are the same for all.

    Scores of a generation see units up to their own place. Scores with the same units are estimated together, from
    their columns and those of the mask ``(p, m)``; what a score cannot see is NaN.
    """
    reach = variants.sample.reach
    sizes = reach.unique().tolist()
    if sizes == [variants.mask.shape[1]]:
        return estimate(scores, variants.mask)
    t, u = scores.shape[1], variants.mask.shape[1]
    values, error = torch.full((2, t, u), torch.nan, dtype=torch.float64)
    reference = torch.full((t,), torch.nan, dtype=torch.float64)
    whole = True
    for m in sizes:
        rows = reach == m
        part = estimate(scores[:, rows], variants.mask[:, :m])
        values[rows, :m] = part.values.double()
        if part.standard_error is not None:
            error[rows, :m] = part.standard_error.double()
        whole = whole and part.reference is not None
        reference[rows] = reference[rows] if part.reference is None else part.reference.double()
    return Estimate(values, error, reference=reference if whole else None)


@cache
def t_ratio(degrees: int) -> float:
    """Return the 97.5 % quantile of Student's t over the normal one.

    Errors that are estimated from a few groups are widened by it, so that the value ± 1.96 standard errors covers 95 %.

    Args:
        degrees: Degrees of freedom; with none the ratio is NaN.
    """
    return math.nan if degrees < 1 else student_quantile(0.95, degrees) / 1.959964


def removals(mask: Float[Tensor, "p u"]) -> Float[Tensor, " u"]:
    """How many copies removed each unit, or an error where none did."""
    count = mask.sum(0)
    if not bool((count > 0).all()):
        raise OptionError(
            f"`perturbator`: no copy removed unit {int((count == 0).nonzero()[0, 0])}; every unit must be removed once."
        )
    return count
