"""Mean attributions over more texts than fit in memory: sums per unit and target, which add up over shards."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from interpreto.attributions.global_importance import (
    WEIGHTINGS,
    GlobalImportance,
    Occurrence,
    UnitImportance,
    keyed_units,
    values_of,
)
from interpreto.attributions.output import AttributionOutput
from interpreto.errors import InputError
from interpreto.intervals import interval_of_moments
from interpreto.validation import check_choice, check_count, check_flag

LEVEL = 0.95  # of the intervals
TINY = 1e-13  # share of the sum of squares below which the rest of a subtraction is rounding
N, C, CC, CCC, S, SS, SSS, SC, SSC, SCC, SIZE, COUNT = range(12)
"""Places of the sums: of texts, of counts c and values s of a text up to the third order, of magnitudes, of occurrences."""


@dataclass(frozen=True)
class Attributed:
    """The part of an explanation that a mean of attributions needs.

    Attributes:
        text: The text.
        elements: Texts of the units.
        spans: Characters of each unit.
        target_labels: Names of the targets.
        rows: Attributions of the units, for each target.
        signed: Attributions have a sign.
        method: Name of the method.
    """

    text: str
    elements: list[str]
    spans: list[tuple[int, int]]
    target_labels: list[str]
    rows: list[list[float]]
    signed: bool
    method: str


@dataclass
class ImportanceSums:
    """Sums out of which mean attributions and their intervals follow; those of parts of a data set add up.

    Attributes:
        by: What is counted together; see `interpreto.attributions.global_importance.global_importance`.
        fold_case: Count ``Good`` and ``good`` together.
        weighting: ``"text"`` or ``"occurrence"``.
        normalize: Divide the values of a text by the sum of their magnitudes.
    """

    by: str | Callable[[str], str] = "unit"
    fold_case: bool = True
    weighting: str = "text"
    normalize: bool = False
    n_texts: int = 0
    methods: dict[str, None] = field(default_factory=dict)
    targets: dict[str, int] = field(default_factory=dict)
    sums: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._keyed = keyed_units(self.by, check_flag(self.fold_case, "fold_case"))
        self._whole = check_choice(self.weighting, "weighting", WEIGHTINGS) == "occurrence"

    def add(self, explanation: Attributed | AttributionOutput) -> None:
        """Count one explanation."""
        self.n_texts += 1
        self.methods[explanation.method] = None
        for label in dict.fromkeys(explanation.target_labels):
            self.targets[label] = self.targets.get(label, 0) + 1
        own: dict[tuple[str, str], list[float]] = {}
        for name, label, _, value in values_of(explanation, self._keyed(explanation), self.normalize):
            held = own.setdefault((name, label), [0.0, 0.0, 0.0])
            held[0] += 1
            held[1] += value
            held[2] += abs(value)
        for key, (count, total, size) in own.items():
            c, s, z = (count, total, size) if self._whole else (1.0, total / count, size / count)
            sums = self.sums.setdefault(key, [0.0] * 12)
            terms = (1.0, c, c * c, c**3, s, s * s, s**3, s * c, s * s * c, s * c * c, z, count)
            for i, term in enumerate(terms):
                sums[i] += term

    def merge(self, other: ImportanceSums) -> None:
        """Add the sums of other texts, of the same options."""
        self.n_texts += other.n_texts
        self.methods |= other.methods
        for label, count in other.targets.items():
            self.targets[label] = self.targets.get(label, 0) + count
        for key, terms in other.sums.items():
            sums = self.sums.setdefault(key, [0.0] * 12)
            for i, term in enumerate(terms):
                sums[i] += term

    def result(self, min_count: int = 1, examples: Sequence[AttributionOutput] = ()) -> GlobalImportance:
        """Return the means with their intervals.

        Args:
            min_count: Texts that a unit must occur in, for a target.
            examples: Explanations whose occurrences are shown.

        Raises:
            InputError: nothing was counted.
        """
        if not self.n_texts:
            raise InputError("`explanations`: got none; there is nothing to average.")
        least = check_count(min_count, "min_count")
        places = self._occurrences(examples)
        rows = [_row(*key, sums, tuple(places.get(key, ()))) for key, sums in self.sums.items() if sums[N] >= least]
        rows.sort(key=lambda row: (-abs(row.mean), row.unit))
        targets = sorted(self.targets, key=lambda label: (-self.targets[label], label))
        methods = " + ".join(self.methods)
        return GlobalImportance(tuple(rows), tuple(targets), methods, self.n_texts, tuple(examples), self.normalize, least)

    def _occurrences(self, examples: Iterable[AttributionOutput]) -> dict[tuple[str, str], list[Occurrence]]:
        found: dict[tuple[str, str], list[Occurrence]] = {}
        for i, explanation in enumerate(examples):
            for name, label, units, value in values_of(explanation, self._keyed(explanation), self.normalize):
                found.setdefault((name, label), []).append(Occurrence(i, units, value))
        return found


def _row(unit: str, target: str, sums: list[float], occurrences: tuple[Occurrence, ...]) -> UnitImportance:
    """Return the mean of one unit; its interval is that of a ratio of sums, from their moments."""
    n, c = sums[N], sums[C]
    mean = sums[S] / c
    scale, raw = c / n, sums[SS] + mean * mean * sums[CC]
    second = sums[SS] - 2 * mean * sums[SC] + mean**2 * sums[CC]
    third = sums[SSS] - 3 * mean * sums[SSC] + 3 * mean**2 * sums[SCC] - mean**3 * sums[CCC]
    if n < 2:
        low = high = math.nan
    else:
        spread = 0.0 if second <= TINY * raw else math.sqrt(second / (n - 1)) / scale
        skewness = 0.0 if spread == 0 else third / n / scale**3 / spread**3 * (n / (n - 1)) ** 1.5
        low, high = interval_of_moments(int(n), mean, spread, skewness, LEVEL)
    texts = tuple(dict.fromkeys(place.text_id for place in occurrences))
    return UnitImportance(unit, target, mean, low, high, sums[SIZE] / c, int(n), int(sums[COUNT]), texts, occurrences)
