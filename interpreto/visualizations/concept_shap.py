"""Shapley values of concepts, drawn."""

from __future__ import annotations

from interpreto.concepts.concept_shap import ConceptShapResult
from interpreto.visualizations.dots import Dot, DotRenderer

GUIDE = (
    "Each row is a concept and its share of what all concepts are worth together: of how well the classifier decides from them "
    "alone, or of the score named above. The shares sum to the worth of all, less the worth of none. Lines are 95 % intervals, "
    "where orders were sampled."
)
NORMAL = 1.959964


def renderer(result: ConceptShapResult) -> DotRenderer:
    """Return the renderer of a result, the largest value first."""
    dots = []
    order = result.values.argsort(descending=True, stable=True).tolist()
    for place, i in enumerate(order):
        value, error = float(result.values[i]), NORMAL * float(result.standard_error[i])
        low, high = (value - error, value + error) if error > 0 else (float("nan"), float("nan"))
        together = f"{float(result.curve[place + 1]):.3f}"
        dots.append(Dot(f"concept {result.concepts[i]}", value, low, high, (), True, (together,)))
    label = f"share of {result.value}: {result.empty:.3f} without concepts, {result.full:.3f} with all"
    return DotRenderer("ConceptSHAP", label, GUIDE, ("worth of the concepts down to here",), dots)
