"""Models and games whose explanations are known in closed form."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn

from interpreto.concepts.splitters import SplitterForClassification
from interpreto.inputs.samples import Sample
from tests.tiny import CLASSIFIERS


class LinearHead(nn.Module):
    """A classification head without a bias: rows · weightsᵀ."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.clone())

    def forward(self, rows: Tensor) -> Tensor:
        return rows @ self.weight.T


def linear_headed(weight: Tensor) -> SplitterForClassification:
    """Split a tiny classifier, whose head has these weights, before the head."""
    model, tokenizer = CLASSIFIERS["bert"]()
    model.classifier = LinearHead(weight)
    return SplitterForClassification(model, tokenizer=tokenizer)


class Toy(nn.Module):
    """A model of embeddings: ids → vectors → a function of all of them → logits ``(b, c)``."""

    def __init__(self, vocabulary: int, classes: int = 3, width: int = 8, seed: int = 0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.head = nn.Linear(width, classes)
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            nn.init.normal_(parameter, generator=generator)

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> SimpleNamespace:
        vectors = self.embedding(input_ids) * attention_mask[..., None]
        return SimpleNamespace(logits=self.read(vectors))

    def read(self, vectors: Tensor) -> Tensor:
        raise NotImplementedError


class Additive(Toy):
    """logits = Σ over tokens of each token's own contribution."""

    def read(self, vectors: Tensor) -> Tensor:
        return self.head(vectors).sum(1) - (vectors.shape[1] - 1) * self.head.bias

    def contributions(self, sample: Sample, absent: Tensor) -> Tensor:
        """What each unit adds to each logit, over what ``absent`` would add in the place of its tokens: ``(c, u)``."""
        per_token = (self.embedding(sample.input_ids) - absent) @ self.head.weight.T  # (l, c)
        columns = [per_token[sample.units.index == unit].sum(0) for unit in range(len(sample.units))]
        return torch.stack(columns, dim=1).detach()


class Cubic(Toy):
    """logit_c = Σ over tokens of (w_c · e)³."""

    def read(self, vectors: Tensor) -> Tensor:
        return (vectors @ self.head.weight.T).pow(3).sum(1)


class Game(nn.Module):
    """logits = (v(S), −v(S)) of a game on the tokens that are not the mask; the last id is the mask, id 0 is frozen."""

    def __init__(self, value: Callable[[np.ndarray], np.ndarray], players: int) -> None:
        super().__init__()
        self.value, self.players = value, players
        self.calls = 0

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        self.calls += len(input_ids)
        present = (input_ids != self.players).double().numpy()
        scores = torch.from_numpy(self.value(present)).double()
        return SimpleNamespace(logits=torch.stack([scores, -scores], dim=1))


class GameTokenizer:
    """Ids 0..u−1 are players, u is the mask; nothing is special. Enough of a tokenizer to explain ids."""

    is_fast = True
    all_special_ids: tuple[int, ...] = ()
    unk_token_id = pad_token_id = None
    model_max_length = 10**30

    def __init__(self, players: int) -> None:
        self.mask_token_id, self.players = players, players

    def __len__(self) -> int:
        return self.players + 1

    def decode(self, ids: list[int], **_: object) -> str:
        return " ".join(f"u{i}" for i in ids)

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return [f"u{i}" for i in ids]


def random_game(u: int, seed: int, order: int = 4) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]:
    """A main effect for each player and as many interactions of 2 to ``order`` players, with its Shapley values."""
    rng = np.random.default_rng(seed)
    members = [[i] for i in range(u)] + [
        list(rng.choice(u, rng.integers(min(2, u), min(order, u) + 1), replace=False)) for _ in range(u)
    ]
    inside = np.zeros((len(members), u))
    for row, players in zip(inside, members, strict=True):
        row[players] = 1.0
    worth, size = rng.normal(size=len(members)), inside.sum(1)

    def value(present: np.ndarray) -> np.ndarray:
        return ((present @ inside.T) == size).astype(float) @ worth

    return value, (inside * (worth / size)[:, None]).sum(0)


def exact_shapley(value: Callable[[np.ndarray], np.ndarray], u: int) -> np.ndarray:
    """By the definition: mean contribution over all orders, summed over coalitions."""
    present = np.array(list(itertools.product([0.0, 1.0], repeat=u)))
    worth = dict(zip(map(tuple, present), value(present), strict=True))
    phi = np.zeros(u)
    for i in range(u):
        for coalition in present[present[:, i] == 0]:
            size = int(coalition.sum())
            share = math.factorial(size) * math.factorial(u - size - 1) / math.factorial(u)
            joined = coalition.copy()
            joined[i] = 1.0
            phi[i] += share * (worth[tuple(joined)] - worth[tuple(coalition)])
    return phi
