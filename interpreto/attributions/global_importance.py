"""Summaries of many explanations: the mean attribution of each unit, and where two methods or models disagree."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from interpreto.attributions.output import AttributionOutput
from interpreto.errors import InputError, OptionError
from interpreto.intervals import mean_interval
from interpreto.statistics import spearman
from interpreto.validation import check_count, shown

if TYPE_CHECKING:
    import pandas

LEVEL = 0.95  # of the intervals
PARTS = 3  # units on which a text's explanations disagree most


@dataclass(frozen=True)
class UnitImportance:
    """The mean attribution of one unit for one target over texts.

    Attributes:
        unit: The key that occurrences are counted under.
        target: The name of the target.
        mean: Mean over texts of the unit's attribution; of a text with several occurrences, their mean.
        low: Lower end of the 95 % interval of ``mean``; NaN for one text.
        high: Its upper end.
        mean_magnitude: Mean over texts of the attribution without its sign.
        n_texts: Texts that the unit occurs in.
        n_occurrences: Its occurrences in them.
        text_ids: Positions of these texts among the explanations.
    """

    unit: str
    target: str
    mean: float
    low: float
    high: float
    mean_magnitude: float
    n_texts: int
    n_occurrences: int
    text_ids: tuple[int, ...]

    @property
    def is_sure(self) -> bool:
        """Return True if the interval does not contain 0."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, eq=False)
class GlobalImportance:
    """Mean attributions over many texts.

    Attributes:
        rows: One per unit and target, by descending magnitude of the mean.
        targets: Names of the targets, by descending number of texts.
        method: Names of the methods.
        n_texts: Number of explanations.
    """

    rows: tuple[UnitImportance, ...]
    targets: tuple[str, ...]
    method: str
    n_texts: int

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[UnitImportance]:
        return iter(self.rows)

    def top(self, k: int = 10, target: str | None = None, *, sign: int = 0) -> list[UnitImportance]:
        """Return the ``k`` units of largest mean.

        Args:
            k: How many.
            target: The name of a target; None: the first.
            sign: 1 for units that raise the score, -1 for units that lower it, 0 for both.

        Raises:
            OptionError: there is no such target.
        """
        name = (self.targets[0] if self.targets else None) if target is None else target
        if name not in self.targets:
            raise OptionError(f"`target`: got {shown(target)}; there are {', '.join(map(repr, self.targets)) or 'none'}.")
        chosen = [row for row in self.rows if row.target == name and row.mean * sign >= 0]
        return chosen[: check_count(k, "k")]

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a table with one row per unit and target.

        Returns:
            Columns ``target``, ``unit``, ``mean``, ``low``, ``high``, ``mean_magnitude``, ``n_texts``, ``n_occurrences``.

        Raises:
            OptionError: pandas is not installed.
        """
        try:
            import pandas  # noqa: PLC0415  # optional
        except ImportError as error:
            raise OptionError("`to_dataframe`: pandas is not installed; run `pip install pandas`.") from error
        names = ["target", "unit", "mean", "low", "high", "mean_magnitude", "n_texts", "n_occurrences"]
        return pandas.DataFrame([[getattr(row, name) for name in names] for row in self.rows], columns=names)

    def __repr__(self) -> str:
        best = ", ".join(f"{row.unit!r} {row.mean:+.3g} ({row.n_texts})" for row in self.rows[:5])
        return f"GlobalImportance({self.method}, {self.n_texts} texts, {len(self.targets)} targets: {best})"


def global_importance(
    explanations: Sequence[AttributionOutput], by: str | Callable[[str], str] = "unit", min_count: int = 1
) -> GlobalImportance:
    """Average the attributions of equal units over texts. A text counts once per unit, however often the unit occurs in it.

    Args:
        explanations: Explanations of any texts.
        by: ``"unit"``: units that are equal in any case; ``"exact"``: units that are equal; or a function from the text of
            a unit to the key that it is counted under, empty to leave it out.
        min_count: Texts that a unit must occur in, for a target.

    Raises:
        InputError: there are no explanations.
        OptionError: ``by`` is neither a name nor a function.
    """
    if not explanations:
        raise InputError("`explanations`: got none; there is nothing to average.")
    key, least = _read_key(by), check_count(min_count, "min_count")
    found: dict[tuple[str, str], dict[int, list[float]]] = {}
    texts: dict[str, set[int]] = {}
    for i, explanation in enumerate(explanations):
        for label, values in zip(explanation.target_labels, explanation.attributions.tolist(), strict=True):
            texts.setdefault(label, set()).add(i)
            for element, value in zip(explanation.elements, values, strict=True):
                name = key(element)
                if name and not math.isnan(value):  # else the target cannot depend on the unit
                    found.setdefault((name, label), {}).setdefault(i, []).append(value)
    rows = [_row(unit, target, values) for (unit, target), values in found.items() if len(values) >= least]
    rows.sort(key=lambda row: (-abs(row.mean), row.unit))
    order = sorted(texts, key=lambda label: (-len(texts[label]), label))
    methods = " + ".join(dict.fromkeys(explanation.method for explanation in explanations))
    return GlobalImportance(tuple(rows), tuple(order), methods, len(explanations))


def _row(unit: str, target: str, values: dict[int, list[float]]) -> UnitImportance:
    per_text = torch.tensor([sum(own) / len(own) for own in values.values()], dtype=torch.float64)
    low, high = mean_interval(per_text, LEVEL)
    occurrences = sum(map(len, values.values()))
    mean, magnitude = float(per_text.mean()), float(per_text.abs().mean())
    return UnitImportance(unit, target, mean, low, high, magnitude, len(per_text), occurrences, tuple(values))


def _read_key(by: str | Callable[[str], str]) -> Callable[[str], str]:
    if callable(by):
        return by
    keys: dict[str, Callable[[str], str]] = {"unit": lambda text: text.strip().casefold(), "exact": str.strip}
    if by not in keys:
        raise OptionError(f"`by`: got {shown(by)}; pass 'unit', 'exact' or a function from the text of a unit to its key.")
    return keys[by]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two explanations per text, unit by unit.

    Attributes:
        correlations: ``(n,)`` Spearman's rank correlation of each text over its units, averaged over targets; NaN where one
            side has equal values for all units.
        disagreements: For each text the units whose ranks differ most: (unit, first value, second value), of the first
            target.
        methods: The names of both methods.
    """

    correlations: Tensor
    disagreements: tuple[tuple[tuple[str, float, float], ...], ...]
    methods: tuple[str, str]

    @property
    def mean(self) -> float:
        """Return the mean rank correlation over texts that have one."""
        return float(self.correlations.nanmean())

    def __repr__(self) -> str:
        n = int((~self.correlations.isnan()).sum())
        return f"Comparison({self.methods[0]}, {self.methods[1]}: mean rank correlation {self.mean:.3f} over {n} texts)"


