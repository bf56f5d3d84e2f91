"""Agreement of attributions with human rationales; no model is run. Plausible explanations need not be faithful."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interpreto.errors import InputError, OptionError
from interpreto.metrics.attributions.base import AttributionMetric, CaseResult, Explanations
from interpreto.metrics.attributions.cases import read_explanations
from interpreto.metrics.attributions.rationales import read_rationale
from interpreto.metrics.ranking import orders
from interpreto.metrics.result import MetricResult
from interpreto.validation import check_flag, check_optional_count, is_number


class PlausibilityMetric(AttributionMetric):
    """A comparison with human rationales.

    Args:
        rationales: For each explanation the marked character ranges ``(start, end)`` of its text, or for each of its elements
            whether it is marked. A unit is marked when a marked range overlaps it. Of an image, a place as `PointGame` takes
            it: a unit is marked where at least half of its pixels are in the object. Explanations of inputs in which nothing
            is marked are skipped.

    Raises:
        InputError: When run on another number of explanations, or a range is not within the text.
    """

    needs = "rationales"
    higher_is_better = True
    value_range = (0.0, 1.0)

    def __init__(self, rationales: Sequence[Any]) -> None:
        if isinstance(rationales, str) or not isinstance(rationales, Iterable):
            raise InputError(f"`rationales`: got {rationales!r}; pass one rationale for each explanation, in a list.")
        self._rationales = list(rationales)

    def run(self, explanations: Explanations) -> MetricResult:
        outputs = read_explanations(explanations)
        if len(outputs) != len(self._rationales):
            raise InputError(f"`rationales`: got {len(self._rationales)} for {len(outputs)} explanations; pass one for each.")
        marked = [read_rationale(r, output, i) for i, (r, output) in enumerate(zip(self._rationales, outputs, strict=True))]
        sizes = [int(own.sum()) for own in marked if bool(own.any())]
        size = max(1, round(sum(sizes) / max(1, len(sizes))))
        return self.summarize(
            [[self._value(v, own, size) for v in output.attributions] for output, own in zip(outputs, marked, strict=True)]
        )

    def _value(self, values: Float[Tensor, " g"], marked: Bool[Tensor, " g"], size: int) -> CaseResult:
        known = ~values.isnan()
        if not bool(marked[known].any()):
            return CaseResult.undefined("nothing is marked")
        return self.compare(values[known].double(), marked[known], size)

    @abstractmethod
    def compare(self, values: Float[Tensor, " g"], marked: Bool[Tensor, " g"], size: int) -> CaseResult:
        """Return the agreement of one target's attributions with a rationale.

        Args:
            values: The attributions.
            marked: The rationale.
            size: Mean number of marked units over all explanations, rounded, at least 1.
        """


class TopUnitsMetric(PlausibilityMetric):
    """A comparison with the ``k`` units of largest attribution; of equal values, the mean over an order and its reverse.

    Args:
        rationales: The human rationales; see `PlausibilityMetric`.
        k: Number of units; None: the mean number of marked units over all explanations, rounded, at least 1.
    """

    def __init__(self, rationales: Sequence[Any], *, k: int | None = None) -> None:
        super().__init__(rationales)
        self.k = check_optional_count(k, "k")

    def compare(self, values: Float[Tensor, " g"], marked: Bool[Tensor, " g"], size: int) -> CaseResult:
        chosen = [places < (self.k or size) for places in orders(values)]
        found = [self.agreement(units, marked) for units in chosen]
        details = {name: sum(d[name] for _, d in found) / len(found) for name in found[0][1]}
        return CaseResult(sum(value for value, _ in found) / len(found), {"chosen": chosen[0], **details})

    @abstractmethod
    def agreement(self, chosen: Bool[Tensor, " g"], marked: Bool[Tensor, " g"]) -> tuple[float, dict[str, float]]:
        """Return the agreement of the chosen units with the marked ones, and further numbers by name."""


class TokenF1(TopUnitsMetric):
    """Harmonic mean of precision and recall of the units of largest attribution against the marked ones. Higher is better.

    References:
        DeYoung et al., ACL 2020, https://arxiv.org/abs/1911.03429.
    """

    def agreement(self, chosen: Bool[Tensor, " g"], marked: Bool[Tensor, " g"]) -> tuple[float, dict[str, float]]:
        return 2 * int((chosen & marked).sum()) / (int(chosen.sum()) + int(marked.sum())), {}


class TokenIoU(TopUnitsMetric):
    """Number of units that are both chosen and marked, over those that are either. Higher is better, in [0, 1].

    References:
        DeYoung et al., ACL 2020, https://arxiv.org/abs/1911.03429.
    """

    def agreement(self, chosen: Bool[Tensor, " g"], marked: Bool[Tensor, " g"]) -> tuple[float, dict[str, float]]:
        return int((chosen & marked).sum()) / int((chosen | marked).sum()), {}


def harmonic_mean(parts: Float[Tensor, "*b 2"]) -> Float[Tensor, "*b"]:
    """Return the harmonic mean of precision and recall; 0 where both are."""
    total = parts.sum(-1)
    return torch.where(total == 0, 0.0, 2 * parts.prod(-1) / total)


class IOUF1(TopUnitsMetric):
    """F1 over runs of units: a chosen run is correct when it overlaps a marked one by half. Higher is better, in [0, 1].

    Precision is the share of chosen runs that match, recall that of marked runs that are matched; the score is the
    harmonic mean of their means over explanations, as in ERASER. ``per_sample`` has each explanation's own.

    Args:
        rationales: The human rationales; see `PlausibilityMetric`.
        k: Number of units; see `TopUnitsMetric`.
        threshold: Least intersection over union of two runs that match.

    References:
        DeYoung et al., ACL 2020, https://arxiv.org/abs/1911.03429.
    """

    combined = staticmethod(harmonic_mean)
    combined_parts = ("precision", "recall")

    def __init__(self, rationales: Sequence[Any], *, k: int | None = None, threshold: int | float = 0.5) -> None:
        super().__init__(rationales, k=k)
        if not is_number(threshold) or not 0 < threshold <= 1:
            raise OptionError(f"`threshold`: got {threshold!r}; pass a share in (0, 1].")
        self.threshold = float(threshold)

    def run(self, explanations: Explanations) -> MetricResult:
        outputs = read_explanations(explanations)
        if any(output.sample.picture is not None for output in outputs):
            raise InputError("`explanations`: IOUF1 counts runs of words, and images have none; use TokenIoU or PointGame.")
        return super().run(outputs)

    def agreement(self, chosen: Bool[Tensor, " g"], marked: Bool[Tensor, " g"]) -> tuple[float, dict[str, float]]:
        ours, theirs = runs(chosen), runs(marked)
        precision, recall = self._matched(ours, theirs), self._matched(theirs, ours)
        found = float(harmonic_mean(torch.tensor([precision, recall], dtype=torch.float64)))
        return found, {"precision": precision, "recall": recall}

    def _matched(self, of: Sequence[tuple[int, int]], by: Sequence[tuple[int, int]]) -> float:
        """Return the share of runs that one of the others overlaps."""
        return sum(any(_overlap(a, b) >= self.threshold for b in by) for a in of) / len(of)


class AUPRC(PlausibilityMetric):
    """Area under precision over recall while units are chosen by their attribution. Higher is better, in [0, 1].

    Average precision: precision is taken at each recall that is reached, without interpolation. A constant attribution gets
    the share of marked units.

    Args:
        rationales: The human rationales; see `PlausibilityMetric`.
        eraser: Interpolate linearly (the trapezoid rule), as ERASER does; where attributions are equal that is too high.

    References:
        DeYoung et al., ACL 2020, https://arxiv.org/abs/1911.03429.
    """

    def __init__(self, rationales: Sequence[Any], *, eraser: bool = False) -> None:
        super().__init__(rationales)
        self.eraser = check_flag(eraser, "eraser")

    def compare(self, values: Float[Tensor, " g"], marked: Bool[Tensor, " g"], size: int) -> CaseResult:
        ordered, order = values.sort(descending=True, stable=True)
        hits = marked[order].double().cumsum(0)
        last = torch.cat([ordered[1:] != ordered[:-1], torch.ones(1).bool()])  # equal values are chosen together
        precision = (hits / torch.arange(1, len(hits) + 1))[last]
        recall = (hits / hits[-1])[last]
        recall, precision = torch.cat([recall.new_zeros(1), recall]), torch.cat([precision.new_ones(1), precision])
        drawn = torch.trapezoid(precision, recall) if self.eraser else (recall.diff() * precision[1:]).sum()
        return CaseResult(float(drawn), {"curves": torch.stack([recall, precision])})


def runs(chosen: Bool[Tensor, " g"]) -> list[tuple[int, int]]:
    """Return runs of chosen units, as (first, one after the last)."""
    edges = torch.cat([torch.zeros(1), chosen.float(), torch.zeros(1)]).diff()
    return list(zip((edges > 0).nonzero()[:, 0].tolist(), (edges < 0).nonzero()[:, 0].tolist(), strict=True))


def _overlap(a: tuple[int, int], b: tuple[int, int]) -> float:
    both = max(0, min(a[1], b[1]) - max(a[0], b[0]))
    return both / ((a[1] - a[0]) + (b[1] - b[0]) - both)
