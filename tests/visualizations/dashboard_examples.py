"""Dashboards made by hand, so that pages are tested without a model."""

from __future__ import annotations

import torch

from interpreto.concepts.dashboard import ConceptDashboard, ConceptProfile, Examples
from interpreto.concepts.histograms import Histogram
from tests.visualizations.concept_examples import about, passage


def dashboard(
    concepts: int = 3,
    words: tuple[str, ...] = ("joy", "praise"),
    outputs: tuple[str, ...] = ("negative", "positive"),
    **facts: str,
) -> ConceptDashboard:
    """Concepts whose importance rises with their number; the last is above 0 nowhere."""
    profiles = []
    for concept in range(concepts):
        dead = concept == concepts - 1
        top = passage([*words, f"w{concept}"], [*(0.5 for _ in words), 2.0 + concept])
        low = passage(["dull", words[0]], [0.0, 0.25])
        profiles.append(
            ConceptProfile(
                concept=concept,
                words=() if dead else (f"{words[0]}{concept}", *words[1:]),
                density=0.0 if dead else 0.5 / (concept + 1),
                mean=0.1 * concept,
                peak=0.0 if dead else 2.0 + concept,
                histogram=Histogram(0.5, () if dead else (7, 3, 0, 1), () if concept else (2,), 9),
                neighbors=() if dead else (((concept + 1) % concepts, 0.75),),
                examples=() if dead else (Examples(0.8, 1.0, (top,)), Examples(0.0, 0.2, (low,))),
            )
        )
    sizes = torch.stack([torch.arange(1.0, concepts + 1), torch.arange(concepts, 0.0, -1) / 2])
    return ConceptDashboard(about(**facts), outputs, sizes, sizes * torch.tensor([[-0.5], [1.0]]), tuple(profiles), 7, 22)
