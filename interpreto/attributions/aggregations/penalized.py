"""Linear surrogates with a penalty: LIME with a prior, by ridge and elastic net."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.attributions.aggregations.base import Aggregator, Estimate, by_reach
from interpreto.attributions.aggregations.linear_regression import DistancesFromMask, LinearRegressionAggregator
from interpreto.errors import OptionError
from interpreto.inputs.samples import MaskVariants
from interpreto.validation import is_number, shown

SWEEPS = 10_000
PRECISION = 1e-12  # of coordinate descent, as a share of the largest coefficient


class PriorAggregator(Aggregator):
    """Fit LIME's linear surrogate with a penalty on its distance from a prior.

    ``argmin Σ ω (y − b − zᵀw)² + β [(1 − ρ) ‖w − τw₀‖² + ρ ‖w − τw₀‖₁]``, where z is the presence of units, ω are LIME's
    weights, and w₀ is the prior of the text's units, divided by its L1 norm. Solved in float64.

    Args:
        prior: Value of each unit's text, by case-folded text or as a function; units without one have 0. None: all 0.
        strength: β, of the scale of the summed weights.
        l1_ratio: ρ, from 0 (ridge) to 1 (lasso).
        scale: τ, the L1 norm that the prior gets; None: that of the fit without a penalty.
        distance_function: Distance to the input, for the weights.
        kernel_width: Width of the weights.

    References:
        Li et al., Artificial Intelligence 2023, https://doi.org/10.1016/j.artint.2022.103823.
    """

    def __init__(
        self,
        prior: Any = None,
        *,
        strength: float = 1.0,
        l1_ratio: float = 0.0,
        scale: float | None = None,
        distance_function: DistancesFromMask | None = DistancesFromMask.COSINE,
        kernel_width: float = 0.25,
    ) -> None:
        for name, value, high in (("strength", strength, float("inf")), ("l1_ratio", l1_ratio, 1.0)):
            if not is_number(value) or not 0 <= value <= high or value == float("inf"):
                raise OptionError(f"`{name}`: got {shown(value)}; pass a number from 0 {'to 1' if high == 1 else 'on'}.")
        if scale is not None and (not is_number(scale) or not 0 <= scale < float("inf")):
            raise OptionError(f"`scale`: got {shown(scale)}; pass a number from 0 on, or None.")
        self.strength, self.l1_ratio, self.scale = strength, l1_ratio, scale
        self.of_text = _reader(prior)
        self.weighting = LinearRegressionAggregator(distance_function, kernel_width)

    def of_part(self, share: float) -> PriorAggregator:
        """Return the aggregator with the same weight of the prior per perturbed input."""
        part = copy.copy(self)
        part.strength = self.strength * share
        return part

    def aggregate(self, scores: Float[Tensor, "p t"], variants: MaskVariants) -> Estimate:
        prior = torch.tensor([self.of_text(text) for text in variants.sample.units.texts], dtype=torch.float64)

        def fit(scores: Tensor, mask: Tensor) -> Estimate:
            return self._fit(scores.double(), 1 - mask.double(), self.weighting.weights(mask), prior[: mask.shape[1]])

        return by_reach(scores, variants, fit)

    def _fit(
        self, scores: Float[Tensor, "p t"], present: Float[Tensor, "p m"], weights: Float[Tensor, " p"], prior: Tensor
    ) -> Estimate:
        """Center by the weighted means, which leaves the intercept without a penalty; then solve for w − τw₀."""
        root, share = weights.sqrt()[:, None], (weights / weights.sum())[:, None]
        design = (present - (share * present).sum(0)) * root
        response = (scores - (share * scores).sum(0)) * root
        if prior.abs().sum() > 0:
            prior = prior / prior.abs().sum()
        free = torch.linalg.pinv(design) @ response
        start = prior[:, None] * (free.abs().sum(0) if self.scale is None else self.scale)
        moved = response - design @ start
        gram, moment = design.T @ design, design.T @ moved
        l1, l2 = self.strength * self.l1_ratio, self.strength * (1 - self.l1_ratio)
        if l1:
            return Estimate((start + elastic_net(gram, moment, l1 / 2, l2)).T)
        inverse = torch.linalg.pinv(gram + l2 * torch.eye(len(gram)).double(), hermitian=True) @ design.T
        found = inverse @ moved
        leverage = (design * inverse.T).sum(1, keepdim=True)
        errors = (moved - design @ found) / (1 - leverage).clamp(min=0.05)
        return Estimate((start + found).T, (inverse.square() @ errors.square()).sqrt().T)


def elastic_net(gram: Float[Tensor, "m m"], moment: Float[Tensor, "m t"], l1: float, l2: float) -> Float[Tensor, "m t"]:
    """Minimize ½ wᵀGw − cᵀw + l1 ‖w‖₁ + ½ l2 ‖w‖² by coordinate descent, for several right-hand sides at once.

    Args:
        gram: G.
        moment: c.
        l1: Weight of the sum of sizes.
        l2: Weight of the squares.
    """
    found, diagonal = torch.zeros_like(moment), gram.diagonal() + l2
    for _ in range(SWEEPS):
        before = found.clone()
        for j in (diagonal > 0).nonzero()[:, 0].tolist():
            rest = moment[j] - gram[j] @ found + gram[j, j] * found[j]
            found[j] = rest.sign() * (rest.abs() - l1).clamp(min=0) / diagonal[j]
        if bool(((found - before).abs().amax(0) <= PRECISION * found.abs().amax(0).clamp(min=1e-300)).all()):
            break
    return found


def _reader(prior: Any) -> Callable[[str], float]:
    """Return the prior of a unit's text as a function."""
    if prior is None:
        return lambda text: 0.0
    if isinstance(prior, Mapping):
        table: Mapping[str, float] = prior
        known = {str(text).casefold(): float(value) for text, value in table.items()}
        return lambda text: known.get(text.strip().casefold(), 0.0)
    if callable(prior):
        function: Callable[[str], Any] = prior
        return lambda text: float(function(text))
    raise OptionError(f"`prior`: got {shown(prior)}; pass a dictionary from words to numbers, a function of a word, or None.")
