"""Methods beside each other: several explainers, several metrics, one table."""

from __future__ import annotations

import csv
import html
import inspect
import math
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.output import AttributionOutput
from interpreto.attributions.perturbations.base import check_count
from interpreto.errors import InputError, OptionError
from interpreto.metrics import attributions as known
from interpreto.metrics.attributions.base import AttributionMetric, GameMetric, findings_together
from interpreto.metrics.attributions.cases import random_like, read_explanations, reversed_of
from interpreto.metrics.attributions.complexity import ComplexityMetric
from interpreto.metrics.attributions.game import Game, copies_of
from interpreto.metrics.attributions.plausibility import PlausibilityMetric
from interpreto.metrics.attributions.robustness import ExplainerMetric
from interpreto.metrics.result import MetricResult
from interpreto.models.black_box import BlackBox
from interpreto.progress import tqdm
from interpreto.renderable import visualization

if TYPE_CHECKING:
    import pandas

DEFAULT = (
    "Deletion",
    "Insertion",
    "ABPC",
    "AOPCComprehensiveness",
    "AOPCSufficiency",
    "Monotonicity",
    "Infidelity",
    "Completeness",
)
NAMES = tuple(name for name in known.__all__ if not inspect.isabstract(getattr(known, name)))
"""Metrics that have a name here."""
WITHOUT_RATIONALES = tuple(name for name in NAMES if not issubclass(getattr(known, name), PlausibilityMetric))
"""Those that need nothing but explanations and the model."""
BASELINES = ("random", "reversed")

Explained = AttributionExplainer | Sequence[AttributionOutput]


