"""Aggregators of scores and gradients into one value per target and unit."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.attributions.games.interactions import Interactions
from interpreto.errors import OptionError
from interpreto.inputs.samples import MaskVariants, Variants
from interpreto.intervals import student_quantile
from interpreto.models.gradients import ContractedGradients, GradientReducer

PRIOR = 3  # degrees of freedom that the mean variance of all units counts for
NORMAL = 1.959964  # the 97.5 % quantile of the normal distribution


@dataclass(frozen=True, eq=False)
class Estimate:
    """Attributions as an aggregator returns them.

    Attributes:
        values: ``(t, u)`` from scores; ``(t, l)`` from gradients, pooled to units by the explainer.
        standard_error: Standard errors of the values, where these were sampled.
        left_out: ``(j, t, x)`` values without each group of perturbed inputs, from which the explainer computes a jackknife.
        in_logarithms: The values are skewed magnitudes, such as variances: the jackknife is that of their logarithms.
        reference: ``(t,)`` scores of the input with everything masked, where it was scored.
        interactions: Values of several units together, of methods that compute them.
        stopped: Why sampling ended and after how many rows, where a tolerance was given.
    """

    values: Float[Tensor, "t x"]
    standard_error: Float[Tensor, "t x"] | None = None
    left_out: Float[Tensor, "j t x"] | None = None
    in_logarithms: bool = False
    reference: Float[Tensor, " t"] | None = None
    interactions: Interactions | None = None
    stopped: str | None = None


class Aggregator(ABC):
    """Turn the scores of perturbed inputs into attributions, without the model or the tokenizer.

    Attributes:
        reducer: Reduces gradients before they reach `aggregate`.
        by_largest: A tolerance is a share of the target's largest value, as the values are on no scale of scores.

    Examples:
        >>> class KeptMean(Aggregator):  # RISE: the mean score where a unit is present
        ...     def aggregate(self, scores, variants):
        ...         kept = 1 - variants.mask
        ...         return torch.einsum("pt,pu->tu", scores, kept) / kept.sum(0)
    """

    reducer: type[GradientReducer] = ContractedGradients
    by_largest: bool = False

    def of_part(self, share: float) -> Aggregator:
        """Return the aggregator of the first perturbed inputs, a share of all: values that estimate the same as with all."""
        return self

    @abstractmethod
    def aggregate(self, scores: Any, variants: Any) -> Estimate | Tensor:
        """Compute the attributions of one sample.

        Args:
            scores: ``(p, t)`` scores of the perturbed inputs; of gradients, the result of the reducer, ``(p, t, l)`` by
                default.
            variants: The perturbed inputs: `MaskVariants` or `EmbeddingVariants`.

        Returns:
            Values ``(t, u)``, or ``(t, l)`` from gradients, on the scale of the scores; or an `Estimate`.
        """


class MeanAggregator(Aggregator):
    """Compute the mean over the perturbed inputs."""

    def aggregate(self, scores: Float[Tensor, "p t x"], variants: Variants) -> Estimate:
        p = len(scores)
        total = scores.sum(0)
        return Estimate(total / p, left_out=(total - scores) / (p - 1) if p > 1 else None)


class SumAggregator(Aggregator):
    """Compute the sum over the perturbed inputs."""

    def aggregate(self, scores: Float[Tensor, "p t x"], variants: Variants) -> Estimate:
        return Estimate(scores.sum(0))


class SquaredMeanAggregator(Aggregator):
    """Compute the mean of squares over the perturbed inputs."""

    def aggregate(self, scores: Float[Tensor, "p t x"], variants: Variants) -> Estimate:
        return replace(MeanAggregator().aggregate(scores.square(), variants), in_logarithms=True)


class VarianceAggregator(Aggregator):
    """Compute the unbiased variance over the perturbed inputs."""

    def aggregate(self, scores: Float[Tensor, "p t x"], variants: Variants) -> Estimate:
        return Estimate(scores.var(0))


class TrapezoidalMeanAggregator(Aggregator):
    """Compute the mean over equal steps of a path, ends included, by the trapezoidal rule."""

    def aggregate(self, scores: Float[Tensor, "p t x"], variants: Variants) -> Estimate:
        return Estimate(torch.trapezoid(scores, dim=0) / (len(scores) - 1) if len(scores) > 1 else scores[0])


class WeightedMeanAggregator(Aggregator):
    """Compute the mean over the perturbed inputs with their quadrature weights."""

    def aggregate(self, scores: Float[Tensor, "p t x"], variants: Variants) -> Estimate:
        if variants.weights is None:
            return Estimate(scores.mean(0))
        return Estimate(torch.einsum("ptx,p->tx", scores.double(), variants.weights.double()))


class MaskwiseMeanAggregator(Aggregator):
    """Compute the mean score where a unit is masked."""

    def aggregate(self, scores: Float[Tensor, "p t"], variants: MaskVariants) -> Estimate:
        mask = variants.mask.to(scores)
        return Estimate(torch.einsum("pt,pu->tu", scores, mask) / removals(mask))


class OcclusionAggregator(Aggregator):
    """Compute the score lost by masking: the score of the input minus the mean score where the unit is masked.

    One of the masks must be empty, as the first of `OcclusionPerturbator` is.
    """

    def aggregate(self, scores: Float[Tensor, "p t"], variants: MaskVariants) -> Estimate:
        mask = variants.mask.to(scores)
        whole = (mask.sum(1) == 0).nonzero()
        if not len(whole):
            raise OptionError("`perturbator`: none of its masks is empty; add a row of zeros, which leaves the input as it is.")
        unperturbed = scores[whole[0, 0]]
        return Estimate(torch.einsum("pt,pu->tu", unperturbed - scores, mask) / removals(mask))


def by_reach(scores: Float[Tensor, "p t"], variants: MaskVariants, estimate: Callable[[Tensor, Tensor], Estimate]) -> Estimate:
    """Estimate each score over the units that it can depend on, from the same perturbed inputs for all.

    The score of a generated token depends on the units before it. Scores with the same units are estimated together, from
    their columns and those of the mask ``(p, m)``; the values of all other units are NaN.
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


