"""Batches: every row once, within the budget, results in order, and memory that runs out by any name."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

from interpreto.models.batching import Budget, map_batches

LENGTHS = [3, 9, 1, 4, 4, 30, 2, 8]
FULL = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    MemoryError(),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("MPS backend out of memory (MPS allocated: 9.05 GB, other allocations: 8 KB, max allowed: 9.07 GB)"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
]


@pytest.mark.parametrize("budget", [Budget(3, 0), Budget(None, 16)], ids=["rows", "tokens"])
def test_batches_hold_every_row_once_within_the_budget(budget):
    batches: list[list[int]] = []
    map_batches(LENGTHS, batches.append, budget)
    assert sorted(i for batch in batches for i in batch) == list(range(8))
    for batch in batches:
        longest = max(LENGTHS[i] for i in batch)
        assert len(batch) <= 3 if budget.rows else len(batch) * longest <= 16 or len(batch) == 1


@pytest.mark.parametrize("budget", [Budget(8, 0), Budget(None, 40)], ids=["rows", "tokens"])
def test_a_batch_more_than_half_full_of_one_length_is_not_padded(budget):
    batches: list[list[int]] = []
    map_batches([4] * 5 + [5] * 2 + [5, 6, 7], batches.append, budget)
    assert batches[0] == [0, 1, 2, 3, 4]
    batches.clear()
    map_batches([4] * 4 + [5] * 3, batches.append, Budget(8, 2**10))  # half full: the others may join
    assert len(batches) == 1
    batches.clear()
    map_batches(list(range(20, 28)), batches.append, Budget(8, 2**10))  # all of other lengths: none is alone
    assert len(batches) == 1


def test_rows_of_unequal_lengths_stay_apart_where_they_must():
    batches: list[list[int]] = []
    map_batches(LENGTHS, batches.append, Budget(8, 0), mixed=False)
    assert all(len({LENGTHS[i] for i in batch}) == 1 for batch in batches)


def test_results_come_back_in_order():
    assert map_batches(LENGTHS, lambda rows: [LENGTHS[i] for i in rows], Budget(3, 0)) == LENGTHS
    found = map_batches(LENGTHS, lambda rows: torch.tensor([LENGTHS[i] for i in rows]), Budget(3, 0))
    assert found.tolist() == LENGTHS
    assert map_batches(LENGTHS, lambda rows: None, Budget(3, 0)) is None


def test_rows_of_unequal_widths_end_in_zeros():
    found = map_batches([1, 2, 3], lambda rows: torch.ones(len(rows), LENGTHS[rows[0]]), Budget(1, 0))
    assert found.sum(1).tolist() == LENGTHS[:3] and found.shape == (3, 9)


@pytest.mark.parametrize("error", FULL, ids=lambda error: f"{type(error).__name__}: {str(error)[:30]}")
def test_a_full_memory_halves_the_batches_for_good(error):
    given = []

    def step(rows):
        given.append(len(rows))
        if len(rows) > 2:
            raise error
        return torch.tensor(rows)

    budget = Budget(None, 16)
    assert map_batches([2] * 20, step, budget).tolist() == list(range(20))
    assert given == [8, 4, *[2] * 10] and budget.tokens == 4


def test_other_errors_are_the_callers():
    def step(rows):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        map_batches([2] * 20, step, Budget(None, 16))


def test_nothing_of_a_failed_batch_is_alive_when_its_parts_run():
    class Activations:
        pass

    made: list[weakref.ref] = []

    def step(rows):
        gc.collect()
        assert not any(held() for held in made)
        activations = Activations()
        made.append(weakref.ref(activations))
        if len(rows) > 1:
            raise torch.OutOfMemoryError("full")

    map_batches([1] * 4, step, Budget(4, 0))
    assert len(made) == 6  # 4 and 2 rows fail, then four rows alone
