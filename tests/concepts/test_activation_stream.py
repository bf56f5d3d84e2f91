"""Activations that are computed when they are read: those of the model, in an order of the seed, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from interpreto import ModelWithSplitPoints, demo
from interpreto.concepts import TopKSAEConcepts
from interpreto.concepts.activation_stream import ActivationStream
from interpreto.errors import InputError

TEXTS = [sentence.text for sentence in demo.load_sentences()][:40]


@pytest.fixture(scope="module")
def splitter() -> ModelWithSplitPoints:
    model, tokenizer = demo.load_classifier()
    return ModelWithSplitPoints(model, [1], tokenizer=tokenizer)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def in_order(rows: Tensor) -> Tensor:
    return rows[rows[:, 0].argsort()]


def test_a_stream_has_each_row_once(splitter):
    stream = splitter.stream_activations(TEXTS, "word", buffer_rows=100)
    whole = splitter.activations_of(splitter.samples(TEXTS, "word"))
    assert stream.shape == tuple(whole.shape)
    torch.testing.assert_close(stream.read(), whole, atol=1e-4, rtol=1e-4)
    batches = list(stream.batches(32, seeded()))
    assert {len(batch) for batch in batches[:-1]} == {32}
    shuffled = torch.cat(batches)
    assert not torch.allclose(shuffled, whole, atol=1e-3)
    torch.testing.assert_close(in_order(shuffled), in_order(whole), atol=1e-4, rtol=1e-4)
    again, other = (torch.cat(list(stream.batches(32, seeded(seed)))) for seed in (0, 1))
    assert torch.equal(again, shuffled) and not torch.allclose(other, shuffled, atol=1e-3)


def test_memory_holds_one_buffer(splitter, monkeypatch):
    held: list[int] = []
    fill = ActivationStream._fill

    def watched(self, buffer, kept, portion):
        held.append(len(buffer))
        return fill(self, buffer, kept, portion)

    monkeypatch.setattr(ActivationStream, "_fill", watched)
    stream = splitter.stream_activations(TEXTS, "word", buffer_rows=100)
    rows = sum(len(batch) for batch in stream.batches(32, seeded()))
    assert rows == stream.shape[0] > 300 and len(held) > 3 and max(held) <= 100 + 32


class Recorded:
    """What a stream gave, to be given again."""

    def __init__(self, stream: ActivationStream) -> None:
        self.stream, self.shape, self.dtype = stream, stream.shape, stream.dtype
        self.given: list[list[Tensor]] = []
        self.replays: Iterator[list[Tensor]] | None = None

    def batches(self, size: int, generator: torch.Generator | None = None) -> Iterator[Tensor]:
        if self.replays is not None:
            yield from next(self.replays)
            return
        self.given.append([])
        for rows in self.stream.batches(size, generator):
            self.given[-1].append(rows)
            yield rows

    def read(self) -> Tensor:
        return self.stream.read()


@pytest.mark.slow
def test_a_training_on_a_stream_is_one_on_its_rows(splitter):
    stream = splitter.stream_activations(TEXTS, "word", buffer_rows=100)
    direct, recording = (TopKSAEConcepts(splitter, 64, k=4) for _ in range(2))
    direct.fit(stream, nb_epochs=2, batch_size=32)
    recorded = Recorded(stream)
    recording.fit(recorded, nb_epochs=2, batch_size=32)
    recorded.replays = iter(recorded.given)
    replayed = TopKSAEConcepts(splitter, 64, k=4).fit(recorded, nb_epochs=2, batch_size=32)
    for other in (recording, replayed):
        assert other.history == direct.history and torch.equal(other.get_dictionary(), direct.get_dictionary())
    kept = splitter.activations_of(splitter.samples(TEXTS, "word"))
    stored = TopKSAEConcepts(splitter, 64, k=4).fit(kept, nb_epochs=2, batch_size=32)
    assert stored.history[-1].explained_variance == pytest.approx(direct.history[-1].explained_variance, abs=0.1)


def test_what_a_stream_refuses(splitter):
    with pytest.raises(InputError, match=r"`inputs`: got 0, with no unit"):
        splitter.stream_activations([])
    other = ModelWithSplitPoints(*demo.load_classifier()[:1], [2], tokenizer=splitter.tokenizer)
    with pytest.raises(InputError, match=r"the stream is of split point|was read at"):
        TopKSAEConcepts(other, 8).fit(splitter.stream_activations(TEXTS[:2]))
