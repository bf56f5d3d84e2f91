"""Write a store, a shard at a time, here or by workers; what is there already is left as it is."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from interpreto.concepts.store_encoding import ENCODINGS, encoded
from interpreto.concepts.store_index import (
    FORMAT,
    INDEX,
    LOCK,
    SHARD,
    ShardFacts,
    StoreConfig,
    read_config,
    read_index,
    read_old_shard,
    shard_name,
    write_contents,
    write_json,
)
from interpreto.concepts.store_reading import NUMBERS, SCALES
from interpreto.concepts.store_units import read_facts, write_units
from interpreto.errors import FileError, ModelError
from interpreto.inputs.samples import Sample
from interpreto.progress import progress_bar
from interpreto.storage import PARTIAL, alone_with, digest_of_file, replacing
from interpreto.validation import check_count

PACKED = (torch.int64, torch.int32, torch.float32, torch.bool, torch.uint8)


@dataclass(frozen=True)
class Range:
    """A shard, as a range of inputs.

    Attributes:
        number: Its place among the shards.
        start: Number of its first input.
        stop: Number after that of its last input.
    """

    number: int
    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class ShardTask:
    """A shard to write.

    Attributes:
        shard: The range of inputs.
        samples: The inputs, with their units.
    """

    shard: Range
    samples: Sequence[Sample]

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what is sent to another process: bytes alone, not the handles of memory that tensors would be shared by."""
        content = io.BytesIO()
        _Packer(content, protocol=5).dump(list(self.samples))
        return _unpacked, (self.shard, content.getvalue())


class _Packer(pickle.Pickler):
    """Packs tensors as arrays, which take a tenth of the bytes and of the time for a few numbers."""

    def reducer_override(self, value: object) -> Any:
        """Return how a tensor is packed."""
        if type(value) is Tensor and value.device.type == "cpu" and value.dtype in PACKED:
            return torch.from_numpy, (value.numpy(),)
        return NotImplemented


def _unpacked(shard: Range, content: bytes) -> ShardTask:
    """Return a shard that was sent, by our own driver."""
    return ShardTask(shard, pickle.loads(content))


@dataclass(frozen=True)
class ShardWriter:
    """Computes the activations of shards, and writes their files.

    Attributes:
        folder: The store.
        activations_of: Activations ``(u, d)`` of all units of some samples, in order.
        encoding: How rows are encoded; None: they are not.
    """

    folder: Path
    activations_of: Callable[[Sequence[Sample]], Tensor]
    encoding: str | None

    def __call__(self, task: ShardTask, on_inputs: Callable[[int], object] = lambda _: None) -> ShardFacts:
        """Write the numbers, then the index: a shard whose index is there is whole.

        Args:
            task: The shard.
            on_inputs: Called with the number of inputs that are done.

        Raises:
            FileError: a file cannot be written.
            ModelError: there are not as many activations as units.
        """
        activations = self.activations_of(task.samples)
        count = sum(len(sample.units) for sample in task.samples)
        if len(activations) != count:
            raise ModelError(f"`activations_of`: returned {len(activations)} rows for {count} units.")
        rows, place = encoded(activations, self.encoding), self.folder / shard_name(task.shard.number)
        tensors = {NUMBERS: rows.numbers} if rows.scales is None else {NUMBERS: rows.numbers, SCALES: rows.scales}
        with replacing(place.with_suffix(".safetensors"), durable=True) as partial:
            save_file(tensors, partial)
            size, sha256 = partial.stat().st_size, digest_of_file(partial)
        facts = ShardFacts(
            start=task.shard.start,
            stop=task.shard.stop,
            rows=count,
            width=rows.numbers.shape[1],
            dtype=str(rows.numbers.dtype).removeprefix("torch."),
            digest=_digest(task.samples),
            bytes=size,
            sha256=sha256,
        )
        facts = write_units(place.with_suffix(".arrow"), task.samples, facts)
        on_inputs(task.shard.stop - task.shard.start)
        return facts


Run = Callable[[Iterator[ShardTask]], Iterator[ShardFacts]]
"""Writes the shards that an iterator yields, in any order, and yields their facts."""


def write_store(folder: Path, samples: Iterable[Sample], config: StoreConfig, run: Run, tqdm_bar: bool | None) -> None:
    """Write a store, or go on where an interrupted call stopped.

    While another process or thread writes the same store, this one waits for it.

    Args:
        folder: Made if missing.
        samples: Read once, as they come. Those of finished shards are read again, but not run again.
        config: Whose activations they are.
        run: Computes the shards that are missing.
        tqdm_bar: Show the rows written; None: after two seconds, in terminals and notebooks.

    Raises:
        FileError: the folder holds something else, other activations, or those of other inputs.
    """
    check_count(config.rows_per_shard, "rows_per_shard")
    make_folder(folder)
    with alone_with(folder / LOCK):
        _open(folder, config)
        there: list[ShardFacts] = []
        with progress_bar(desc="activations", unit=" rows", shown=tqdm_bar) as bar:

            def missing() -> Iterator[ShardTask]:
                """Yield the shards that are to be written; those that are there are counted."""
                for task in _tasks(samples, config.rows_per_shard):
                    found = _finished(folder, task)
                    if found is None:
                        yield task
                    else:
                        there.append(found)
                        bar.update(found.rows)

            for found in run(missing()):
                there.append(found)
                bar.update(found.rows)
        there.sort(key=lambda facts: facts.start)
        _check_end(folder, len(there))
        write_contents(folder, config, there)


