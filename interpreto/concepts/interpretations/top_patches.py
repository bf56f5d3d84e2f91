"""Interpret concepts of images by the patches of largest activation, and by maps over an image."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.base import ConceptExplainer
from interpreto.concepts.interpretations.base import Interpretation
from interpreto.concepts.splitters.granularities import ActivationGranularity
from interpreto.errors import OptionError
from interpreto.inputs.pictures import Picture
from interpreto.inputs.samples import Sample
from interpreto.validation import check_count, is_whole, shown

WINDOW = 64  # images whose activations are computed together


@dataclass(frozen=True, eq=False)
class ConceptPatch:
    """A part of an image in which a concept is large.

    Attributes:
        picture: The image, as the model reads it.
        image: Number of the image among the inputs.
        unit: Name of the patch, such as ``"row 3, column 5"``.
        activation: Amount of the concept there.
        box: ``(top, left, bottom, right)`` in pixels, the ends not included.
    """

    picture: Picture
    image: int
    unit: str
    activation: float
    box: tuple[int, int, int, int]

    def crop(self, margin: int = 0) -> Any:
        """Return the bytes ``(h, w, 3)`` of the patch, with so many pixels of the image around it."""
        top, left, bottom, right = self.box
        return self.picture.shown[max(0, top - margin) : bottom + margin, max(0, left - margin) : right + margin].numpy()


class TopPatches(Interpretation):
    """Interpret concepts of an image model by the ``k`` patches in which each is largest.

    Args:
        concept_explainer: Fitted concepts of patches, or of places of maps.
        k: Patches per concept; fewer, where there are no more.
        per_image: Most patches of one image.

    Raises:
        OptionError: the concepts are those of a model of texts.

    Examples:
        >>> from interpreto import ModelWithSplitPoints, demo
        >>> from interpreto.concepts import NMFConcepts
        >>> from interpreto.concepts.interpretations import TopPatches
        >>> model, processor = demo.load_image_classifier()
        >>> images = [drawn.image for drawn in demo.load_images(4)]
        >>> splitter = ModelWithSplitPoints(model, 2, tokenizer=processor)
        >>> concepts = NMFConcepts(splitter, nb_concepts=3, force_relu=True).fit(splitter.get_activations(images))
        >>> found = TopPatches(concepts, k=2).interpret(images)
        >>> {concept: len(patches) for concept, patches in found.items()}, found[0][0].crop().shape
        ({0: 2, 1: 2, 2: 2}, (8, 8, 3))

    References:
        Fel et al., CVPR 2023, https://arxiv.org/abs/2211.10154.
    """

    def __init__(self, concept_explainer: ConceptExplainer, k: int = 5, *, per_image: int = 1) -> None:
        self.concept_explainer, self.splitter = concept_explainer, concept_explainer.own_splitter()
        self.k, self.per_image = check_count(k, "k"), check_count(per_image, "per_image")

    def interpret(self, inputs: Any, concepts_indices: Any = "all") -> dict[int, list[ConceptPatch] | None]:
        """Return the patches of largest activation of each concept, the largest first; None where none is above 0.

        Args:
            inputs: Images, in any form that a splitter reads.
            concepts_indices: Which concepts: a number, several, or ``"all"``.
        """
        wanted = _read_concepts(concepts_indices, self.concept_explainer.nb_concepts)
        best: dict[int, list[tuple[float, int, ConceptPatch]]] = {concept: [] for concept in wanted}
        for number, (sample, codes) in enumerate(_codes(self.concept_explainer, inputs)):
            for concept in wanted:
                values, units = codes[:, concept].topk(min(self.per_image, len(codes)))
                for value, unit in zip(values.tolist(), units.tolist(), strict=True):
                    held = best[concept]
                    if value > 0 and (len(held) < self.k or value > held[0][0]):
                        place = -(number * len(codes) + unit)  # of equal values the first stays
                        item = (value, place, _patch(sample, number, unit, value))
                        (heapq.heappush if len(held) < self.k else heapq.heappushpop)(held, item)
        return {concept: [patch for *_, patch in sorted(held, reverse=True)] or None for concept, held in best.items()}


def concept_maps(concept_explainer: ConceptExplainer, inputs: Any) -> list[Float[Tensor, "c h w"]]:
    """Return the amount of each concept at each pixel of images, NaN at pixels in no patch.

    Args:
        concept_explainer: Fitted concepts of patches, or of places of maps.
        inputs: Images, in any form that a splitter reads.

    Returns:
        Maps ``(c, h, w)`` of each image, in the unit of the concepts' activations.
    """
    concept_explainer.own_splitter()
    found = []
    for sample, codes in _codes(concept_explainer, inputs):
        assert sample.picture is not None
        found.append(sample.picture.spread(codes.T))
    return found


def concept_amounts(concept_explainer: ConceptExplainer, inputs: Any) -> list[Float[Tensor, "u c"]]:
    """Return the amount of each concept in each patch of images, in the unit of the concepts' activations."""
    concept_explainer.own_splitter()
    return [codes for _, codes in _codes(concept_explainer, inputs)]


def _codes(explainer: ConceptExplainer, inputs: Any) -> Iterator[tuple[Sample, Float[Tensor, "u c"]]]:
    """Yield each image with the concepts of its patches."""
    splitter: Any = explainer.own_splitter()
    samples = iter(splitter.iter_samples(inputs, ActivationGranularity.TOKEN))
    while part := list(islice(samples, WINDOW)):
        if part[0].picture is None:
            raise OptionError(
                f"`concept_explainer`: {type(splitter.model).__name__} reads texts, which have no patches; use TopKInputs."
            )
        with torch.no_grad():
            rows = splitter.activations_of(part, split_point=explainer.split_point)
            codes = explainer.encode_activations(rows).float().cpu()
        yield from zip(part, codes.split([len(sample.units) for sample in part]), strict=True)


def _patch(sample: Sample, number: int, unit: int, value: float) -> ConceptPatch:
    picture = sample.picture
    assert picture is not None
    rows, columns = np.nonzero(picture.regions.numpy() == unit)
    box = int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1
    return ConceptPatch(picture, number, sample.units.texts[unit], value, box)


def _read_concepts(value: Any, count: int) -> Sequence[int]:
    if isinstance(value, str) and value == "all":
        return range(count)
    found: list[Any] = [value] if is_whole(value) else list(value)
    if any(not is_whole(one) or not 0 <= one < count for one in found):
        raise OptionError(f"`concepts_indices`: got {shown(value)}; there are concepts 0 to {count - 1}.")
    return [int(one) for one in found]
