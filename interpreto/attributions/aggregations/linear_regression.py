"""Linear surrogates: LIME's weighted least squares, and Kernel SHAP's under the efficiency constraint."""

from __future__ import annotations

from math import comb

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpreto.attributions.aggregations.base import Aggregator, Estimate, by_reach, error_of_few
from interpreto.choices import Choice
from interpreto.errors import OptionError
from interpreto.inputs.samples import MaskVariants


class DistancesFromMask(Choice):
    """Distance of a perturbed input to the input, by the units that are present, in [0, 1].

    ``cosine``: 1 − cos(presence, all present). ``hamming``: share of units masked. ``euclidean``: its square root.
    """

    COSINE = "cosine"
    HAMMING = "hamming"
    EUCLIDEAN = "euclidean"

    def __call__(self, mask: Float[Tensor, "p u"]) -> Float[Tensor, " p"]:
        """Return the distances of the perturbed inputs whose masked units are 1 in ``mask``."""
        masked = mask.mean(1)
        if self is DistancesFromMask.COSINE:
            return 1 - (1 - masked).sqrt()
        return masked if self is DistancesFromMask.HAMMING else masked.sqrt()


class LinearRegressionAggregator(Aggregator):
    """Fit a linear surrogate of the presence of units, weighted by closeness to the unperturbed input.

    Weights are ``sqrt(exp(−distance² / width²))``, so that the unperturbed input has the largest. Solved in float64.

    Args:
        distance_function: Distance to the input. None: all perturbed inputs have the same weight.
        kernel_width: Width of the weights, on the scale of the distance.

    References:
        Ribeiro et al., KDD 2016, https://arxiv.org/abs/1602.04938.
    """

    def __init__(
        self, distance_function: DistancesFromMask | None = DistancesFromMask.COSINE, kernel_width: float = 0.25
    ) -> None:
        if not isinstance(kernel_width, (int, float)) or not kernel_width > 0:
            raise OptionError(f"`kernel_width`: got {kernel_width!r}; pass a number above 0.")
        self.distance_function, self.kernel_width = distance_function, kernel_width

    def weights(self, mask: Float[Tensor, "p u"]) -> Float[Tensor, " p"]:
        """Return the weight of each perturbed input."""
        if self.distance_function is None:
            return torch.ones(len(mask), dtype=torch.float64)
        return torch.exp(-((self.distance_function(mask.double()) / self.kernel_width) ** 2) / 2)

    def aggregate(self, scores: Float[Tensor, "p t"], variants: MaskVariants) -> Estimate:
        return by_reach(scores, variants, self._fit)

    def _fit(self, scores: Float[Tensor, "p t"], mask: Float[Tensor, "p m"]) -> Estimate:
        present = 1 - mask.double()
        design = torch.cat([present, torch.ones(len(present), 1, dtype=torch.float64)], dim=1)
        fit = WeightedFit(design, scores.double(), self.weights(mask), "more units than these perturbed inputs can rank")
        return Estimate(fit.coefficients[:-1].T, fit.standard_error(torch.arange(len(present)))[:-1].T)


class ShapleyAggregator(Aggregator):
    """Compute Shapley values: by least squares under the constraint Σφ = f(x) − f(∅), or by averages over orders.

    The first two perturbed inputs are the full and the empty coalition. Coalitions with weights are regressed; without,
    they grow along random orders, and the values are mean contributions. Solved in float64.

    References:
        Lundberg and Lee, NeurIPS 2017, https://arxiv.org/abs/1705.07874.
        Castro et al. (orders), 2009, https://doi.org/10.1016/j.cor.2008.04.004.
    """

    def aggregate(self, scores: Float[Tensor, "p t"], variants: MaskVariants) -> Estimate:
        def estimate(scores: Tensor, mask: Tensor) -> Estimate:
            values, u = scores.double(), mask.shape[1]
            full, empty = values[0], values[1]
            if u < 2:
                return Estimate((full - empty)[:, None].expand(-1, u), torch.zeros(len(full), u), reference=empty)
            if variants.weights is None:
                phi, error = _over_orders(values, variants.mask, u)
                return Estimate(phi, error, reference=empty)
            weights = variants.weights[2:].double()
            if u < variants.mask.shape[1]:
                weights = restricted_weights(variants.mask[2:], u)
            phi, error = _regressed(values, mask, weights, _given(variants.groups)[2:])
            return Estimate(phi, error, reference=empty)

        return by_reach(scores, variants, estimate)


def restricted_weights(mask: Float[Tensor, "p u"], m: int) -> Float[Tensor, " p"]:
    """Return weights by which coalitions drawn for ``u`` units give a Kernel SHAP regression of the first ``m`` alone.

    All coalitions of one size were equally likely, so a coalition of ``r`` of the ``m`` units was drawn as often as its
    completions by the others. Its weight is the Shapley kernel of ``m`` units over that number; the full and the empty
    coalition, which the constraint contains, have weight 0.
    """
    u = mask.shape[1]
    sizes, drawn = (1 - mask).sum(1).long().unique(return_counts=True)
    counts = list(zip(sizes.tolist(), drawn.tolist(), strict=True))
    inside = (1 - mask[:, :m]).sum(1).long()
    weights = torch.zeros(m + 1, dtype=torch.float64)
    for r in range(1, m):
        often = sum(n * comb(u - m, s - r) / comb(u, s) for s, n in counts if s >= r)
        weights[r] = 1.0 / (comb(m, r) * r * (m - r) * often) if often else 0.0
    return weights[inside]


