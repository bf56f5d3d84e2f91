"""Compare methods on a data set of any size: a benchmark over shards, whose statistics merge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from interpreto.attributions.base import AttributionExplainer
from interpreto.datasets.manifest import OF_SCORES, Manifest, versions
from interpreto.datasets.opening import read_source
from interpreto.datasets.results import ExplanationDataset
from interpreto.datasets.running import begun, run_shards
from interpreto.datasets.score_results import BenchmarkDataset
from interpreto.datasets.scoring import Method, ScoreOrders, Scorer, Scoring, score_shard
from interpreto.datasets.shards import Entry, load_pyarrow, read_shard
from interpreto.datasets.sources import Columns, Part, Rows, Source
from interpreto.datasets.spec import described, model_identity, plain, tokenizer_identity
from interpreto.engines.cluster import RayOptions
from interpreto.engines.engine import Engine
from interpreto.errors import InputError, OptionError
from interpreto.metrics.benchmark import Benchmark, named_methods
from interpreto.metrics.benchmark_table import columns_of, name_of
from interpreto.storage import local_folder
from interpreto.validation import check_choice, check_count, shown

ON_ERROR = ("record", "raise")


def benchmark_dataset(
    benchmark: Benchmark,
    methods: Mapping[str, Any] | Sequence[Any],
    data: Any,
    out: str | PathLike[str],
    *,
    text: str | tuple[str, str] | None = None,
    target: str | None = None,
    targets: Any = None,
    engine: str = "local",
    workers: int | Sequence[str] = 1,
    rows_per_shard: int = 256,
    on_error: str = "record",
    part: tuple[int, int] | None = None,
    ray: RayOptions | None = None,
    tqdm_bar: bool | None = None,
) -> BenchmarkDataset:
    """Compare methods by metrics on every text of a data set, on the engines of `explain_dataset`, and as resumable.

    Each shard is one `Benchmark.run`, and its file has the scores of each text. The table of all texts is merged from the
    shards: scores, intervals, differences of methods and curves equal those of one `Benchmark.run` on the same texts but for
    rounding, whatever the engine, the size of shards and the number of workers.

    Args:
        benchmark: The metrics, with the explained model and the baselines.
        methods: Explainers, or a mapping from names to explainers or to an `ExplanationDataset` of the same inputs. Where
            explanations are among them, they come first.
        data: As in `explain_dataset`; None: the inputs of the explanations.
        out: Folder of the results, which all workers can write to; made if missing.
        text: As in `explain_dataset`.
        target: Column of the targets; None: ``targets``, or the predictions.
        targets: A target that all texts share, or a list of several that each text is explained for.
        engine: As in `explain_dataset`.
        workers: As in `explain_dataset`.
        rows_per_shard: Inputs of each shard, which are explained by all methods before anything of them is written.
        on_error: ``"record"``: a text on which a method or a metric fails has no score of it, and the failure is recorded;
            ``"raise"``: it ends the call.
        part: As in `explain_dataset`.
        ray: As in `explain_dataset`.
        tqdm_bar: Show the texts done; None: after two seconds, in terminals and notebooks.

    Returns:
        The data set; ``.table()`` is that of all texts.

    Raises:
        FileError: ``out`` was begun with other data, another model, other methods or metrics, which the message names.
        InputError, OptionError: an argument is not valid, or a metric is of all texts together.
        EngineError: a method or a metric fails on every text, or workers die again and again over one shard.

    References:
        Chan, Golub and LeVeque, The American Statistician 1983, https://doi.org/10.1080/00031305.1983.10483115.

    Examples:
        >>> import tempfile
        >>> from interpreto import Occlusion, Saliency, benchmark_dataset, demo
        >>> from interpreto.metrics import Benchmark
        >>> model, tokenizer = demo.load_classifier()
        >>> methods = [Occlusion(model, tokenizer), Saliency(model, tokenizer)]
        >>> texts = ["A gorgeous film.", "A dull film.", "What a waste."]
        >>> benchmark = Benchmark(model, tokenizer, metrics=["Deletion", "ABPC"])
        >>> found = benchmark_dataset(benchmark, methods, texts, tempfile.mkdtemp(), rows_per_shard=2)
        >>> found
        BenchmarkDataset(3 texts, Occlusion, Saliency, random, … by 2 metrics, 2 of 2 shards)
        >>> found.table()["Occlusion", "ABPC"].n_valid
        3
    """
    where = Engine.read(engine, workers, part, ray, tqdm_bar)
    records = check_choice(on_error, "on_error", ON_ERROR) == "record"
    check_count(rows_per_shard, "rows_per_shard")
    load_pyarrow()
    if not isinstance(benchmark, Benchmark):
        raise OptionError(
            f"`benchmark`: got {shown(benchmark)}; pass a Benchmark with its model, as in Benchmark(model, tokenizer)."
        )
    named = _checked_methods(methods)
    _check_metrics(benchmark, named)
    if target is not None and targets is not None:
        raise OptionError(f"`targets`: the column {target!r} says them already; pass one of them.")
    source = _source(named, data, text, target)
    folder = local_folder(out, "out")
    manifest = begun(folder, manifest_of(benchmark, named, source, targets, rows_per_shard))
    orders = ScoreOrders(folder, manifest.run, targets, records)
    here = partial(score_shard, Scorer(benchmark, named, orders))
    run_shards(folder, manifest, source, engine=where, job=Scoring.of(benchmark, named, orders), here=here)
    return BenchmarkDataset(folder)


def manifest_of(
    benchmark: Benchmark, methods: Mapping[str, Method], source: Source, targets: Any, rows_per_shard: int
) -> Manifest:
    """Return what a run is of."""
    data = {
        "name": source.name,
        "rows": len(source),
        "fingerprint": source.fingerprint,
        "columns": {"text": plain(source.columns.text), "target": source.columns.target, "label": None},
    }
    game, columns = benchmark.game, columns_of(benchmark.metrics)
    options: dict[str, Any] = {
        "rows": benchmark.rows_of(list(methods)),
        "columns": columns,
        "n_random": benchmark.n_random,
        "random_state": benchmark.random_state,
        "replacement": plain(game.replacement.name),
    }
    for column, metric in zip(columns, benchmark.metrics, strict=True):
        config = {} if isinstance(metric, type) else plain(metric.config)
        options[column] = {"metric": name_of(metric), **config}
    for name, method in methods.items():
        if isinstance(method, ExplanationDataset):
            options[name] = {"explanations": method.manifest.run}
        else:
            own = described(method)
            options |= {f"{name}.{option}": value for option, value in own.pop("options").items()}
            options |= {f"{name}.{fact}": value for fact, value in own.items()}
    explainer = {
        "method": "Benchmark",
        "model": model_identity(game.model),
        "tokenizer": tokenizer_identity(game.tokenizer),
        "options": options,
    }
    call = {} if targets is None else {"targets": plain(targets)}
    return Manifest(data, explainer, call, len(source), rows_per_shard, versions(), OF_SCORES)


def _checked_methods(methods: Any) -> dict[str, Method]:
    """Return the methods by name."""
    named: dict[str, Any] = named_methods(methods)
    explained = [name for name, method in named.items() if isinstance(method, ExplanationDataset)]
    for i, (name, method) in enumerate(named.items()):
        if isinstance(method, ExplanationDataset):
            if i >= len(explained):
                raise InputError(f"`methods`: {name!r} are explanations, after an explainer; pass explanations first.")
            if not method.is_complete or method.is_filtered:
                raise InputError(f"`methods`: {name!r} is {method!r}; pass all explanations of a complete run.")
        elif not isinstance(method, AttributionExplainer):
            raise InputError(f"`methods`: {name!r} is {shown(method)}; pass explainers, or an ExplanationDataset.")
        elif method.settings.random_state is None:
            raise OptionError(f"`methods`: {name!r} has no `random_state`; a run that can be resumed needs a seed.")
    return named


def _check_metrics(benchmark: Benchmark, methods: Mapping[str, Method]) -> None:
    """Refuse metrics whose values on parts do not merge, and amounts of several scores."""
    for metric in benchmark.metrics:
        if metric.needs == "rationales" or (not isinstance(metric, type) and not metric.of_single_texts):
            raise OptionError(
                f"`benchmark`: the value of a text by {name_of(metric)} depends on all texts of the call; run it on "
                "explanations in memory, as in Metric(...)(dataset[:1000])."
            )
    modes = {method.task.mode_name for method in methods.values() if isinstance(method, AttributionExplainer)}
    benchmark.check_modes(modes)


def _source(methods: Mapping[str, Method], data: Any, text: Any, target: str | None) -> Source:
    """Return the inputs: those of the data, or of the explanations."""
    explained = {name: method for name, method in methods.items() if isinstance(method, ExplanationDataset)}
    if not explained:
        if data is None:
            raise InputError("`data`: got none, and explainers alone; pass what they shall explain.")
        return read_source(data, text, target, None)
    if data is not None or text is not None or target is not None:
        raise InputError("`data`: explanations among the methods have inputs of their own; pass None.")
    (first, of), *others = explained.items()
    for name, other in others:
        if other.manifest.data["fingerprint"] != of.manifest.data["fingerprint"] or other.manifest.call != of.manifest.call:
            raise InputError(f"`methods`: {name!r} are explanations of other data or targets than {first!r}.")
    return ExplainedSource(of)


class ExplainedSource(Source):
    """Inputs of a data set of explanations.

    Args:
        dataset: The explanations.
    """

    def __init__(self, dataset: ExplanationDataset) -> None:
        self.name, self.columns = str(dataset.path), Columns("text")
        self.fingerprint, self._dataset = dataset.manifest.data["fingerprint"], dataset

    def __len__(self) -> int:
        return self._dataset.manifest.rows

    def part(self, start: int, stop: int) -> Part:
        return ExplainedPart(self._dataset.path, tuple(self._dataset.shards_of(start, stop)), start, stop)


@dataclass(frozen=True)
class ExplainedPart(Part):
    """Texts of a range of inputs that explanations are of."""

    folder: Path
    entries: tuple[Entry, ...]
    start: int
    stop: int

    def rows(self) -> Rows:
        found: list[Any] = []
        for entry in self.entries:
            texts = read_shard(self.folder, entry, ("text",))["text"].to_pylist()
            found += texts[max(self.start - entry.start, 0) : self.stop - entry.start]
        return Rows(found)
