"""Benchmarks of very many texts: scores of parts, and what adds up over them to the table of all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, zip_longest
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.metrics.benchmark_table import BenchmarkTable, Cell, Failure
from interpreto.metrics.cost import Cost
from interpreto.metrics.mean_curves import CurveSum, curve_sums
from interpreto.metrics.result import MetricResult, PairedSummary
from interpreto.moments import Moments, SampleSummary

Place = tuple[str, str]
"""A row of the table, which is a method or a baseline, and a column, which is a metric."""
Range = tuple[float | None, float | None]


@dataclass(frozen=True, eq=False)
class CellFacts:
    """Everything of a cell but the scores of single texts.

    Attributes:
        metric: Name of the metric.
        higher_is_better: Its direction.
        value_range: Least and largest possible value; None where there is no bound.
        config: Its options.
        rows: Rows that it alone would send through the model.
        skipped: Why texts have no score.
        draws: Of a baseline of several draws, the number of scores and their sum, for each draw.
        curves: Sums of curves, of each draw.
    """

    metric: str
    higher_is_better: bool
    value_range: Range
    config: Mapping[str, Any]
    rows: int = 0
    skipped: tuple[str, ...] = ()
    draws: tuple[tuple[int, float], ...] = ()
    curves: tuple[CurveSum, ...] = ()

    @staticmethod
    def of(cell: Cell) -> CellFacts:
        """Return the facts of a cell."""
        result = cell.result
        own = [draw.per_sample for draw in result.details.get("results", ())]
        draws = tuple((int((~v.isnan()).sum()), float(v.double().nansum())) for v in own if v is not None)
        return CellFacts(
            result.name,
            result.higher_is_better,
            result.value_range,
            result.config,
            cell.rows,
            tuple(result.details.get("skipped", ())),
            draws,
            tuple(curve_sums(result)),
        )

    def merged(self, other: CellFacts) -> CellFacts:
        """Return the facts of the cell of all texts, from those of two parts."""
        (low, high), (least, most) = self.value_range, other.value_range
        return replace(
            self,
            value_range=(
                None if low is None or least is None else min(low, least),
                None if high is None or most is None else max(high, most),
            ),
            rows=self.rows + other.rows,
            skipped=tuple(sorted({*self.skipped, *other.skipped})),
            draws=tuple((n + m, a + b) for (n, a), (m, b) in _both(self.draws, other.draws, (0, 0.0))),
            curves=tuple(a + b for a, b in _both(self.curves, other.curves, CurveSum.none())),
        )


def _both(first: Sequence[Any], second: Sequence[Any], none: Any) -> list[tuple[Any, Any]]:
    """Return pairs of the elements of two parts, of which one may have none."""
    return list(zip_longest(first, second, fillvalue=none))


@dataclass(frozen=True, eq=False)
class TextScores:
    """Scores of some texts by every method and metric.

    Attributes:
        n: Number of texts.
        values: The score of each text, ``(n,)``, NaN where it has none.
        facts: What else is known of each cell.
        cost: Cost of explaining, for each method.
    """

    n: int
    values: dict[Place, Float[Tensor, " n"]] = field(default_factory=dict)
    facts: dict[Place, CellFacts] = field(default_factory=dict)
    cost: dict[str, Cost] = field(default_factory=dict)

    @staticmethod
    def of(table: BenchmarkTable, n: int) -> TextScores:
        """Return the scores of the texts that a benchmark was run on."""
        cells = {(name, column): cell for name, row in table.cells.items() for column, cell in row.items()}
        values = {place: cell.result.per_sample for place, cell in cells.items() if cell.result.per_sample is not None}
        facts = {place: CellFacts.of(cells[place]) for place in values}
        return TextScores(n, values, facts, dict(table.explaining))

    def followed_by(self, other: TextScores) -> TextScores:
        """Return the scores of these texts, and then of others."""
        places = list(dict.fromkeys([*self.values, *other.values]))
        values = {place: torch.cat([self._column(place), other._column(place)]) for place in places}
        return TextScores(self.n + other.n, values, merged_facts(self.facts, other.facts), merged_costs(self.cost, other.cost))

    def _column(self, place: Place) -> Float[Tensor, " n"]:
        found = self.values.get(place)
        return torch.full((self.n,), torch.nan, dtype=torch.float64) if found is None else found.double()

    def columns(self, names: Sequence[str], column: str) -> Float[Tensor, "n k"]:
        """Return the scores of one metric, a column per method."""
        return torch.stack([self._column((name, column)) for name in names], dim=1)


@dataclass(frozen=True, eq=False)
class TableSums:
    """Everything that the table of a benchmark follows from, of any number of texts; that of parts merges.

    Its size depends on the number of methods and metrics alone.

    Attributes:
        names: Methods and baselines.
        metrics: Columns.
        n: Number of texts.
        own: Moments of each method's scores, by column.
        pairs: Moments of the differences of any two methods, text by text, by column.
        facts: What else is known of each cell.
        cost: Cost of explaining, for each method.
    """

    names: tuple[str, ...]
    metrics: tuple[str, ...]
    n: int
    own: dict[str, Moments]
    pairs: dict[str, Moments]
    facts: dict[Place, CellFacts]
    cost: dict[str, Cost]

    @staticmethod
    def of(scores: TextScores, names: Sequence[str], metrics: Sequence[str]) -> TableSums:
        """Return the sums over some texts."""
        own, pairs = {}, {}
        first, second = _pairs(len(names))
        for column in metrics:
            values = scores.columns(names, column)
            own[column], pairs[column] = Moments.of(values), Moments.of(values[:, first] - values[:, second])
        return TableSums(tuple(names), tuple(metrics), scores.n, own, pairs, scores.facts, scores.cost)

    def merged(self, other: TableSums) -> TableSums:
        """Return the sums over the texts of both."""
        return replace(
            self,
            n=self.n + other.n,
            own={column: self.own[column].merged(other.own[column]) for column in self.metrics},
            pairs={column: self.pairs[column].merged(other.pairs[column]) for column in self.metrics},
            facts=merged_facts(self.facts, other.facts),
            cost=merged_costs(self.cost, other.cost),
        )

    def table(self, failures: Sequence[Failure] = ()) -> BenchmarkTable:
        """Return the table of all texts, whose cells have the intervals and differences that one call has.

        Args:
            failures: Methods and metrics that raised exceptions.
        """
        failed = {(failure.method, failure.metric) for failure in failures}
        cells: dict[str, dict[str, Cell]] = {name: {} for name in self.names}
        directions = {}
        for column in self.metrics:
            for name in self.names:
                facts = self.facts.get((name, column))
                result = None if facts is None else self._result(name, column, facts)
                if facts is not None and result is not None and (result.n_valid or not failed & {(name, column), (name, None)}):
                    cells[name][column] = Cell(result, facts.rows)
                    directions[column] = facts.higher_is_better
        return BenchmarkTable(cells, self.cost, {column: directions.get(column, True) for column in self.metrics}, failures)

    def _result(self, name: str, column: str, facts: CellFacts) -> MetricResult:
        own = self.own[column].summary(self.names.index(name))
        draws = [total / n if n else math.nan for n, total in facts.draws]
        details = {"skipped": list(facts.skipped)} if facts.skipped else {}
        return MetricResult(
            score=own.mean,
            per_sample=None,
            details={**details, **({"draws": draws} if draws else {}), "curve_sums": facts.curves},
            higher_is_better=facts.higher_is_better,
            value_range=facts.value_range,
            n_valid=own.n,
            n_skipped=self.n - own.n,
            config=facts.config,
            name=facts.metric,
            summary=PairedSummary(name, own, self._differences(name, column)),
        )

    def _differences(self, name: str, column: str) -> dict[str, SampleSummary]:
        """Return what intervals of the differences from other methods need."""
        found = {}
        for k, (first, second) in enumerate(combinations(self.names, 2)):
            if name == first:
                found[second] = self.pairs[column].summary(k)
            elif name == second:
                own = self.pairs[column].summary(k)
                found[first] = replace(own, mean=-own.mean, skewness=-own.skewness)
        return found


def merged_facts(first: Mapping[Place, CellFacts], second: Mapping[Place, CellFacts]) -> dict[Place, CellFacts]:
    """Return the facts of all cells of two parts."""
    found = dict(first)
    for place, facts in second.items():
        found[place] = found[place].merged(facts) if place in found else facts
    return found


def merged_costs(first: Mapping[str, Cost], second: Mapping[str, Cost]) -> dict[str, Cost]:
    """Return the costs of two parts together."""
    found = dict(first)
    for name, cost in second.items():
        before = found.get(name, Cost())
        found[name] = Cost(before.rows + cost.rows, before.seconds + cost.seconds)
    return found


def _pairs(k: int) -> tuple[list[int], list[int]]:
    """Return the places of the first and of the second of any two."""
    both = list(combinations(range(k), 2))
    return [i for i, _ in both], [j for _, j in both]
