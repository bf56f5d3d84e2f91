"""Fine-tunes the embedded classifier on sentences with planted label noise, and records the training."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from interpreto import demo
from interpreto.demo import Sentence
from interpreto.training import TrainingDynamics

MARGIN = 0.6
"""Sentences rated within this distance of 0 have no label, as in the training of the embedded classifier."""
BATCH, LONGEST = 32, 128


@dataclass(frozen=True)
class Planted:
    """Sentences, and labels of which some are flipped."""

    texts: list[str]
    labels: Tensor
    flipped: Tensor


def labeled(split: str) -> list[Sentence]:
    """Return the sentences of a split that have a label."""
    return [s for s in demo.load_sentences(split=split) if s.domain != "editorial" and abs(s.score) > MARGIN]


def plant(sentences: Sequence[Sentence], share: float, seed: int) -> Planted:
    """Flip the labels of a share of the sentences."""
    true = torch.tensor([int(s.score > 0) for s in sentences])
    flipped = torch.zeros(len(true), dtype=torch.bool)
    drawn = torch.randperm(len(true), generator=torch.Generator().manual_seed(seed))
    flipped[drawn[: round(share * len(true))]] = True
    return Planted([s.text for s in sentences], torch.where(flipped, 1 - true, true), flipped)


def fine_tune(
    planted: Planted, *, rate: float = 1e-4, epochs: int = 10, seed: int = 0, features: bool = True
) -> TrainingDynamics:
    """Fine-tune the embedded classifier, with a new head, and record logits (and what the head reads) after each epoch."""
    torch.manual_seed(seed)
    model, tokenizer = demo.load_classifier()
    model.classifier.reset_parameters()
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    rows = tokenizer(planted.texts, truncation=True, max_length=LONGEST)["input_ids"]
    dynamics = TrainingDynamics(planted.texts, classes=["negative", "positive"])
    generator = torch.Generator().manual_seed(seed)
    torch.randperm(len(rows), generator=generator)  # the draw of `plant` with this seed
    for epoch in range(epochs):
        model.train()
        for batch in batches(rows, generator, epoch + seed):
            given: Any = tokenizer.pad({"input_ids": [rows[i] for i in batch]}, return_tensors="pt")
            loss = cross_entropy(model(**given).logits, planted.labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        dynamics.record_model(epoch, model, tokenizer, planted.texts, planted.labels, features=features)
    return dynamics


def batches(rows: Sequence[Sequence[int]], generator: torch.Generator, seed: int) -> list[list[int]]:
    """Return shuffled batches of rows of like length."""
    order = torch.randperm(len(rows), generator=generator).tolist()
    near = [sorted(order[i : i + 20 * BATCH], key=lambda k: len(rows[k])) for i in range(0, len(order), 20 * BATCH)]
    parts = [part[i : i + BATCH] for part in near for i in range(0, len(part), BATCH)]
    random.Random(seed).shuffle(parts)
    return parts
