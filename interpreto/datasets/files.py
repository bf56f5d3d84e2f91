"""Files of inputs: Parquet by row groups, and lines (text, CSV, JSON lines) by their places. Local, or anything of fsspec."""

from __future__ import annotations

import csv
import hashlib
import json
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

from interpreto.datasets.sources import Columns, Part, Rows, Source, found_columns
from interpreto.errors import FileError, InputError, OptionError

SEPARATORS = {".csv": ",", ".tsv": "\t"}
OTHERS = ";\t|"  # separators of tables whose first line has no comma
LONGEST = 2**31 - 1  # characters of a field
JSON_LINES = (".jsonl", ".ndjson")
TEXT = (".txt", ".text")
PARQUET = (".parquet", ".pq")
ENDINGS = (*PARQUET, *SEPARATORS, *JSON_LINES, *TEXT)
STRIDE = 256  # rows between two places in a file that are remembered
BLOCK = 1 << 20  # bytes that are read together


def open_files(data: Any, text: str | tuple[str, str] | None, target: str | None, label: str | None) -> Source:
    """Return files as a source: one, a folder, a pattern with ``*``, a list of these, or their ``fsspec`` addresses.

    Raises:
        FileError: there is no such file, or it cannot be read.
        OptionError: files are of another kind, or of several kinds, or Parquet needs pyarrow.
        InputError: there is no such column.
    """
    asked = [data] if isinstance(data, (str, PathLike)) else list(data)
    places = [place for one in asked for place in _expanded(str(one))]
    kinds = {_ending(place) for place in places}
    family = {_family(kind) for kind in kinds}
    if len(family) != 1:
        raise OptionError(f"`data`: got files of several kinds ({', '.join(sorted(kinds))}); pass those of one.")
    name = ", ".join(str(one) for one in asked[:3]) + (", …" if len(asked) > 3 else "")
    source = ParquetSource if family == {"parquet"} else LinesSource
    return source(places, name, text, target, label)


def _family(kind: str) -> str:
    return "parquet" if kind in PARQUET else kind


def _ending(place: str) -> str:
    found = next((ending for ending in ENDINGS if place.lower().endswith(ending)), None)
    if found is None:
        raise OptionError(f"`data`: got {place!r}; pass files that end in {', '.join(ENDINGS)}.")
    return found


def _expanded(place: str) -> list[str]:
    """Return the files that an address names, in the order of their names."""
    from fsspec.core import url_to_fs  # noqa: PLC0415  # with torch

    try:
        system, path = url_to_fs(place)
        if system.isdir(path):
            inside = [found for found in system.find(path) if found.lower().endswith(ENDINGS) and not _is_hidden(found, path)]
        else:
            inside = list(system.glob(path)) if any(mark in path for mark in "*?[") else [path] if system.isfile(path) else []
    except (OSError, ValueError, ImportError) as error:
        raise FileError(f"`data`: {place!r} cannot be read ({error}).") from error
    if not inside:
        raise FileError(f"`data`: there is no file {place!r} that ends in {', '.join(ENDINGS)}.")
    return [system.unstrip_protocol(found) for found in sorted(inside)]


def _is_hidden(found: str, folder: str) -> bool:
    """Return True for what other programs keep in a folder, such as ``_temporary`` and ``.ipynb_checkpoints``."""
    own = found[len(folder) :] if found.startswith(folder) else found.rpartition("/")[2]
    return any(name.startswith((".", "_")) for name in own.split("/"))


def _opened(place: str) -> Any:
    import fsspec  # noqa: PLC0415  # with torch

    opened: Any = fsspec.open(place, "rb")
    return opened.open()


