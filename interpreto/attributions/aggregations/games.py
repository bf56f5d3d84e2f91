"""Values of games from the scores of coalitions: Shapley and Banzhaf values, and mean scores."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.attributions.aggregations.base import Aggregator, Estimate, by_reach, error_of_few, t_ratio
from interpreto.attributions.aggregations.linear_regression import contributions
from interpreto.attributions.games.indices import banzhaf_values, shapley_values
from interpreto.inputs.samples import MaskVariants


class ExactShapleyAggregator(Aggregator):
    """Compute Shapley values from the scores of every coalition, in float64.

    References:
        Shapley, 1953, https://doi.org/10.1515/9781400881970-018.
    """

    def aggregate(self, scores: Float[Tensor, "p t"], variants: MaskVariants) -> Estimate:
        def estimate(scores: Tensor, mask: Tensor) -> Estimate:
            table = scores.double()[: 2 ** mask.shape[1]]  # the units after these are absent
            return Estimate(shapley_values(table), reference=table[0])

        return by_reach(scores, variants, estimate)


class OrdersAggregator(Aggregator):
    """Compute mean contributions of units over the orders of `OrdersPerturbator`; an order and its reverse are one draw.

    Exact from all coalitions.

    References:
        Castro et al., 2009, https://doi.org/10.1016/j.cor.2008.04.004; Mitchell et al., JMLR 2022,
        https://arxiv.org/abs/2104.12199.
    """

    def aggregate(self, scores: Float[Tensor, "p t"], variants: MaskVariants) -> Estimate:
        u = variants.mask.shape[1]
        if u > 1 and len(scores) == 2**u:  # orders of u units never have so many
            exact = ExactShapleyAggregator().aggregate(scores, variants)
            return replace(exact, standard_error=torch.zeros_like(exact.values))

        def estimate(scores: Tensor, mask: Tensor) -> Estimate:
            values, m = scores.double(), mask.shape[1]
            full, empty = values[0], values[1]
            if u < 2 or m < 1:
                return Estimate((full - empty)[:, None].expand(-1, m), torch.zeros(len(full), m), reference=empty)
            orders = len(values[2:]) // (u - 1)
            along = contributions(values[2:].reshape(orders, u - 1, -1), variants.mask[2:].reshape(orders, u - 1, u), values)[
                ..., :m
            ]
            pairs = along.unflatten(0, (-1, 2)).mean(1)
            return Estimate(pairs.mean(0), error_of_few(_variance_of_mean(pairs), len(pairs)), reference=empty)

        return by_reach(scores, variants, estimate)


class BanzhafAggregator(Aggregator):
    """Compute Banzhaf values by maximum sample reuse: the mean score with a unit less the mean score without it.

    Exact from all masks; from the pairs of `PairedMasksPerturbator` with the standard error of their differences.

    References:
        Wang and Jia, AISTATS 2023, https://arxiv.org/abs/2205.15466.
    """

    def aggregate(self, scores: Float[Tensor, "p t"], variants: MaskVariants) -> Estimate:
        whole = len(scores) == 2 ** variants.mask.shape[1]

        def estimate(scores: Tensor, mask: Tensor) -> Estimate:
            values = scores.double()
            if whole:
                exact = banzhaf_values(values[: 2 ** mask.shape[1]])
                return Estimate(exact, torch.zeros_like(exact))
            with_less_without = (1 - 2 * mask[0::2].double())[:, None] * (values[0::2] - values[1::2])[..., None]
            error = _variance_of_mean(with_less_without).sqrt() * t_ratio(len(with_less_without) - 1)
            return Estimate(with_less_without.mean(0), error)

        return by_reach(scores, variants, estimate)


def _variance_of_mean(draws: Float[Tensor, "n t u"]) -> Float[Tensor, "t u"]:
    """Return the variance of the mean of independent draws; 0 for a single one, whose error `t_ratio` makes NaN."""
    return (draws - draws.mean(0)).square().sum(0) / (len(draws) * max(len(draws) - 1, 1))


class KeptMeanAggregator(Aggregator):
    """Compute the mean score of the perturbed inputs in which a unit is present.

    References:
        Petsiuk et al., BMVC 2018, https://arxiv.org/abs/1806.07421.
    """

    def aggregate(self, scores: Float[Tensor, "p t"], variants: MaskVariants) -> Estimate:
        values, kept = scores.double(), 1 - variants.mask.double()
        count = kept.sum(0).clamp(min=1)
        mean = torch.einsum("pt,pu->tu", values, kept) / count
        apart = torch.einsum("ptu,pu->tu", (values[..., None] - mean).square(), kept) / (count - 1).clamp(min=1)
        return Estimate(mean, (apart / count).sqrt())
