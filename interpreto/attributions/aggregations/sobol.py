"""Variance-based sensitivity of the score to the presence of units."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.attributions.aggregations.base import Aggregator, Estimate, jackknife
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
    errors are the jackknife's, which leaves out one of the independent replicates of the design.

    Args:
        n_token_perturbations: Rows of A.
        sobol_indices_order: First order or total.

    References:
        Jansen (1999), https://doi.org/10.1016/S0010-4655(98)00154-4; Saltelli et al. (2010),
        https://doi.org/10.1016/j.cpc.2009.09.018.
    """

    by_largest = True

    def __init__(
        self, n_token_perturbations: int, sobol_indices_order: SobolIndicesOrders = SobolIndicesOrders.FIRST_ORDER
    ) -> None:
        self.n, self.order = n_token_perturbations, sobol_indices_order

    def aggregate(self, scores: Float[Tensor, "p t"], variants: MaskVariants) -> Estimate:
        u, t = variants.mask.shape[1], scores.shape[1]
        values = scores.double()
        n = len(values) // (u + 2)  # fewer than of the whole design in a round of sampling
        a, b, mixed = values[:n], values[n : 2 * n], values[2 * n :].reshape(u, n, t)
        replicate = torch.repeat_interleave(torch.tensor(replicates(n)))
        left_out = [self._index(a[kept], b[kept], mixed[:, kept]) for kept in (replicate != r for r in replicate.unique())]
        index, spread = self._index(a, b, mixed), jackknife(torch.stack(left_out)).square()
        error = (spread + spread.mean(0) / 16).sqrt()  # rows that show little of a rare effect tell little of its error
        still = torch.cat([a, b]).var(0) <= 1e-12 * values.square().mean(0)
        return Estimate(index.masked_fill(still, 0.0).T, error.masked_fill(still, 0.0).T)

    def _index(self, a: Float[Tensor, "n t"], b: Float[Tensor, "n t"], mixed: Float[Tensor, "u n t"]) -> Float[Tensor, "u t"]:
        """Return the indices by some rows of the design."""
        first = self.order is SobolIndicesOrders.FIRST_ORDER
        share = ((b if first else a) - mixed).square().mean(1) / 2 / torch.cat([a, b]).var(0)
        return 1 - share if first else share


def replicates(n: int) -> list[int]:
    """Return the sizes of the replicates of a design of ``n`` rows: parts that are spread independently of each other.

    Rows of one quasi-random sequence depend on each other, so errors are those of the replicates.
    """
    count = min(REPLICATES, n)
    return [n // count + (i < n % count) for i in range(count)]