class ParquetSource(Source):
    """Rows of Parquet files, read from their row groups as they are asked for."""

    def __init__(
        self,
        places: Sequence[str],
        name: str,
        text: str | tuple[str, str] | None = None,
        target: str | None = None,
        label: str | None = None,
    ) -> None:
        parquet = _parquet()
        self.name, self._places, self._ends, digest, total = name, list(places), array("q"), hashlib.sha256(), 0
        names: list[str] = []
        for place in places:
            try:
                with _opened(place) as file:
                    _add(digest, file)
                    found = parquet.ParquetFile(file)
                    total += found.metadata.num_rows
                    names = names or list(found.schema_arrow.names)
            except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
                raise FileError(f"`data`: {place!r} cannot be read as Parquet ({error}).") from error
            self._ends.append(total)
        self.columns, self.fingerprint = found_columns(names, text, target, label), digest.hexdigest()[:32]

    def __len__(self) -> int:
        return self._ends[-1]

    def part(self, start: int, stop: int) -> Part:
        pieces, before = [], 0
        for place, end in zip(self._places, self._ends, strict=True):
            if start < end and stop > before:
                pieces.append((place, max(start - before, 0), min(stop, end) - before))
            before = end
        return ParquetPart(tuple(pieces), self.columns)


@dataclass(frozen=True)
class ParquetPart(Part):
    """Ranges of rows of Parquet files."""

    pieces: tuple[tuple[str, int, int], ...]
    columns: Columns

    def rows(self) -> Rows:
        held: dict[str, list[Any]] = {name: [] for name in self.columns.names}
        for place, start, stop in self.pieces:
            try:
                with _opened(place) as file:
                    for name, values in _read_rows(file, start, stop, self.columns.names):
                        held[name] += values
            except (OSError, ValueError) as error:
                raise FileError(f"`data`: {place!r} cannot be read as Parquet ({error}).") from error
        return self.columns.rows(held)


def _read_rows(file: Any, start: int, stop: int, names: list[str]) -> Iterator[tuple[str, list[Any]]]:
    """Yield the values of columns from one row to another; only row groups that hold them are read, a batch at a time."""
    found = _parquet().ParquetFile(file)
    begin = 0
    for group in range(found.metadata.num_row_groups):
        end = begin + found.metadata.row_group(group).num_rows
        if start < end and stop > begin:
            place = begin
            for batch in found.iter_batches(batch_size=4096, row_groups=[group], columns=names):
                low, high = max(start - place, 0), min(stop - place, len(batch))
                if low < high:
                    yield from ((name, batch.column(name)[low:high].to_pylist()) for name in names)
                place += len(batch)
                if place >= stop:
                    break
        begin = end


