"""Layout of concepts that all media share: the order of outputs, the scale of bars, the facts of a view."""

from __future__ import annotations

from dataclasses import replace

import torch

from interpreto.concepts.views import ConceptView, GlobalConcepts, LocalConcepts
from interpreto.rounding import noise_of


def facts(view: ConceptView) -> list[tuple[str, str]]:
    """Return what a reader needs besides the numbers, as names and values."""
    about = view.about
    size = f"{view.texts} text{'s' * (view.texts != 1)}" if isinstance(view, GlobalConcepts) else None
    named = [
        ("Concepts", about.explainer),
        ("Split point", about.split_point),
        ("Granularity", about.granularity),
        ("Effect", about.method.replace("_", " ")),
        ("Data", size),
    ]
    return [(name, value) for name, value in named if value is not None]


def ordered_outputs(view: ConceptView) -> list[int]:
    """Return the outputs as they are shown: classes of one text by falling score, else in order."""
    order = list(range(len(view.outputs)))
    if isinstance(view, LocalConcepts) and view.has_scores and view.about.output == "class":
        return sorted(order, key=lambda output: -float(view.scores[output]))
    return order


def largest_effect(view: ConceptView) -> float:
    """Return the largest importance of a shown concept, where bars are full; 0 where there is none."""
    sizes = view.totals()[0][:, list(view.shown)]
    return float(sizes.max()) if sizes.numel() else 0.0


def without_noise(view: ConceptView) -> ConceptView:
    """Return the view as it is drawn: effects of one text within the rounding of its scores are zero.

    A view of a data set has no scores, and is returned as it is.
    """
    if not isinstance(view, LocalConcepts) or not view.has_scores:
        return view
    limits = torch.tensor([noise_of(score.nan_to_num(0.0, 0.0, 0.0), dtype=score.dtype) for score in view.scores])
    return replace(view, effects=view.effects.masked_fill(view.effects.abs() <= limits[:, None, None], 0.0))
