"""Fit of attributions, read as a linear model, to the model's scores near the input."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from interpreto.attributions.aggregations import DistancesFromMask, LinearRegressionAggregator
from interpreto.choices import read_member
from interpreto.metrics.attributions.base import CaseResult
from interpreto.metrics.attributions.subset_correlations import CONSTANT, SubsetMetric, random_subsets


class LocalFidelity(SubsetMetric):
    """Share of the score's variance near the input that the attributions explain: LIME's weighted R². Higher is better.

    The explanation is read as a linear model of which units are present, with an intercept that fits best, and evaluated on
    fresh perturbed inputs, whose weights fall with their distance from the input as in `Lime`. At most 1; 0: no better
    than one score for all of them. Magnitudes are skipped.

    Args:
        model: The explained model. Unchanged after every call.
        tokenizer: Its tokenizer.
        batch_size: Rows per forward pass; None: as many as a token budget holds.
        device: Where to run the model for the call; None: where it is.
        n_perturbations: Number of perturbed inputs, besides the input itself.
        distance_function: Distance to the input, as in `Lime`; None: equal weights.
        kernel_width: Width of the weights, as in `Lime`: small is near.
        random_state: Seed of the draws.
        **options: See `GameMetric`.

    References:
        Ribeiro et al., KDD 2016, https://arxiv.org/abs/1602.04938.
    """

    higher_is_better = True
    value_range = (None, 1.0)
    signed_only = True

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        device: Any = None,
        n_perturbations: int = 100,
        *,
        distance_function: DistancesFromMask | str | None = DistancesFromMask.COSINE,
        kernel_width: float = 0.25,
        random_state: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(model, tokenizer, batch_size, device, n_perturbations, random_state=random_state, **options)
        named = distance_function is not None
        distance = read_member(DistancesFromMask, distance_function, "distance_function") if named else None
        self.distance_function = None if distance is None else distance.value
        self._weighting = LinearRegressionAggregator(distance, kernel_width)
        self.kernel_width = kernel_width

    def subsets(self, u: int, generator: Generator) -> Bool[Tensor, "p u"]:
        return torch.cat([torch.zeros(1, u).bool(), random_subsets(u, self.n_perturbations, generator)])

    def score_subsets(
        self, masks: Bool[Tensor, "p u"], sums: Float[Tensor, " p"], drops: Float[Tensor, " p"], noise: float
    ) -> CaseResult:
        weights = self._weighting.weights(masks.float())
        shares = weights / weights.sum()

        def variance(values: Tensor) -> float:
            return float(shares @ (values - shares @ values).square())

        whole = variance(drops)
        if whole <= noise**2:
            return CaseResult.undefined(CONSTANT)
        return CaseResult(1 - variance(sums - drops) / whole, {"residuals": sums - drops})
