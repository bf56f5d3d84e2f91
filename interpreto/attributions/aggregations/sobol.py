"""Variance-based sensitivity of the score to the presence of units."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.attributions.aggregations.base import Aggregator, Estimate, t_ratio
from interpreto.choices import Choice
from interpreto.inputs.samples import MaskVariants

REPLICATES = 8


class SobolIndicesOrders(Choice):
    """``first``: share of the variance that a unit explains alone; ``total``: with all its interactions."""

    FIRST_ORDER = "first"
    TOTAL_ORDER = "total"


class SobolAggregator(Aggregator):
    """Compute Jansen's estimators over the masks of `SobolTokenPerturbator`; 0 where the score never changes.

    First order: ``1 − E(f_B − f_Ci)² / 2V``; total: ``E(f_A − f_Ci)² / 2V``, with V the variance over A and B. Standard
    errors are those of the independent replicates of the design.

    Args:
        n_token_perturbations: Rows of A.
        sobol_indices_order: First order or total.

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
        both = torch.stack([a, b])
        variance = both.flatten(0, 1).var(0)  # (t,)
        first = self.order is SobolIndicesOrders.FIRST_ORDER
        halves = ((b if first else a) - mixed).square() / 2  # (u, n, t)
        share = halves.mean(1) / variance
        spread = (both - both.mean((0, 1))).square().mean(0)  # (n, t): each row's part of the variance
        error = _error((halves - share[:, None] * spread) / variance, self.n)
        index = 1 - share if first else share
        still = variance <= 1e-12 * values.square().mean(0)
        return Estimate(index.masked_fill(still, 0.0).T, error.masked_fill(still, 0.0).T)


def replicates(n: int) -> list[int]:
    """Return the sizes of the replicates of a design of ``n`` rows: parts that are spread independently of each other.

    Rows of one quasi-random sequence depend on each other, so errors are those of the replicates.
    """
    count = min(REPLICATES, n)
    return [n // count + (i < n % count) for i in range(count)]


def _error(parts: Float[Tensor, "u n t"], n: int) -> Float[Tensor, "u t"]:
    """Return the standard error of a mean over rows, from the means of its replicates."""
    sizes = replicates(n)
    sums = torch.stack([part.sum(1) for part in parts.split(sizes, dim=1)])  # replicates × units × targets
    weights = torch.tensor(sizes).to(sums)[:, None, None] / n
    apart = sums / n - weights * sums.sum(0) / n
    factor = len(sizes) / (len(sizes) - 1)
    by_replicates = (apart.square().sum(0) * factor).sqrt() * t_ratio(len(sizes) - 1)
    by_rows = parts.std(1) / n**0.5
    own = (torch.maximum(by_replicates, by_rows) if min(sizes) < REPLICATES else by_replicates).square()
    return (own + own.mean(0) / 16).sqrt()  # rows that show little of a rare effect tell little of its error
