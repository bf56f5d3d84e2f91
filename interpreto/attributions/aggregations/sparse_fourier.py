"""Interactions from a sparse Fourier surrogate: few parities of units, found by the lasso."""

from __future__ import annotations

import itertools
import warnings
from math import comb

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.attributions.aggregations.base import Aggregator, Estimate
from interpreto.attributions.games.indices import Coalition, coalitions_of_size
from interpreto.attributions.games.interactions import Interactions, of_polynomial, within
from interpreto.errors import OptionError
from interpreto.inputs.samples import MaskVariants

LARGEST = 3000  # parities that the lasso chooses from
HIGHEST = 5  # units of a parity


class SparseFourierAggregator(Aggregator):
    """Fit a sparse sum of parities to the scores, and compute its interaction index exactly.

    A parity of units is −1 to the power of how many of them are present. The lasso, with a penalty by cross-validation,
    chooses among those of at most five units (fewer where there are more than 3,000); the chosen ones are fitted again by
    least squares. Needs scikit-learn. No standard errors.

    Args:
        index: See `interpreto.attributions.games.interactions.share`.
        order: Largest number of units of an interaction.

    References:
        Kang et al. (SPEX), 2025, https://arxiv.org/abs/2502.13870.
    """

    def __init__(self, index: str, order: int) -> None:
        try:
            import sklearn.linear_model  # noqa: F401, PLC0415  (optional)
        except ModuleNotFoundError as error:
            raise OptionError("`surrogate`: 'fourier' needs scikit-learn; run `pip install scikit-learn`.") from error
        self.index, self.order = index, order

    def aggregate(self, scores: Float[Tensor, "p t"], variants: MaskVariants) -> Estimate:
        u, reach, values = variants.mask.shape[1], variants.sample.reach, scores.double()
        coalitions = coalitions_of_size(u, min(self.order, u))
        found = torch.full((values.shape[1], len(coalitions)), torch.nan, dtype=torch.float64)
        for i, m in enumerate(reach.tolist()):
            own = within(coalitions, m)
            inside = [coalition for coalition, is_in in zip(coalitions, own.tolist(), strict=True) if is_in]
            dividends = fourier_dividends(values[:, i], 1 - variants.mask[:, :m].double(), min(self.order, m))
            found[i, own] = of_polynomial(dividends, inside, self.index, min(self.order, m))[:, 0] if inside else found[i, own]
        kept = Interactions(tuple(coalitions), found, None, False)
        return Estimate(found[:, :u], interactions=kept)


def fourier_dividends(scores: Float[Tensor, " p"], present: Float[Tensor, "p m"], order: int) -> dict[Coalition, Tensor]:
    """Return the dividends of a sparse sum of parities that fits the scores."""
    from sklearn.linear_model import LassoCV  # noqa: PLC0415  (optional)  # pyright: ignore[reportMissingImports]

    m = present.shape[1]
    sizes = [d for d in range(1, min(HIGHEST, m) + 1) if d <= order or sum(comb(m, s) for s in range(1, d + 1)) <= LARGEST]
    parities = coalitions_of_size(m, max(sizes, default=0))
    zero = torch.zeros(1, dtype=torch.float64)
    spread = float(scores.std()) if len(scores) > 1 else 0.0
    if not parities or spread == 0:
        return {(i,): zero for i in range(max(m, 1))}
    signs = 1 - 2 * present
    features = torch.stack([signs[:, list(parity)].prod(1) for parity in parities], 1).numpy()
    response = scores.numpy()
    largest = float(np.abs(features.T @ (response - response.mean())).max()) / len(response)
    penalties = np.geomspace(largest, largest / 1000, 25)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of penalties too small for its iterations
        path = LassoCV(cv=5, alphas=penalties, random_state=0)  # pyright: ignore[reportArgumentType]
        path.fit(features, response)
    strength = np.abs(path.coef_)
    chosen = np.argsort(-strength)[: max(1, min(int((strength > 1e-6 * spread).sum()), len(response) // 3))]
    design = np.concatenate([np.ones((len(response), 1)), features[:, chosen]], 1)
    fitted = np.linalg.lstsq(design, response, rcond=None)[0][1:]
    return _as_dividends({parities[j]: float(c) for j, c in zip(chosen, fitted, strict=True)})


def _as_dividends(parities: dict[Coalition, float]) -> dict[Coalition, Tensor]:
    """Return a sum of parities as a polynomial of presence: Π (1 − 2x) = Σ (−2)^|T| Π_T x."""
    found: dict[Coalition, float] = {}
    for parity, coefficient in parities.items():
        for size in range(1, len(parity) + 1):
            for part in itertools.combinations(parity, size):
                found[part] = found.get(part, 0.0) + coefficient * (-2) ** size
    return {part: torch.tensor([value], dtype=torch.float64) for part, value in found.items()}
