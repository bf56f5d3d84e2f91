"""Activations on disk: written as they are computed, read by memory map, never whole in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor, nn

from interpreto.concepts.store_encoding import decoded_dtype
from interpreto.concepts.store_index import (
    FORMAT,
    INDEX,
    LOCK,
    SHARD,
    StoreConfig,
    read_config,
    read_index,
    read_shape,
    read_shard,
    shard_name,
    write_json,
)
from interpreto.concepts.store_reading import Shards, shuffled
from interpreto.errors import FileError, ModelError, OptionError
from interpreto.inputs.samples import Sample
from interpreto.inputs.units import Span
from interpreto.models import fingerprint
from interpreto.progress import progress_bar
from interpreto.storage import PARTIAL, alone_with, replacing
from interpreto.validation import check_count


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


class ActivationStore:
    """Activations ``(n, d)`` in a folder, with the unit that each row represents.

    Args:
        path: The folder that `ActivationStore.write`, or a splitter's ``store_activations``, made.

    Raises:
        FileError: there is no store, or its writing was interrupted.

    Examples:
        >>> import tempfile
        >>> from interpreto import demo
        >>> from interpreto.concepts.splitters import ModelWithSplitPoints
        >>> model, tokenizer = demo.load_classifier()
        >>> splitter = ModelWithSplitPoints(model, [1], tokenizer=tokenizer)
        >>> store = splitter.store_activations(["A charming film.", "Dull."], tempfile.mkdtemp(), "word")
        >>> store.shape, store.dtype
        ((6, 128), torch.float32)
        >>> store.unit(1)
        StoredUnit(sample=0, unit=1, span=(2, 10), text='charming')
        >>> [len(batch) for batch in store.batches(4)]
        [4, 2]
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        index = read_index(self.path)
        if not index["complete"]:
            raise FileError(
                f"`path`: the store at {str(self.path)!r} was not finished; repeat the call that wrote it, and it goes on."
            )
        self.config = read_config(self.path, index)
        rows, width, dtype = read_shape(self.path, index)
        self.shape: tuple[int, int] = (sum(rows), width)
        self.dtype: torch.dtype = decoded_dtype(dtype)
        self._shards = Shards(self.path, rows, width, dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"ActivationStore({str(self.path)!r}, shape={self.shape}, dtype={self.dtype})"

    def rows(self, start: int, stop: int) -> Float[Tensor, "b d"]:
        """Return some consecutive rows; nothing else is read."""
        start, stop = max(start, 0), min(stop, len(self))
        found = torch.empty(max(stop - start, 0), self.shape[1], dtype=self.dtype)
        self._shards.decode(start, stop, found)
        return found

    def read(self) -> Float[Tensor, "n d"]:
        """Return all rows, in memory."""
        return self.rows(0, len(self))

    def batches(
        self,
        size: int,
        generator: torch.Generator | None = None,
        *,
        start: int = 0,
        part: tuple[int, int] = (0, 1),
        into: Callable[[int], Tensor] | None = None,
    ) -> Iterator[Float[Tensor, "b d"]]:
        """Yield all rows once, ``size`` at a time: in order, or with a generator shuffled.

        Shuffled, blocks of 256 consecutive rows are drawn in any order, and rows are mixed among as many blocks as a
        buffer of some batches holds; the last batch may be smaller. Each batch has memory of its own, and a thread may
        draw them ahead of their use.

        Args:
            size: Rows per batch.
            generator: Draws the order; None: rows come as they are stored.
            start: Number of the first batch; those before it are not read, and the others are the same.
            part: ``(i, n)``: rows i, i + n, … of each batch alone, for n processes that share the batches.
            into: Returns memory ``(b, d)`` of the store's dtype to write a batch of ``b`` rows to, such as pinned memory;
                None: it is allocated.
        """
        check_count(size, "size")
        if generator is not None:
            yield from shuffled(self._shards, size, generator, start=start, part=part, into=into)
            return
        for first in range(start * size, len(self), size):
            rows = self.rows(first, first + size)[part[0] :: part[1]]
            yield rows if into is None else into(len(rows)).copy_(rows)

    def unit(self, i: int) -> StoredUnit:
        """Return what a row represents; negative numbers count from the end."""
        if not -len(self) <= i < len(self):
            raise OptionError(f"`i`: got row {i} of a store of {len(self)}.")
        return next(self.units(i % len(self), i % len(self) + 1))

    def units(self, start: int = 0, stop: int | None = None) -> Iterator[StoredUnit]:
        """Yield what the rows represent, in order; one shard's index is in memory at a time."""
        stop = len(self) if stop is None else min(stop, len(self))
        for shard, low, high in self._shards.parts(start, stop):
            index = read_shard(self.path / f"{shard_name(shard)}.json")
            if index["rows"] != self._shards.rows[shard]:
                raise FileError(f"`path`: {shard_name(shard)}.json in {str(self.path)!r} is not of this store.")
            for row in range(low, high):
                a, b = index["spans"][row]
                yield StoredUnit(index["samples"][row], index["units"][row], (a, b), index["texts"][row])

    def check_model(self, model: nn.Module, split_point: str) -> None:
        """Refuse a model, or a split point, that the activations are not of.

        Raises:
            FileError: its class, its config, its weights or its activations for a fixed input are others.
        """
        if split_point != self.config.split_point:
            raise FileError(
                f"`activations`: the store at {str(self.path)!r} is of split point {self.config.split_point!r}, "
                f"not {split_point!r}."
            )
        found = fingerprint.probe(model, split_point)
        difference = self.config.model_difference(fingerprint.identity(model), None if found is None else asdict(found))
        if difference is not None:
            raise FileError(f"`activations`: the store at {str(self.path)!r} is of another model: {difference}.")

    @staticmethod
    def write(
        path: str | Path,
        samples: Iterable[Sample],
        activations_of: Callable[[Sequence[Sample]], Tensor],
        config: StoreConfig,
        tqdm_bar: bool | None = None,
    ) -> ActivationStore:
        """Write the activations of samples, or go on where an interrupted call stopped.

        While another process or thread writes the same store, this one waits for it.

        Args:
            path: The folder; made if missing.
            samples: Read once, as they come. Those of finished shards are read again, but not run again.
            activations_of: Activations ``(u, d)`` of all units of some samples, in order.
            config: Whose activations they are.
            tqdm_bar: Show the rows written; None: after two seconds, in terminals and notebooks.
        """
        check_count(config.rows_per_shard, "rows_per_shard")
        folder = Path(path).expanduser()
        _make(folder)
        with alone_with(folder / LOCK):
            _open(folder, config)
            rows, width, dtype, number = [], 0, "", 0
            with progress_bar(desc="activations", unit=" rows", shown=tqdm_bar) as bar:
                for shard, part in enumerate(_parts(samples, config.rows_per_shard)):
                    found = _finished(folder, shard, part) or _write_shard(folder, shard, part, number, activations_of(part))
                    rows.append(found["rows"])
                    width, dtype = found["width"], found["dtype"]
                    number += len(part)
                    bar.update(found["rows"])
            if (folder / f"{shard_name(len(rows))}.json").exists():
                raise _other_inputs(folder, len(rows))
            done = {"complete": True, "rows": rows, "width": width, "dtype": dtype, "samples": number}
            write_json(folder / INDEX, {"format": FORMAT, "config": asdict(config), **done})
        return ActivationStore(folder)


def _make(folder: Path) -> None:
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
    before = read_config(folder, read_index(folder))
    if differing := config.differences(before):
        raise FileError(
            f"`path`: {str(folder)!r} holds a store that differs in {', '.join(differing)} "
            f"({', '.join(f'{name}: {getattr(before, name)!r}' for name in differing)}); pass another folder, or delete it."
        )


def _parts(samples: Iterable[Sample], rows: int) -> Iterator[list[Sample]]:
    """Yield consecutive samples in parts of at least ``rows`` units; where a part ends depends on the samples alone."""
    part: list[Sample] = []
    held = 0
    for sample in samples:
        part.append(sample)
        held += len(sample.units)
        if held >= rows:
            yield part
            part, held = [], 0
    if part:
        yield part


def _finished(folder: Path, shard: int, part: Sequence[Sample]) -> dict[str, Any] | None:
    """Return the index of a shard that is there already, with its activations."""
    place = folder / f"{shard_name(shard)}.json"
    if not place.exists() or not place.with_suffix(".safetensors").exists():
        return None
    index = read_shard(place)
    if index["digest"] != _digest_samples(part):
        raise _other_inputs(folder, shard)
    return index


def _write_shard(folder: Path, shard: int, part: Sequence[Sample], first: int, activations: Tensor) -> dict[str, Any]:
    """Write the activations, then the index: a shard whose index is there is whole."""
    counts = [len(sample.units) for sample in part]
    if len(activations) != sum(counts):
        raise ModelError(f"`activations_of`: returned {len(activations)} rows for {sum(counts)} units.")
    with replacing(folder / f"{shard_name(shard)}.safetensors") as partial:
        save_file({"activations": activations.contiguous()}, partial)
    index = {
        "digest": _digest_samples(part),
        "rows": sum(counts),
        "width": activations.shape[1],
        "dtype": str(activations.dtype).removeprefix("torch."),
        "samples": [first + i for i, count in enumerate(counts) for _ in range(count)],
        "units": [unit for count in counts for unit in range(count)],
        "spans": [span for sample in part for span in sample.units.spans],
        "texts": [text for sample in part for text in sample.units.texts],
    }
    write_json(folder / f"{shard_name(shard)}.json", index)
    return index


def _other_inputs(folder: Path, shard: int) -> FileError:
    return FileError(
        f"`inputs`: shard {shard} of the store at {str(folder)!r} is of other inputs; "
        "pass those that it was begun with, or another folder."
    )


def _digest_samples(samples: Sequence[Sample]) -> str:
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(sample.input_ids.numpy().tobytes())
        digest.update(sample.units.index.numpy().tobytes())
    return digest.hexdigest()[:16]
