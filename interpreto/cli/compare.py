"""``interpreto compare``: evaluate methods by metrics on the texts of a file."""

from __future__ import annotations

import argparse
import difflib
import inspect
from typing import Any

import interpreto
from interpreto.cli.arguments import METHODS
from interpreto.cli.loading import load_model
from interpreto.cli.texts import read_texts
from interpreto.errors import OptionError
from interpreto.metrics import Benchmark
from interpreto.metrics.benchmark import DEFAULT, WITHOUT_RATIONALES
from interpreto.storage import check_writable


def run(arguments: argparse.Namespace) -> int:
    """Evaluate the command's methods, print the table and write its files."""
    for flag in ("html", "csv"):
        if getattr(arguments, flag):
            check_writable(getattr(arguments, flag), f"--{flag}")
    texts, targets = read_texts(arguments.file, arguments.column, arguments.target_column, arguments.limit)
    model, tokenizer = load_model(arguments.model)
    if arguments.device is not None:
        model = _moved(model, arguments.device)
    options = {"random_state": arguments.seed, "batch_size": arguments.batch_size}
    benchmark = Benchmark(
        model,
        tokenizer,
        metrics=[_metric(name) for name in arguments.metrics or DEFAULT],
        replacement=_replacement(arguments.replacement),
        tqdm_bar=arguments.progress,
        **options,
    )
    explainers = [
        _explainer(getattr(interpreto, METHODS[name]), model, tokenizer, arguments, options) for name in arguments.methods
    ]
    table = benchmark.run(explainers, texts, targets)
    print(table)
    print(f"{len(texts)} texts, masked {arguments.granularity}s replaced by {benchmark.game.replacement.name}")
    if arguments.html:
        table.to_html(arguments.html)
    if arguments.csv:
        table.to_csv(arguments.csv)
    return 0


def _moved(model: Any, device: str) -> Any:
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:  # torch raises either for unknown and missing devices
        raise OptionError(f"`--device`: got {device!r}; {str(error).splitlines()[0]}") from error


def _explainer(method: Any, model: Any, tokenizer: Any, arguments: argparse.Namespace, options: dict[str, Any]) -> Any:
    more: dict[str, Any] = {"granularity": arguments.granularity, "truncation": arguments.truncation}
    if "replacement" in inspect.signature(method).parameters:
        more["replacement"] = _replacement(arguments.replacement)
    return method(model, tokenizer, **options, **more)


def _replacement(value: str) -> str | int:
    return int(value) if value.isdecimal() else value


def _metric(name: str) -> str:
    by_name = {known.lower(): known for known in WITHOUT_RATIONALES}
    if name.lower() not in by_name:
        near = difflib.get_close_matches(name.lower(), by_name, n=1)
        hint = f" Did you mean {by_name[near[0]]}?" if near else ""
        raise OptionError(f"`--metrics`: there is no {name!r}; there are {', '.join(WITHOUT_RATIONALES)}.{hint}")
    return by_name[name.lower()]
