"""Compare attribution methods by several metrics on the same inputs."""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch

from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.output import AttributionOutput
from interpreto.errors import FailureWarning, InputError, OptionError
from interpreto.metrics import attributions as known
from interpreto.metrics.attributions.base import AttributionMetric, GameMetric, range_of, score_together
from interpreto.metrics.attributions.cases import random_like, read_explanations, reversed_of
from interpreto.metrics.attributions.game import Game, rows_of
from interpreto.metrics.benchmark_table import (
    BenchmarkTable,
    Cell,
    Failure,
    columns_of,
    free_name,
    is_baseline,
    name_of,
)
from interpreto.metrics.cost import Cost, counted
from interpreto.metrics.result import MetricResult
from interpreto.progress import progress_bar
from interpreto.remade import Remade
from interpreto.validation import check_count, check_seed, takes_old_names

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
"""Metrics that can be asked for by name."""
WITHOUT_RATIONALES = tuple(name for name in NAMES if getattr(known, name).needs != "rationales")
"""Metrics that need nothing but explanations and the model."""
BASELINES = ("random", "reversed")

Explained = AttributionExplainer | Sequence[AttributionOutput]
Draws = Mapping[str, Sequence[Sequence[AttributionOutput]]]
"""Explanations by method; several draws of the random baseline."""


