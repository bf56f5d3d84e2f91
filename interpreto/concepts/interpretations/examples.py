"""Examples of concepts that a judge is shown: parts of texts, with the amounts of a concept in their units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.interpretations.held_out import ConceptTexts
from interpreto.inputs.samples import Sample

SAMPLINGS = ("top", "random", "quantile")
MARKED = 0.5
"""Share of the largest amount in an example from which on a unit is marked."""
OPEN, CLOSE = "«", "»"


@dataclass(frozen=True, eq=False)
class Example:
    """A part of a text.

    Attributes:
        text: The part.
        units: Texts of its units.
        spans: Their places in the part.
        amounts: Amount of the concept in each unit.
    """

    text: str
    units: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]
    amounts: Float[Tensor, " u"]

    def marked(self, which: Sequence[bool] | None = None) -> str:
        """Return the text with marks around units: those with much of the concept, or ``which``.

        Examples:
            >>> Example("A fine gem.", ("A", "fine", "gem"), ((0, 1), (2, 6), (7, 10)), torch.tensor([0.0, 1.0, 2.0])).marked()
            'A «fine» «gem».'
        """
        peak = float(self.amounts.max()) if len(self.amounts) else 0.0
        chosen = [peak > 0 and amount >= MARKED * peak for amount in self.amounts.tolist()] if which is None else list(which)
        parts, at = [], 0
        for (start, end), mark in zip(self.spans, chosen, strict=True):
            if mark and start >= at:
                parts += [self.text[at:start], OPEN, self.text[start:end], CLOSE]
                at = end
        return "".join([*parts, self.text[at:]])

    def levels(self, largest: float) -> list[int]:
        """Return the amounts from 0 to 10, where 10 is the largest of all examples."""
        scale = largest if largest > 0 else 1.0
        return [round(10 * min(1.0, max(0.0, amount / scale))) for amount in self.amounts.tolist()]


def example_of(sample: Sample, amounts: Float[Tensor, " u"], context: int | None) -> Example:
    """Return the part of a text around its largest amount.

    Args:
        sample: The text with its units.
        amounts: Amount of the concept in each unit.
        context: Units before and after; None: the whole text.
    """
    spans = list(sample.units.spans)
    peak = int(amounts.argmax()) if len(amounts) else 0
    first, last = (0, len(spans)) if context is None else (max(0, peak - context), min(len(spans), peak + context + 1))
    if first == 0 and last == len(spans) and context is None:
        start, end = 0, len(sample.text)
    else:
        start, end = min(a for a, _ in spans[first:last]), max(b for _, b in spans[first:last])
    kept = tuple((a - start, b - start) for a, b in spans[first:last])
    return Example(sample.text[start:end], tuple(sample.units.texts[first:last]), kept, amounts[first:last])


def chosen_places(texts: ConceptTexts, place: int, k: int, sampling: str, seed: int) -> list[int]:
    """Return the texts of a concept that are shown, out of those that are not held out and in which it is above 0.

    Args:
        texts: The data set.
        place: Column of the concept.
        k: Most texts.
        sampling: ``"top"``, the largest; ``"random"``; or ``"quantile"``, as many of each fifth by rank.
        seed: Seed of what is drawn.
    """
    peaks = texts.peaks[:, place].masked_fill(texts.held, -torch.inf)
    order = [i for i in peaks.argsort(descending=True, stable=True).tolist() if float(peaks[i]) > 0]
    if sampling == "top":
        return order[:k]
    draws = torch.Generator().manual_seed(seed)
    if sampling == "random":
        return [order[i] for i in torch.randperm(len(order), generator=draws)[:k].tolist()]
    groups, found = min(5, max(1, len(order))), []
    for group in range(groups):
        part = order[len(order) * group // groups : len(order) * (group + 1) // groups]
        size = k * (group + 1) // groups - k * group // groups
        found += [part[i] for i in sorted(torch.randperm(len(part), generator=draws)[:size].tolist())]
    return found


def examples_of(texts: ConceptTexts, place: int, places: Sequence[int], context: int | None) -> list[Example]:
    """Return parts of some texts around the largest amount of a concept."""
    codes = texts.codes(places)
    return [example_of(texts.samples[i], own[:, place], context) for i, own in zip(places, codes, strict=True)]


def random_examples(texts: ConceptTexts, place: int, shown: Sequence[Example], context: int | None, seed: int) -> list[Example]:
    """Return as many parts of texts drawn at random, with the amounts of the examples shuffled over them.

    A label that is made from these, in the same way, knows nothing of the concept.
    """
    draws = torch.Generator().manual_seed(seed + 7919 * (place + 1))
    part = (~texts.held).nonzero()[:, 0].tolist()
    places = [part[i] for i in torch.randperm(len(part), generator=draws)[: len(shown)].tolist()]
    found = []
    for i, like in zip(places, shown, strict=False):
        sample = texts.samples[i]
        count = len(sample.units)
        amounts = like.amounts[torch.randint(len(like.amounts), (count,), generator=draws)]
        if count:
            amounts[int(torch.randint(count, (1,), generator=draws))] = like.amounts.max()
        found.append(example_of(sample, amounts, context))
    return found
