"""Read a store's rows by memory map: in order, or in blocks that are mixed in one buffer."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
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


class Share(NamedTuple):
    """A process's part of a batch.

    Attributes:
        rows: Its rows, in the order of the batch.
        places: Where in the batch they are.
    """

    rows: Float[Tensor, "b d"]
    places: Int[Tensor, " b"]


@dataclass(frozen=True, eq=False)
class Portion:
    """Rows that are in memory together, and leave it mixed.

    Attributes:
        kept: Rows that the portion before left, fewer than a batch.
        blocks: Numbers of the blocks that are read.
        first: How many blocks were drawn before them.
        turns: For each row, kept or of the blocks: when its block was drawn, from 0.
        order: Places of the rows that leave, among those kept and then those of the blocks.
        rest: Places of the rows that the next portion keeps.
    """

    kept: Int[Tensor, " k"]
    blocks: list[int]
    first: int
    turns: Int[Tensor, " n"]
    order: Int[Tensor, " m"]
    rest: Int[Tensor, " r"]

    def own(self, part: tuple[int, int]) -> Bool[Tensor, " n"]:
        """Return which rows are of one process: those of its blocks, which it takes in turn with the others."""
        return self.turns % part[1] == part[0]


def portions(n: int, size: int, generator: Generator) -> Iterator[Portion]:
    """Yield the plan of one shuffled reading of ``n`` rows in batches of ``size``, before anything is read.

    Blocks are drawn in any order; as many as hold eight batches, and at least 64, are mixed with the rows that were left.
    """
    blocks = torch.randperm(-(-n // BLOCK), generator=generator, device=generator.device).tolist()
    together = _together(size)
    kept = turns = torch.empty(0, dtype=torch.int64)
    for i in range(0, len(blocks), together):
        drawn = blocks[i : i + together]
        ranges = [torch.arange(block * BLOCK, min(block * BLOCK + BLOCK, n)) for block in drawn]
        rows = torch.cat([kept, *ranges])
        turns = torch.cat([turns, *(torch.full_like(own, i + j) for j, own in enumerate(ranges))])
        order = torch.randperm(len(rows), generator=generator, device=generator.device).cpu()
        leaving = len(rows) if i + together >= len(blocks) else len(rows) // size * size
        yield Portion(kept, drawn, i, turns, order[:leaving], order[leaving:])
        kept, turns = rows[order[leaving:]], turns[order[leaving:]]


def _together(size: int) -> int:
    """Return how many blocks are mixed."""
    return max(TOGETHER, -(-8 * size // BLOCK))


def shuffled(
    shards: Shards,
    size: int,
    generator: Generator,
    *,
    start: int = 0,
    part: tuple[int, int] = (0, 1),
    into: Callable[[int], Tensor] | None = None,
) -> Iterator[Share]:
    """Yield shuffled batches, out of one buffer that is filled again and again; batches have memory of their own.

    The batches are those of the seed, however many processes there are: each of them reads an n-th of the blocks, and takes
    the rows of a batch that are in these.

    Args:
        shards: The files.
        size: Rows per batch; the last may have fewer.
        generator: Draws the order.
        start: Number of the first batch; nothing is read for those before it.
        part: ``(i, n)``: this process, and the number of all.
        into: Returns memory ``(b, d)`` for a batch of ``b`` rows, such as pinned memory; None: it is allocated.
    """
    buffer, before, n = None, None, len(shards)
    for portion in portions(n, size, generator):
        count = -(-len(portion.order) // size)
        if start >= count:
            start -= count
            continue
        if buffer is None:
            most = min(n, -(-_together(size) // part[1]) * BLOCK + size)
            buffer = empty_rows(most, shards.width, shards.dtype)
        _fill(buffer, shards, portion, before, part)
        own = portion.own(part)
        held = own.cumsum(0) - 1  # places in the buffer
        for index in portion.order.split(size)[start:]:
            places = own[index].nonzero()[:, 0]
            rows = buffer.decoded_at(held[index[places]], None if into is None else into(len(places)))
            yield Share(rows, places)
        start, before = 0, portion


def _fill(buffer: Rows, shards: Shards, portion: Portion, before: Portion | None, part: tuple[int, int]) -> None:
    """Read a process's rows of a portion; those that are kept are there already, unless there is no portion before."""
    kept = portion.kept[portion.own(part)[: len(portion.kept)]]
    filled = len(kept)
    if before is not None:
        own = before.own(part)
        rest = before.rest[own[before.rest]]
        buffer.part(0, filled).copy(buffer.chosen((own.cumsum(0) - 1)[rest]))
    else:
        for i, row in enumerate(kept.tolist()):
            shards.read(row, row + 1, buffer.part(i, i + 1))
    for turn, block in enumerate(portion.blocks, portion.first):
        if turn % part[1] != part[0]:
            continue
        first, last = block * BLOCK, min(block * BLOCK + BLOCK, len(shards))
        shards.read(first, last, buffer.part(filled, filled + last - first))
        filled += last - first
