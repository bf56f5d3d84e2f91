"""Activations on disk: written as they are computed, read by memory map, never whole in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from interpreto.concepts.store_encoding import decoded_dtype
from interpreto.concepts.store_index import StoreConfig, read_config, read_contents, read_index, shard_name
from interpreto.concepts.store_joining import CheckedStore, Part, check_store, join_parts
from interpreto.concepts.store_reading import Shards, Share, shuffled
from interpreto.concepts.store_units import StoredUnit, read_old_units, read_units
from interpreto.concepts.store_writing import Run, ShardWriter, encoding_of, write_store
from interpreto.errors import FileError, OptionError
from interpreto.inputs.samples import Sample
from interpreto.models import fingerprint
from interpreto.storage import local_folder
from interpreto.validation import check_count

__all__ = ["ActivationStore", "CheckedStore", "StoreConfig", "StoredUnit"]


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
        self.path = local_folder(path)
        index = read_index(self.path)
        if not index["complete"]:
            raise FileError(
                f"`path`: the store at {str(self.path)!r} was not finished; repeat the call that wrote it, and it goes on."
            )
        self.config = read_config(self.path, index)
        contents = read_contents(self.path, index)
        self.shape: tuple[int, int] = (sum(contents.rows), contents.width)
        self.dtype: torch.dtype = decoded_dtype(contents.dtype)
        self._contents = contents
        self._shards = Shards(self.path, contents.rows, contents.width, contents.dtype)
        self._firsts = [0, *torch.tensor(contents.inputs, dtype=torch.int64).cumsum(0).tolist()]

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
            part: ``(i, n)``: a part of each batch alone, for n processes that share the batches. Shuffled, each process reads
                an n-th of the blocks, and takes the rows that are in these; in order, it takes rows i, i + n, ….
            into: Returns memory ``(b, d)`` of the store's dtype to write a batch of ``b`` rows to, such as pinned memory;
                None: it is allocated.
        """
        check_count(size, "size")
        if generator is not None:
            yield from (share.rows for share in self.shares(size, generator, start=start, part=part, into=into))
            return
        for first in range(start * size, len(self), size):
            rows = self.rows(first, first + size)[part[0] :: part[1]]
            yield rows if into is None else into(len(rows)).copy_(rows)

    def shares(
        self,
        size: int,
        generator: torch.Generator,
        *,
        start: int = 0,
        part: tuple[int, int] = (0, 1),
        into: Callable[[int], Tensor] | None = None,
    ) -> Iterator[Share]:
        """Yield the shuffled `batches` with the places of their rows, which a part of a batch needs to be put together.

        Args:
            size: As in `batches`, like all others.
            generator: Draws the order.
            start: Number of the first batch.
            part: ``(i, n)``: the process whose blocks are read, and the number of all.
            into: Returns memory to write a batch to.
        """
        return shuffled(self._shards, check_count(size, "size"), generator, start=start, part=part, into=into)

    def unit(self, i: int) -> StoredUnit:
        """Return what a row represents; negative numbers count from the end."""
        if not -len(self) <= i < len(self):
            raise OptionError(f"`i`: got row {i} of a store of {len(self)}.")
        return next(self.units(i % len(self), i % len(self) + 1))

    def units(self, start: int = 0, stop: int | None = None) -> Iterator[StoredUnit]:
        """Yield what the rows represent, in order; 8,192 of them are in memory at a time."""
        stop = len(self) if stop is None else min(stop, len(self))
        for shard, low, high in self._shards.parts(start, stop):
            place, rows = self.path / shard_name(shard), self._shards.rows[shard]
            index, old = place.with_suffix(".arrow"), place.with_suffix(".json")
            if index.exists() or not old.exists():
                yield from read_units(index, rows, low, high, self._firsts[shard])
            else:
                yield from read_old_units(old, rows, low, high)

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
        *,
        run: Run | None = None,
    ) -> ActivationStore:
        """Write the activations of samples, or go on where an interrupted call stopped.

        While another process or thread writes the same store, this one waits for it.

        Args:
            path: The folder; made if missing.
            samples: Read once, as they come. Those of finished shards are read again, but not run again.
            activations_of: Activations ``(u, d)`` of all units of some samples, in order.
            config: Whose activations they are.
            tqdm_bar: Show the rows written; None: after two seconds, in terminals and notebooks.
            run: Writes the shards that are missing, such as workers; None: this process, one after the other.
        """
        folder = local_folder(path)
        write = ShardWriter(folder, activations_of, encoding_of(config))
        write_store(folder, samples, config, (lambda tasks: map(write, tasks)) if run is None else run, tqdm_bar)
        return ActivationStore(folder)

    @staticmethod
    def join(parts: Iterable[str | Path | ActivationStore], path: str | Path) -> ActivationStore:
        """Join stores of consecutive inputs, such as those that jobs of a cluster wrote, into one.

        The inputs are those of the first store, then those of the second, and so on. Where the file system has hard links,
        nothing is copied: the parts may be deleted, and the store stays.

        Args:
            parts: Complete stores of one model, read in one way; their shards may have different sizes.
            path: The folder; made if missing.

        Raises:
            FileError: the stores differ, and in what; or the folder holds something else.
            OptionError: there is none, or one of them twice.
        """
        opened = [part if isinstance(part, ActivationStore) else ActivationStore(part) for part in parts]
        folder = local_folder(path)
        join_parts([Part(one.path, one.config, one._contents) for one in opened], folder)
        return ActivationStore(folder)

    def verify(self) -> CheckedStore:
        """Read every file, and compare it with the checksum that was taken when it was written.

        Returns:
            A result that is true if every file is whole, the inputs of each shard follow those of the shard before, and each
            unit of each input is there once; it has the names of the files that are not so.
        """
        return check_store(self.path, self._contents)
