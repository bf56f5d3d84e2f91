"""Results of COCKATIEL, drawn: importances with their intervals, and the excerpts of each concept."""

from __future__ import annotations

from interpreto.metrics.cockatiel import CockatielResult
from interpreto.visualizations.dots import Dot, DotRenderer

GUIDE = (
    "Each row is a concept of the texts of the class. The dot is its importance: the share of the variance of the class's "
    "score that it is part of, as concepts fade at random, with its 95 % interval over the texts. Next to it is the sentence "
    "with most of the concept, and the words that carry it there."
)
NORMAL = 1.959964
WORDS = 3


def renderer(result: CockatielResult) -> DotRenderer:
    """Return the renderer of a result."""
    dots = []
    for place, concept in enumerate(result.concepts):
        value, error = float(result.importance[place]), NORMAL * float(result.standard_error[place])
        first = result.words[place][0]
        order = first.attributions[0].argsort(descending=True, stable=True)[:WORDS].tolist()
        words = ", ".join(first.elements[i].strip() for i in order)
        dots.append(
            Dot(f"concept {concept}", value, value - error, value + error, (), True, (result.excerpts[place][0], words))
        )
    label = f"importance for {result.target}, of {result.n_texts} texts"
    return DotRenderer(f"COCKATIEL: {result.target}", label, GUIDE, ("excerpt", "its words"), dots)