def jackknife(left_out: Float[Tensor, "j ..."]) -> Float[Tensor, ...]:
    """Compute the jackknife's standard error from estimates without each of ``j`` groups, widened by Student's quantile.

    References:
        Efron and Stein (1981), https://doi.org/10.1214/aos/1176345462.
    """
    groups = len(left_out)
    return ((left_out - left_out.mean(0)).square().sum(0) * (groups - 1) / groups).sqrt() * t_ratio(groups - 1)


def jackknife_in_logarithms(values: Float[Tensor, "t x"], left_out: Float[Tensor, "j t x"]) -> Float[Tensor, "t x"]:
    """Compute the standard error of skewed magnitudes, such as variances, from the jackknife of their logarithms.

    The interval of the logarithm is value · exp(±1.96 s); its upper arm is the longer one and gives the error. It is NaN
    where a magnitude vanishes without one of the groups, which alone knows it, and 0 where it vanishes altogether.
    """
    spread = jackknife(left_out.log())
    return (values * torch.expm1(NORMAL * spread) / NORMAL).masked_fill((left_out == 0).all(0), 0.0)


@cache
def t_ratio(degrees: int) -> float:
    """Return the 97.5 % quantile of Student's t over the normal one.

    Errors that are estimated from a few groups are widened by it, so that the value ± 1.96 standard errors covers 95 %.

    Args:
        degrees: Degrees of freedom; with none the ratio is NaN.
    """
    return math.nan if degrees < 1 else student_quantile(0.95, degrees) / NORMAL


def error_of_few(variance: Float[Tensor, "t u"], draws: int) -> Float[Tensor, "t u"]:
    """Return standard errors of means of few draws, whose own variances are hardly known.

    The variance of each unit is moderated by the mean variance of all units, which counts as much as `PRIOR` degrees of
    freedom, and the error is widened by Student's t with the degrees of both.

    Args:
        variance: Variance of each unit's mean, as its own draws tell it.
        draws: Their number; of a single one the error is NaN.

    References:
        Smyth (2004), https://doi.org/10.2202/1544-6115.1027.
    """
    own = draws - 1
    if own < 1:
        return torch.full_like(variance, torch.nan)
    moderated = (own * variance + PRIOR * variance.mean(-1, keepdim=True)) / (own + PRIOR)
    return moderated.sqrt() * t_ratio(own + PRIOR)


def removals(mask: Float[Tensor, "p u"]) -> Float[Tensor, " u"]:
    """Return how many perturbed inputs mask each unit.

    Raises:
        OptionError: a unit is never masked.
    """
    count = mask.sum(0)
    if not bool((count > 0).all()):
        raise OptionError(
            f"`perturbator`: no mask covers unit {int((count == 0).nonzero()[0, 0])}; every unit must be masked at least once."
        )
    return count
