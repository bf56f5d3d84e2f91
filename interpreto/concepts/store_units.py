"""The unit that each row of a store represents, in a file of Arrow next to each shard's numbers.

Arrow rather than a table of safetensors, which would need no further library: it has texts, is read by pandas, polars and
DuckDB as it is, and rows are decompressed 8,192 at a time. Data sets of explanations need pyarrow already.

The text of an input is stored once, and units are ranges of its characters; a unit whose text is no such range, as that of a
class token, has it in a column of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from interpreto.arrow import load_pyarrow
from interpreto.concepts.store_index import ShardFacts, damaged, read_old_shard
from interpreto.errors import FileError
from interpreto.inputs.samples import Sample
from interpreto.inputs.units import Span
from interpreto.storage import digest_of_file, replacing

ROWS = 8192  # that are compressed together
FACTS = b"interpreto"
NEEDS = "store_activations"


@dataclass(frozen=True)
class StoredUnit:
    """The unit that a row of a store represents.

    Attributes:
        sample: Number of the input.
        unit: Number of the unit in its input.
        span: Characters of the unit in the input's text.
        text: The unit as a reader sees it.
    """

    sample: int
    unit: int
    span: Span
    text: str


def write_units(place: Path, samples: Sequence[Sample], facts: ShardFacts) -> ShardFacts:
    """Write the index of a shard: whole and for good, or not at all.

    Args:
        place: The file.
        samples: Inputs of the shard; the number of the first is 0 there.
        facts: Facts that the index repeats.

    Returns:
        The facts, with the checksum of the file.
    """
    pyarrow, ipc = load_pyarrow(NEEDS, "ipc")
    metadata = {FACTS: json.dumps(facts.written()).encode()}
    table = pyarrow.table(_columns(pyarrow, samples), schema=_schema(pyarrow)).replace_schema_metadata(metadata)
    with replacing(place, durable=True) as partial:
        with ipc.new_file(str(partial), table.schema, options=ipc.IpcWriteOptions(compression="zstd")) as file:
            file.write_table(table, max_chunksize=ROWS)
        return replace(facts, index_sha256=digest_of_file(partial))


def _schema(pyarrow: Any) -> Any:
    whole, text = pyarrow.int32(), pyarrow.large_string()
    return pyarrow.schema(
        {
            "input": whole,
            "unit": whole,
            "start": whole,
            "end": whole,
            "text": pyarrow.dictionary(whole, text),  # of the input
            "own": text,  # of the unit, where it is not the range of the input's text
        }
    )


def _columns(pyarrow: Any, samples: Sequence[Sample]) -> list[Any]:
    """Return the columns of a shard's index."""
    texts: dict[str, int] = {}
    inputs, units, starts, ends, held, own = [], [], [], [], [], []
    for i, sample in enumerate(samples):
        number = texts.setdefault(sample.text, len(texts))
        for unit, ((start, end), text) in enumerate(zip(sample.units.spans, sample.units.texts, strict=True)):
            inputs.append(i)
            units.append(unit)
            starts.append(start)
            ends.append(end)
            held.append(number)
            own.append(None if sample.text[start:end] == text else text)
    whole, string = pyarrow.int32(), pyarrow.large_string()
    dictionary = pyarrow.DictionaryArray.from_arrays(pyarrow.array(held, whole), pyarrow.array(list(texts), string))
    return [*(pyarrow.array(values, whole) for values in (inputs, units, starts, ends)), dictionary, pyarrow.array(own, string)]


def read_facts(place: Path) -> ShardFacts:
    """Return the facts in the index of a shard.

    Raises:
        FileError: the file is missing or damaged.
    """
    with _opened(place) as file:
        try:
            facts = json.loads((file.schema.metadata or {}).get(FACTS, b"null"))
        except ValueError as error:
            raise damaged(place, "facts") from error
    return ShardFacts.read(facts, place)


def read_units(place: Path, rows: int, low: int, high: int, first: int) -> Iterator[StoredUnit]:
    """Yield what some rows of a shard represent.

    Args:
        place: The index of the shard.
        rows: Number of rows of the shard.
        low: Number of the first row in the shard.
        high: Number after that of the last row.
        first: Number of the shard's first input in the store.

    Raises:
        FileError: the file is missing, damaged, or of another shard.
    """
    for start, columns in _batches(place, rows, low, high):
        texts = columns["text"].dictionary
        numbers, last, text = columns["text"].indices.to_pylist(), -1, ""
        names = ("input", "unit", "start", "end", "own")
        lists = [columns[name].to_pylist() for name in names]
        for i in range(max(low - start, 0), min(high - start, len(numbers))):
            sample, unit, a, b, own = (values[i] for values in lists)
            if own is None and numbers[i] != last:
                last = numbers[i]
                text = texts[last].as_py()
            yield StoredUnit(first + sample, unit, (a, b), text[a:b] if own is None else own)


def numbers_of_units(place: Path, rows: int) -> tuple[list[int], list[int]]:
    """Return the number of the input in its shard, and that of the unit in its input, for each row of a shard."""
    inputs, units = [], []
    for _, columns in _batches(place, rows, 0, rows):
        inputs += columns["input"].to_pylist()
        units += columns["unit"].to_pylist()
    return inputs, units


def read_old_units(place: Path, rows: int, low: int, high: int) -> Iterator[StoredUnit]:
    """Yield what some rows of a shard of format 1 represent."""
    index = read_old_shard(place)
    if index["rows"] != rows:
        raise FileError(f"`path`: {place.name} in {str(place.parent)!r} is not of this store.")
    for row in range(low, high):
        a, b = index["spans"][row]
        yield StoredUnit(index["samples"][row], index["units"][row], (a, b), index["texts"][row])


def _batches(place: Path, rows: int, low: int, high: int) -> Iterator[tuple[int, Any]]:
    """Yield the number of the first row of each batch that holds some rows, and the batch."""
    pyarrow, _ = load_pyarrow(NEEDS, "ipc")
    with _opened(place) as file:
        if not file.schema.equals(_schema(pyarrow)) or file.num_record_batches != -(-rows // ROWS):
            raise FileError(f"`path`: {place.name} in {str(place.parent)!r} is not of this store.")
        for number in range(low // ROWS, -(-high // ROWS)):
            try:
                batch = file.get_batch(number)
                batch.validate(full=True)
            except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
                raise _unreadable(place, error) from error
            if len(batch) != min(ROWS, rows - number * ROWS) or any(batch[name].null_count for name in batch.schema.names[:-1]):
                raise FileError(f"`path`: {place.name} in {str(place.parent)!r} is not of this store.")
            yield number * ROWS, batch


@contextmanager
def _opened(place: Path) -> Iterator[Any]:
    """Context manager that gives a file of Arrow."""
    pyarrow, ipc = load_pyarrow(NEEDS, "ipc")
    try:
        content = pyarrow.memory_map(str(place))
    except (OSError, ValueError) as error:
        raise _unreadable(place, error) from error
    with content:
        try:
            file = ipc.open_file(content)
        except (OSError, ValueError) as error:
            raise _unreadable(place, error) from error
        yield file


def _unreadable(place: Path, error: Exception) -> FileError:
    return FileError(f"`path`: {str(place)!r} cannot be read ({error}); delete it, and repeat the call that wrote the store.")
