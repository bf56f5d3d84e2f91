"""Batches: which rows go through the model together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

T = TypeVar("T")

TOKENS_A_PASS = {"cpu": 2048, "cuda": 32768}  # measured on a CPU: more gains nothing; a first guess for GPUs
WASTE = 1 / 32  # of the budget: padding, or tokens run again behind a prefix; beyond it another pass costs less


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


def sweep(lengths: Sequence[int], budget: Budget, mixed: bool, run: Callable[[list[int]], None]) -> None:
    """Run all rows, shortest first, in batches that the budget holds; when memory runs out, in smaller ones.

    Args:
        lengths: Tokens of each row.
        budget: Halved whenever a batch does not fit after all.
        mixed: Whether rows of unequal lengths may share a batch.
        run: Runs the rows of these numbers. A batch that runs out of memory is given again, in parts.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    ascending = [lengths[i] for i in order]
    start = 0
    while start < len(order):
        batch = order[start : end_of_batch(ascending, start, budget, mixed)]
        try:
            run(batch)
        except RuntimeError as error:
            if len(batch) == 1 or not _is_out_of_memory(error):
                raise
        else:
            start += len(batch)
            continue
        if torch.cuda.is_available():  # outside the handler, where the error no longer holds the batch's tensors
            torch.cuda.empty_cache()
        budget.halve(len(batch), max(lengths[i] for i in batch))


def end_of_batch(lengths: Sequence[int], start: int, budget: Budget, mixed: bool) -> int:
    """Where the batch that begins at ``start`` of the sorted lengths ends."""
    end, real = start + 1, lengths[start]
    while end < len(lengths):
        rows, length = end + 1 - start, lengths[end]
        real += length
        wasteful = rows * length - real > budget.tokens * WASTE
        if not budget.fits(rows, length) or wasteful or (not mixed and length != lengths[start]):
            break
        end += 1
    return end


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
