"""Tables of a benchmark: methods in rows, metrics in columns."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar

from interpreto.metrics.attributions.base import AttributionMetric
from interpreto.metrics.cost import Cost
from interpreto.metrics.result import MetricResult
from interpreto.renderable import Renderable, visible, visualization
from interpreto.storage import replacing

if TYPE_CHECKING:
    import pandas

FEW_SAMPLES = 10
"""Number of samples below which a table names it next to an interval."""
FAILED, UNDEFINED = "failed", "–"
FACTS = ("method", "metric", "score", "low", "high", "higher_is_better", "n_valid", "n_skipped", "rows", "copies")


@dataclass(frozen=True, eq=False)
class Cell:
    """The result of a metric for a method, and the number of rows that it alone would send through the model."""

    result: MetricResult
    rows: int

    @property
    def copies(self) -> int:
        """Return the rows, by their old name."""
        return self.rows


@dataclass(frozen=True)
class Failure:
    """An exception that cost a method, or one metric of it, its cells.

    Attributes:
        method: The method.
        metric: The metric; None: the method failed to explain.
        error: The exception.
    """

    method: str
    metric: str | None
    error: Exception

    def __str__(self) -> str:
        place = self.method if self.metric is None else f"{self.metric} of {self.method}"
        return f"{place} failed: {type(self.error).__name__}: {' '.join(str(self.error).split())}"


@dataclass(frozen=True, eq=False, repr=False)
class BenchmarkTable(Renderable):
    """Methods in rows, metrics in columns; it draws itself as a page with intervals and curves.

    Attributes:
        cells: By method and metric; a metric that is not defined for a method has no cell, nor has one that failed.
        explaining: The cost of explaining, for each method that was run here.
        columns: For each metric, whether higher is better; where none is given, as in the cells.
        failures: Methods and metrics that raised an exception.
    """

    _subject: ClassVar[str] = "benchmark"

    cells: Mapping[str, Mapping[str, Cell]]
    explaining: Mapping[str, Cost] = field(default_factory=dict)
    columns: Mapping[str, bool] = field(default_factory=dict)
    failures: Sequence[Failure] = ()

    @property
    def names(self) -> list[str]:
        """Methods, then baselines."""
        return list(self.cells)

    @property
    def metrics(self) -> list[str]:
        """Columns."""
        return list(self.directions)

    @property
    def directions(self) -> dict[str, bool]:
        """Return for each metric whether higher is better."""
        found = {name: cell.result.higher_is_better for row in self.cells.values() for name, cell in row.items()}
        return {**self.columns, **found}

    def __getitem__(self, place: tuple[str, str]) -> MetricResult:
        """Return the result of (method, metric)."""
        name, metric = place
        return self.cells[name][metric].result

    def margin(self, metric: str, name: str, other: str = "random", level: int | float = 0.95) -> tuple[float, float]:
        """Return a confidence interval of how much better a method is than another, text by text; above 0: better."""
        ours, theirs = self[name, metric], self[other, metric]
        low, high = ours.difference(theirs, level)
        return (low, high) if ours.higher_is_better else (-high, -low)

    def curves(self, metric: str, path: str | PathLike[str] | None = None, *, backend: str = "auto") -> Any:
        """Draw the mean curve of each method for a metric of curves, in the band that random orders span.

        Args:
            metric: The metric.
            path: See `plot_curves`.
            backend: See `plot_curves`.
        """
        found = {name: row[metric].result for name, row in self.cells.items() if metric in row}
        return visualization("curves").plot_curves(found, path, backend=backend)

    def to_dataframe(self) -> pandas.DataFrame:
        """Return one row for each method and metric, with its interval and cost. Needs pandas.

        The column ``rows`` counts the rows that went through the model; ``copies`` is its old name.
        """
        import pandas  # noqa: PLC0415  (optional)

        return pandas.DataFrame(self._facts(), columns=list(FACTS))

    def to_csv(self, path: str | PathLike[str]) -> None:
        """Write the rows of `to_dataframe`."""
        with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([FACTS, *self._facts()])

    def _facts(self) -> list[tuple[Any, ...]]:
        return [
            (name, metric, r.score, *r.quiet_interval(), r.higher_is_better, r.n_valid, r.n_skipped, cell.rows, cell.rows)
            for name, row in self.cells.items()
            for metric, cell in row.items()
            for r in (cell.result,)
        ]

    def to_markdown(self, intervals: bool = False) -> str:
        """Return a table in Markdown, the best method of each column in bold; baselines are not methods.

        Args:
            intervals: Add 95 % confidence intervals, and the number of texts where it is below ten.
        """
        lines = [self._header(), ["---"] + ["---:"] * (len(self.metrics) + bool(self.explaining))]
        lines += [self._row(name, intervals, "**{}**".format) for name in self.names]
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        return "\n".join([table, *(f"\n{failure}" for failure in self.failures)])

    def best(self, metric: str) -> str | None:
        """Return the method of the best score, baselines aside; None where no method has one."""
        return next((name for name in self.names if self._is_best(name, metric)), None)

    def as_good_as_the_best(self, metric: str) -> list[str]:
        """Return the other methods whose 95 % interval of the difference from the best, text by text, contains 0."""
        first, found = self.best(metric), []
        for name, row in self.cells.items():
            if first is None or name == first or is_baseline(name) or metric not in row:
                continue
            if _contains_zero(self[first, metric], self[name, metric]):
                found.append(name)
        return found

    def failure(self, name: str, metric: str) -> Failure | None:
        """Return the exception that cost a method its cell; None where there was none."""
        found = (f for f in self.failures if f.method == name and f.metric in (None, metric))
        return next(found, None)

    def __str__(self) -> str:
        lines = [self._header(), *(self._row(name, False, "{}*".format) for name in self.names)]
        lines = [[visible(cell) for cell in line] for line in lines]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        shown = [
            "  ".join([line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))])
            for line in lines
        ]
        return "\n".join([*shown, "* the best method of the column", *(visible(str(failure)) for failure in self.failures)])

    __repr__ = __str__

    def _header(self) -> list[str]:
        arrows = [f"{metric} {'↑' if higher else '↓'}" for metric, higher in self.directions.items()]
        return ["method", *arrows, *(["rows per text"] if self.explaining else [])]

    def _row(self, name: str, intervals: bool, mark: Callable[[str], str]) -> list[str]:
        cells = [name]
        for metric in self.metrics:
            text = self._text(name, metric, intervals)
            cells.append(mark(text) if self._is_best(name, metric) else text)
        if self.explaining:
            spent = self.explaining.get(name)
            cells.append(UNDEFINED if spent is None else f"{spent.rows / self.texts:.1f}")
        return cells

    def _text(self, name: str, metric: str, intervals: bool) -> str:
        cell = self.cells[name].get(metric)
        if cell is None or math.isnan(cell.result.score):
            return UNDEFINED if self.failure(name, metric) is None else FAILED
        result = cell.result
        text = f"{result.score:.3f}"
        if intervals and result.has_samples:
            low, high = result.quiet_interval()
            text += " [no interval]" if math.isnan(low) else f" [{low:.3f}, {high:.3f}]"
        if result.n_skipped:  # the mean may be over other texts than that of other cells
            return f"{text} ({result.n_valid} of {result.n_valid + result.n_skipped})"
        return f"{text} (n = {result.n_valid})" if intervals and result.n_valid < FEW_SAMPLES else text

    @property
    def texts(self) -> int:
        """Return the number of explained texts."""
        results = (cell.result for row in self.cells.values() for cell in row.values())
        return max((result.n_valid + result.n_skipped for result in results), default=1)

    def _is_best(self, name: str, metric: str) -> bool:
        scores = {
            other: row[metric].result.score
            for other, row in self.cells.items()
            if metric in row and not math.isnan(row[metric].result.score) and not is_baseline(other)
        }
        if name not in scores:
            return False
        pick = max if self.cells[name][metric].result.higher_is_better else min
        return scores[name] == pick(scores.values())


def _contains_zero(first: MetricResult, other: MetricResult) -> bool:
    """Return whether two scores may be equal; False where they are not of the same samples."""
    if (first.common(other) or 0) < 2:  # no interval
        return False
    low, high = first.difference(other)
    return low <= 0 <= high


def is_baseline(name: str) -> bool:
    """Return whether a row of the table is a baseline: random or reversed values."""
    return name == "random" or name.startswith("reversed ")


def columns_of(metrics: Sequence[AttributionMetric | type[AttributionMetric]]) -> list[str]:
    """Return the names of the columns: the metric's, and where there are several of it, the options in which they differ."""
    names: list[str] = []
    for metric in metrics:
        name, own = name_of(metric), {} if isinstance(metric, type) else metric.config
        same = [m.config for m in metrics if not isinstance(m, type) and name_of(m) == name]
        told = {key: value for key, value in own.items() if any(key not in other or other[key] != value for other in same)}
        options = ", ".join(f"{key}={value!r}" for key, value in told.items())
        names.append(free_name(f"{name}({options})" if options else name, names))
    return names


def free_name(name: str, taken: Container[str]) -> str:
    free, k = name, 2
    while free in taken:
        free, k = f"{name} {k}", k + 1
    return free


def name_of(metric: AttributionMetric | type[AttributionMetric]) -> str:
    return metric.__name__ if isinstance(metric, type) else type(metric).__name__