class Benchmark(Remade):
    """Compare methods by metrics, all on the same inputs, units and targets.

    Perturbed inputs are scored once: all metrics that mask units share one sweep, and so do all methods. A method or a
    metric that raises an exception loses its own cells; the table names it, with a `FailureWarning`, and keeps the rest.

    Args:
        model: The explained model. Unchanged after every call.
        tokenizer: Its tokenizer.
        metrics: Names of metrics, their classes, or metrics with options of their own.
        batch_size: Rows per forward pass; None: as many as a token budget holds.
        replacement: What replaces masked units; see `Replacement`.
        baselines: ``"random"``: the first method's values shuffled, the mean over ``n_random`` draws; ``"reversed"``: the
            first method's order reversed.
        n_random: Number of shuffles (old name: ``random_draws``).
        random_state: Seed for shuffling the random baseline.
        tqdm_bar: Show the progress; None: after two seconds, in terminals and notebooks.
        **options: See `GameMetric`.

    Raises:
        OptionError: There is no such metric or baseline.

    Examples:
        >>> from interpreto import Occlusion, Saliency, demo
        >>> from interpreto.metrics import Benchmark
        >>> model, tokenizer = demo.load_classifier()
        >>> benchmark = Benchmark(model, tokenizer, metrics=["Deletion", "Insertion"])
        >>> table = benchmark.run([Occlusion(model, tokenizer), Saliency(model, tokenizer)], ["A gorgeous, moving film."])
        >>> table.names, table.metrics
        (['Occlusion', 'Saliency', 'random', 'reversed Occlusion'], ['Deletion', 'Insertion'])
    """

    @takes_old_names(random_draws="n_random")
    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        metrics: Sequence[Any] = DEFAULT,
        batch_size: int | None = None,
        *,
        replacement: str | int = "auto",
        baselines: Sequence[str] = BASELINES,
        n_random: int = 5,
        random_state: int = 0,
        tqdm_bar: bool | None = None,
        **options: Any,
    ) -> None:
        self.game = Game(model, tokenizer, batch_size, replacement=replacement, tqdm_bar=tqdm_bar, **options)
        self.metrics = [self._metric(metric) for metric in metrics]
        for baseline in baselines:
            if baseline not in BASELINES:
                raise OptionError(f"`baselines`: got {baseline!r}; pass some of {', '.join(map(repr, BASELINES))}.")
        self.baselines, self.n_random = tuple(baselines), check_count(n_random, "n_random")
        self.random_state, self.tqdm_bar = check_seed(random_state), tqdm_bar

    def run(self, methods: Mapping[str, Explained] | Sequence[Any], inputs: Any = None, targets: Any = None) -> BenchmarkTable:
        """Explain the inputs with each method, and compute each metric of the explanations.

        Args:
            methods: Explainers, or a mapping from names to explainers or to explanations.
            inputs: The inputs to explain. The first explainer reads inputs and targets; all others explain its units and
                targets, so that values can be compared.
            targets: See `AttributionExplainer.explain`.

        Raises:
            InputError: Explanations are of different inputs or units, or explainers have no inputs.
            Exception: The first error, where no method, or no metric of any method, was left.
        """
        named = named_methods(methods)
        done = _Outcome(named, dict(zip(map(id, self.metrics), columns_of(self.metrics), strict=True)))
        explained = self._explained(named, inputs, targets, done)
        self._check_scores(explained)
        draws = self._with_baselines(explained)
        explainers = {name: m for name, m in named.items() if isinstance(m, AttributionExplainer) and name in explained}
        self._fill(draws, explainers, done)
        if done.failures and not any(done.cells.values()):
            raise done.failures[0].error
        if done.failures:
            said = "; ".join(map(str, done.failures))
            warnings.warn(f"{said}. The rest of the table is kept.", FailureWarning, stacklevel=2)
        return done.table(draws, self.metrics)

    def rows_of(self, names: Sequence[str]) -> list[str]:
        """Return the names of the table's rows: those of methods, and of the baselines, which are of the first method."""
        baselines = {"random": "random", "reversed": f"reversed {names[0]}"}
        return [*names, *(row for name, row in baselines.items() if name in self.baselines)]

    def _metric(self, metric: Any) -> AttributionMetric | type[AttributionMetric]:
        """Return a metric that can be run; the class of one that needs the explainer waits for it."""
        if isinstance(metric, AttributionMetric):
            return metric
        found = getattr(known, metric, None) if isinstance(metric, str) and metric in NAMES else metric
        if not isinstance(found, type) or not issubclass(found, AttributionMetric) or inspect.isabstract(found):
            near = difflib.get_close_matches(metric, NAMES, n=1) if isinstance(metric, str) else []
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise OptionError(f"`metrics`: got {metric!r}; pass a metric, its class, or its name: {', '.join(NAMES)}.{hint}")
        made: Any = found
        if found.needs == "rationales":
            raise OptionError(
                f"`metrics`: {found.__name__} compares with rationales; pass a metric, {found.__name__}(rationales)."
            )
        if found.needs == "explainer":
            return found
        return made(self.game, self.game.tokenizer) if found.needs == "model" else made()

    def _explained(
        self, methods: Mapping[str, Explained], inputs: Any, targets: Any, done: _Outcome
    ) -> dict[str, list[AttributionOutput]]:
        """Return the explanations of each method that did not fail, on the samples of the first."""
        if inputs is None and isinstance(next(iter(methods.values())), AttributionExplainer):
            raise InputError("`inputs`: got none, and explainers among the methods; pass what they shall explain.")
        found: dict[str, list[AttributionOutput]] = {}
        for name, method in progress_bar(methods.items(), desc="explaining", unit=" methods", shown=self.tqdm_bar):
            if not isinstance(method, AttributionExplainer):
                found[name] = read_explanations(method)
                continue
            samples = [output.sample for output in next(iter(found.values()))] if found else None
            try:
                with counted(method.model) as spent:
                    found[name] = method(inputs, targets) if samples is None else method.explain_samples(samples)
                done.cost[name] = spent
            except Exception as error:  # whatever a method raises
                done.failures.append(Failure(name, None, error))
        if not found:
            raise done.failures[0].error
        first, *others = found.items()
        for name, outputs in others:
            _check_comparable(first[0], first[1], name, outputs)
        return found

    def _check_scores(self, explained: Mapping[str, list[AttributionOutput]]) -> None:
        """Refuse metrics in units of the explained score, where methods explain different scores."""
        self.check_modes({output.inference_mode for outputs in explained.values() for output in outputs})

    def check_modes(self, modes: Collection[str]) -> None:
        """Refuse metrics in units of the explained score, where there are several inference modes.

        Raises:
            InputError: There are such metrics and modes.
        """
        amounts = [m for m in self.metrics if m.in_score_units]
        if amounts and len(modes) > 1:
            raise InputError(
                f"`methods`: they explain {' and '.join(sorted(modes))}, and {name_of(amounts[0])} is in units of the "
                "explained score; pass methods of one `inference_mode`, or metrics of orders, such as ABPC."
            )

    def _with_baselines(self, explained: Mapping[str, list[AttributionOutput]]) -> Draws:
        draws: dict[str, list[list[AttributionOutput]]] = {name: [outputs] for name, outputs in explained.items()}
        first, outputs = next(iter(explained.items()))
        if "random" in self.baselines:
            seeds = range(self.random_state, self.random_state + self.n_random)
            draws["random"] = [[random_like(output, seed) for output in outputs] for seed in seeds]
        if "reversed" in self.baselines:
            draws[f"reversed {first}"] = [[reversed_of(output) for output in outputs]]
        return draws

    def _fill(self, draws: Draws, explainers: Mapping[str, AttributionExplainer], done: _Outcome) -> None:
        """Compute all cells."""
        games: dict[int, list[GameMetric]] = {}
        for metric in self.metrics:
            if isinstance(metric, GameMetric):
                games.setdefault(id(metric.game), []).append(metric)
        for together in games.values():
            _fill_together(together, draws, done)
        alone = [metric for metric in self.metrics if not isinstance(metric, GameMetric)]
        for metric in progress_bar(alone, desc="metrics", unit=" metrics", shown=self.tqdm_bar):
            for name, own in draws.items():
                explainer = explainers.get(name)
                if metric.needs != "explainer":
                    _fill_alone(metric, name, partial(_run, metric, own), self.game.model, done)
                elif explainer is not None and getattr(metric, "explainer", explainer) is explainer:
                    _fill_alone(metric, name, partial(_run, metric, own, explainer), explainer.model, done)


