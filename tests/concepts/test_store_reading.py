"""Rows of hand-made files: what is read, in which order, and what is not read."""

from __future__ import annotations

import os
import pickle

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from interpreto.concepts.store_encoding import encoded
from interpreto.concepts.store_reading import BLOCK, TOGETHER, Shards, portions, shuffled
from interpreto.errors import FileError

ROWS = (5000, 1, 7000, 9000)


@pytest.fixture(scope="module")
def whole():
    return torch.arange(sum(ROWS) * 2, dtype=torch.float32).reshape(-1, 2)


@pytest.fixture
def shards(tmp_path, whole):
    for i, rows in enumerate(whole.split(ROWS)):
        save_file({"activations": rows.clone()}, tmp_path / f"shard-{i:05d}.safetensors")
    return Shards(tmp_path, ROWS, 2, torch.float32)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def as_defined(whole, size, generator):
    """Return the shuffled batches as their definition has them, all rows in memory."""
    blocks = torch.randperm(-(-len(whole) // BLOCK), generator=generator).tolist()
    together = max(TOGETHER, -(-8 * size // BLOCK))
    found, rest = [], whole[:0]
    for i in range(0, len(blocks), together):
        buffer = torch.cat([rest, *(whole[block * BLOCK : (block + 1) * BLOCK] for block in blocks[i : i + together])])
        buffer = buffer[torch.randperm(len(buffer), generator=generator)]
        leaving = len(buffer) if i + together >= len(blocks) else len(buffer) // size * size
        found += buffer[:leaving].split(size)
        rest = buffer[leaving:]
    return found


def batches(shards, size, **where):
    return [share.rows for share in shuffled(shards, size, seeded(), **where)]


@pytest.mark.parametrize("size", [100, 4096, 30_000])
def test_shuffled_batches_are_those_of_the_definition(shards, whole, size):
    expected, found = as_defined(whole, size, seeded()), batches(shards, size)
    assert len(found) == len(expected) and all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert torch.equal(torch.cat(found)[:, 0].sort().values, whole[:, 0])


@pytest.mark.parametrize("start", [1, 163, 164, 200, 211])
def test_a_reading_begins_anywhere_without_what_is_before(shards, whole, start):
    """The first portion has more than 160 batches; the later one begins with the rows that it left."""
    expected = as_defined(whole, 100, seeded())
    read, blocks = [], shards.read
    shards.read = lambda first, last, into: (read.append(last - first), blocks(first, last, into))[1]
    found = batches(shards, 100, start=start)
    assert len(found) == len(expected) - start
    assert all(torch.equal(a, b) for a, b in zip(found, expected[start:], strict=True))
    first = len(next(portions(len(whole), 100, seeded())).order)
    assert sum(read) == (len(whole) if start < first // 100 else len(whole) - first if start < len(expected) else 0)


@pytest.mark.parametrize("start", [0, 1, 164])
def test_processes_share_each_batch(shards, whole, start):
    """Batches are those of one process; each reads an n-th of the rows, up to a block of each portion."""
    expected = as_defined(whole, 100, seeded())[start:]
    read, blocks = [0, 0, 0], shards.read
    parts = []
    for i in range(3):
        shards.read = lambda low, high, into, i=i: (read.__setitem__(i, read[i] + high - low), blocks(low, high, into))[1]
        parts.append(list(shuffled(shards, 100, seeded(), start=start, part=(i, 3))))
    for batch, *shares in zip(expected, *parts, strict=True):
        found = torch.full_like(batch, -1)
        for rows, places in shares:
            assert torch.equal(rows, batch[places])
            found[places] = rows
        assert torch.equal(found, batch)
    if start < 164:
        assert sum(read) == len(whole) and max(read) - min(read) <= 2 * BLOCK


def test_batches_are_written_where_they_are_wanted(shards, whole):
    memory = torch.empty(100, 2)
    given = []
    found = shuffled(shards, 100, seeded(), into=lambda n: given.append(n) or memory[:n])
    for (batch, _), expected in zip(found, as_defined(whole, 100, seeded()), strict=True):
        assert batch.data_ptr() == memory.data_ptr() and torch.equal(batch, expected)
    assert given == [100] * 210 + [1]


def test_batches_have_memory_of_their_own(shards, whole):
    kept = batches(shards, 4096)
    for batch in kept:
        batch.zero_()
    assert torch.equal(torch.cat(batches(shards, 4096))[:, 0].sort().values, whole[:, 0])


def test_files_are_mapped_once_and_again_when_they_change(shards, whole, monkeypatch):
    opened = []
    monkeypatch.setattr(
        "interpreto.concepts.store_reading.safe_open",
        lambda place, framework, own=safe_open: (opened.append(place.name), own(place, framework))[1],
    )
    batches(shards, 100)
    assert sorted(opened) == [f"shard-{i:05d}.safetensors" for i in range(4)]
    place = shards.folder / "shard-00001.safetensors"
    save_file({"activations": torch.tensor([[-1.0, -1.0]])}, place)
    os.utime(place, ns=(1, 1))
    found = torch.empty(3, 2)
    shards.decode(4999, 5002, found)
    assert found[:, 0].tolist() == [9998.0, -1.0, 10002.0] and len(opened) == 5
    assert len(pickle.loads(pickle.dumps(shards))) == len(whole)


def test_a_file_of_another_shape_is_told(shards):
    save_file({"activations": torch.zeros(2, 2)}, shards.folder / "shard-00001.safetensors")
    with pytest.raises(FileError, match=r"shard-00001.safetensors' is not the file"):
        batches(shards, 100)
    (shards.folder / "shard-00001.safetensors").unlink()
    with pytest.raises(FileError, match=r"shard-00001.safetensors' cannot be read"):
        batches(shards, 100)


@pytest.mark.parametrize("encoding", ["int8", "float8"])
def test_encoded_rows_are_shuffled_as_others(tmp_path, whole, encoding):
    rows = encoded(whole, encoding)
    save_file({"activations": rows.numbers, "scales": rows.scales}, tmp_path / "shard-00000.safetensors")
    shards = Shards(tmp_path, [len(whole)], 2, rows.numbers.dtype)
    for batch, expected in zip(batches(shards, 100), as_defined(rows.decoded(), 100, seeded()), strict=True):
        assert batch.dtype is torch.float32 and torch.equal(batch, expected)