def compare(first: Iterable[AttributionOutput], second: Iterable[AttributionOutput]) -> Comparison:
    """Compare two explanations of each text.

    Args:
        first: Explanations of some texts.
        second: Explanations of the same texts, with the same units and as many targets each.

    Raises:
        InputError: they do not match.
    """
    ours, theirs = list(first), list(second)
    if len(ours) != len(theirs) or not ours:
        raise InputError(f"`other`: got {len(theirs)} explanations for {len(ours)}; pass one for each, of the same texts.")
    correlations, disagreements = [], []
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if a.text != b.text or a.spans != b.spans or a.attributions.shape != b.attributions.shape:
            raise InputError(f"`other[{i}]`: it does not have the text, the units and the targets of {a.text[:40]!r}.")
        correlations.append(_agreement(a.attributions.double(), b.attributions.double()))
        disagreements.append(_apart(a, b))
    methods = (ours[0].method, theirs[0].method)
    return Comparison(torch.tensor(correlations, dtype=torch.float64), tuple(disagreements), methods)


def _agreement(a: Tensor, b: Tensor) -> float:
    known = ~(a.isnan() | b.isnan())
    values = [spearman(x[seen], y[seen]) for x, y, seen in zip(a, b, known, strict=True) if int(seen.sum()) > 1]
    return float(torch.stack(values).nanmean()) if values else float("nan")


def _apart(a: AttributionOutput, b: AttributionOutput) -> tuple[tuple[str, float, float], ...]:
    """Return the units of the first target whose ranks differ most."""
    x, y = a.attributions[0].double(), b.attributions[0].double()
    seen = (~(x.isnan() | y.isnan())).nonzero()[:, 0]
    places = [values[seen].argsort(stable=True).argsort() for values in (x, y)]
    order = (places[0] - places[1]).abs().argsort(descending=True, stable=True)[:PARTS]
    return tuple((a.elements[i].strip(), float(x[i]), float(y[i])) for i in seen[order].tolist())
