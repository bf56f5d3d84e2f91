"""Batches: the rows that go through the model together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, overload

import torch
from jaxtyping import Shaped
from torch import Tensor

T = TypeVar("T")

TOKENS_A_PASS = {"cpu": 2048, "cuda": 32768}  # measured: more is at most some percent faster, and takes its share of memory
WASTE = 1 / 32  # of the budget: padding, or tokens run again behind a prefix; beyond it another pass costs less


@dataclass
class Budget:
    """Size of one forward pass: a number of rows, or of tokens, padding included.

    It is halved for good when the memory runs out, so that a long run pays for that once.
    """

    rows: int | None
    tokens: int

    def fits(self, rows: int, length: int) -> bool:
        """Return True if a pass may hold rows of this length."""
        return rows <= self.rows if self.rows is not None else rows * length <= max(self.tokens, length)

    def halve(self, rows: int, length: int) -> None:
        """Set the budget to half of a batch that did not fit."""
        if self.rows is not None:
            self.rows = max(1, rows // 2)
        else:
            self.tokens = max(1, rows // 2) * length


def windows(items: Iterable[T], cost: Callable[[T], int], limit: int) -> Iterator[list[T]]:
    """Yield consecutive items in groups whose summed cost reaches ``limit``, so that memory stays bounded."""
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


@overload
def map_batches(
    lengths: Sequence[int], step: Callable[[list[int]], Tensor], budget: Budget, mixed: bool = True
) -> Shaped[Tensor, "n ..."]: ...
@overload
def map_batches(
    lengths: Sequence[int], step: Callable[[list[int]], Sequence[T]], budget: Budget, mixed: bool = True
) -> list[T]: ...
@overload
def map_batches(lengths: Sequence[int], step: Callable[[list[int]], None], budget: Budget, mixed: bool = True) -> None: ...
def map_batches(lengths: Sequence[int], step: Callable[[list[int]], Any], budget: Budget, mixed: bool = True) -> Any:
    """Apply ``step`` to all rows, shortest first, in batches that the budget holds, and return its results in order.

    A batch that runs out of memory is repeated in halves. The tensors of the failed step are free by then if the step held
    them in local variables alone.

    Args:
        lengths: Tokens of each row.
        step: Takes the numbers of a batch's rows and returns a tensor with a row for each of them, a sequence with an item
            for each, or None.
        budget: Size of a batch; halved when the memory runs out.
        mixed: Rows of unequal lengths may share a batch.

    Returns:
        The rows of all results in the order of ``lengths``: one tensor on the CPU (rows ``(b, k)`` that are shorter than
        others end in zeros), one list, or None.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    ascending = [lengths[i] for i in order]
    done: list[tuple[list[int], Any]] = []
    start = 0
    while start < len(order):
        batch = order[start : end_of_batch(ascending, start, budget, mixed)]
        try:
            done.append((batch, step(batch)))
        except (RuntimeError, MemoryError) as error:
            if len(batch) == 1 or not is_out_of_memory(error):
                raise
        else:
            start += len(batch)
            continue
        _release_memory()  # outside the handler, where the error no longer holds the batch's tensors
        budget.halve(len(batch), max(lengths[i] for i in batch))
    return _in_order(done)


def sweep(lengths: Sequence[int], budget: Budget, mixed: bool, run: Callable[[list[int]], None]) -> None:
    """Apply ``run`` to all rows in batches, as `map_batches` does."""
    map_batches(lengths, run, budget, mixed)


def _in_order(done: Sequence[tuple[list[int], Any]]) -> Any:
    """Return the results of batches row by row; tensors are moved to the CPU at once, so that no pass waits for a copy."""
    results = [result for _, result in done]
    if not done or results[0] is None:
        return None
    numbers = [i for batch, _ in done for i in batch]
    if isinstance(results[0], Tensor):
        if results[0].ndim == 2 and len({result.shape[1] for result in results}) > 1:
            width = max(result.shape[1] for result in results)
            results = [torch.nn.functional.pad(result, (0, width - result.shape[1])) for result in results]
        rows = torch.cat(results).cpu()
        out = torch.empty_like(rows)
        out[torch.tensor(numbers)] = rows
        return out
    found = dict(zip(numbers, (item for result in results for item in result), strict=True))
    return [found[i] for i in range(len(numbers))]


def end_of_batch(lengths: Sequence[int], start: int, budget: Budget, mixed: bool) -> int:
    """Return the end of the batch that begins at ``start`` of the sorted lengths."""
    end, real = start + 1, lengths[start]
    while end < len(lengths):
        rows, length = end + 1 - start, lengths[end]
        if length > lengths[start] == lengths[end - 1] and not budget.fits(2 * (end - start), lengths[start]):
            break  # more than half full, of one length: padding and a mask would cost more than a pass saves
        real += length
        wasteful = rows * length - real > budget.tokens * WASTE
        if not budget.fits(rows, length) or wasteful or (not mixed and length != lengths[start]):
            break
        end += 1
    return end


_FULL = (
    "can't allocate memory",  # torch's CPU allocator
    "out of memory",  # "CUDA error: out of memory", "MPS backend out of memory", "HIP out of memory"
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUSPARSE_STATUS_ALLOC_FAILED",
    "CUSOLVER_STATUS_ALLOC_FAILED",
)


def is_out_of_memory(error: Exception) -> bool:
    """Return True for errors of a full memory, by whatever name; a GPU's libraries raise them as plain RuntimeErrors."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(said in str(error) for said in _FULL)


def _release_memory() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()


_is_out_of_memory = is_out_of_memory  # its name in the first edition
