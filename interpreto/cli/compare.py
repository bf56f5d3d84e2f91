"""``interpreto compare``: evaluate methods by metrics on the texts of a file."""

from __future__ import annotations

import inspect
import math
from typing import Any

from rich.table import Table

import interpreto
from interpreto.cli.arguments import COMPARED, COMPARED_BY, METHODS, Arguments
from interpreto.cli.hints import did_you_mean, read_method
from interpreto.cli.loading import load_model
from interpreto.cli.output import read_outputs, write_json
from interpreto.cli.screen import screen
from interpreto.cli.texts import read_texts
from interpreto.datasets import benchmark_dataset
from interpreto.errors import OptionError
from interpreto.metrics import Benchmark
from interpreto.metrics.benchmark import DEFAULT, WITHOUT_RATIONALES
from interpreto.metrics.benchmark_table import BenchmarkTable, is_baseline

ENDINGS = (".html", ".json", ".csv")
NOT_FOUND = "–"


def run(arguments: Arguments) -> int:
    """Evaluate the command's methods, print the table and write its files."""
    outputs = read_outputs(arguments, ENDINGS)
    methods = [read_method(name, "--methods") for name in arguments.methods or COMPARED]
    metrics = [_metric(name) for name in _asked(arguments.metrics)]
    if arguments.folder is not None and arguments.limit is not None:
        raise OptionError("`--limit`: with --folder, all texts are compared; leave one of them out.")
    model, tokenizer = load_model(arguments.model, arguments.device)
    options = {"random_state": arguments.seed, "batch_size": arguments.batch_size}
    if arguments.progress:
        options["tqdm_bar"] = True
    benchmark = Benchmark(model, tokenizer, metrics=metrics, replacement=_replacement(arguments.replacement), **options)
    explainers = [_explainer(getattr(interpreto, METHODS[name]), model, tokenizer, arguments, options) for name in methods]
    table = _in_parts(benchmark, explainers, arguments) if arguments.folder else _at_once(benchmark, explainers, arguments)
    console = screen()
    console.print(as_table(table, console.width))
    for failure in table.failures:
        console.print(str(failure), markup=False)
    replaced = benchmark.game.replacement.name
    console.print(
        f"* the best of its column, over {table.texts} texts; masked {arguments.granularity}s are replaced by {replaced}.",
        markup=False,
    )
    outputs.write({".html": table.to_html, ".json": lambda path: write_json(as_json(table), path), ".csv": table.to_csv})
    return 0


def _at_once(benchmark: Benchmark, explainers: list[Any], arguments: Arguments) -> BenchmarkTable:
    texts, targets = read_texts(arguments.file, arguments.column, arguments.target_column, arguments.limit)
    return benchmark.run(explainers, texts, targets)


def _in_parts(benchmark: Benchmark, explainers: list[Any], arguments: Arguments) -> BenchmarkTable:
    """Compute the parts that are missing of a folder of scores, and return the table of all."""
    return benchmark_dataset(
        benchmark,
        explainers,
        arguments.file,
        arguments.folder,
        text=arguments.column,
        target=arguments.target_column,
        workers=arguments.workers,
        rows_per_shard=arguments.rows_per_shard,
        tqdm_bar=True if arguments.progress else None,
    ).table()


def as_table(table: BenchmarkTable, width: int) -> Table:
    """Return the table as rich draws it: 95 % intervals too, where the screen is wide enough.

    Args:
        table: Results.
        width: Cells per line.
    """
    spread = width >= 20 + 26 * len(table.metrics)
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    drawn.add_column("method", no_wrap=True)
    for metric in table.metrics:
        drawn.add_column(f"{metric} {'↑' if _higher(table, metric) else '↓'}", justify="right", overflow="fold")
    best = {metric: _best(table, metric) for metric in table.metrics}
    for name in table.names:
        cells = [_cell(table, name, metric, spread) + ("*" if best[metric] == name else " ") for metric in table.metrics]
        drawn.add_row(name, *cells, style="dim" if is_baseline(name) else None)
    return drawn


def as_json(table: BenchmarkTable) -> list[dict[str, Any]]:
    """Return a row per method and metric: the score, its interval and the number of texts."""
    rows = []
    for name, row in table.cells.items():
        for metric, cell in row.items():
            low, high = cell.result.quiet_interval()
            numbers = {"score": cell.result.score, "low": low, "high": high}
            plain = {key: value if math.isfinite(value) else None for key, value in numbers.items()}
            direction = {"higher_is_better": cell.result.higher_is_better}
            rows.append({"method": name, "metric": metric, **plain, **direction, "n_valid": cell.result.n_valid})
    return rows


def _higher(table: BenchmarkTable, metric: str) -> bool:
    """Return the direction of a metric."""
    found = [row[metric].result.higher_is_better for row in table.cells.values() if metric in row]
    return found[0] if found else table.columns[metric]


def _best(table: BenchmarkTable, metric: str) -> str | None:
    """Return the method of the best score; None where there is none."""
    scores = {
        name: row[metric].result.score
        for name, row in table.cells.items()
        if metric in row and not is_baseline(name) and not math.isnan(row[metric].result.score)
    }
    if not scores:
        return None
    return (max if _higher(table, metric) else min)(scores, key=lambda name: scores[name])


def _cell(table: BenchmarkTable, name: str, metric: str, spread: bool) -> str:
    if metric not in table.cells[name]:
        return NOT_FOUND
    result = table[name, metric]
    if math.isnan(result.score):
        return NOT_FOUND
    low, high = result.quiet_interval()
    return f"{result.score:.3f}" + (f" [{low:.3f}, {high:.3f}]" if spread and not math.isnan(low) else "")


def _explainer(method: Any, model: Any, tokenizer: Any, arguments: Arguments, options: dict[str, Any]) -> Any:
    more: dict[str, Any] = {"granularity": arguments.granularity, "truncation": arguments.truncation}
    if "replacement" in inspect.signature(method).parameters:
        more["replacement"] = _replacement(arguments.replacement)
    return method(model, tokenizer, **options, **more)


def _replacement(value: str) -> str | int:
    return int(value) if value.isdecimal() else value


def _asked(names: list[str] | None) -> tuple[str, ...]:
    if not names:
        return COMPARED_BY
    return DEFAULT if names == ["all"] else tuple(names)


def _metric(name: str) -> str:
    by_name = {known.lower(): known for known in WITHOUT_RATIONALES}
    if name.lower() not in by_name:
        known = ", ".join(WITHOUT_RATIONALES)
        raise OptionError(f"`--metrics`: there is no {name!r}.{did_you_mean(name, WITHOUT_RATIONALES)} There are {known}.")
    return by_name[name.lower()]
