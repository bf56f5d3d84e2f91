"""Shards: a Parquet file for each range of inputs, seen only when it is complete, and an index of those that are there."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from interpreto import arrow
from interpreto.attributions.output import AttributionOutput
from interpreto.attributions.serialization import packed
from interpreto.attributions.tables import as_bytes
from interpreto.datasets.manifest import Shard
from interpreto.datasets.sources import Rows
from interpreto.errors import FileError
from interpreto.storage import PARTIAL, digest_of_file, replacing

FORMAT = "interpreto.shard/1"
SHARDS, INDEX = "shards", "shards.parquet"
OLD = 600.0  # seconds after which what was not finished is taken for left behind
ROW_GROUP = 1024  # rows


@dataclass(frozen=True)
class Failure:
    """An input that could not be explained.

    Attributes:
        id: Number of the input in the data.
        text: The input, as far as it is a text.
        kind: Class of the error.
        message: What it says.
    """

    id: int
    text: str | None
    kind: str
    message: str


@dataclass(frozen=True)
class Entry:
    """One shard in the index.

    Attributes:
        start: Number of its first input.
        stop: Number after that of its last input.
        failures: Number of inputs that could not be explained.
        bytes: Size of its file.
        inputs: Digest of its inputs.
        sha256: Digest of its file.
    """

    start: int
    stop: int
    failures: int
    bytes: int
    inputs: str
    sha256: str

    @property
    def explained(self) -> int:
        """Return the number of its explanations."""
        return self.stop - self.start - self.failures


def write_shard(folder: Path, shard: Shard, rows: Rows, results: Sequence[AttributionOutput | Failure], run: str) -> Entry:
    """Write the results of a shard, in the order of its inputs: whole and for good, or not at all.

    Args:
        folder: That of the data set.
        shard: The range of inputs.
        rows: The inputs.
        results: An explanation of each, or why there is none.
        run: Digest of the manifest.

    Raises:
        FileError: the file cannot be written, because the disk is full or the folder is missing.
    """
    pyarrow, _ = load_pyarrow()
    columns = _columns(shard, rows, results)
    failures = sum(isinstance(result, Failure) for result in results)
    table = pyarrow.table(columns, schema=_schema(pyarrow))
    return write_table(folder, shard, rows, table, facts={"failures": failures, "run": run})


def write_table(
    folder: Path, shard: Shard, rows: Rows, table: Any, *, facts: Mapping[str, Any], more: Mapping[bytes, bytes] | None = None
) -> Entry:
    """Write a table as the file of a shard: whole and for good, or not at all.

    Args:
        folder: That of the data set.
        shard: The range of inputs.
        rows: The inputs.
        table: A ``pyarrow.Table`` with a row per input.
        facts: Number of inputs with an error as ``failures``, digest of the manifest as ``run``; kept in the file.
        more: Further content of the file's metadata.

    Raises:
        FileError: the file cannot be written, because the disk is full or the folder is missing.
    """
    _, parquet = load_pyarrow()
    kept = {"format": FORMAT, "start": shard.start, "stop": shard.stop, "inputs": rows.digest, **facts}
    table = table.replace_schema_metadata({b"interpreto": json.dumps(kept).encode(), **(more or {})})
    target = folder / SHARDS / shard.file
    with replacing(target, durable=True) as partial:
        parquet.write_table(table, partial, compression="zstd", row_group_size=ROW_GROUP)
        size, digest = partial.stat().st_size, digest_of_file(partial)
    return Entry(shard.start, shard.stop, facts["failures"], size, kept["inputs"], digest)


def _schema(pyarrow: Any) -> Any:
    text, number, whole = pyarrow.string(), pyarrow.float32(), pyarrow.int32()
    return pyarrow.schema(
        {
            "id": pyarrow.int64(),
            "text": text,
            "method": text,
            "targets": pyarrow.list_(text),
            "scores": pyarrow.list_(number),
            "units": pyarrow.list_(text),
            "starts": pyarrow.list_(whole),
            "ends": pyarrow.list_(whole),
            "attributions": pyarrow.list_(number),
            "signed": pyarrow.bool_(),
            "prediction": text,
            "confidence": pyarrow.float64(),
            "label": text,
            "error": text,
            "message": text,
            "explanation": pyarrow.binary(),
        }
    )


def _columns(shard: Shard, rows: Rows, results: Sequence[AttributionOutput | Failure]) -> dict[str, list[Any]]:
    assert len(results) == len(rows) == shard.stop - shard.start
    found: dict[str, list[Any]] = {name: [] for name in _schema(load_pyarrow()[0]).names}
    for i, result in enumerate(results):
        row = dict.fromkeys(found)
        row["id"] = shard.start + i
        row |= (
            {"text": result.text, "error": result.kind, "message": result.message}
            if isinstance(result, Failure)
            else _row(result)
        )
        for name, values in found.items():
            values.append(row[name])
    return found


def _row(explanation: AttributionOutput) -> dict[str, Any]:
    return {
        "text": explanation.text,
        "method": explanation.method,
        "targets": explanation.target_labels,
        "scores": explanation.base_scores.tolist(),
        "units": explanation.elements,
        "starts": [start for start, _ in explanation.spans],
        "ends": [end for _, end in explanation.spans],
        "attributions": explanation.attributions.flatten().tolist(),
        "signed": explanation.signed,
        "prediction": explanation.prediction,
        "confidence": explanation.confidence,
        "label": explanation.label,
        "explanation": as_bytes(packed(explanation.sample, *explanation.parts())),
    }


def read_shard(folder: Path, entry: Entry, columns: Sequence[str] | None = None) -> Any:
    """Return some columns of a shard as a ``pyarrow.Table``.

    Raises:
        FileError: the file is missing or damaged.
    """
    _, parquet = load_pyarrow()
    file = folder / SHARDS / Shard(0, entry.start, entry.stop).file
    try:
        table = parquet.read_table(file, columns=None if columns is None else list(columns), memory_map=False)
    except (OSError, ValueError) as error:
        raise FileError(f"`path`: {str(file)!r} cannot be read ({error}); delete it, and repeat the call.") from error
    if len(table) != entry.stop - entry.start:
        raise FileError(f"`path`: {str(file)!r} has {len(table)} rows; delete it, and repeat the call that wrote it.")
    return table


def entry_of(folder: Path, shard: Shard, run: str) -> Entry | None:
    """Return the entry of a shard's file, read from the file itself; None: it is none of this run, or damaged."""
    _, parquet = load_pyarrow()
    file = folder / SHARDS / shard.file
    try:
        metadata = parquet.read_metadata(file)
        facts = json.loads((metadata.metadata or {}).get(b"interpreto", b"{}"))
        size, digest = file.stat().st_size, digest_of_file(file)
    except (OSError, ValueError):
        return None
    expected = {"format": FORMAT, "start": shard.start, "stop": shard.stop, "run": run}
    if any(facts.get(name) != value for name, value in expected.items()) or metadata.num_rows != shard.stop - shard.start:
        return None
    return Entry(shard.start, shard.stop, facts["failures"], size, facts["inputs"], digest)