def _regressed(
    values: Float[Tensor, "p t"], mask: Float[Tensor, "p m"], weights: Float[Tensor, " q"], groups: Int[Tensor, " q"]
) -> tuple[Tensor, Tensor]:
    """Solve the regression and return values and standard errors ``(t, m)``.

    The value of the last unit is the gain minus the other values, which is the constraint.
    """
    present = 1 - mask[2:].double()
    gain = values[0] - values[1]
    design = present[:, :-1] - present[:, -1:]
    response = values[2:] - values[1] - present[:, -1:] * gain
    fit = WeightedFit(design, response, weights, "too few coalitions")
    phi = torch.cat([fit.coefficients, (gain - fit.coefficients.sum(0))[None]])
    last = torch.cat([torch.eye(design.shape[1]), -torch.ones(1, design.shape[1])]).double()
    return phi.T, fit.standard_error(groups, last).T


def _over_orders(values: Float[Tensor, "p t"], mask: Float[Tensor, "p u"], m: int) -> tuple[Tensor, Tensor]:
    """Return mean contributions of the first ``m`` units, and their standard errors.

    A unit's contribution is the gain when it joins the units before it in an order. A random order of all units is a
    random order of any subset, so the same orders serve scores that depend on fewer units. Where the budget ends within an
    order, blocks of units join at once; a block's gain beyond the values of its units by the complete orders is shared
    equally among them.

    With two or three orders the variance of a single unit is hardly known: see `error_of_few`.
    """
    u = mask.shape[1]
    rows = len(mask) - 2
    count, rest = divmod(rows, u - 1)
    whole = 2 + rows - rest
    per_order = contributions(values[2:whole].reshape(count, u - 1, -1), mask[2:whole].reshape(count, u - 1, u), values)
    phi = per_order.mean(0)
    if rest:
        sets, gains = _steps(values[None, whole:], mask[None, whole:], values)
        beyond = (gains[0] - sets[0] @ phi.T) / sets[0].sum(1, keepdim=True)  # blocks × targets
        part = rest / (u - 1)
        phi = phi + part / (count + part) * (beyond.T @ sets[0])
    return phi[:, :m], error_of_few(per_order[..., :m].var(0) / count, count)


def contributions(values: Float[Tensor, "o q t"], mask: Float[Tensor, "o q u"], ends: Float[Tensor, "p t"]) -> Tensor:
    """Return the gain of each unit in each order, ``(o, t, u)``."""
    sets, gains = _steps(values, mask, ends)
    return torch.einsum("oqt,oqu->otu", gains, sets)


def _steps(values: Float[Tensor, "o q t"], mask: Float[Tensor, "o q u"], ends: Float[Tensor, "p t"]) -> tuple[Tensor, Tensor]:
    """Return the units that join at each step of growing coalitions, ``(o, q + 1, u)``, and the gains, ``(o, q + 1, t)``."""
    o, _, u = mask.shape
    full, empty = ends[0].expand(o, 1, -1), ends[1].expand(o, 1, -1)
    present = 1 - mask.double()
    sets = torch.cat([present.new_zeros(o, 1, u), present, present.new_ones(o, 1, u)], 1).diff(dim=1)
    return sets, torch.cat([empty, values, full], 1).diff(dim=1)


class WeightedFit:
    """A weighted least squares fit, with standard errors that are robust to unequal noise of the groups of rows.

    Raises:
        OptionError: if the rows do not determine the coefficients.
    """

    def __init__(
        self, design: Float[Tensor, "p m"], response: Float[Tensor, "p t"], weights: Float[Tensor, " p"], why: str
    ) -> None:
        root = (weights / weights.max()).sqrt()
        left, singular, right = torch.linalg.svd(design * root[:, None], full_matrices=False)
        if design.shape[0] < design.shape[1] or float(singular[-1]) < 1e-9 * float(singular[0]):
            raise OptionError(
                f"`n_perturbations`: {design.shape[0]} perturbed inputs do not determine {design.shape[1]} coefficients "
                f"({why}); pass at least {4 * design.shape[1]}, or a coarser `granularity`."
            )
        self.design = design
        self.inverse = (right.T / singular) @ left.T * root  # m × p
        self.coefficients = self.inverse @ response
        self.residuals = response - design @ self.coefficients

    def standard_error(self, groups: Int[Tensor, " p"], combine: Float[Tensor, "k m"] | None = None) -> Float[Tensor, "k t"]:
        """Return cluster-robust standard errors of the coefficients, or of linear combinations of them.

        The residuals of a group are divided by one minus its leverage (HC3), as a row that draws the fit towards itself has a
        small residual without a small error.

        Args:
            groups: Rows that were drawn together share a number; rows of group ``-1`` were enumerated, not drawn.
            combine: The combinations; None: the coefficients.

        References:
            White (1980), https://doi.org/10.2307/1912934; MacKinnon and White (1985),
            https://doi.org/10.1016/0304-4076(85)90158-7.
        """
        inverse = self.inverse if combine is None else combine @ self.inverse
        drawn = groups >= 0
        numbers, members = groups[drawn].unique(return_inverse=True)
        if not len(numbers):
            return torch.zeros(len(inverse), self.residuals.shape[1], dtype=torch.float64)
        moved = torch.einsum("kp,pt->pkt", inverse[:, drawn], self.residuals[drawn])
        clustered = moved.new_zeros(len(numbers), *moved.shape[1:]).index_add(0, members, moved)
        leverage = (self.design * self.inverse.T).sum(1)[drawn]
        left = (1 - leverage.new_zeros(len(numbers)).index_add(0, members, leverage)).clamp(min=0.05)
        return (clustered / left[:, None, None]).square().sum(0).sqrt()


def _given(value: Tensor | None) -> Tensor:
    if value is None:
        raise OptionError("`perturbator`: a Shapley regression needs weighted coalitions, as ShapTokenPerturbator gives them.")
    return value
