"""The command line's ``interpreto compare TEXTS.csv``: methods beside each other, judged by metrics."""

from __future__ import annotations

import argparse
import csv
import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from interpreto.errors import FileError, OptionError

COLUMNS = ("text", "sentence", "prompt", "review", "content")
"""Names under which a table's texts are looked for, before its first column is taken."""


def add_parser(commands: Any, methods: Mapping[str, str], load: Callable[[str | None], tuple[Any, Any]]) -> None:
    """Add the command; ``load`` answers the model and the tokenizer of a name, or the embedded ones."""
    about = "Judge methods by metrics on the texts of a file: the best of a column is starred; random is what chance gets."
    compare = commands.add_parser("compare", help="judge methods by metrics", description=about)
    compare.add_argument("file", metavar="TEXTS", help="a .csv or .tsv with a header, or a text a line")
    compare.add_argument("--column", help=f"where the texts are; default: {', '.join(COLUMNS)}, or the first")
    compare.add_argument(
        "--target-column", metavar="COLUMN", help="what is explained of each: a class, or the text that follows"
    )
    compare.add_argument("--limit", type=int, metavar="N", help="so many texts, evenly spread over the file")
    compare.add_argument("--model", metavar="REPO_OR_DIR", help="default: the embedded sentiment classifier")
    some = ["occlusion", "kernel-shap", "integrated-gradients", "saliency"]
    compare.add_argument(
        "--methods", nargs="+", choices=methods, default=some, metavar="METHOD", help=f"default: {' '.join(some)}"
    )
    compare.add_argument(
        "--metrics", nargs="+", metavar="METRIC", help="such as Deletion ABPC Infidelity; default: eight of them"
    )
    compare.add_argument("--granularity", default="word")
    compare.add_argument("--replacement", default="auto", help="what stands for removed units, for methods and metrics")
    compare.add_argument("--batch-size", type=int, metavar="N", help="rows a forward pass; default: as many as fit")
    compare.add_argument("--seed", type=int, default=0, metavar="N")
    compare.add_argument("--device", help="where to run, such as cuda; default: where the model is")
    compare.add_argument("--truncation", action="store_true", help="explain the beginning of texts that are too long")
    compare.add_argument("--progress", action="store_true", help="show how far it is")
    compare.add_argument("--html", metavar="FILE", help="write a page too")
    compare.add_argument("--csv", metavar="FILE", help="write all cells, with intervals and costs, too")
    compare.set_defaults(run=lambda arguments: _compare(arguments, methods, load))


def _compare(arguments: argparse.Namespace, methods: Mapping[str, str], load: Callable[[str | None], tuple[Any, Any]]) -> int:
    import interpreto  # noqa: PLC0415  (help needs no torch)
    from interpreto.metrics import Benchmark  # noqa: PLC0415
    from interpreto.metrics.benchmark import DEFAULT  # noqa: PLC0415

    for flag, path in (("--html", arguments.html), ("--csv", arguments.csv)):
        if path and not Path(path).parent.is_dir():
            raise OptionError(f"`{flag}`: there is no folder {str(Path(path).parent)!r}.")
    texts, targets = read_texts(Path(arguments.file), arguments.column, arguments.target_column, arguments.limit)
    model, tokenizer = load(arguments.model)
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
        _explainer(getattr(interpreto, methods[name]), model, tokenizer, arguments, options) for name in arguments.methods
    ]
    table = benchmark.run(explainers, texts, targets)
    print(table)
    print(f"{len(texts)} texts, removed {arguments.granularity}s replaced by {benchmark.game.replacement.name}")
    if arguments.html:
        table.to_html(arguments.html)
    if arguments.csv:
        table.to_csv(arguments.csv)
    return 0


def _moved(model: Any, device: str) -> Any:
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:  # torch names unknown and missing devices by either
        raise OptionError(f"`--device`: got {device!r}; {str(error).splitlines()[0]}") from error


def _explainer(method: Any, model: Any, tokenizer: Any, arguments: argparse.Namespace, options: dict[str, Any]) -> Any:
    import inspect  # noqa: PLC0415

    more: dict[str, Any] = {"granularity": arguments.granularity, "truncation": arguments.truncation}
    if "replacement" in inspect.signature(method).parameters:
        more["replacement"] = _replacement(arguments.replacement)
    return method(model, tokenizer, **options, **more)


def _replacement(value: str) -> str | int:
    return int(value) if value.isdigit() else value


def _metric(name: str) -> str:
    from interpreto.metrics.benchmark import WITHOUT_RATIONALES  # noqa: PLC0415

    by_name = {known.lower(): known for known in WITHOUT_RATIONALES}
    if name.lower() not in by_name:
        near = difflib.get_close_matches(name.lower(), by_name, n=1)
        hint = f" Did you mean {by_name[near[0]]}?" if near else ""
        raise OptionError(f"`--metrics`: there is no {name!r}; there are {', '.join(WITHOUT_RATIONALES)}.{hint}")
    return by_name[name.lower()]


def read_texts(path: Path, column: str | None, target: str | None, limit: int | None) -> tuple[list[str], list[str] | None]:
    """The texts of a file, and what is explained of each.

    Raises:
        FileError: there is no such file, or no text in it.
        OptionError: it has no such column.
    """
    if not path.is_file():
        raise FileError(f"`TEXTS`: there is no file {str(path)!r}.")
    with path.open(encoding="utf-8-sig", newline="") as file:
        if path.suffix.lower() in (".csv", ".tsv"):
            rows: list[dict[str, str]] = list(csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ","))
        else:
            rows = [{"text": line.strip()} for line in file]
    names = list(rows[0]) if rows else []
    for name, flag in ((column, "--column"), (target, "--target-column")):
        if name is not None and rows and name not in names:
            raise OptionError(f"`{flag}`: got {name!r}; {str(path)!r} has {', '.join(map(repr, names))}.")
    by_name = {str(name).lower(): name for name in names}
    chosen = column or next((by_name[name] for name in COLUMNS if name in by_name), names[0] if names else "")
    rows = [row for row in rows if (row.get(chosen) or "").strip()]
    if not rows:
        raise FileError(f"`TEXTS`: {str(path)!r} holds no text.")
    if limit is not None:
        if limit < 1:
            raise OptionError(f"`--limit`: got {limit}; pass a whole number of at least 1.")
        rows = _spread(rows, limit)
    return [row[chosen] for row in rows], None if target is None else [row[target] for row in rows]


def _spread(rows: Sequence[dict[str, str]], limit: int) -> list[dict[str, str]]:
    count = min(limit, len(rows))
    return [rows[i * len(rows) // count] for i in range(count)]