class Benchmark:
    """Judges methods by metrics, all on the same inputs, units and targets.

    What the model must be asked is asked once: all metrics that remove units share one sweep, and so do all methods.

    Args:
        model: The explained model. Left as it was after every call.
        tokenizer: Its tokenizer.
        metrics: Names of metrics, their classes, or metrics that are made already, with options of their own.
        batch_size: Rows a forward pass; None: as many as a token budget holds.
        replacement: What stands for removed units; see `Replacement`.
        baselines: ``"random"``: the first method's values in random places, the mean over `random_draws`;
            ``"reversed"``: the first method's order upside down.
        random_draws: How often values are put in random places.
        random_state: Seed of that.
        tqdm_bar: Show how far it is.
        **options: See `GameMetric`.

    Raises:
        OptionError: there is no such metric or baseline.

    Examples:
        >>> from interpreto import Occlusion, Saliency, demo
        >>> from interpreto.metrics import Benchmark
        >>> model, tokenizer = demo.load_classifier()
        >>> benchmark = Benchmark(model, tokenizer, metrics=["Deletion", "Insertion"])
        >>> table = benchmark.run([Occlusion(model, tokenizer), Saliency(model, tokenizer)], ["A gorgeous, moving film."])
        >>> table.names, table.metrics
        (['Occlusion', 'Saliency', 'random', 'reversed Occlusion'], ['Deletion', 'Insertion'])
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        metrics: Sequence[Any] = DEFAULT,
        batch_size: int | None = None,
        *,
        replacement: str | int = "auto",
        baselines: Sequence[str] = BASELINES,
        random_draws: int = 5,
        random_state: int = 0,
        tqdm_bar: bool = False,
        **options: Any,
    ) -> None:
        self.game = Game(model, tokenizer, batch_size, replacement=replacement, tqdm_bar=tqdm_bar, **options)
        self.metrics = [self._metric(metric) for metric in metrics]
        for baseline in baselines:
            if baseline not in BASELINES:
                raise OptionError(f"`baselines`: got {baseline!r}; pass some of {', '.join(map(repr, BASELINES))}.")
        self.baselines, self.random_draws = tuple(baselines), check_count(random_draws, "random_draws")
        self.random_state, self.tqdm_bar = check_count(random_state, "random_state", 0), tqdm_bar

    def run(self, methods: Mapping[str, Explained] | Sequence[Any], inputs: Any = None, targets: Any = None) -> BenchmarkTable:
        """The table.

        Args:
            methods: Explainers, or by name explainers and explanations that are made already.
            inputs: What explainers explain. The first of them reads inputs and targets; all others explain its units and
                targets, so that numbers can be compared.
            targets: See `AttributionExplainer.explain`.

        Raises:
            InputError: explanations are of different inputs or units, or explainers have no inputs.
        """
        named = _named(methods)
        explained, cost = self._explained(named, inputs, targets)
        self._check_scores(explained)
        rows = {name: [outputs] for name, outputs in explained.items()}
        first, outputs = next(iter(explained.items()))
        if "random" in self.baselines:
            seeds = range(self.random_state, self.random_state + self.random_draws)
            rows["random"] = [[random_like(output, seed) for output in outputs] for seed in seeds]
        if "reversed" in self.baselines:
            rows[f"reversed {first}"] = [[reversed_of(output) for output in outputs]]
        explainers = {name: method for name, method in named.items() if isinstance(method, AttributionExplainer)}
        columns = dict(zip(map(id, self.metrics), columns_of(self.metrics), strict=True))
        cells = {name: dict.fromkeys(columns.values()) for name in rows}
        for metric, name, cell in self._cells(rows, explainers):
            cells[name][columns[id(metric)]] = cell
        return BenchmarkTable({name: {m: c for m, c in row.items() if c is not None} for name, row in cells.items()}, cost)

    def _metric(self, metric: Any) -> AttributionMetric | type[ExplainerMetric]:
        """A metric that can be run; those of a method wait for it."""
        if isinstance(metric, AttributionMetric):
            return metric
        found = getattr(known, metric, None) if isinstance(metric, str) and metric in NAMES else metric
        if not isinstance(found, type) or not issubclass(found, AttributionMetric) or inspect.isabstract(found):
            raise OptionError(f"`metrics`: got {metric!r}; pass a metric, its class, or its name: {', '.join(NAMES)}.")
        if issubclass(found, ExplainerMetric):
            return found
        if issubclass(found, (ComplexityMetric, known.Completeness)):
            return found()
        if issubclass(found, PlausibilityMetric):
            raise OptionError(
                f"`metrics`: {found.__name__} compares with rationales; pass it made, {found.__name__}(rationales)."
            )
        made: Any = found
        metric = made(self.game.source, self.game.tokenizer, self.game.batch_size)
        assert isinstance(metric, AttributionMetric)
        metric.game = self.game  # type: ignore[attr-defined]  # all that run the model have one
        return metric

    def _explained(
        self, methods: Mapping[str, Explained], inputs: Any, targets: Any
    ) -> tuple[dict[str, list[AttributionOutput]], dict[str, Cost]]:
        """The explanations of each method, on the samples of the first."""
        found: dict[str, list[AttributionOutput]] = {}
        cost: dict[str, Cost] = {}
        for name, method in tqdm(methods.items(), desc="explaining", unit=" methods", disable=not self.tqdm_bar):
            if not isinstance(method, AttributionExplainer):
                found[name] = read_explanations(method)
            else:
                with counted(method.model) as spent:
                    if found:
                        found[name] = method.explain_samples([o.sample for o in next(iter(found.values()))])
                    elif inputs is None:
                        raise InputError("`inputs`: got none, and explainers among the methods; pass what they shall explain.")
                    else:
                        found[name] = method(inputs, targets)
                cost[name] = spent
        first, *others = found.items()
        for name, outputs in others:
            _check_alike(first[0], first[1], name, outputs)
        return found, cost

    def _check_scores(self, explained: Mapping[str, list[AttributionOutput]]) -> None:
        """Amounts of one score are not those of another."""
        amounts = [m for m in self.metrics if isinstance(m, (known.Infidelity, known.Completeness))]
        modes = {output.inference_mode for outputs in explained.values() for output in outputs}
        if amounts and len(modes) > 1:
            raise InputError(
                f"`methods`: they explain {' and '.join(sorted(modes))}, and {_name_of(amounts[0])} is in units of the "
                "explained score; pass methods of one `inference_mode`, or metrics of orders, such as ABPC."
            )

    def _cells(
        self, rows: Mapping[str, list[list[AttributionOutput]]], explainers: Mapping[str, AttributionExplainer]
    ) -> Iterator[tuple[Any, str, Cell]]:
        games: dict[int, list[GameMetric]] = {}
        for metric in self.metrics:
            if isinstance(metric, GameMetric) and type(metric).run is GameMetric.run:
                games.setdefault(id(metric.game), []).append(metric)
        for metrics in games.values():
            yield from _shared_cells(metrics, rows)
        alone = [metric for metric in self.metrics if not any(metric in metrics for metrics in games.values())]
        for metric in tqdm(alone, desc="metrics", unit=" metrics", disable=not self.tqdm_bar):
            for name, draws in rows.items():
                if isinstance(metric, type):
                    if name in explainers:
                        with counted(explainers[name].model) as spent:
                            result = metric(explainers[name]).run(draws[0])
                        yield metric, name, Cell(result, spent.copies)
                else:
                    with counted(self.game.model) as spent:
                        results = [metric.run(outputs) for outputs in draws]
                    yield metric, name, Cell(_mean_of(results), spent.copies // len(results))


@dataclass
class Cost:
    """What something took: copies of texts that went through the model, and seconds."""

    copies: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Cell:
    """A metric's result for a method, and how many copies of texts it alone would send through the model."""

    result: MetricResult
    copies: int