@dataclass
class _Outcome:
    """Cells, costs and failures of a run."""

    names: Mapping[str, Any]
    columns: Mapping[int, str]
    cells: dict[str, dict[str, Cell]] = field(default_factory=dict)
    cost: dict[str, Cost] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def put(self, metric: Any, name: str, cell: Cell) -> None:
        self.cells.setdefault(name, {})[self.columns[id(metric)]] = cell

    def failed(self, metric: Any, name: str, error: Exception) -> None:
        self.failures.append(Failure(name, self.columns[id(metric)], error))

    def table(self, draws: Draws, metrics: Sequence[Any]) -> BenchmarkTable:
        order = list(self.columns.values())
        cells = {
            name: {column: self.cells[name][column] for column in order if column in self.cells.get(name, {})}
            for name in dict.fromkeys([*self.names, *draws])
        }
        directions = {self.columns[id(metric)]: metric.higher_is_better for metric in metrics}
        return BenchmarkTable(cells, self.cost, directions, tuple(self.failures))


def _fill_together(metrics: Sequence[GameMetric], draws: Draws, done: _Outcome) -> None:
    """Compute cells of metrics that share a game in one sweep; after an exception metric by metric, then method by method."""
    try:
        for metric, name, cell in _shared_cells(metrics, draws):
            done.put(metric, name, cell)
    except Exception as error:  # whatever a metric raises
        if len(metrics) > 1:
            for metric in metrics:
                _fill_together([metric], draws, done)
        elif len(draws) > 1:
            for name, own in draws.items():
                _fill_together(metrics, {name: own}, done)
        else:
            done.failed(metrics[0], next(iter(draws)), error)


def _run(metric: Any, draws: Sequence[Sequence[AttributionOutput]], *explainer: AttributionExplainer) -> list[MetricResult]:
    """Return the results of a metric on each draw; a class is made with the explainer first."""
    made = metric(*explainer) if isinstance(metric, type) else metric
    return [made.run(outputs) for outputs in draws]


def _fill_alone(metric: Any, name: str, run: Callable[[], list[MetricResult]], model: Any, done: _Outcome) -> None:
    """Compute the cell of a metric that shares nothing."""
    try:
        with counted(model) as spent:
            results = run()
    except Exception as error:  # whatever a metric raises
        done.failed(metric, name, error)
    else:
        done.put(metric, name, Cell(_mean_of(results), spent.rows // len(results)))


def _shared_cells(metrics: Sequence[GameMetric], draws: Draws) -> list[tuple[GameMetric, str, Cell]]:
    """Return the cells of metrics that share a game, from one sweep for all methods and draws."""
    places = [(name, draw) for name, own in draws.items() for draw in range(len(own))]
    flat = [output for name, draw in places for output in draws[name][draw]]
    cells = []
    for metric, (results, queries) in zip(metrics, score_together(metrics, flat, metrics[0].game), strict=True):
        by_name: dict[str, list[tuple[MetricResult, int]]] = {}
        start = 0
        for name, draw in places:
            outputs = draws[name][draw]
            end = start + len(outputs)
            spent = rows_of([query for own in queries[start:end] for query in own])
            by_name.setdefault(name, []).append((metric.summarize(results[start:end], range_of(metric, outputs)), spent))
            start = end
        for name, found in by_name.items():
            cell = Cell(_mean_of([result for result, _ in found]), sum(n for _, n in found) // len(found))
            cells.append((metric, name, cell))
    return cells


def _mean_of(results: Sequence[MetricResult]) -> MetricResult:
    """Return the mean of the results of several draws, text by text."""
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


def named_methods(methods: Mapping[str, Any] | Sequence[Any]) -> dict[str, Any]:
    """Return methods by name.

    Raises:
        InputError: There is none, one without a name is no explainer, or a name is that of a baseline.
    """
    if isinstance(methods, Mapping):
        found = dict(methods)
    else:
        found = {}
        for method in methods:
            if not isinstance(method, AttributionExplainer):
                raise InputError(f"`methods`: got {type(method).__name__} without a name; pass explainers, or a dict by name.")
            found[free_name(type(method).__name__, found)] = method
    if not found:
        raise InputError("`methods`: got none; pass explainers.")
    for name in found:
        if is_baseline(name):
            raise InputError(f"`methods`: {name!r} is what the table calls a baseline; pass another name.")
    return found


def _check_comparable(first: str, expected: Sequence[AttributionOutput], name: str, found: Sequence[AttributionOutput]) -> None:
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
