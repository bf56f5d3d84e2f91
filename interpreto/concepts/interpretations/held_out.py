"""Texts with the amounts of concepts in them, in two parts: one to make labels from, one to score them on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interpreto.concepts.activations import check_finite, read_activations
from interpreto.concepts.base import ConceptExplainer
from interpreto.concepts.distinctive_words import WORD
from interpreto.concepts.splitters.granularities import ActivationGranularity, Unit, read_unit
from interpreto.errors import InputError, OptionError
from interpreto.inputs.forms import is_single
from interpreto.inputs.samples import Sample
from interpreto.inputs.units import GranularityAggregationStrategy
from interpreto.validation import check_probability, check_seed

MEAN = GranularityAggregationStrategy.MEAN
WINDOW = 256  # texts whose activations are computed together
CELLS = 2**28  # texts × concepts that are held
LEAST = 5
"""Texts with a concept, and without it, below which nothing is made or scored."""


@dataclass(frozen=True)
class TextSplit:
    """Tell held-out texts from those that labels are made from, by the text alone.

    The part of a text follows from its set of words, whatever the data set it is in: a label that was made on one data set
    and is scored on another never meets its own texts, nor texts that differ from them in marks, case or order only.

    Args:
        share: Share of the texts that are held out.
        random_state: Another split for another number.

    Examples:
        >>> split = TextSplit()
        >>> split.held_out("A gem.") == split.held_out("a GEM!")
        True
    """

    share: float = 0.5
    random_state: int = 0

    def __post_init__(self) -> None:
        check_probability(self.share, "held_out", zero=False, one=False)
        check_seed(self.random_state)

    def held_out(self, text: str) -> bool:
        """Return True if a text is held out."""
        digest = hashlib.sha256(f"{self.random_state} {words_key(text)}".encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") < self.share * 2**64


def words_key(text: str) -> str:
    """Return what equal texts share: their words without order, number and case; the text where it has no word."""
    return " ".join(sorted({word.casefold() for word in WORD.findall(text)})) or text.strip()


@dataclass(frozen=True, eq=False)
class ConceptTexts:
    """Distinct texts of a data set, and the largest amount of each concept in each.

    Attributes:
        explainer: Whose concepts they are.
        concepts: Their numbers.
        samples: The texts with their units.
        peaks: Largest amount over the units of each text.
        split: Which texts are held out.
        quantile: Share of the texts below the threshold from which on a concept counts as active.
        given: Amounts in the units of each text, where they were given; None: computed again where they are needed.
    """

    explainer: ConceptExplainer
    concepts: list[int]
    samples: list[Sample]
    peaks: Float[Tensor, "n c"]
    split: TextSplit
    quantile: float
    given: list[Tensor] | None = None

    @property
    def texts(self) -> list[str]:
        """Return the texts."""
        return [sample.text for sample in self.samples]

    @cached_property
    def held(self) -> Bool[Tensor, " n"]:
        """Return which texts are held out."""
        return torch.tensor([self.split.held_out(text) for text in self.texts], dtype=torch.bool)

    @cached_property
    def thresholds(self) -> Float[Tensor, " c"]:
        """Return the amount above which each concept counts as active: its quantile over the part that is not held out."""
        part = self.peaks[~self.held]
        if not len(part):
            return torch.zeros(self.peaks.shape[1])
        at = min(len(part) - 1, int(self.quantile * len(part)))
        return part.sort(dim=0).values[at].clamp(min=0)

    @cached_property
    def active(self) -> Bool[Tensor, "n c"]:
        """Return in which texts each concept is active: above the threshold, or at it where that is the largest of all."""
        thresholds = self.thresholds
        saturated = (self.peaks[~self.held] > thresholds).sum(0) < LEAST if bool((~self.held).any()) else thresholds < 0
        return (self.peaks > thresholds) | (saturated & (thresholds > 0) & (self.peaks >= thresholds))

    def obstacle(self, place: int, held: bool) -> str | None:
        """Return why a concept cannot be labeled or scored in a part; None: it can."""
        part = self.active[self.held if held else ~self.held, place]
        positive = int(part.sum())
        what = "held-out texts" if held else "texts"
        if positive < LEAST:
            return f"active in {positive} of {len(part)} {what}; at least {LEAST} are needed"
        return None if len(part) - positive >= LEAST else f"not active in {len(part) - positive} {what} only"

    def codes(self, places: Sequence[int]) -> list[Float[Tensor, "u c"]]:
        """Return the amounts of the concepts in the units of some texts."""
        if self.given is not None:
            return [self.given[i] for i in places]
        samples = [self.samples[i] for i in places]
        if not samples:
            return []
        with torch.no_grad():
            rows = self.explainer.own_splitter().activations_of(samples, MEAN, self.explainer.split_point)
            codes = self.explainer.encode_activations(rows)[:, self.concepts].float().cpu()
        return list(codes.split([len(sample.units) for sample in samples]))


def read_texts(
    explainer: ConceptExplainer,
    inputs: Any,
    latent_activations: Any,
    concepts: list[int],
    *,
    unit: Unit,
    split: TextSplit,
    quantile: float,
    concepts_activations: Tensor | None = None,
) -> ConceptTexts:
    """Return the distinct texts of a data set with the largest amount of each concept.

    Args:
        explainer: Fitted concepts.
        inputs: The data set, in any form that the splitter reads, or its samples.
        latent_activations: Activations of the units, in order: a tensor, a dict by split point, a store; None: computed.
        concepts: Which concepts.
        unit: The unit.
        split: Which texts are held out.
        quantile: See `ConceptTexts`.
        concepts_activations: Amounts ``(n, c)`` of all concepts in the units, in place of activations.

    Raises:
        InputError: rows and units are of different numbers, rows are not finite, or there is one text only.
        OptionError: there are more texts × concepts than can be held.
    """
    samples = _samples(explainer, inputs, unit)
    if len(samples) * len(concepts) > CELLS:
        raise OptionError(
            f"`concepts_indices`: {len(concepts)} concepts × {len(samples)} texts are more than the {CELLS} numbers that are "
            "held; ask for fewer at a time."
        )
    parts = _codes(explainer, samples, latent_activations, concepts, concepts_activations)
    keeps = concepts_activations is not None
    peaks, kept, given, seen = [], [], [], set()
    for sample, codes in zip(samples, parts, strict=True):
        if sample.text in seen:
            continue
        seen.add(sample.text)
        kept.append(sample)
        peaks.append(codes.amax(0) if len(codes) else codes.new_zeros(codes.shape[1]))
        given += [codes.clone()] if keeps else []
    if len(kept) < 2:
        raise InputError(f"`inputs`: {len(kept)} different text; labels need a data set.")
    return ConceptTexts(explainer, concepts, kept, torch.stack(peaks), split, quantile, given if keeps else None)


def read_text_unit(explainer: ConceptExplainer, granularity: Any) -> Unit:
    """Return the unit of a row; None: words, or texts where the splitter has one row per text."""
    if granularity is None:
        per_text = getattr(explainer.splitter, "default_granularity", None) is ActivationGranularity.SAMPLE
        granularity = ActivationGranularity.SAMPLE if per_text else ActivationGranularity.WORD
    return read_unit(granularity)


def _samples(explainer: ConceptExplainer, inputs: Any, unit: Unit) -> list[Sample]:
    if inputs is None or is_single(inputs):
        raise InputError("`inputs`: labels are made from a data set; pass its texts.")
    splitter = explainer.own_splitter()
    if isinstance(inputs, (list, tuple)) and inputs and all(isinstance(item, Sample) for item in inputs):
        return list(inputs)
    return list(splitter.iter_read(inputs, unit))


def _codes(
    explainer: ConceptExplainer,
    samples: list[Sample],
    latent_activations: Any,
    concepts: list[int],
    concepts_activations: Tensor | None,
) -> Iterator[Float[Tensor, "u c"]]:
    """Yield the amounts of the concepts in the units of each text."""
    sizes = [len(sample.units) for sample in samples]
    if concepts_activations is not None:
        rows = check_finite(concepts_activations)
        _check_count("concepts_activations", len(rows), sum(sizes))
        yield from rows[:, concepts].float().cpu().split(sizes)
        return
    if latent_activations is None:
        splitter = explainer.own_splitter()
        for start in range(0, len(samples), WINDOW):
            part = samples[start : start + WINDOW]
            with torch.no_grad():
                rows = explainer.encode_activations(splitter.activations_of(part, MEAN, explainer.split_point))
            yield from check_finite(rows)[:, concepts].float().cpu().split([len(sample.units) for sample in part])
        return
    read = read_activations(latent_activations, explainer.split_point, explainer.device)
    _check_count("latent_activations", read.n, sum(sizes))
    stream = _rows(explainer, read.batches(4096), concepts)
    for size in sizes:
        own = list(islice(stream, size))
        yield torch.stack(own) if own else torch.zeros(0, len(concepts))


def _rows(explainer: ConceptExplainer, batches: Any, concepts: list[int]) -> Iterator[Tensor]:
    for batch in batches:
        with torch.no_grad():
            codes = explainer.encode_activations(check_finite(batch))[:, concepts].float().cpu()
        yield from codes


def _check_count(option: str, rows: int, units: int) -> None:
    if rows != units:
        raise InputError(f"`{option}`: has {rows} rows, and the inputs have {units} units; pass those of these inputs.")