@dataclass(frozen=True, eq=False)
class BenchmarkTable:
    """Methods in rows, metrics in columns.

    Attributes:
        cells: By method and metric; a metric that says nothing of a method has no cell.
        explaining: What each method took to explain, where it was run here.
    """

    cells: Mapping[str, Mapping[str, Cell]]
    explaining: Mapping[str, Cost] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Methods, then baselines."""
        return list(self.cells)

    @property
    def metrics(self) -> list[str]:
        """Columns."""
        return list(dict.fromkeys(name for row in self.cells.values() for name in row))

    def __getitem__(self, place: tuple[str, str]) -> MetricResult:
        """The result of (method, metric)."""
        name, metric = place
        return self.cells[name][metric].result

    def margin(self, metric: str, name: str, other: str = "random", level: float = 0.95) -> tuple[float, float]:
        """Bootstrap interval of how much better a method is than another, text by text; above 0: better."""
        ours, theirs = self[name, metric], self[other, metric]
        sign = 1.0 if ours.higher_is_better else -1.0
        low, high = ours.difference(theirs, level)
        return (low, high) if sign > 0 else (-high, -low)

    def curves(self, metric: str, path: str | PathLike[str] | None = None, *, backend: str = "auto") -> Any:
        """Draw the mean curve of each method for a metric of curves, in the band that random orders span.

        For the arguments see `plot_curves`.
        """
        found = {name: row[metric].result for name, row in self.cells.items() if metric in row}
        return visualization("curves").plot_curves(found, path, backend=backend)

    def to_dataframe(self) -> pandas.DataFrame:
        """One row for each method and metric, with its interval and cost. Needs pandas."""
        import pandas  # noqa: PLC0415  (optional)

        return pandas.DataFrame(self._facts(), columns=list(FACTS))

    def to_csv(self, path: str | PathLike[str]) -> None:
        """Write what `to_dataframe` holds."""
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerows([FACTS, *self._facts()])

    def _facts(self) -> list[tuple[Any, ...]]:
        return [
            (name, metric, c.result.score, *_interval(c.result), c.result.higher_is_better, *_counts(c.result), c.copies)
            for name, row in self.cells.items()
            for metric, c in row.items()
        ]

    def to_markdown(self, intervals: bool = False) -> str:
        """A table in Markdown, the best method of each column in bold; baselines are no methods."""
        lines = [self._header(), ["---"] + ["---:"] * (len(self.metrics) + bool(self.explaining))]
        lines += [self._row(name, intervals, "**{}**".format) for name in self.names]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)

    def to_html(self, path: str | PathLike[str] | None = None) -> str:
        """A table in HTML, with each cell's interval and cost as its title; written to ``path`` too, when given."""
        head = "".join(f"<th scope=col>{html.escape(cell)}</th>" for cell in self._header())
        body = []
        for name in self.names:
            first, *others = self._row(name, False, str)
            cells = [f"<th scope=row>{html.escape(first)}</th>"]
            names: list[str | None] = [*self.metrics, *([None] if self.explaining else [])]
            for metric, text in zip(names, others, strict=True):
                best = ' class="best"' if metric is not None and self._is_best(name, metric) else ""
                cells.append(f"<td{best} title={html.escape(self._title(name, metric))!r}>{html.escape(text)}</td>")
            body.append(f"<tr>{''.join(cells)}</tr>")
        table = f"<table class=interpreto-benchmark><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
        page = f"<style>{STYLE}</style>{table}"
        if path is not None:
            Path(path).write_text(f"<!doctype html><meta charset=utf-8><title>Benchmark</title>{page}", encoding="utf-8")
        return page

    def _repr_html_(self) -> str:
        return self.to_html()

    def __str__(self) -> str:
        lines = [self._header(), *(self._row(name, False, "{}*".format) for name in self.names)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        shown = [
            "  ".join([line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))])
            for line in lines
        ]
        return "\n".join([*shown, "* the best method of the column"])

    __repr__ = __str__

    def _header(self) -> list[str]:
        arrows = {}
        for row in self.cells.values():
            for metric, cell in row.items():
                arrows[metric] = f"{metric} {'↑' if cell.result.higher_is_better else '↓'}"
        return ["method", *arrows.values(), *(["copies a text"] if self.explaining else [])]

    def _row(self, name: str, intervals: bool, mark: Callable[[str], str]) -> list[str]:
        cells = [name]
        for metric in self.metrics:
            cell = self.cells[name].get(metric)
            if cell is None or math.isnan(cell.result.score):
                cells.append("–")
                continue
            text = f"{cell.result.score:.3f}"
            if intervals and cell.result.per_sample is not None:
                low, high = _interval(cell.result)
                text += f" [{low:.3f}, {high:.3f}]"
            if cell.result.n_skipped:  # a mean over other texts than its neighbours' may be
                text += f" ({cell.result.n_valid} of {cell.result.n_valid + cell.result.n_skipped})"
            cells.append(mark(text) if self._is_best(name, metric) else text)
        if self.explaining:
            cells.append(f"{self.explaining[name].copies / self._texts:.1f}" if name in self.explaining else "–")
        return cells

    @property
    def _texts(self) -> int:
        results = (cell.result for row in self.cells.values() for cell in row.values())
        return max((result.n_valid + result.n_skipped for result in results), default=1)

    def _is_best(self, name: str, metric: str) -> bool:
        scores = {
            other: row[metric].result.score
            for other, row in self.cells.items()
            if metric in row and not math.isnan(row[metric].result.score) and not _is_baseline(other)
        }
        if name not in scores:
            return False
        pick = max if self.cells[name][metric].result.higher_is_better else min
        return scores[name] == pick(scores.values())

    def _title(self, name: str, metric: str | None) -> str:
        if metric is None or metric not in self.cells[name]:
            return "" if metric is None else "says nothing of this method"
        cell = self.cells[name][metric]
        low, high = _interval(cell.result)
        return f"{cell.result}; 95 % interval [{low:.4g}, {high:.4g}]; {cell.copies} copies of texts"


