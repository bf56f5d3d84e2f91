"""Read texts, tables and chats from files."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from interpreto.cli.arguments import COLUMNS
from interpreto.cli.hints import did_you_mean
from interpreto.errors import FileError, OptionError
from interpreto.renderable import visible

TABLES = {".csv": ",", ".tsv": "\t"}
"""Separators of tables, by the suffix of their files."""
JSON_LINES = (".jsonl", ".ndjson")
"""Suffixes of tables with an object per line."""
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
"""Ends of the names of image files."""
FILES = (*TABLES, *JSON_LINES, ".txt", ".json", ".parquet")
"""Suffixes of words that are taken for the names of files."""


def read_text(path: str, column: str | None = None, limit: int | None = None, pair: str | None = None) -> list[Any]:
    """Return the whole text of a file, or the texts of a table, or pairs of these.

    Args:
        path: The file.
        column: Column of the texts of a table; see `read_texts`.
        limit: Number of texts of a table; see `read_texts`.
        pair: Column of the second texts of a table, each of which makes a pair with the text of its row; None: no pairs.

    Raises:
        FileError: There is no such file, it is no UTF-8, or it holds no text.
    """
    file = Path(path).expanduser()
    if file.suffix.lower() in (*TABLES, *JSON_LINES):
        texts, seconds = read_texts(path, column, pair, limit, "--file", "--pair-column")
        return texts if seconds is None else list(zip(texts, seconds, strict=True))
    for flag, name in (("--column", column), ("--pair-column", pair)):
        if name is not None:
            raise OptionError(f"`{flag}`: {path!r} is no table; its name ends in none of {', '.join((*TABLES, *JSON_LINES))}.")
    text = _content(file, "--file").strip()
    if not text:
        raise FileError(f"`--file`: {path!r} holds no text.")
    return [text]


def read_texts(  # noqa: PLR0917  # the columns, then how an error names them
    path: str, column: str | None, other: str | None, limit: int | None, name: str = "TEXTS", flag: str = "--target-column"
) -> tuple[list[str], list[str] | None]:
    """Return the texts of a table, or of a file with one per line, and what another column has for them.

    Args:
        path: A .csv or .tsv file with a header, a .jsonl file with an object per line, or any other file with one text
            per line.
        column: Column of the texts; None: the first of `COLUMNS` that the table has, or its first column.
        other: Column of their targets, or of the second texts of pairs; None: nothing more is read.
        limit: Number of texts, evenly spread over the file; None: all.
        name: Argument that an error names.
        flag: Option that an error about the other column names.

    Raises:
        FileError: There is no such file, or no text in it.
        OptionError: The table has no such column, or the limit is below 1.
    """
    file = Path(path).expanduser()
    lines = _content(file, name).splitlines(keepends=True)
    rows = _rows(lines, file.suffix.lower(), path, name)
    names = list(rows[0]) if rows else []
    for asked, option in ((column, "--column"), (other, flag)):
        if asked is not None and rows and asked not in names:
            there = ", ".join(map(repr, names))
            raise OptionError(f"`{option}`: got {asked!r}; {path!r} has {there}.{did_you_mean(asked, names)}")
    by_name = {str(known).lower(): known for known in names}
    chosen = column or next((by_name[known] for known in COLUMNS if known in by_name), names[0] if names else "")
    rows = [row for row in rows if (row.get(chosen) or "").strip()]
    if not rows:
        raise FileError(f"`{name}`: {path!r} holds no text.")
    if limit is not None:
        if limit < 1:
            raise OptionError(f"`--limit`: got {limit}; pass a whole number of at least 1.")
        rows = _spread(rows, limit)
    return [row[chosen] for row in rows], None if other is None else [row[other] or "" for row in rows]


def _rows(lines: Sequence[str], suffix: str, path: str, name: str) -> list[dict[str, str]]:
    """Return the rows of a table, or a row with one text per line."""
    if suffix in TABLES:
        return list(csv.DictReader(lines, delimiter=TABLES[suffix]))
    if suffix not in JSON_LINES:
        return [{"text": line.strip()} for line in lines]
    rows = []
    for i, line in enumerate(lines, 1):
        try:
            row = json.loads(line) if line.strip() else {}
        except json.JSONDecodeError as error:
            raise FileError(f"`{name}`: line {i} of {path!r} holds no JSON ({error}).") from error
        if not isinstance(row, dict):
            raise FileError(f"`{name}`: line {i} of {path!r} holds no object with columns.")
        rows += [{str(key): "" if value is None else str(value) for key, value in row.items()}] if row else []
    return rows


def read_chat(path: str) -> list[dict[str, str]]:
    """Return the messages of a JSON file.

    Raises:
        FileError: There is no such file.
        OptionError: It holds no list of messages.
    """
    try:
        chat = json.loads(_content(Path(path).expanduser(), "--messages"))
    except json.JSONDecodeError as error:
        raise OptionError(f"`--messages`: {path!r} holds no JSON ({error}).") from error
    if isinstance(chat, dict):
        chat = chat.get("messages")
    if not isinstance(chat, list) or not all(isinstance(message, dict) and "role" in message for message in chat):
        raise OptionError(f"`--messages`: {path!r} holds no list of messages with 'role' and 'content'.")
    return chat


def is_image(name: object) -> bool:
    """Return True for the name of an image file."""
    return isinstance(name, str) and len(name) < 1024 and name.lower().endswith(IMAGES)


def check_text(text: str) -> str:
    """Return a text that is no name of a file, or the name of an image, which is explained itself.

    Raises:
        OptionError: It is the name of a file, or ends as one does.
    """
    try:
        found = len(text) < 1024 and Path(text).expanduser().is_file()
    except (OSError, ValueError, RuntimeError):  # too long a name, a NUL, an unknown home
        found = False
    name = visible(text)
    if found and is_image(text):
        return text
    if found:
        raise OptionError(
            f"`TEXT`: {name!r} is a file; pass `--file {name}` to explain what it holds, "
            f"or `--text {name}` to explain its name."
        )
    if not any(map(str.isspace, text)) and text.lower().endswith(FILES):
        raise OptionError(f"`TEXT`: there is no file {name!r}; pass `--text {name}` to explain this name itself.")
    return text


def _content(file: Path, name: str) -> str:
    if not file.is_file():
        raise FileError(f"`{name}`: there is no file {str(file)!r}.")
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(f"`{name}`: {str(file)!r} is no text in UTF-8 ({error}).") from error


def _spread(rows: Sequence[Any], limit: int) -> list[Any]:
    count = min(limit, len(rows))
    return [rows[i * len(rows) // count] for i in range(count)]