def files_of(folder: Path) -> dict[str, int]:
    """Return the names and sizes of the shards' files that are there."""
    try:
        with os.scandir(folder / SHARDS) as found:
            return {one.name: one.stat().st_size for one in found if one.name.endswith(".parquet")}
    except FileNotFoundError:
        return {}


def left_behind(folder: Path) -> list[Path]:
    """Return files that a writer began and did not finish, long enough ago that it has ended."""
    found = []
    for file in (folder / SHARDS).glob(f"*{PARTIAL}"):
        with suppress(OSError):
            if time.time() - file.stat().st_mtime > OLD:
                found.append(file)
    return found


def write_index(folder: Path, entries: Iterable[Entry]) -> None:
    """Write the index of the shards that are there."""
    pyarrow, parquet = load_pyarrow()
    ordered = sorted(entries, key=lambda entry: entry.start)
    table = pyarrow.Table.from_pylist([asdict(entry) for entry in ordered], schema=_index_schema(pyarrow))
    with replacing(folder / INDEX, durable=True) as partial:
        parquet.write_table(table, partial, compression="zstd")


def read_index(folder: Path) -> list[Entry]:
    """Return the entries of the index; none where it is missing or damaged, since shards say the same of themselves."""
    _, parquet = load_pyarrow()
    try:
        columns = parquet.read_table(folder / INDEX, memory_map=False).to_pydict()
        names = list(Entry.__dataclass_fields__)
        return [Entry(*values) for values in zip(*(columns[name] for name in names), strict=True)]
    except (OSError, ValueError, KeyError):
        return []


def _index_schema(pyarrow: Any) -> Any:
    whole, text = pyarrow.int64(), pyarrow.string()
    kinds = {"start": whole, "stop": whole, "failures": whole, "bytes": whole, "inputs": text, "sha256": text}
    return pyarrow.schema(kinds)


def present(folder: Path, shards: Iterator[Shard], run: str) -> Mapping[str, Entry]:
    """Return the entries of the shards of a run that are there and whole, by the names of their files.

    The index tells of most; a file that it does not know, since its writer was ended, is read.
    """
    files = files_of(folder)
    known = {Shard(0, entry.start, entry.stop).file: entry for entry in read_index(folder)} if files else {}
    found: dict[str, Entry] = {}
    for shard in shards:
        if shard.file not in files:
            continue
        entry = known.get(shard.file)
        if entry is None or entry.bytes != files[shard.file]:
            entry = entry_of(folder, shard, run)
        if entry is not None:
            found[shard.file] = entry
    return found


def load_pyarrow() -> tuple[Any, Any]:
    """Return pyarrow and its module of Parquet.

    Raises:
        OptionError: it is not installed.
    """
    pyarrow, parquet = arrow.load_pyarrow("explain_dataset", "parquet")
    return pyarrow, parquet
