"""Compute one shard of a benchmark: explain its inputs by every method, score them by every metric, write the scores."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from interpreto.attributions.base import AttributionExplainer
from interpreto.datasets.jobs import Compute, Task, is_of_the_machine
from interpreto.datasets.results import ExplanationDataset
from interpreto.datasets.score_files import ScoreFailure, write_scores
from interpreto.datasets.shards import Entry, entry_of
from interpreto.datasets.sources import Rows
from interpreto.datasets.spec import Recipe
from interpreto.errors import EngineError, FailureWarning, FileError, InputError, OptionError
from interpreto.metrics.benchmark import Benchmark
from interpreto.metrics.benchmark_table import BenchmarkTable
from interpreto.metrics.merging import TextScores
from interpreto.progress import one_bar

FEW = 8  # texts on each of which a method fails, so that it is not about a text
Method = AttributionExplainer | ExplanationDataset


@dataclass(frozen=True)
class ScoreOrders:
    """Orders that all shards of a benchmark have in common.

    Attributes:
        folder: Of the data set.
        run: Digest of the manifest.
        target: A target that all texts share; None: each has its own, or its prediction.
        records: A text that fails is recorded; else its error ends the run.
    """

    folder: Path
    run: str
    target: Any = None
    records: bool = True


@dataclass(frozen=True)
class Scoring:
    """The job of scoring shards.

    Attributes:
        benchmark: Metrics, with their model.
        methods: What each worker makes the explainers of, by name, or folders of explanations.
        orders: What all shards have in common.
    """

    benchmark: Benchmark
    methods: Mapping[str, Recipe | Path]
    orders: ScoreOrders

    @staticmethod
    def of(benchmark: Benchmark, methods: Mapping[str, Method], orders: ScoreOrders) -> Scoring:
        """Return the job of methods."""
        sent = {
            name: method.path if isinstance(method, ExplanationDataset) else Recipe.of(method)
            for name, method in methods.items()
        }
        return Scoring(benchmark, sent, orders)

    def build(self, device: str | None) -> Compute:
        """Return the function that scores a shard, with models on a device; None: where they are."""
        methods = {
            name: ExplanationDataset(own) if isinstance(own, Path) else own.build(device) for name, own in self.methods.items()
        }
        args, kwargs = self.benchmark.made_with
        moved = self.benchmark if device is None else Benchmark(*args, **{**kwargs, "device": device})
        return partial(score_shard, Scorer(moved, methods, self.orders))


_Held = dict[str, dict[int, Any]]
"""Explanations that were computed before, by method and number of the input."""


@dataclass(frozen=True)
class _Failed:
    """An exception of a method, or of one of its metrics."""

    method: str
    metric: str | None
    error: Exception

    def __str__(self) -> str:
        place = self.method if self.metric is None else f"{self.metric} of {self.method}"
        return f"{place} fails with {type(self.error).__name__}: {self.error}"

    def kept(self, number: int) -> ScoreFailure:
        """Return what is written of it."""
        return ScoreFailure(number, self.method, self.metric, type(self.error).__name__, str(self.error))


class Scorer:
    """Scores texts, and keeps those apart that fail.

    Args:
        benchmark: Metrics, with their model.
        methods: Explainers, or explanations of the same inputs, by name.
        orders: What all shards have in common.
    """

    def __init__(self, benchmark: Benchmark, methods: Mapping[str, Method], orders: ScoreOrders) -> None:
        self.benchmark, self.methods, self.orders = benchmark, methods, orders
        self._is_warm = False

    def scored(self, rows: Rows, start: int) -> tuple[TextScores, list[ScoreFailure]]:
        """Return the scores of some texts, and what failed of single ones.

        Args:
            rows: The inputs.
            start: Number of the first.

        Raises:
            EngineError: a method or a metric fails on every text, or failures are not recorded.
        """
        held = self._explanations(start, start + len(rows))
        if not self._is_warm:  # what is measured of a model once shall not count as the cost of a text
            self._run(rows[:FEW], start, held)
            self._is_warm = True
        return self._halved(rows, start, held, len(rows) >= FEW)

    def _halved(self, rows: Rows, start: int, held: _Held, checks: bool) -> tuple[TextScores, list[ScoreFailure]]:
        """Score texts; where something fails, each half, until what fails is a single text."""
        scores, failures = self._run(rows, start, held)
        for failure in failures:
            if is_of_the_machine(failure.error):
                raise failure.error
        if not failures:
            return scores, []
        if len(rows) == 1:
            if not self.orders.records:
                raise EngineError(f"`data[{start}]`: {failures[0]}") from failures[0].error
            return scores, [failure.kept(start) for failure in failures]
        if checks:
            self._check_some(rows, start, held)
        middle = len(rows) // 2
        first, some = self._halved(rows[:middle], start, held, checks=False)
        second, others = self._halved(rows[middle:], start + middle, held, checks=False)
        return first.followed_by(second), [*some, *others]

    def _run(self, rows: Rows, start: int, held: _Held) -> tuple[TextScores, list[_Failed]]:
        """Return the scores of texts; if the first method fails, which all others follow, there are none."""
        numbers = range(start, start + len(rows))
        none, first = TextScores(len(rows)), next(iter(self.methods))
        for name, found in held.items():
            if missing := [number for number in numbers if number not in found]:
                return none, [_Failed(name, None, InputError(f"input {missing[0]} has no explanation."))]
        methods: dict[str, Any] = {
            name: [held[name][number] for number in numbers] if name in held else method
            for name, method in self.methods.items()
        }
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FailureWarning)
                table = self.benchmark.run(methods, None if held else rows.inputs, self._targets(rows))
        except Exception as error:  # whatever a method raises
            return none, [_Failed(first, None, error)]
        failed = [_Failed(failure.method, failure.metric, failure.error) for failure in table.failures]
        if any(failure.method == first and failure.metric is None for failure in failed):
            return none, failed
        _check_of_single_texts(table)
        return TextScores.of(table, len(rows)), failed

    def _targets(self, rows: Rows) -> Any:
        if rows.targets is not None:
            return rows.targets
        shared = self.orders.target
        return [list(shared)] * len(rows) if isinstance(shared, (list, tuple)) else shared

    def _explanations(self, start: int, stop: int) -> _Held:
        """Return explanations of a range of inputs that were computed before, by method and number of the input."""
        return {
            name: dict(method.of_inputs(start, stop))
            for name, method in self.methods.items()
            if isinstance(method, ExplanationDataset)
        }

    def _check_some(self, rows: Rows, start: int, held: _Held) -> None:
        """Refuse to go on where a method or a metric fails on each of the first texts, for a reason that is not the text."""
        often: dict[tuple[str, str | None], _Failed] = {}
        for i in range(FEW):
            failed = self._run(rows[i : i + 1], start + i, held)[1]
            own = {(f.method, f.metric): f for f in failed if not isinstance(f.error, InputError)}
            often = own if i == 0 else {key: f for key, f in own.items() if key in often}
        for failure in often.values():
            raise EngineError(f"{failure}. That is so of each of {FEW} texts from number {start} on; leave it out.")


def _check_of_single_texts(table: BenchmarkTable) -> None:
    for row in table.cells.values():
        for column, cell in row.items():
            if cell.result.per_sample is None:
                raise OptionError(f"`metrics`: {column} is of all texts together; its values on parts cannot be merged.")


def score_shard(scorer: Scorer, task: Task, on_texts: Callable[[int], object]) -> Entry:
    """Score the inputs of a shard and write its file; one that another worker has written in the meantime is left alone.

    Args:
        scorer: Scores.
        task: What to compute.
        on_texts: Called with the number of texts when they are done.

    Raises:
        FileError: the inputs cannot be read, or the file cannot be written.
        EngineError: a method or a metric fails on every text, or failures are not recorded.
    """
    shard, orders = task.shard, scorer.orders
    entry = entry_of(orders.folder, shard, orders.run)
    if entry is None:
        rows = task.part.rows()
        if len(rows) != shard.stop - shard.start:
            raise FileError(f"`data`: rows {shard.start} to {shard.stop} are {len(rows)}; the data have changed.")
        with one_bar():
            scores, failures = scorer.scored(rows, shard.start)
        entry = write_scores(orders.folder, shard, rows, scores, failures, run=orders.run)
    on_texts(shard.stop - shard.start)
    return entry