class LinesSource(Source):
    """Rows of files with a record per line: texts, JSON, or comma-separated values, whose records may have several lines."""

    def __init__(
        self,
        places: Sequence[str],
        name: str,
        text: str | tuple[str, str] | None = None,
        target: str | None = None,
        label: str | None = None,
    ) -> None:
        self.name, self._places, self._starts, self._ends = name, list(places), [], array("q")
        digest, total = hashlib.sha256(), 0
        self._headers = [_header(place) for place in places]
        for place, header in zip(places, self._headers, strict=True):
            starts = array("q")
            with _opened(place) as file:
                _add(digest, file)
            with _opened(place) as file:
                for i, (offset, _) in enumerate(_records(file, place, header, 0)):
                    if i % STRIDE == 0:
                        starts.append(offset)
                    total += 1
            self._starts.append(starts)
            self._ends.append(total)
        self.columns = found_columns(self._headers[0] or _keys(places[0]), text, target, label)
        self.fingerprint = digest.hexdigest()[:32]

    def __len__(self) -> int:
        return self._ends[-1]

    def part(self, start: int, stop: int) -> Part:
        pieces, before = [], 0
        for i, end in enumerate(self._ends):
            if start < end and stop > before:
                first = max(start - before, 0)
                offset, skipped = self._starts[i][first // STRIDE], first % STRIDE
                count = min(stop, end) - before - first
                pieces.append((self._places[i], self._headers[i], offset, skipped, count))
            before = end
        return LinesPart(tuple(pieces), self.columns)


@dataclass(frozen=True)
class LinesPart(Part):
    """Records of files from some places on."""

    pieces: tuple[tuple[str, list[str] | None, int, int, int], ...]
    columns: Columns

    def rows(self) -> Rows:
        names = self.columns.names
        held: dict[str, list[Any]] = {name: [] for name in names}
        for place, header, offset, skipped, count in self.pieces:
            with _opened(place) as file:
                file.seek(offset)
                for i, (_, record) in enumerate(_records(file, place, header, offset)):
                    if i >= skipped + count:
                        break
                    if i >= skipped:
                        for name in names:
                            held[name].append(record.get(name))
        return self.columns.rows(held)


def _header(place: str) -> list[str] | None:
    """Return the names of the columns of a table, which are its first record; None: each record has its own names."""
    kind = _ending(place)
    if kind in TEXT:
        return ["text"]
    if kind in JSON_LINES:
        return None
    with _opened(place) as file:
        found = next(_fields(_decoded(file, place, []), place, _separator(place)), None)
    if not found:
        raise FileError(f"`data`: {place!r} is empty.")
    return found


def _keys(place: str) -> list[str]:
    """Return the names in the first record of JSON lines."""
    with _opened(place) as file:
        for _, record in _records(file, place, None, 0):
            return list(record)
    raise InputError(f"`data`: {place!r} is empty.")


def _records(file: Any, place: str, header: list[str] | None, offset: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the place of each record in its file, and the record; empty lines are none."""
    kind = _ending(place)
    ends = [offset]  # of what was read
    lines = _decoded(file, place, ends)
    if kind in SEPARATORS:
        assert header is not None
        start = offset
        for values in _fields(lines, place, _separator(place)):
            if values and (start or values != header):
                yield start, dict(zip(header, values, strict=False))
            start = ends[0]
        return
    start = offset
    for line in lines:
        if line.strip():
            yield start, {"text": line.strip()} if kind in TEXT else _object(line, place)
        start = ends[0]


def _separator(place: str) -> str:
    """Return what separates the fields of a table: a comma or a tab, unless its first line has none and another instead."""
    usual = SEPARATORS[_ending(place)]
    with _opened(place) as file:
        first = next(_decoded(file, place, []), "")
    return usual if usual in first else next((mark for mark in OTHERS if mark in first), usual)


def _fields(lines: Iterator[str], place: str, separator: str) -> Iterator[list[str]]:
    """Yield the fields of each record of a table.

    Raises:
        FileError: a record is none.
    """
    if csv.field_size_limit() < LONGEST:  # of texts; the module's own limit is 131,072
        csv.field_size_limit(LONGEST)
    try:
        yield from csv.reader(lines, delimiter=separator)
    except csv.Error as error:
        raise FileError(f"`data`: {place!r} cannot be read as a table ({error}).") from error


def _object(line: str, place: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except json.JSONDecodeError as error:
        raise FileError(f"`data`: a line of {place!r} holds no JSON ({error}): {line[:60]!r}.") from error
    if not isinstance(found, dict):
        raise FileError(f"`data`: a line of {place!r} holds no object with names: {line[:60]!r}.")
    return found


def _decoded(file: Any, place: str, ends: list[int]) -> Iterator[str]:
    """Yield lines as text, and write into ``ends`` how far the file was read."""
    for line in file:
        if ends:
            ends[0] += len(line)
        try:
            yield line.decode("utf-8-sig" if line.startswith(b"\xef\xbb\xbf") else "utf-8")
        except UnicodeDecodeError as error:
            raise FileError(f"`data`: {place!r} is no text in UTF-8 ({error}).") from error


def _add(digest: Any, file: Any) -> None:
    """Add the content of a file to a digest, and go back to its beginning."""
    own = hashlib.sha256()
    while block := file.read(BLOCK):
        own.update(block)
    digest.update(own.digest())
    file.seek(0)


def _parquet() -> Any:
    try:
        from pyarrow import parquet  # noqa: PLC0415  # optional
    except ImportError as error:
        raise OptionError("`data`: Parquet needs pyarrow; run `pip install pyarrow`.") from error
    return parquet
