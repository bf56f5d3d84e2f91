"""Texts with their true labels, from files and tables: which column holds what is found by its name or said."""

from __future__ import annotations

import csv
import difflib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from interpreto.errors import FileError, InputError, OptionError
from interpreto.validation import check_count, check_seed, shown

TEXTS = ("text", "sentence", "review", "content", "comment", "tweet", "document", "prompt", "title")
LABELS = ("label", "labels", "target", "class", "category", "sentiment", "gold", "y")
"""Names under which columns are looked for, in any case."""
SEPARATORS = {".csv": ",", ".tsv": "\t"}
FILES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")


@dataclass(frozen=True, eq=False)
class LabeledTexts:
    """Texts with a label each.

    Attributes:
        texts: The texts.
        labels: Names or ids of classes, as the source has them.
        source: Name of the file, or kind of the object.
        text_column: Name of the column of the texts; empty where there were no columns.
        label_column: Name of the column of the labels.
        total: Number of rows of the source.
        skipped: Number of rows without a text or without a label.
    """

    texts: tuple[str, ...]
    labels: tuple[str | int, ...]
    source: str
    text_column: str = ""
    label_column: str = ""
    total: int = 0
    skipped: int = 0

    def __len__(self) -> int:
        return len(self.texts)

    def sample(self, most: int | None, random_state: int = 0) -> LabeledTexts:
        """Return a random sample of at most ``most`` rows, in their order; None: all of them."""
        if most is None or check_count(most, "max_texts") >= len(self):
            return self
        generator = torch.Generator().manual_seed(check_seed(random_state))
        kept = sorted(torch.randperm(len(self), generator=generator)[:most].tolist())
        return replace(self, texts=tuple(self.texts[i] for i in kept), labels=tuple(self.labels[i] for i in kept))


def read_labeled_texts(data: Any, text: str | None = None, label: str | None = None) -> LabeledTexts:
    """Read texts and labels.

    Args:
        data: A file (``.csv``, ``.tsv``, ``.jsonl``, ``.json`` or ``.parquet``), a ``pandas.DataFrame``, a
            ``datasets.Dataset``, a mapping of columns, or a list of (text, label) pairs.
        text: Column of the texts; None: found by its name, such as ``text`` or ``sentence``.
        label: Column of the labels; None: found by its name, such as ``label`` or ``class``.

    Raises:
        FileError: The file is missing or cannot be read.
        InputError: There is no such column, or no row with a text and a label.
        OptionError: The file is of another kind, or its kind needs a package.

    Examples:
        >>> found = read_labeled_texts({"sentence": ["Good.", "Bad.", ""], "y": ["positive", "negative", "negative"]})
        >>> found.texts, found.label_column, found.skipped
        (('Good.', 'Bad.'), 'y', 1)
    """
    if isinstance(data, LabeledTexts):
        return data
    if isinstance(data, (str, os.PathLike)):
        path = Path(data).expanduser()
        return _from_columns(_read_file(path), text, label, path.name)
    if isinstance(data, Mapping):
        return _from_columns({str(name): list(column) for name, column in data.items()}, text, label, "columns")
    names = getattr(data, "columns", None)
    names = getattr(data, "column_names", None) if names is None or callable(names) else names
    if names is not None and not isinstance(names, Mapping):
        columns = {str(name): _listed(data[name]) for name in names}
        return _from_columns(columns, text, label, type(data).__name__)
    return _from_pairs(data)


def _listed(column: Any) -> list[Any]:
    return column.tolist() if hasattr(column, "tolist") else list(column)


def _from_pairs(data: Any) -> LabeledTexts:
    pairs = list(data) if isinstance(data, Sequence) or hasattr(data, "__iter__") else None
    if not pairs or not all(isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in pairs):
        raise InputError(
            f"`data`: got {shown(data)}; pass a file, a table with a column of texts and one of labels, or a list of "
            "(text, label) pairs."
        )
    return _from_columns({"text": [a for a, _ in pairs], "label": [b for _, b in pairs]}, "text", "label", "pairs")


