"""Inputs of a data set by ranges of rows: what a worker reads of a file, or is handed of what is in memory."""

from __future__ import annotations

import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interpreto.errors import InputError
from interpreto.inputs.chat import is_chat
from interpreto.inputs.frames import column_names
from interpreto.inputs.labeled_texts import TEXTS
from interpreto.validation import shown

MANY = 4096  # rows that are read together where a whole data set is
NO_COLUMNS = "text"


@dataclass(frozen=True)
class Columns:
    """Columns of a table, by what they hold.

    Attributes:
        text: Column of the texts, or two, whose rows are pairs.
        target: Column of the targets; None: there are none.
        label: Column of the true classes; None: there are none.
    """

    text: str | tuple[str, str]
    target: str | None = None
    label: str | None = None

    @property
    def names(self) -> list[str]:
        """Return the names of all of them, each once."""
        texts = [self.text] if isinstance(self.text, str) else list(self.text)
        return list(dict.fromkeys([*texts, *(name for name in (self.target, self.label) if name is not None)]))

    def rows(self, columns: Mapping[str, Sequence[Any]]) -> Rows:
        """Return rows out of columns."""
        inputs = (
            list(columns[self.text])
            if isinstance(self.text, str)
            else list(zip(*(columns[name] for name in self.text), strict=True))
        )
        targets = None if self.target is None else list(columns[self.target])
        return Rows(inputs, targets, None if self.label is None else list(columns[self.label]))


@dataclass(frozen=True)
class Rows:
    """Some inputs with what is known of each.

    Attributes:
        inputs: Texts, pairs of texts, or chats.
        targets: A target for each; None: the call says what is explained.
        labels: The true class of each; None: they are not known.
    """

    inputs: list[Any]
    targets: list[Any] | None = None
    labels: list[Any] | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, places: slice) -> Rows:
        """Return the rows of a slice."""
        targets, labels = (None if values is None else values[places] for values in (self.targets, self.labels))
        return Rows(self.inputs[places], targets, labels)

    @property
    def digest(self) -> str:
        """Return a digest of all of it, exact to the character."""
        content = json.dumps([self.inputs, self.targets, self.labels], ensure_ascii=True, default=str)
        return hashlib.sha256(content.encode()).hexdigest()[:32]


class Part(ABC):
    """Rows of a data set, in a form that another process can read."""

    @abstractmethod
    def rows(self) -> Rows:
        """Return the rows."""


