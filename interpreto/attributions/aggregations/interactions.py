"""Interactions of units from the scores of coalitions: exact, estimated with standard errors, or by a sparse surrogate."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpreto.attributions.aggregations.base import Aggregator, Estimate, t_ratio
from interpreto.attributions.games.indices import Coalition, coalitions_of_size
from interpreto.attributions.games.interactions import (
    EFFICIENT,
    Interactions,
    coalition_weights,
    interactions,
    of_polynomial,
    presence_products,
    within,
)
from interpreto.inputs.samples import MaskVariants

FOLDS = 8
RIDGES = (1e-9, 1e-3, 1e-2, 1e-1)  # of the surrogate's interactions, in shares of their mean square
LARGEST_SURROGATE = 2000  # coefficients
MANY = 100  # degrees of freedom from which on Student's factor is that of so many


class InteractionAggregator(Aggregator):
    """Compute an interaction index from the coalitions of `InteractionPerturbator`.

    From every coalition it is exact. From a sample it is estimated in two parts: the index of a polynomial surrogate, fitted
    by least squares under the Shapley kernel and exact for the full and the empty coalition, and the index of what the
    surrogate leaves, each coalition weighted by the inverse of its probability. The surrogate is fitted without the
    coalitions that correct it (cross-fitting, without replacement), so that the estimate is unbiased, but for what moves it
    to the gap; its standard error is that of a stratified sample without replacement. Indices that sum to the gap do so
    exactly.

    Args:
        index: See `interpreto.attributions.games.interactions.share`.
        order: Largest number of units of an interaction.

    References:
        Witter, Liu & Musco, 2025, https://arxiv.org/abs/2506.11849; Fumagalli et al., NeurIPS 2023,
        https://arxiv.org/abs/2303.01179.
    """

    def __init__(self, index: str, order: int) -> None:
        self.index, self.order = index, order

    def aggregate(self, scores: Float[Tensor, "p t"], variants: MaskVariants) -> Estimate:
        u, reach, values = variants.mask.shape[1], variants.sample.reach, scores.double()
        coalitions = coalitions_of_size(u, min(self.order, u))
        whole = variants.groups is None
        found = torch.full((2, values.shape[1], len(coalitions)), torch.nan, dtype=torch.float64)
        for m in reach.unique().tolist():
            rows, own = reach == m, within(coalitions, m)
            part = self._exact(values[:, rows], m) if whole else self._sampled(values[:, rows], variants, m)
            found[:, rows.nonzero()[:, :1], own.nonzero()[:, 0]] = torch.stack(part)
        empty = values[0 if whole else 1]
        kept = Interactions(tuple(coalitions), found[0], found[1], whole)
        return Estimate(found[0][:, :u], None if whole else found[1][:, :u], reference=empty, interactions=kept)

    def _exact(self, values: Float[Tensor, "p t"], m: int) -> tuple[Tensor, Tensor]:
        table = interactions(values[: 2**m], self.index, self.order)  # the units after these are absent
        exact = torch.stack(list(table.values()), 1) if table else values.new_zeros(values.shape[1], 0)
        return exact, torch.zeros_like(exact)

    def _sampled(self, values: Float[Tensor, "p t"], variants: MaskVariants, m: int) -> tuple[Tensor, Tensor]:
        if m < 2:
            gain = (values[0] - values[1])[:, None].expand(-1, m)
            return gain, torch.zeros_like(gain)
        sample = _Sampled.of(values, variants, m)
        return sample.estimate(self.index, min(self.order, m))


@dataclass(frozen=True, eq=False)
class _Sampled:
    """Scores of sampled coalitions of ``m`` players.

    Attributes:
        present: Players of each coalition; the first is full, the second empty.
        values: Scores.
        often: How often a coalition of this size was drawn, in expectation.
        draw: Number of the draw that a coalition came with; −1: not drawn.
        strata: Size of the coalitions of each draw.
        possible: How many draws each stratum had to draw from.
        players: Players of the coalitions as they were drawn, of whom these are the first ``m``.
    """

    present: Float[Tensor, "p m"]
    values: Float[Tensor, "p t"]
    often: Float[Tensor, " p"]
    draw: Int[Tensor, " p"]
    strata: Int[Tensor, " d"]
    possible: Float[Tensor, " d"]
    players: int

    @staticmethod
    def of(values: Float[Tensor, "p t"], variants: MaskVariants, m: int) -> _Sampled:
        assert variants.groups is not None
        everyone = 1 - variants.mask.double()
        u, sizes = everyone.shape[1], everyone.sum(1).long()
        counts = sizes.bincount(minlength=u + 1).tolist()
        present = everyone[:, :m]
        often = [sum(c * comb(u - m, s - r) / comb(u, s) for s, c in enumerate(counts) if s >= r) for r in range(m + 1)]
        numbers, members = variants.groups.unique(return_inverse=True)
        draw = members - int((numbers < 0).any())
        strata = torch.zeros(int(draw.max()) + 1, dtype=torch.long)
        smaller = torch.minimum(sizes, u - sizes)
        strata[draw[draw >= 0]] = smaller[draw >= 0]
        possible = torch.tensor([comb(u, s) / (2 if 2 * s == u else 1) for s in strata.tolist()], dtype=torch.float64)
        weight = torch.tensor(often, dtype=torch.float64)[present.sum(1).long()]
        return _Sampled(present, values, weight, draw, strata, possible, u)

    @property
    def gain(self) -> Float[Tensor, " t"]:
        return self.values[0] - self.values[1]

    def estimate(self, index: str, order: int) -> tuple[Float[Tensor, "t s"], Float[Tensor, "t s"]]:
        """Return the index of all coalitions up to an order, and its standard errors."""
        m = self.present.shape[1]
        coalitions = coalitions_of_size(m, order)
        columns, design, surrogates, fold = self._surrogates(order)
        above = self.values - self.values[1]
        values = of_polynomial(dict(zip(columns, surrogates.mean(0), strict=True)), coalitions, index, order).T
        weights, counted = self._weights(coalitions, index, order), self._counted(fold, len(surrogates))
        left = above.clone()
        for k, surrogate in enumerate(surrogates):
            residual = above - design @ surrogate
            left[fold == k] = residual[fold == k]
            values += torch.einsum("ps,p,pt->ts", weights, counted[k] / len(surrogates), residual)
        left[fold < 0] = 0
        errors = []
        for t in range(values.shape[0]):
            terms = weights * (left[:, t] / self.often)[:, None]
            errors.append(self._settled(values[t], terms, float(self.gain[t]) if index in EFFICIENT else None))
        return values, torch.stack(errors)

    def _counted(self, fold: Int[Tensor, " p"], folds: int) -> Float[Tensor, "k p"]:
        """Return for how many coalitions each counts, with the surrogate of each fold.

        Draws are without replacement. What a surrogate was fitted to is known, and counts once; the draws of its fold are a
        sample of the rest of their size, and count for all of it. A size with fewer draws than folds is weighted as a whole.
        """
        plain = 1 / self.often
        counted = plain.expand(folds, -1).clone()
        whole = self.present.shape[1] == self.players
        for kind in self.strata.unique() if whole else []:
            own = (self.strata == kind).nonzero()[:, 0]
            rows = torch.isin(self.draw, own)
            possible, drawn = float(self.possible[own[0]]), len(own)
            if drawn < folds:
                for k in range(folds):  # each with the surrogate that did not see it
                    counted[k, rows] = torch.where(fold[rows] == k, folds * plain[rows], 0.0)
                continue
            for k in range(folds):
                out = len(self.draw[rows & (fold == k)].unique())
                counted[k, rows] = torch.where(fold[rows] == k, (possible - drawn + out) / out, 1.0).double()
        if not whole:
            drawn_rows = self.draw >= 0
            for k in range(folds):
                counted[k, drawn_rows] = torch.where(fold[drawn_rows] == k, folds * plain[drawn_rows], 0.0)
        return counted

    def _weights(self, coalitions: list[Coalition], index: str, order: int) -> Float[Tensor, "p s"]:
        """Return the weight of each score in each interaction."""
        m, sizes, parts = self.present.shape[1], self.present.sum(1).long(), []
        for size in range(1, order + 1):
            members = torch.tensor([c for c in coalitions if len(c) == size])
            common = self.present[:, members].sum(-1).long()
            parts.append(coalition_weights(index, m, size, order)[sizes[:, None], common])
        return torch.cat(parts, 1)

    def _settled(self, values: Float[Tensor, " s"], terms: Float[Tensor, "p s"], gain: float | None) -> Float[Tensor, " s"]:
        """Return standard errors; where values must sum to the gain, move them there along their covariance, in place."""
        drawn = self.draw >= 0
        if not bool(drawn.any()):
            return torch.zeros_like(values)
        draws = terms.new_zeros(len(self.strata), terms.shape[1]).index_add(0, self.draw[drawn], terms[drawn])
        kinds, kind, count = self.strata.unique(return_inverse=True, return_counts=True)
        mean = draws.new_zeros(len(kinds), draws.shape[1]).index_add(0, kind, draws) / count[:, None]
        several = count[kind].double()
        apart = draws - torch.where(several > 1, 1.0, 0.0)[:, None] * mean[kind]
        factor = several / (several - 1).clamp(min=1) * (1 - several / self.possible).clamp(min=0)
        if gain is not None:
            total = apart.sum(1)
            spread = float((factor * total.square()).sum())
            if spread > 1e-24 * max(gain * gain, 1e-300):
                part = (factor[:, None] * apart * total[:, None]).sum(0) / spread
                values += part * (gain - values.sum())
                apart = apart - total[:, None] * part
        parts = apart.new_zeros(len(kinds), apart.shape[1]).index_add(0, kind, factor[:, None] * apart.square())
        return parts.sum(0).sqrt() * _widened(parts, count)

    def _surrogates(
        self, order: int
    ) -> tuple[list[Coalition], Float[Tensor, "p c"], Float[Tensor, "k c t"], Int[Tensor, " p"]]:
        """Return polynomials, each fitted without the draws of a fold: terms, their values, coefficients; and the folds."""
        m = self.present.shape[1]
        sizes_up_to = [sum(comb(m, s) for s in range(1, d + 1)) for d in range(1, order + 1)]
        degree = max(d for d, count in enumerate(sizes_up_to, 1) if d == 1 or count <= LARGEST_SURROGATE)
        columns = coalitions_of_size(m, degree)
        sizes = self.present.sum(1)
        inner = (sizes > 0) & (sizes < m)
        kernel = torch.tensor([1 / (comb(m, r) * r * (m - r)) if 0 < r < m else 0.0 for r in range(m + 1)]).double()
        weight = kernel[sizes.long()] / self.often * inner
        folds = torch.zeros(len(self.strata), dtype=torch.long)
        for kind in self.strata.unique():
            own = (self.strata == kind).nonzero()[:, 0]
            folds[own] = (torch.arange(len(own)) + int(kind)) % FOLDS
        fold = torch.where(self.draw >= 0, folds[self.draw.clamp(min=0)] if len(folds) else -1, -1)
        design = presence_products(self.present, columns)
        return columns, design, _constrained_folds(design, self.values - self.values[1], weight, self.gain, fold, m), fold


def _widened(parts: Float[Tensor, "k s"], count: Int[Tensor, " k"]) -> Float[Tensor, " s"]:
    """Return Student's factor of errors whose variance is the sum of those of strata with so many draws.

    References:
        Satterthwaite, 1946, https://doi.org/10.2307/3002019.
    """
    tiny = torch.finfo(parts.dtype).tiny
    shares = parts / parts.sum(0).clamp(min=tiny)
    degrees = 1 / (shares.square() / (count[:, None] - 1).clamp(min=1)).sum(0).clamp(min=1 / MANY)
    ratios = torch.tensor([t_ratio(d) for d in range(1, MANY + 1)], dtype=parts.dtype)
    return ratios[degrees.floor().long().clamp(1, MANY) - 1]


def _constrained_folds(  # noqa: PLR0917  (a system of equations)
    design: Float[Tensor, "p c"],
    scores: Float[Tensor, "p t"],
    weight: Float[Tensor, " p"],
    gain: Float[Tensor, " t"],
    fold: Int[Tensor, " p"],
    free: int,
) -> Float[Tensor, "k c t"]:
    """Solve min Σ w (y − Xβ)² + ridge under Σβ = gain without each fold, by normal equations.

    The first ``free`` coefficients have no ridge. Of several ridges, that with the least error on the folds left out is taken.
    """
    reduced = design[:, 1:] - design[:, :1]
    rest = scores - design[:, :1] * gain
    weighted = reduced * weight[:, None]
    gram, right = weighted.T @ reduced, weighted.T @ rest
    scale = float(gram.diagonal().mean().clamp(min=1e-300))
    penalty = torch.full((len(gram),), scale, dtype=gram.dtype)
    penalty[: free - 1] *= RIDGES[0]
    out = [fold == k for k in range(FOLDS)]
    parts = [(weight[rows, None], reduced[rows], rest[rows]) for rows in out]
    without = [(gram - (w * x).T @ x, right - (w * x).T @ y) for w, x, y in parts]
    best: tuple[float, Tensor] | None = None
    for ridge in RIDGES:
        error, found = 0.0, []
        added = torch.diag(torch.where(penalty == scale, ridge * scale, penalty))
        for (w, x, y), (own, wanted) in zip(parts, without, strict=True):
            solved = torch.linalg.solve(own + added, wanted)
            error += float((w * (y - x @ solved).square()).sum())
            found.append(torch.cat([(gain - solved.sum(0))[None], solved]))
        if best is None or error < best[0]:
            best = error, torch.stack(found)
    assert best is not None
    return best[1]