FACTS = ("method", "metric", "score", "low", "high", "higher_is_better", "n_valid", "n_skipped", "copies")
STYLE = (
    ".interpreto-benchmark{border-collapse:collapse;font:14px system-ui,sans-serif;font-variant-numeric:tabular-nums}"
    ".interpreto-benchmark th,.interpreto-benchmark td{padding:.3em .7em;text-align:right;border-bottom:1px solid #8884}"
    ".interpreto-benchmark th:first-child{text-align:left}.interpreto-benchmark .best{font-weight:700}"
)


@contextmanager
def counted(model: Any) -> Iterator[Cost]:
    """Context manager in which the rows that go through a model, or the texts that a black box is asked for, are counted."""
    spent, start = Cost(), time.perf_counter()
    if isinstance(model, BlackBox):
        before = model.asked
        try:
            yield spent
        finally:
            spent.copies, spent.seconds = model.asked - before, time.perf_counter() - start
        return

    def count(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = [*args, *kwargs.values()]
        spent.copies += next((len(value) for value in given if isinstance(value, Tensor)), 0)

    handle = model.forward.model.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield spent
    finally:
        handle.remove()
        spent.seconds = time.perf_counter() - start


def _shared_cells(
    metrics: Sequence[GameMetric], rows: Mapping[str, list[list[AttributionOutput]]]
) -> Iterator[tuple[GameMetric, str, Cell]]:
    """Cells of metrics that share a game: one sweep for all methods and all draws."""
    places = [(name, draw) for name, draws in rows.items() for draw in range(len(draws))]
    flat = [output for name, draw in places for output in rows[name][draw]]
    for metric, (findings, asked) in zip(metrics, findings_together(metrics, flat, metrics[0].game), strict=True):
        by_name: dict[str, list[tuple[MetricResult, int]]] = {}
        start = 0
        for name, draw in places:
            end = start + len(rows[name][draw])
            spent = copies_of([question for own in asked[start:end] for question in own])
            by_name.setdefault(name, []).append((metric.result(findings[start:end], rows[name][draw]), spent))
            start = end
        for name, found in by_name.items():
            yield metric, name, Cell(_mean_of([result for result, _ in found]), sum(n for _, n in found) // len(found))


def _mean_of(results: Sequence[MetricResult]) -> MetricResult:
    """The mean of several draws' results, text by text."""
    if len(results) == 1 or any(result.per_sample is None for result in results):
        return results[0]
    values = torch.stack([result.per_sample for result in results if result.per_sample is not None]).nanmean(0)
    drawn = [result.parts for result in results if result.parts is not None]
    parts = torch.stack(drawn).nanmean(0) if drawn else None
    combined = results[0].combined
    score = float(values.nanmean()) if parts is None or combined is None else float(combined(parts.nanmean(0)))
    skipped = int(values.isnan().sum())
    counts = {"n_valid": len(values) - skipped, "n_skipped": skipped}
    details = {"draws": [result.score for result in results], "results": list(results)}
    return replace(results[0], score=score, per_sample=values, parts=parts, details=details, **counts)


def _named(methods: Mapping[str, Explained] | Sequence[Any]) -> dict[str, Explained]:
    if isinstance(methods, Mapping):
        found = dict(methods)
    else:
        found = {}
        for method in methods:
            if not isinstance(method, AttributionExplainer):
                raise InputError(f"`methods`: got {type(method).__name__} without a name; pass explainers, or a dict by name.")
            found[_free_name(type(method).__name__, found)] = method
    if not found:
        raise InputError("`methods`: got none; pass explainers.")
    for name in found:
        if _is_baseline(name):
            raise InputError(f"`methods`: {name!r} is what the table calls a baseline; pass another name.")
    return found


def columns_of(metrics: Sequence[AttributionMetric | type[AttributionMetric]]) -> list[str]:
    """What the columns are called: a metric's name, and where there are several of it, the options in which they differ."""
    names: list[str] = []
    for metric in metrics:
        name, own = _name_of(metric), {} if isinstance(metric, type) else metric.config
        alike = [m.config for m in metrics if not isinstance(m, type) and _name_of(m) == name]
        told = {key: value for key, value in own.items() if any(key not in other or other[key] != value for other in alike)}
        options = ", ".join(f"{key}={value!r}" for key, value in told.items())
        names.append(_free_name(f"{name}({options})" if options else name, names))
    return names


def _free_name(name: str, taken: Container[str]) -> str:
    free, k = name, 2
    while free in taken:
        free, k = f"{name} {k}", k + 1
    return free


def _check_alike(first: str, expected: Sequence[AttributionOutput], name: str, found: Sequence[AttributionOutput]) -> None:
    if len(found) != len(expected):
        raise InputError(
            f"`methods`: {name!r} explains {len(found)} inputs and {first!r} {len(expected)}; pass the same inputs."
        )
    for i, (a, b) in enumerate(zip(expected, found, strict=True)):
        same = torch.equal(a.sample.input_ids, b.sample.input_ids) and torch.equal(a.sample.units.index, b.sample.units.index)
        if not same or a.target_labels != b.target_labels:
            raise InputError(
                f"`methods`: explanation {i} of {name!r} is of another text, other units or other targets than that of "
                f"{first!r}; their numbers cannot be compared."
            )


def _interval(result: MetricResult) -> tuple[float, float]:
    return result.quiet_interval()


def _counts(result: MetricResult) -> tuple[int, int]:
    return result.n_valid, result.n_skipped


def _name_of(metric: AttributionMetric | type[AttributionMetric]) -> str:
    return metric.__name__ if isinstance(metric, type) else type(metric).__name__


def _is_baseline(name: str) -> bool:
    return name == "random" or name.startswith("reversed ")
