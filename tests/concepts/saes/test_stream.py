"""Batches that are read ahead are those that are read when they are needed."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from interpreto import ModelWithSplitPoints, demo
from interpreto.concepts import TopKSAEConcepts
from interpreto.concepts.activations import Activations
from interpreto.concepts.saes import stream as streams
from interpreto.concepts.saes.stream import Position, stream

CPU = torch.device("cpu")


def some_rows(n: int = 400) -> Tensor:
    return torch.randn(n, 8, generator=torch.Generator().manual_seed(0))


class Source:
    """Rows that are not in memory, and who reads them."""

    def __init__(self, rows: Tensor, fails: bool = False) -> None:
        self.held, self.shape, self.dtype, self.fails = rows, (len(rows), 8), rows.dtype, fails
        self.readers: set[str] = set()

    def batches(self, size: int, generator: torch.Generator | None = None) -> Iterator[Tensor]:
        for i, rows in enumerate(Activations(self.held, CPU).batches(size, generator)):
            self.readers.add(threading.current_thread().name)
            if self.fails and i == 2:
                raise OSError("the disk is gone")
            yield rows

    def read(self) -> Tensor:
        return self.held


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_a_training_reads_ahead_and_is_the_same(monkeypatch):
    ahead, behind = Source(some_rows()), Source(some_rows())
    found = [TopKSAEConcepts(None, 16, k=2).fit(ahead, nb_epochs=3, batch_size=64)]
    assert streams.THREAD in ahead.readers  # it was active
    monkeypatch.setattr(streams, "AHEAD", 0)
    found.append(TopKSAEConcepts(None, 16, k=2).fit(behind, nb_epochs=3, batch_size=64))
    assert streams.THREAD not in behind.readers
    assert found[0].history == found[1].history
    assert torch.equal(found[0].get_dictionary(), found[1].get_dictionary())


@pytest.mark.parametrize("kind", [Source, lambda rows: rows])
def test_a_stream_begins_at_any_batch_and_is_shared(kind):
    rows = some_rows()
    whole = list(stream(Activations(kind(rows), CPU), 64, seeded(), Position()))
    assert [len(batch) for batch, _ in whole] == [64] * 6 + [16]
    late = list(stream(Activations(kind(rows), CPU), 64, seeded(), Position(3, (1, 3))))
    for (part, places), (batch, _) in zip(late, whole[3:], strict=True):
        assert torch.equal(part, batch[1::3]) and torch.equal(part, batch[places])


def test_a_stream_that_is_left_early_leaves_no_thread():
    before = threading.active_count()
    batches = stream(Activations(Source(some_rows()), CPU), 8, seeded(), Position())
    next(batches)
    assert threading.active_count() == before + 1
    batches.close()
    assert threading.active_count() == before


def test_an_error_of_the_reader_is_raised_where_batches_are_used():
    with pytest.raises(OSError, match="the disk is gone"):
        list(stream(Activations(Source(some_rows(), fails=True), CPU), 64, seeded(), Position()))


@pytest.mark.slow
def test_rows_of_a_byte_per_number_lose_next_to_nothing(tmp_path):
    """The bounds are those that the guide tells of, with room for another processor."""
    model, tokenizer = demo.load_classifier()
    splitter = ModelWithSplitPoints(model, [1], tokenizer=tokenizer)
    texts = [sentence.text for sentence in demo.load_sentences()][:200]
    found = {}
    for dtype in (None, "int8", "float8"):
        store = splitter.store_activations(texts, tmp_path / str(dtype), "word", dtype=dtype)
        explainer = TopKSAEConcepts(splitter, 128, k=12).fit(store, nb_epochs=5, batch_size=256)
        exact = store.read() if dtype is None else found["rows"]
        found["rows"] = exact
        left = exact - explainer.decode_concepts(explainer.encode_activations(exact))
        found[dtype] = 1 - float(left.square().sum() / (exact - exact.mean(0)).square().sum())
        assert torch.equal(store.read(), exact) == (dtype is None)
    assert found[None] > 0.5
    assert found["int8"] == pytest.approx(found[None], abs=0.01)
    assert found["float8"] == pytest.approx(found[None], abs=0.015)