def _from_columns(columns: Mapping[str, list[Any]], text: str | None, label: str | None, source: str) -> LabeledTexts:
    label_column = _column(columns, label, LABELS, "label")
    text_column = _column({n: c for n, c in columns.items() if n != label_column}, text, TEXTS, "text")
    rows = list(zip(columns[text_column], columns[label_column], strict=True))
    kept = [(str(own).strip(), found) for own, raw in rows if _has(own) and (found := _label(raw)) is not None]
    if not kept:
        raise InputError(
            f"`data`: {source!r} has {len(rows)} rows, none of them with a text in {text_column!r} and a label in "
            f"{label_column!r}."
        )
    texts, labels = zip(*kept, strict=True)
    return LabeledTexts(texts, labels, source, text_column, label_column, len(rows), len(rows) - len(kept))


def _has(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _label(value: Any) -> str | int | None:
    """Return a label as a name or a number; None for a missing one."""
    if isinstance(value, str):
        return value.strip() or None
    number = math.nan if value is None else float(value)
    if math.isnan(number):
        return None
    return int(number) if number.is_integer() else str(value)


def _column(columns: Mapping[str, Any], asked: str | None, known: Sequence[str], option: str) -> str:
    names = list(columns)
    listed = ", ".join(map(repr, names[:20])) or "no columns"
    if asked is not None:
        if asked not in columns:
            near = difflib.get_close_matches(asked, names, n=1)
            raise InputError(
                f"`{option}`: there is no column {asked!r}; there are {listed}."
                + (f" Did you mean {near[0]!r}?" if near else "")
            )
        return asked
    by_name = {name.strip().casefold(): name for name in names}
    found = next((by_name[name] for name in known if name in by_name), None)
    if found is None and option == "text" and len(names) == 1:
        found = names[0]
    if found is None:
        raise InputError(f"`{option}`: no column is called {known[0]!r} or alike; name one of {listed}.")
    return found


def _read_file(path: Path) -> dict[str, list[Any]]:
    suffix = path.suffix.lower()
    if suffix not in FILES:
        raise OptionError(f"`data`: got {str(path)!r}; pass a file that ends in {', '.join(FILES)}.")
    if not path.is_file():
        raise FileError(f"`data`: there is no file {str(path)!r}.")
    if suffix == ".parquet":
        return _read_parquet(path)
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"`data`: {str(path)!r} cannot be read as UTF-8 ({error}).") from error
    if suffix in SEPARATORS:
        return _read_table(content, SEPARATORS[suffix], path)
    try:
        read = json.loads(content) if suffix == ".json" else [json.loads(line) for line in content.splitlines() if line.strip()]
    except json.JSONDecodeError as error:
        raise FileError(f"`data`: {str(path)!r} holds no JSON ({error}).") from error
    if isinstance(read, dict) and all(isinstance(column, list) for column in read.values()):
        return read
    if not isinstance(read, list) or not all(isinstance(row, dict) for row in read):
        raise FileError(f"`data`: {str(path)!r} holds no list of objects with names.")
    names = list(dict.fromkeys(name for row in read for name in row))
    return {name: [row.get(name) for row in read] for name in names}


def _read_table(content: str, separator: str, path: Path) -> dict[str, list[Any]]:
    rows = list(csv.reader(content.splitlines(keepends=True), delimiter=separator))
    if not rows:
        raise FileError(f"`data`: {str(path)!r} is empty.")
    names, *lines = rows
    lines = [line for line in lines if line]
    return {name: [line[i] if i < len(line) else None for line in lines] for i, name in enumerate(names)}


def _read_parquet(path: Path) -> dict[str, list[Any]]:
    try:
        from pyarrow import ArrowException, parquet  # noqa: PLC0415  # optional
    except ImportError as error:
        raise OptionError("`data`: Parquet needs pyarrow; run `pip install pyarrow`.") from error
    try:
        return parquet.read_table(path).to_pydict()
    except (OSError, ArrowException) as error:
        raise FileError(f"`data`: {str(path)!r} cannot be read as Parquet ({error}).") from error