def make_folder(folder: Path) -> None:
    """Make the folder of a store, unless something else is there."""
    ours = (INDEX, LOCK)
    try:
        if folder.exists() and not (folder / INDEX).exists():
            held = [] if folder.is_dir() else [folder]
            held += [file for file in folder.iterdir() if file.name not in ours and not _is_left_over(file)] if not held else []
            if held:
                raise FileError(
                    f"`path`: {str(folder)!r} holds something else; pass an empty folder, or one that does not exist."
                )
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"`path`: the folder {str(folder)!r} cannot be made ({error}).") from error


def _is_left_over(file: Path) -> bool:
    """Return whether a file is the beginning of one of ours, whose writer was ended in the middle of it."""
    return file.name.endswith(PARTIAL) and file.name.startswith((INDEX, SHARD))


def _open(folder: Path, config: StoreConfig) -> None:
    """Begin a store, or take up one of the same config."""
    for file in folder.iterdir():
        if _is_left_over(file):
            file.unlink(missing_ok=True)
    if not (folder / INDEX).exists():
        write_json(folder / INDEX, {"format": FORMAT, "config": asdict(config), "complete": False})
        return
    index = read_index(folder)
    before = read_config(folder, index)
    if "parts" in index:
        raise FileError(f"`path`: {str(folder)!r} holds a store that was joined from others; pass another folder.")
    if differing := config.differences(before):
        raise FileError(
            f"`path`: {str(folder)!r} holds a store that differs in {', '.join(differing)} "
            f"({', '.join(f'{name}: {getattr(before, name)!r}' for name in differing)}); pass another folder, or delete it."
        )


def _tasks(samples: Iterable[Sample], rows: int) -> Iterator[ShardTask]:
    """Yield consecutive samples in shards of at least ``rows`` units; where one ends depends on the samples alone."""
    part: list[Sample] = []
    held, start, number = 0, 0, 0
    for sample in samples:
        part.append(sample)
        held += len(sample.units)
        if held >= rows:
            yield ShardTask(Range(number, start, start + len(part)), part)
            number, start = number + 1, start + len(part)
            part, held = [], 0
    if part:
        yield ShardTask(Range(number, start, start + len(part)), part)


def _finished(folder: Path, task: ShardTask) -> ShardFacts | None:
    """Return the facts of a shard that is there already, with its numbers."""
    place = folder / shard_name(task.shard.number)
    numbers, index, old = (place.with_suffix(ending) for ending in (".safetensors", ".arrow", ".json"))
    if not numbers.exists() or not (index.exists() or old.exists()):
        return None
    if not index.exists():
        return _old_facts(folder, task, read_old_shard(old))
    try:
        facts = read_facts(index)
    except FileError:  # damaged: it is written again
        return None
    if facts.digest != _digest(task.samples) or facts.start != task.shard.start:
        raise _other_inputs(folder, task.shard.number)
    return replace(facts, index_sha256=digest_of_file(index)) if numbers.stat().st_size == facts.bytes else None


def _old_facts(folder: Path, task: ShardTask, index: dict[str, Any]) -> ShardFacts:
    """Return the facts of a shard of format 1."""
    if index["digest"] != _digest(task.samples, texts=False):
        raise _other_inputs(folder, task.shard.number)
    start, stop = task.shard.start, task.shard.stop
    return ShardFacts(start, stop, index["rows"], index["width"], index["dtype"], index["digest"], bytes=-1, sha256="")


def _check_end(folder: Path, shards: int) -> None:
    """Refuse a folder with a shard more than the inputs have."""
    name = shard_name(shards)
    if (folder / f"{name}.arrow").exists() or (folder / f"{name}.json").exists():
        raise _other_inputs(folder, shards)


def _other_inputs(folder: Path, shard: int) -> FileError:
    return FileError(
        f"`inputs`: shard {shard} of the store at {str(folder)!r} is of other inputs; "
        "pass those that it was begun with, or another folder."
    )


def _digest(samples: Sequence[Sample], *, texts: bool = True) -> str:
    """Return a digest of the tokens and units of samples, and of their texts."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(sample.input_ids.numpy().tobytes())
        digest.update(sample.units.index.numpy().tobytes())
        if texts:
            digest.update(sample.text.encode())
    return digest.hexdigest()[:16]


def encoding_of(config: StoreConfig) -> str | None:
    """Return how the rows of a store are encoded; None: they are not."""
    return config.dtype if config.dtype in ENCODINGS else None
