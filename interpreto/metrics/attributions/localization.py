"""Agreement of attributions with where the evidence is: boxes and masks of images, ranges of texts; no model is run."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interpreto.errors import InputError
from interpreto.metrics.attributions.base import AttributionMetric, CaseResult, Explanations
from interpreto.metrics.attributions.cases import read_explanations
from interpreto.metrics.attributions.rationales import read_place, read_rationale
from interpreto.metrics.result import MetricResult
from interpreto.validation import shown


class LocalizationMetric(AttributionMetric):
    """A comparison with where the evidence is: pixels of images are counted, and units of texts.

    Args:
        places: For each explanation of an image a box ``(top, left, bottom, right)`` in pixels of the image that the model
            reads, the ends not included; a list of such boxes; or a mask ``(h, w)``, True at the object. For each explanation
            of a text, a list of character ranges ``(start, end)``, or for each of its elements whether it is marked; a unit is
            in a range that overlaps it.

    Raises:
        InputError: When run on another number of explanations, or where a place is not in its image or text.
    """

    needs = "rationales"
    higher_is_better = True
    value_range = (0.0, 1.0)

    def __init__(self, places: Sequence[Any]) -> None:
        if isinstance(places, str) or not isinstance(places, Iterable):
            raise InputError(f"`places`: got {shown(places)}; pass a box or a mask for each explanation, in a list.")
        self._places = list(places)

    def run(self, explanations: Explanations) -> MetricResult:
        outputs = read_explanations(explanations)
        if len(outputs) != len(self._places):
            raise InputError(f"`places`: got {len(self._places)} for {len(outputs)} explanations; pass one for each.")
        found = []
        for i, (place, output) in enumerate(zip(self._places, outputs, strict=True)):
            picture = output.sample.picture
            if picture is None:
                inside, maps = read_rationale(place, output, i, "places"), output.attributions.double()
            else:
                inside, maps = read_place(place, output, i), map(picture.spread, output.attributions.double())
            found.append([self._value(values, inside) for values in maps])
        return self.summarize(found)

    def _value(self, values: Float[Tensor, "*p"], inside: Bool[Tensor, "*p"]) -> CaseResult:
        known = ~values.isnan()
        if not bool(inside[known].any()) or bool(inside[known].all()):
            return CaseResult.undefined("the evidence is nowhere, or everywhere")
        return CaseResult(self.compare(values[known], inside[known]))

    @abstractmethod
    def compare(self, values: Float[Tensor, " p"], inside: Bool[Tensor, " p"]) -> float:
        """Return the agreement of the values of pixels, or units, with whether they are in the place."""


class PointGame(LocalizationMetric):
    """Share of the pixels of largest attribution that are in the object: 1 for a hit, 0 for a miss. Higher is better.

    Of texts, the units of largest attribution, and the marked ranges. Where the largest value has pixels inside and outside, as
    a unit at the edge has, their share is taken: what a point that is drawn there hits on average. A constant attribution gets
    the object's share of the area, and so does a random one on average.

    References:
        Zhang et al., IJCV 2018, https://doi.org/10.1007/s11263-017-1059-x.
    """

    def compare(self, values: Float[Tensor, " p"], inside: Bool[Tensor, " p"]) -> float:
        return float(inside[values == values.max()].double().mean())


class PointGameAUC(LocalizationMetric):
    """Probability that a pixel in the object has a larger attribution than one outside; half for equal ones. Higher is better.

    Of texts, a unit in the marked ranges than another one. The area under the ROC curve of all thresholds, where the point game
    has one. A constant attribution gets ½.

    References:
        Fawcett, Pattern Recognition Letters 2006, https://doi.org/10.1016/j.patrec.2005.10.010.
    """

    def compare(self, values: Float[Tensor, " p"], inside: Bool[Tensor, " p"]) -> float:
        distinct, rank = values.unique(return_inverse=True)
        pixels = torch.zeros(2, len(distinct), dtype=torch.float64)
        pixels[0].index_add_(0, rank, inside.double())
        pixels[1].index_add_(0, rank, (~inside).double())
        below = pixels[1].cumsum(0) - pixels[1] / 2  # pixels outside with a smaller value, and half of those with an equal one
        return float((pixels[0] * below).sum() / (pixels[0].sum() * pixels[1].sum()))
