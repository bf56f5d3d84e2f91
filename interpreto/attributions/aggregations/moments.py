"""Statistics of noisy gradients: of the vectors, then one number per token."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.attributions.aggregations.base import Aggregator, Estimate
from interpreto.inputs.samples import EmbeddingVariants
from interpreto.models.gradients import GradientMoments, Moments


class MomentsAggregator(Aggregator, ABC):
    """Compute a statistic of the gradient vectors from their moments; the jackknife leaves out one group of noisy inputs.

    Attributes:
        in_logarithms: The statistic is a skewed magnitude: the jackknife is that of its logarithm.
        least: Number of noisy inputs that the statistic needs; with no more there is no standard error.
        biased: Noise adds to the statistic, less the more noisy inputs there are.
    """

    reducer = GradientMoments
    biased: ClassVar[bool] = False
    in_logarithms: ClassVar[bool] = False
    least: ClassVar[int] = 1

    def aggregate(self, scores: Moments, variants: EmbeddingVariants) -> Estimate:
        groups = len(scores.count)
        signed = variants.direction is not None
        values = self.statistic(merged(scores), signed)
        if groups <= self.least:
            return Estimate(values)
        left_out = torch.stack([self.statistic(merged(scores, without=g), signed) for g in range(groups)])
        return Estimate(values, left_out=left_out, in_logarithms=self.in_logarithms)

    @abstractmethod
    def statistic(self, moments: Moments, signed: bool) -> Float[Tensor, "t l"]:
        """Return the statistic of one group of noisy inputs; ``signed`` where the vectors are gradient × input."""


class SmoothGradAggregator(MomentsAggregator):
    """Compute the norm of the mean vector; its sum where the vectors are gradient × input."""

    biased = True

    def statistic(self, moments: Moments, signed: bool) -> Float[Tensor, "t l"]:
        return moments.mean[0].sum(-1) if signed else moments.mean[0].norm(dim=-1)


class SquareGradAggregator(MomentsAggregator):
    """Compute the mean square, summed over the width."""

    in_logarithms = True

    def statistic(self, moments: Moments, signed: bool) -> Float[Tensor, "t l"]:
        return moments.square[0] / moments.count[0]


class VarGradAggregator(MomentsAggregator):
    """Compute the unbiased variance, summed over the width."""

    in_logarithms = True
    least = 2

    def statistic(self, moments: Moments, signed: bool) -> Float[Tensor, "t l"]:
        return moments.spread[0] / (moments.count[0] - 1).clamp(min=1)


def merged(moments: Moments, without: int | None = None) -> Moments:
    """Merge all groups, or all but one, into one group."""
    kept = [g for g in range(len(moments.count)) if g != without]
    count, means = moments.count[kept], moments.mean[kept]
    total = count.sum()
    mean = torch.einsum("j,jtld->tld", count, means) / total
    apart = torch.einsum("j,jtl->tl", count, (means - mean).square().sum(-1))
    return Moments(total[None], mean[None], (moments.spread[kept].sum(0) + apart)[None], moments.square[kept].sum(0)[None])
