"""Whether explanations point where people do; no model is run. What pleases people need not be what the model does."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interpreto.attributions.output import AttributionOutput
from interpreto.errors import InputError, OptionError
from interpreto.metrics.attributions.base import AttributionMetric, Explanations, Finding
from interpreto.metrics.attributions.cases import read_explanations
from interpreto.metrics.ranking import orders
from interpreto.metrics.result import MetricResult


class PlausibilityMetric(AttributionMetric):
    """A comparison with human rationales.

    Args:
        rationales: For each explanation what people marked: character ranges ``(start, end)`` of its text, or for each of
            its elements whether it is marked. A unit is marked when a marked range touches it. Explanations of texts in
            which nothing is marked are skipped.

    Raises:
        InputError: when run on another number of explanations, or a range is none of the text.
    """

    higher_is_better = True
    value_range = (0.0, 1.0)

    def __init__(self, rationales: Sequence[Any]) -> None:
        if isinstance(rationales, str) or not isinstance(rationales, Iterable):
            raise InputError(f"`rationales`: got {rationales!r}; pass one rationale for each explanation, in a list.")
        self._rationales = list(rationales)

    def run(self, explanations: Explanations) -> MetricResult:
        found = read_explanations(explanations)
        if len(found) != len(self._rationales):
            raise InputError(f"`rationales`: got {len(self._rationales)} for {len(found)} explanations; pass one for each.")
        marked = [read_rationale(r, output, i) for i, (r, output) in enumerate(zip(self._rationales, found, strict=True))]
        self.prepare(marked)
        return self.result(
            [[self._row(row, own) for row in output.attributions] for output, own in zip(found, marked, strict=True)]
        )

    def _row(self, values: Float[Tensor, " g"], marked: Bool[Tensor, " g"]) -> Finding:
        known = ~values.isnan()
        if not bool(marked[known].any()):
            return Finding.none("nothing is marked")
        return self.value(values[known].double(), marked[known])

    def prepare(self, marked: Sequence[Tensor]) -> None:
        """What must be known of all rationales first."""

    @abstractmethod
    def value(self, values: Float[Tensor, " g"], marked: Bool[Tensor, " g"]) -> Finding:
        """The comparison of one row."""


class TopUnits(PlausibilityMetric):
    """A comparison with the ``k`` units of largest attribution; of equals, the mean over an order and its reverse.

    Args:
        rationales: See `PlausibilityMetric`.
        k: Units; None: the mean number of marked units over all explanations, rounded, at least 1.
    """

    def __init__(self, rationales: Sequence[Any], *, k: int | None = None) -> None:
        super().__init__(rationales)
        if k is not None and (isinstance(k, bool) or not isinstance(k, int) or k < 1):
            raise OptionError(f"`k`: got {k!r}; pass a whole number of at least 1, or None.")
        self.k, self._used = k, k or 1

    def prepare(self, marked: Sequence[Tensor]) -> None:
        sizes = [int(row.sum()) for row in marked if bool(row.any())]
        self._used = self.k if self.k is not None else max(1, round(sum(sizes) / max(1, len(sizes))))

    def value(self, values: Float[Tensor, " g"], marked: Bool[Tensor, " g"]) -> Finding:
        chosen = [places < self._used for places in orders(values)]
        found = [self.compared(units, marked) for units in chosen]
        return Finding(_mean(found), {"chosen": chosen[0]})

    @abstractmethod
    def compared(self, chosen: Bool[Tensor, " g"], marked: Bool[Tensor, " g"]) -> float:
        """The comparison of the chosen units with the marked ones."""


class TokenF1(TopUnits):
    """Harmonic mean of precision and recall of the units of largest attribution against the marked ones. Higher is better.

    References:
        DeYoung et al., ACL 2020, https://arxiv.org/abs/1911.03429.
    """

    def compared(self, chosen: Bool[Tensor, " g"], marked: Bool[Tensor, " g"]) -> float:
        return 2 * int((chosen & marked).sum()) / (int(chosen.sum()) + int(marked.sum()))


class TokenIoU(TopUnits):
    """Units that are both chosen and marked, over those that are either. Higher is better, in [0, 1].

    References:
        DeYoung et al., ACL 2020, https://arxiv.org/abs/1911.03429.
    """

    def compared(self, chosen: Bool[Tensor, " g"], marked: Bool[Tensor, " g"]) -> float:
        return int((chosen & marked).sum()) / int((chosen | marked).sum())


class IOUF1(TopUnits):
    """F1 over runs of units: a chosen run is right when it overlaps a marked one by half. Higher is better, in [0, 1].

    Precision is the share of chosen runs that match, recall that of marked runs that are matched; the score is the
    harmonic mean of their means over explanations, as ERASER sums up. ``per_sample`` has each explanation's own.

    Args:
        threshold: Least intersection over union of two runs that match.

    References:
        DeYoung et al., ACL 2020, https://arxiv.org/abs/1911.03429.
    """

    def __init__(self, rationales: Sequence[Any], *, k: int | None = None, threshold: int | float = 0.5) -> None:
        super().__init__(rationales, k=k)
        if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not 0 < threshold <= 1:
            raise OptionError(f"`threshold`: got {threshold!r}; pass a share in (0, 1].")
        self.threshold = float(threshold)

    def value(self, values: Float[Tensor, " g"], marked: Bool[Tensor, " g"]) -> Finding:
        chosen = [places < self._used for places in orders(values)]
        precision = _mean([self._matched(runs(units), runs(marked)) for units in chosen])
        recall = _mean([self._matched(runs(marked), runs(units)) for units in chosen])
        found = _mean([self.compared(units, marked) for units in chosen])
        return Finding(found, {"chosen": chosen[0], "precision": precision, "recall": recall})

    def compared(self, chosen: Bool[Tensor, " g"], marked: Bool[Tensor, " g"]) -> float:
        ours, theirs = runs(chosen), runs(marked)
        return _harmonic(self._matched(ours, theirs), self._matched(theirs, ours))

    def _matched(self, of: Sequence[tuple[int, int]], by: Sequence[tuple[int, int]]) -> float:
        """Share of runs that one of the others overlaps."""
        return sum(any(_overlap(a, b) >= self.threshold for b in by) for a in of) / len(of)

    def run(self, explanations: Explanations) -> MetricResult:
        result = super().run(explanations)
        parts = torch.tensor(
            [
                [_mean([v for v in row if v is not None]) for row in result.details.get(name, [])]
                for name in ("precision", "recall")
            ],
            dtype=torch.float64,
        ).T
        return replace(result, score=float(harmonic_mean(parts.nanmean(0))), parts=parts, combined=harmonic_mean)


class AUPRC(PlausibilityMetric):
    """Area under precision over recall while units are chosen in the order of their attribution. Higher is better, in [0, 1].

    Average precision: precision is taken at each recall that is reached, without drawing lines between them. A constant
    attribution gets the share of marked units.

    Args:
        eraser: Draw lines (the trapezoid rule), as ERASER does; where attributions are equal that is too kind.

    References:
        DeYoung et al., ACL 2020, https://arxiv.org/abs/1911.03429.
    """

    def __init__(self, rationales: Sequence[Any], *, eraser: bool = False) -> None:
        super().__init__(rationales)
        self.eraser = eraser

    def value(self, values: Float[Tensor, " g"], marked: Bool[Tensor, " g"]) -> Finding:
        ordered, order = values.sort(descending=True, stable=True)
        hits = marked[order].double().cumsum(0)
        last = torch.cat([ordered[1:] != ordered[:-1], torch.ones(1).bool()])  # of equals, all come at once
        precision = (hits / torch.arange(1, len(hits) + 1))[last]
        recall = (hits / hits[-1])[last]
        recall, precision = torch.cat([recall.new_zeros(1), recall]), torch.cat([precision.new_ones(1), precision])
        drawn = torch.trapezoid(precision, recall) if self.eraser else (recall.diff() * precision[1:]).sum()
        return Finding(float(drawn), {"curves": torch.stack([recall, precision])})


def read_rationale(rationale: Any, output: AttributionOutput, position: int) -> Bool[Tensor, " g"]:
    """Which elements of an explanation are marked."""
    g, name = len(output.elements), f"`rationales[{position}]`"
    values = rationale.tolist() if hasattr(rationale, "tolist") else rationale
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InputError(f"{name}: got {rationale!r}; pass 0 or 1 for each element, or character ranges (start, end).")
    values = [value.tolist() if hasattr(value, "tolist") else value for value in values]
    if values and all(isinstance(value, (bool, int, float)) for value in values):
        if len(values) != g or any(value not in (0, 1) for value in values):
            raise InputError(f"{name}: got {len(values)} values for {g} elements; pass 0 or 1 for each, or character ranges.")
        return torch.tensor([bool(value) for value in values])
    marked = torch.zeros(g).bool()
    for item in values:
        if not _is_range(item, len(output.text)):
            raise InputError(f"{name}: {item!r} is no range (start, end) of its text, which has {len(output.text)} characters.")
        marked |= torch.tensor([a < item[1] and item[0] < b for a, b in output.spans])
    return marked


def _is_range(item: Any, length: int) -> bool:
    whole = isinstance(item, Sequence) and len(item) == 2 and all(isinstance(i, Integral) for i in item)
    return whole and 0 <= item[0] < item[1] <= length


def runs(chosen: Bool[Tensor, " g"]) -> list[tuple[int, int]]:
    """Stretches of chosen units, as (first, one behind the last)."""
    edges = torch.cat([torch.zeros(1), chosen.float(), torch.zeros(1)]).diff()
    return list(zip((edges > 0).nonzero()[:, 0].tolist(), (edges < 0).nonzero()[:, 0].tolist(), strict=True))


def _overlap(a: tuple[int, int], b: tuple[int, int]) -> float:
    both = max(0, min(a[1], b[1]) - max(a[0], b[0]))
    return both / ((a[1] - a[0]) + (b[1] - b[0]) - both)


def _harmonic(a: float, b: float) -> float:
    return 2 * a * b / (a + b) if a + b > 0 else (0.0 if a + b == 0 else math.nan)


def harmonic_mean(parts: Float[Tensor, "*b 2"]) -> Float[Tensor, "*b"]:
    """Of precision and recall; 0 where both are."""
    total = parts.sum(-1)
    return torch.where(total == 0, 0.0, 2 * parts.prod(-1) / total)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
