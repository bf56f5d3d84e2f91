"""A way to fit probes, and how its penalty is chosen and its scores are measured on texts that were not fitted on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from interpreto.concepts.probes.fits import PENALIZED, LinearScores, fit_scores
from interpreto.concepts.probes.labeled_rows import LabeledRows
from interpreto.concepts.probes.report import ProbeReport, accuracies, area_under_curve

Penalty = float | Literal["cv"]

PENALTIES = (10.0, 1.0, 0.1, 0.01, 0.001)
"""Penalties that ``"cv"`` compares; of equal ones the first is taken."""
SHARE = 5
"""One in this many texts is left out to choose the penalty."""


@dataclass(frozen=True)
class Recipe:
    """A way to fit probes.

    Attributes:
        fit: One of `fits.FITS`.
        l2: The penalty, or ``"cv"``.
        standardize: Center and scale columns first; see `fit_scores`.
        random_state: Seed of the texts that are left out.
    """

    fit: str
    l2: Penalty
    standardize: bool
    random_state: int

    def scores(self, rows: Float[Tensor, "n d"], labels: Float[Tensor, "n c"], l2: float) -> LinearScores:
        """Fit scores to rows."""
        return fit_scores(self.fit, rows, labels, l2, standardize=self.standardize)

    def penalty(self, data: LabeledRows) -> float:
        """Return the penalty: that of least loss on a fifth of the texts, where it is to be chosen."""
        if self.fit not in PENALIZED:
            return 0.0
        if not isinstance(self.l2, str):
            return self.l2
        inside = data.folds(min(SHARE, data.texts), Generator().manual_seed(self.random_state)) == 0
        fitted, left = data.where(~inside), data.where(inside)
        usable = _both(fitted.labels)
        if not len(usable):
            return PENALTIES[1]
        losses = []
        for l2 in PENALTIES:
            given = self.scores(fitted.rows, fitted.labels[:, usable], l2)(left.rows)
            losses.append(float(self._loss(given, left.labels[:, usable])))
        return PENALTIES[min(range(len(PENALTIES)), key=losses.__getitem__)]

    def _loss(self, scores: Float[Tensor, "n c"], labels: Float[Tensor, "n c"]) -> Float[Tensor, ""]:
        if self.fit == "ridge":
            return (scores - (2 * labels - 1)).square().mean()
        return binary_cross_entropy_with_logits(scores, labels)


def report_of(recipe: Recipe, data: LabeledRows, n_folds: int, n_controls: int) -> ProbeReport:
    """Measure a recipe on held-out texts, and on shuffled labels.

    Args:
        recipe: The way to fit.
        data: Rows, labels and texts.
        n_folds: Number of folds; at most one per text.
        n_controls: Number of times that labels are shuffled.
    """
    generator = Generator().manual_seed(recipe.random_state)
    folds = data.folds(min(n_folds, data.texts), generator)
    chosen = [recipe.penalty(data.where(folds != fold)) for fold in range(int(folds.max()) + 1)]
    scores = held_out(recipe, data, data.labels, folds, chosen)
    areas = area_under_curve(scores, folds, data.labels, data.groups)
    accuracy, balanced = accuracies(scores, data.labels)
    controls = [torch.full((2, len(data.names)), torch.nan, dtype=torch.float64, device=areas.device)]
    for _ in range(n_controls):
        labels = data.shuffled(generator)
        other = held_out(recipe, data, labels, folds, chosen)
        area = area_under_curve(other, folds, labels, data.groups)[:, 0]
        controls.append(torch.stack([area, accuracies(other, labels)[0]]))
    control, share = torch.stack(controls).nanmean(0), data.labels.mean(0)
    right = scores.nan_to_num(-torch.inf).argmax(1) == data.labels.argmax(1)
    return ProbeReport(
        names=data.names,
        fit=recipe.fit,
        l2=tuple(chosen),
        n_rows=len(data.rows),
        n_texts=data.texts,
        auc=areas[:, 0].cpu(),
        interval=areas[:, 1:].cpu(),
        accuracy=accuracy.cpu(),
        balanced_accuracy=balanced.cpu(),
        majority=torch.maximum(share, 1 - share).cpu(),
        control_auc=control[0].cpu(),
        control_accuracy=control[1].cpu(),
        class_accuracy=float(right.double().mean()) if data.exclusive else None,
    )


def held_out(
    recipe: Recipe, data: LabeledRows, labels: Float[Tensor, "n c"], folds: Int[Tensor, " n"], penalties: list[float]
) -> Float[Tensor, "n c"]:
    """Score each fold by probes of the others; NaN for a concept that is in all rows of these, or in none.

    Args:
        recipe: The way to fit.
        data: The rows.
        labels: Their labels, or those of a control task.
        folds: Fold of each row.
        penalties: Of each fold.
    """
    scores = torch.full_like(labels, torch.nan)
    for fold, l2 in enumerate(penalties):
        inside = folds == fold
        usable = _both(labels[~inside])
        if len(usable):
            given = recipe.scores(data.rows[~inside], labels[~inside][:, usable], l2)(data.rows[inside])
            scores[inside.nonzero(), usable] = given
    return scores


def _both(labels: Float[Tensor, "n c"]) -> Int[Tensor, " k"]:
    """Return the concepts that are in some rows, and not in all."""
    share = labels.mean(0)
    return ((share > 0) & (share < 1)).nonzero()[:, 0]