class Source(ABC):
    """A data set that can be read by ranges of rows.

    Attributes:
        name: Where it is from, for people.
        columns: Which columns hold what.
        fingerprint: Digest of its whole content.
    """

    name: str
    columns: Columns
    fingerprint: str

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of rows."""

    @abstractmethod
    def part(self, start: int, stop: int) -> Part:
        """Return the rows from ``start`` to ``stop``, which is left out."""


@dataclass(frozen=True)
class HeldPart(Part):
    """Rows that are in memory, and travel with their task."""

    held: Rows

    def rows(self) -> Rows:
        return self.held


class HeldSource(Source):
    """Rows in memory.

    Args:
        rows: All of them.
        name: What they are from.
        columns: Which columns held what.
    """

    def __init__(self, rows: Rows, name: str, columns: Columns) -> None:
        rows = Rows([None if _is_missing(own) else own for own in rows.inputs], rows.targets, rows.labels)
        for i, own in enumerate(rows.inputs):
            if not (own is None or isinstance(own, str) or is_text_pair(own) or is_chat(own)):
                raise InputError(f"`data[{i}]`: got {shown(own)}; pass a text, a pair of texts or a chat.")
        self.name, self.columns, self._rows = name, columns, rows
        self.fingerprint = digest_of(rows[start : start + MANY] for start in range(0, len(rows), MANY))

    def __len__(self) -> int:
        return len(self._rows)

    def part(self, start: int, stop: int) -> Part:
        return HeldPart(self._rows[start:stop])


class TableSource(Source):
    """A ``datasets.Dataset`` or another table that returns columns for a slice of its rows; read as it is asked for."""

    def __init__(self, table: Any, columns: Columns) -> None:
        self.name, self.columns, self._table = type(table).__name__, columns, table
        self.fingerprint = digest_of(
            self.part(start, min(start + MANY, len(self))).rows() for start in range(0, len(self), MANY)
        )

    def __len__(self) -> int:
        return len(self._table)

    def part(self, start: int, stop: int) -> Part:
        return HeldPart(self.columns.rows(self._table[start:stop]))


def digest_of(parts: Iterator[Rows] | Any) -> str:
    """Return the digest of rows that come some at a time."""
    found = hashlib.sha256()
    for rows in parts:
        found.update(rows.digest.encode())
    return found.hexdigest()[:32]


def _is_missing(value: object) -> bool:
    """Return True for what tables have in the place of a text that is not there: a failure of its own, as null is in a file."""
    return (isinstance(value, float) and math.isnan(value)) or type(value).__name__ in ("NAType", "NaTType")


def is_text_pair(value: object) -> bool:
    """Return True for two texts."""
    return isinstance(value, tuple) and len(value) == 2 and all(isinstance(text, str) for text in value)


def found_columns(names: Sequence[str], text: str | tuple[str, str] | None, target: str | None, label: str | None) -> Columns:
    """Return the columns of a table that are asked for; that of the texts is found by its name if none is.

    Raises:
        InputError: there is no such column, or none is called as texts are.
    """
    by_name = {name.strip().casefold(): name for name in reversed(names)}
    found = text if text is not None else next((by_name[name] for name in TEXTS if name in by_name), None)
    if found is None and len(names) == 1:
        found = names[0]
    if found is None:
        raise InputError(f"`text`: no column is called 'text' or alike; name one of {', '.join(map(repr, names[:20]))}.")
    columns = Columns(tuple(found) if isinstance(found, (tuple, list)) else found, target, label)  # type: ignore[arg-type]
    for option, asked in (("text", columns.text), ("target", target), ("label", label)):
        for name in [asked] if isinstance(asked, str) else asked or ():
            if name not in names:
                listed = ", ".join(map(repr, names[:20])) or "no columns"
                raise InputError(f"`{option}`: there is no column {name!r}; there are {listed}.")
    return columns


def in_memory(data: Any, text: str | tuple[str, str] | None, target: str | None, label: str | None) -> HeldSource | TableSource:
    """Return what is in memory as a source: a table, a mapping of columns, or a list of inputs.

    Raises:
        InputError: it is something else, such as an iterator, whose rows cannot be read twice.
    """
    if isinstance(data, Mapping):
        held = {str(name): list(column) for name, column in data.items()}
        columns = found_columns(list(held), text, target, label)
        return HeldSource(columns.rows(held), "columns", columns)
    names = column_names(data)
    if names is not None:
        columns = found_columns([str(name) for name in names], text, target, label)
        if hasattr(data, "features") and hasattr(data, "__len__"):
            return TableSource(data, columns)
        if not hasattr(data, "__len__"):
            raise InputError(
                f"`data`: got a {type(data).__name__}, whose length is not known; write it to Parquet, and pass the file."
            )
        held = {name: (data[name].tolist() if hasattr(data[name], "tolist") else list(data[name])) for name in columns.names}
        return HeldSource(columns.rows(held), type(data).__name__, columns)
    if not isinstance(data, Sequence) or isinstance(data, (str, bytes)) or is_chat(data) or is_text_pair(data):
        raise InputError(
            f"`data`: got {shown(data)}; pass files (Parquet, CSV, JSON lines, text), a table, or a list of texts. What can "
            "be read only once is written to a file first."
        )
    if text is not None or target is not None or label is not None:
        raise InputError("`data`: got a list, which has no columns; pass a mapping of columns, as in {'text': [...]}.")
    return HeldSource(Rows(list(data)), type(data).__name__, Columns(NO_COLUMNS))
