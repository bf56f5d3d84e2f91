"""One page of each kind, for tests that look at all of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from interpreto.attributions.output import AttributionOutput
from interpreto.visualizations import to_html
from interpreto.visualizations.concepts import concepts_to_html
from interpreto.visualizations.curves import renderer as curves
from tests.visualizations.concept_examples import dataset, local
from tests.visualizations.examples import conversation, explanation, film, generation

SENTENCE = ("The", "acting", "is", "wonderful", "but", "the", "story", "is", "rather", "dull", ".")


def additive(method: str = "KernelShap", seed: int | None = None) -> AttributionOutput:
    """Return values of a sentence that lead from 0.2 to its score, with standard errors."""
    values = torch.tensor([[0.1, 0.3, -0.02, 1.1, -0.3, 0.0, 0.05, 0.01, -0.4, -1.3, 0.02]])
    if seed is not None:
        values = values + 0.4 * torch.randn(1, len(SENTENCE), generator=torch.Generator().manual_seed(seed))
    facts = {"reference_scores": torch.tensor([0.2]), "residual": torch.tensor([1e-8]), "base_scores": 0.2 + values.sum(1)}
    return explanation(
        list(SENTENCE), values.tolist(), ["positive"], method=method, standard_error=torch.full((1, 11), 0.05), **facts
    )


def answer(**facts: object) -> AttributionOutput:
    """Return a generation of six tokens."""
    values = torch.randn(6, 14, generator=torch.Generator().manual_seed(1)).tolist()
    scores = -torch.tensor([0.05, 1.2, 0.3, 2.0, 0.7, 0.01])
    tokens = [" so", " good", " and", " a", " joy", "."]
    return generation("The film was long and rather dull but", tokens, values, **({"base_scores": scores} | facts))


def long_text(u: int = 800) -> AttributionOutput:
    """Return many small values, and three large ones at the end."""
    values = 0.2 * torch.randn(1, u, generator=torch.Generator().manual_seed(0))
    values[0, -5:-2] = torch.tensor([5.9, -4.0, 3.0])
    words = [f"{'W' if i % 12 == 0 else 'w'}ord{i}" + ("." if i % 12 == 11 else "") for i in range(u)]
    return explanation(words, torch.cat([values, -values]).tolist(), ["positive", "negative"])


def chat() -> AttributionOutput:
    """Return a conversation about code."""
    return conversation("Was it good? Run:\n```python\nprint('hi')\n```\nand tell me `x` please.", "Yes.")


def side_by_side() -> list[AttributionOutput]:
    """Return four methods for one sentence."""
    return [additive(), *(additive(name, seed) for seed, name in enumerate(("Occlusion", "IntegratedGradients", "Lime")))]


def curve_page() -> str:
    """Return the page of one deletion curve."""
    return curves(np.linspace(1, 0, 9)).to_html(title="Deletion")


PAGES: dict[str, Callable[[], str]] = {
    "class": lambda: to_html(additive()),
    "classes": lambda: to_html(film()),
    "generation": lambda: to_html(answer()),
    "magnitudes": lambda: to_html(answer(method="Saliency", signed=False)),
    "chat": lambda: to_html(chat()),
    "long": lambda: to_html(long_text()),
    "side by side": lambda: to_html(side_by_side()),
    "many": lambda: to_html([film(), answer(), chat(), *side_by_side()]),
    "concepts, global": lambda: concepts_to_html(dataset()),
    "concepts, local": lambda: concepts_to_html(local()),
}
