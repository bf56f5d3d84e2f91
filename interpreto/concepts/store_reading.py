"""Read a store's rows by memory map: in order, or in blocks that are mixed in one buffer."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from torch import Generator, Tensor

from interpreto.concepts.store_encoding import Rows, decoded_dtype, empty_rows
from interpreto.concepts.store_index import shard_name
from interpreto.errors import FileError

BLOCK = 256  # rows that stay together when the store is shuffled
TOGETHER = 64  # blocks that are mixed, at least
NUMBERS, SCALES = "activations", "scales"  # tensors of a shard's file


class Shards:
    """The files with a store's numbers. Each is mapped when it is first read, and again when it has changed.

    Args:
        folder: The store.
        rows: Number of rows of each file.
        width: Numbers per row.
        dtype: Of the numbers in the files.
    """

    def __init__(self, folder: Path, rows: Sequence[int], width: int, dtype: torch.dtype) -> None:
        self.folder, self.rows, self.width, self.dtype = folder, list(rows), width, dtype
        self.ends: list[int] = torch.tensor(self.rows, dtype=torch.int64).cumsum(0).tolist()
        self._mapped: dict[int, tuple[tuple[int, int, int], Rows]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process maps the files with."""
        return {**vars(self), "_mapped": {}}

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def parts(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """Yield the number of each shard with rows from ``start`` to ``stop``, and which of its own rows these are."""
        while start < stop:
            shard = bisect_right(self.ends, start)
            before, end = self.ends[shard] - self.rows[shard], min(stop, self.ends[shard])
            yield shard, start - before, end - before
            start = end

    def read(self, start: int, stop: int, into: Rows) -> None:
        """Write the rows from ``start`` to ``stop`` over the first rows of ``into``."""
        done = 0
        for shard, low, high in self.parts(start, stop):
            into.part(done, done + high - low).copy(self._rows(shard).part(low, high))
            done += high - low

    def decode(self, start: int, stop: int, into: Float[Tensor, "b d"]) -> None:
        """Write the activations from row ``start`` to ``stop`` over ``into``."""
        done = 0
        for shard, low, high in self.parts(start, stop):
            self._rows(shard).part(low, high).decoded(into[done : done + high - low])
            done += high - low

    def check(self, shard: int) -> None:
        """Refuse a file that is missing, damaged, or not of this store.

        Raises:
            FileError: it is.
        """
        self._rows(shard)

    def _rows(self, shard: int) -> Rows:
        """Return the rows of a file, of which the system reads what is used.

        Raises:
            FileError: it is missing, damaged, or not of this store.
        """
        place = self.folder / f"{shard_name(shard)}.safetensors"
        try:
            found = os.stat(place)
            state = (found.st_mtime_ns, found.st_size, found.st_ino)
            held = self._mapped.get(shard)
            if held is not None and held[0] == state:
                return held[1]
            with safe_open(place, framework="pt") as file:
                scaled = decoded_dtype(self.dtype) != self.dtype
                rows = Rows(file.get_tensor(NUMBERS), file.get_tensor(SCALES) if scaled else None)
        except (OSError, SafetensorError) as error:
            raise FileError(
                f"`path`: {str(place)!r} cannot be read ({error}); delete it, and repeat the call that wrote the store."
            ) from error
        n = self.rows[shard]
        if rows.numbers.shape != (n, self.width) or rows.numbers.dtype != self.dtype:
            raise FileError(f"`path`: {str(place)!r} is not the file that the store's index speaks of.")
        self._mapped[shard] = state, rows
        return rows


@dataclass(frozen=True, eq=False)
class Portion:
    """Rows that are in memory together, and leave it mixed.

    Attributes:
        kept: Rows that the portion before left, fewer than a batch.
        blocks: Numbers of the blocks that are read.
        order: Places of the rows that leave, among those kept and then those of the blocks.
        rest: Places of the rows that the next portion keeps.
    """

    kept: Int[Tensor, " k"]
    blocks: list[int]
    order: Int[Tensor, " m"]
    rest: Int[Tensor, " r"]


def portions(n: int, size: int, generator: Generator) -> Iterator[Portion]:
    """Yield the plan of one shuffled reading of ``n`` rows in batches of ``size``, before anything is read.

    Blocks are drawn in any order; as many as hold eight batches, and at least 64, are mixed with the rows that were left.
    """
    blocks = torch.randperm(-(-n // BLOCK), generator=generator, device=generator.device).tolist()
    together = max(TOGETHER, -(-8 * size // BLOCK))
    kept = torch.empty(0, dtype=torch.int64)
    for i in range(0, len(blocks), together):
        drawn = blocks[i : i + together]
        rows = torch.cat([kept, *(torch.arange(block * BLOCK, min(block * BLOCK + BLOCK, n)) for block in drawn)])
        order = torch.randperm(len(rows), generator=generator, device=generator.device).cpu()
        leaving = len(rows) if i + together >= len(blocks) else len(rows) // size * size
        yield Portion(kept, drawn, order[:leaving], order[leaving:])
        kept = rows[order[leaving:]]


def shuffled(
    shards: Shards,
    size: int,
    generator: Generator,
    *,
    start: int = 0,
    part: tuple[int, int] = (0, 1),
    into: Callable[[int], Tensor] | None = None,
) -> Iterator[Float[Tensor, "b d"]]:
    """Yield shuffled batches, out of one buffer that is filled again and again; batches have memory of their own.

    Args:
        shards: The files.
        size: Rows per batch; the last may have fewer.
        generator: Draws the order.
        start: Number of the first batch; nothing is read for those before it.
        part: ``(i, n)``: rows i, i + n, … of each batch.
        into: Returns memory ``(b, d)`` for a batch of ``b`` rows, such as pinned memory; None: it is allocated.
    """
    buffer, before, n = None, None, len(shards)
    for portion in portions(n, size, generator):
        count = -(-len(portion.order) // size)
        if start >= count:
            start -= count
            continue
        if buffer is None:
            buffer = empty_rows(min(n, max(TOGETHER * BLOCK, 8 * size + BLOCK) + size), shards.width, shards.dtype)
        _fill(buffer, shards, portion, before)
        for index in portion.order.split(size)[start:]:
            own = index[part[0] :: part[1]]
            yield buffer.decoded_at(own, None if into is None else into(len(own)))
        start, before = 0, portion


def _fill(buffer: Rows, shards: Shards, portion: Portion, before: Portion | None) -> None:
    """Read the rows of a portion; those that are kept are there already, unless there is no portion before."""
    filled = len(portion.kept)
    if before is not None:
        buffer.part(0, filled).copy(buffer.chosen(before.rest))
    else:
        for i, row in enumerate(portion.kept.tolist()):
            shards.read(row, row + 1, buffer.part(i, i + 1))
    for block in portion.blocks:
        first, last = block * BLOCK, min(block * BLOCK + BLOCK, len(shards))
        shards.read(first, last, buffer.part(filled, filled + last - first))
        filled += last - first
