"""Batches: which rows go through the model together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

T = TypeVar("T")


@dataclass
class Budget:
    """How much one forward pass may hold: a number of rows, or of tokens (padding counted).

    Halved for good when the memory runs out, so that a long run pays for it once.
    """

    rows: int | None
    tokens: int

    def fits(self, rows: int, length: int) -> bool:
        return rows <= self.rows if self.rows is not None else rows * length <= max(self.tokens, length)

    def halve(self, rows: int, length: int) -> None:
        if self.rows is not None:
            self.rows = max(1, rows // 2)
        else:
            self.tokens = max(1, rows // 2) * length


def windows(items: Iterable[T], cost: Callable[[T], int], limit: int) -> Iterator[list[T]]:
    """Consecutive items in groups whose summed cost reaches ``limit``, so that memory stays bounded."""
    group: list[T] = []
    total = 0
    for item in items:
        group.append(item)
        total += cost(item)
        if total >= limit:
            yield group
            group, total = [], 0
    if group:
        yield group


def batches(lengths: Sequence[int], budget: Budget, mixed: bool) -> Iterator[list[int]]:
    """Indices of rows, shortest first, cut where the budget is full; without ``mixed``, at each new length too."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    start = 0
    while start < len(order):
        end = start + 1
        while (
            end < len(order)
            and budget.fits(end + 1 - start, lengths[order[end]])
            and (mixed or lengths[order[end]] == lengths[order[start]])
        ):
            end += 1
        yield order[start:end]
        start = end


def run_within_memory(rows: list[int], length: int, budget: Budget, run: Callable[[list[int]], None]) -> None:
    """Run a batch; when the memory runs out, halve it (and the budget) until one row is left."""
    try:
        run(rows)
        return
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if len(rows) == 1 or not _is_out_of_memory(error):
            raise
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    budget.halve(len(rows), length)
    middle = len(rows) // 2
    run_within_memory(rows[:middle], length, budget, run)
    run_within_memory(rows[middle:], length, budget, run)


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
