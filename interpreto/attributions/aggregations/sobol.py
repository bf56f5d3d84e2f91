"""Variance-based sensitivity of the score to the presence of units."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.attributions.aggregations.base import Aggregator, Estimate
from interpreto.choices import Choice
from interpreto.inputs.samples import MaskVariants


class SobolIndicesOrders(Choice):
    """``first``: share of the variance that a unit explains alone; ``total``: with all its interactions."""

    FIRST_ORDER = "first"
    TOTAL_ORDER = "total"


class SobolAggregator(Aggregator):
    """Jansen's estimators over the masks of `SobolTokenPerturbator`; 0 where the score never changes.

    First order: ``1 − E(f_B − f_Ci)² / 2V``; total: ``E(f_A − f_Ci)² / 2V``, with V the variance over A and B.

    Args:
        n_token_perturbations: Rows of A.
        sobol_indices_order: Which index.

    References:
        Jansen (1999), https://doi.org/10.1016/S0010-4655(98)00154-4; Saltelli et al. (2010),
        https://doi.org/10.1016/j.cpc.2009.09.018.
    """

    def __init__(
        self, n_token_perturbations: int, sobol_indices_order: SobolIndicesOrders = SobolIndicesOrders.FIRST_ORDER
    ) -> None:
        self.n, self.order = n_token_perturbations, sobol_indices_order

    def aggregate(self, scores: Float[Tensor, "p t"], variants: MaskVariants) -> Estimate:
        u, t = variants.mask.shape[1], scores.shape[1]
        values = scores.double()
        a, b, mixed = values[: self.n], values[self.n : 2 * self.n], values[2 * self.n :].reshape(u, self.n, t)
        variance = torch.cat([a, b]).var(0)  # (t,)
        first = self.order is SobolIndicesOrders.FIRST_ORDER
        halves = ((b if first else a) - mixed).square() / 2  # (u, n, t)
        share, error = halves.mean(1) / variance, halves.std(1) / self.n**0.5 / variance
        index = 1 - share if first else share
        still = variance <= 1e-12 * values.square().mean(0)
        return Estimate(index.masked_fill(still, 0.0).T, error.masked_fill(still, 0.0).T)
