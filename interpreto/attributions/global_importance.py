"""Summaries of many explanations: the mean attribution of each unit, and where two methods or models disagree."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from interpreto.attributions.output import AttributionOutput
from interpreto.errors import InputError, OptionError
from interpreto.intervals import mean_interval
from interpreto.renderable import Renderable
from interpreto.statistics import spearman
from interpreto.validation import check_choice, check_count, check_flag, shown

if TYPE_CHECKING:
    import pandas

LEVEL = 0.95  # of the intervals
PARTS = 3  # units on which a text's explanations disagree most
COLUMNS = ("target", "unit", "mean", "low", "high", "mean_magnitude", "n_texts", "n_occurrences")
MANY, SOME = 50, 10  # texts
WEIGHTINGS = ("text", "occurrence")
Keyed = list[tuple[str, tuple[int, ...]]]
"""Keys of a text's units, each with the positions of the units that it consists of."""
_WORD = re.compile(r"\w+(?:['’\-]\w+)*")


class Occurrence(NamedTuple):
    """One place of a unit in the texts.

    Attributes:
        text_id: Position of the text among the explanations.
        units: Positions of the units in it; several where tokens form a word.
        value: Attribution.
    """

    text_id: int
    units: tuple[int, ...]
    value: float


@dataclass(frozen=True)
class UnitImportance:
    """The mean attribution of one unit for one target over texts.

    Attributes:
        unit: The key that occurrences are counted under.
        target: The name of the target.
        mean: Mean attribution of the unit, in units of the explained score; see ``weighting`` of `global_importance`.
        low: Lower end of the 95 % interval of ``mean``, over texts like these; NaN for one text.
        high: Upper end of it.
        mean_magnitude: Mean of the attributions without their signs.
        n_texts: Number of texts that the unit occurs in.
        n_occurrences: Number of its occurrences in them.
        text_ids: Positions of these texts among the explanations.
        occurrences: The occurrences, in the order of the texts.
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
    occurrences: tuple[Occurrence, ...] = ()

    @property
    def is_sure(self) -> bool:
        """Return True if the interval does not contain 0."""
        return self.low > 0 or self.high < 0

    @property
    def least(self) -> float:
        """Return the smallest magnitude in the interval: 0 where it contains 0, or for one text."""
        return min(abs(self.low), abs(self.high)) if self.is_sure else 0.0


@dataclass(frozen=True, eq=False)
class GlobalImportance(Renderable):
    """Mean attributions over many texts; draws itself as bars with intervals over the single occurrences.

    Attributes:
        rows: One per unit and target, by descending magnitude of the mean.
        targets: Names of the targets, by descending number of texts.
        method: Names of the methods.
        n_texts: Number of explanations.
        explanations: The explanations, which the occurrences refer to.
        normalized: Whether values are shares of a text's total magnitude.
        min_count: Texts that a unit must occur in, for a target.
    """

    _subject: ClassVar[str] = "importance"

    rows: tuple[UnitImportance, ...]
    targets: tuple[str, ...]
    method: str
    n_texts: int
    explanations: tuple[AttributionOutput, ...] = ()
    normalized: bool = False
    min_count: int = 1

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[UnitImportance]:
        return iter(self.rows)

    def of(self, target: str | None = None) -> list[UnitImportance]:
        """Return the units of one target.

        Args:
            target: The name of a target; None: the first.

        Raises:
            OptionError: there is no such target.
        """
        name = (self.targets[0] if self.targets else None) if target is None else target
        if name not in self.targets:
            raise OptionError(f"`target`: got {shown(target)}; there are {', '.join(map(repr, self.targets)) or 'none'}.")
        return [row for row in self.rows if row.target == name]

    def top(self, k: int = 10, target: str | None = None, *, sign: int = 0, surest: bool = False) -> list[UnitImportance]:
        """Return the ``k`` units of largest mean.

        Args:
            k: How many.
            target: The name of a target; None: the first.
            sign: 1 for units that raise the score, -1 for units that lower it, 0 for both.
            surest: Order by the end of the interval that is nearer to 0, so that a unit of few texts or of values that
                differ much comes late; units whose interval contains 0 are left out.

        Raises:
            OptionError: there is no such target.
        """
        chosen = [row for row in self.of(target) if row.mean * sign >= 0 and (row.is_sure or not surest)]
        if surest:
            chosen.sort(key=lambda row: -row.least)
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
        return pandas.DataFrame([[getattr(row, name) for name in COLUMNS] for row in self.rows], columns=list(COLUMNS))

    def __repr__(self) -> str:
        best = ", ".join(f"{row.unit!r} {row.mean:+.3g} ({row.n_texts})" for row in self.rows[:5])
        return f"GlobalImportance({self.method}, {self.n_texts} texts, {len(self.targets)} targets: {best})"


def global_importance(
    explanations: Sequence[AttributionOutput],
    by: str | Callable[[str], str] = "unit",
    min_count: int = 1,
    *,
    fold_case: bool = True,
    weighting: str = "text",
    normalize: bool = False,
) -> GlobalImportance:
    """Average the attributions of equal units over texts.

    Args:
        explanations: Explanations of any texts.
        by: ``"unit"``: units that are equal; ``"word"``: words, without punctuation, whose value is the sum of their tokens
            (the mean, for magnitudes); ``"exact"``: units that are equal in case too; or a function from the text of a unit
            to the key that it is counted under, empty to leave it out.
        min_count: Texts that a unit must occur in, for a target.
        fold_case: Count ``Good`` and ``good`` together (``"unit"`` and ``"word"``).
        weighting: ``"text"``: each text counts once per unit, with the mean of its occurrences; ``"occurrence"``: each
            occurrence counts once, and the interval respects that those of one text go together.
        normalize: Divide the values of a text by the sum of their magnitudes, so that no text counts more because its
            scores are larger.

    Raises:
        InputError: there are no explanations.
        OptionError: an option is unknown.

    Examples:
        >>> from interpreto import Occlusion, demo
        >>> explained = Occlusion(*demo.load_classifier())(["A dull film.", "Dull, dull people."], "negative")
        >>> [(row.unit, row.n_texts, row.n_occurrences) for row in global_importance(explained, by="word", min_count=2)]
        [('dull', 2, 3)]
    """
    if not explanations:
        raise InputError("`explanations`: got none; there is nothing to average.")
    found_in = keyed_units(by, check_flag(fold_case, "fold_case"))
    least, whole = check_count(min_count, "min_count"), check_choice(weighting, "weighting", WEIGHTINGS) == "occurrence"
    found: dict[tuple[str, str], list[Occurrence]] = {}
    texts: dict[str, set[int]] = {}
    for i, explanation in enumerate(explanations):
        for label in explanation.target_labels:
            texts.setdefault(label, set()).add(i)
        for name, label, units, value in values_of(explanation, found_in(explanation), normalize):
            found.setdefault((name, label), []).append(Occurrence(i, units, value))
    rows = [_row(unit, target, places, whole) for (unit, target), places in found.items()]
    rows = [row for row in rows if row.n_texts >= least]
    rows.sort(key=lambda row: (-abs(row.mean), row.unit))
    order = sorted(texts, key=lambda label: (-len(texts[label]), label))
    methods = " + ".join(dict.fromkeys(explanation.method for explanation in explanations))
    return GlobalImportance(tuple(rows), tuple(order), methods, len(explanations), tuple(explanations), normalize, least)


def least_count(texts: int) -> int:
    """Return the default of ``min_count`` for a number of texts: 3 of fifty or more, 2 of ten or more, else 1."""
    return 3 if texts >= MANY else 2 if texts >= SOME else 1


def _row(unit: str, target: str, places: Sequence[Occurrence], whole: bool) -> UnitImportance:
    by_text: dict[int, list[float]] = {}
    for place in places:
        by_text.setdefault(place.text_id, []).append(place.value)
    counts = torch.tensor([len(own) for own in by_text.values()], dtype=torch.float64)
    sums = torch.tensor([sum(own) for own in by_text.values()], dtype=torch.float64)
    sizes = torch.tensor([sum(map(abs, own)) for own in by_text.values()], dtype=torch.float64)
    weights = counts if whole else torch.ones_like(counts)
    mean = float((sums / counts * weights).sum() / weights.sum())
    influences = mean + (sums / counts - mean) * weights / weights.mean()  # of each text on a ratio of sums
    low, high = mean_interval(influences, LEVEL, mean)
    magnitude = float((sizes / counts * weights).sum() / weights.sum())
    ids = tuple(by_text)
    return UnitImportance(unit, target, mean, low, high, magnitude, len(ids), len(places), ids, tuple(places))


def values_of(explanation: Any, keyed: Keyed, normalize: bool) -> Iterator[tuple[str, str, tuple[int, ...], float]]:
    """Yield the keys of an explanation with a target, the units that they consist of, and their value for the target.

    Args:
        explanation: An `AttributionOutput`, or anything with ``target_labels``, ``signed`` and ``rows`` of attributions.
        keyed: Its keys.
        normalize: Divide by the sum of the magnitudes.
    """
    rows = explanation.rows if hasattr(explanation, "rows") else explanation.attributions.tolist()
    for label, row in zip(explanation.target_labels, rows, strict=True):
        scale = (sum(abs(value) for value in row if not math.isnan(value)) or 1.0) if normalize else 1.0
        for name, units in keyed:
            values = [row[unit] / scale for unit in units if not math.isnan(row[unit])]
            if values:  # else the target cannot depend on the unit
                yield name, label, units, sum(values) / (1 if explanation.signed else len(values))


def keyed_units(by: str | Callable[[str], str], fold_case: bool) -> Callable[[Any], Keyed]:
    """Return a function from an explanation to its keys, each with the units that it consists of.

    Raises:
        OptionError: ``by`` is unknown.
    """
    if by == "word":
        return lambda explanation: _words(explanation, fold_case)
    if not callable(by) and by not in ("unit", "exact"):
        raise OptionError(
            f"`by`: got {shown(by)}; pass 'unit', 'word', 'exact' or a function from the text of a unit to its key."
        )
    fold = fold_case and by == "unit"
    key = by if callable(by) else (lambda text: text.strip().casefold() if fold else text.strip())
    return lambda explanation: [(name, (i,)) for i, text in enumerate(explanation.elements) if (name := key(text))]


def _words(explanation: Any, fold_case: bool) -> Keyed:
    """Return the words of a text with the units that begin in each; a unit of several words is one key."""
    text, spans, first = explanation.text, explanation.spans, 0
    found: Keyed = []
    for match in _WORD.finditer(text):
        while first < len(spans) and spans[first][1] <= match.start():
            first += 1
        end = first
        while end < len(spans) and spans[end][0] < match.end():
            end += 1
        units = tuple(range(first, end))
        if units:
            last = spans[units[-1]][1]
            longer = _WORD.search(text, match.end(), last) is not None  # such as a sentence
            name = text[spans[first][0] : last].strip() if longer else match.group()
            found.append((name.casefold() if fold_case else name, units))
        first = end
    return found


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
