"""Models whose circuits are known: linear ones, and heads that copy."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor, nn

from interpreto import ModelWithSplitPoints
from interpreto.concepts import DictionaryLearningExplainer
from interpreto.concepts.concept_model import Dictionary
from tests.problems import GameTokenizer

WIDTH, TOKENS = 8, 12


class Numbers(GameTokenizer):
    cls_token_id = None


class Planted(Dictionary):
    """Concepts with given encoder and dictionary."""

    def __init__(self, nb_concepts: int, encoder: Tensor | None = None, dictionary: Tensor | None = None, k: int = 0) -> None:
        super().__init__(nb_concepts)
        self.encoder, self.given, self.k = encoder, dictionary, k

    def fit(self, activations, random_state, tqdm_bar):
        self.learned(self.given)

    def encode(self, activations):
        codes = activations @ self.encoder
        if not self.k:
            return codes
        values, chosen = codes.topk(self.k, dim=1)
        return torch.zeros_like(codes).scatter(1, chosen, values)


def planted(splitter, point, encoder, dictionary, k=0):
    """Return fitted concepts at a split point with this encoder ``(d, c)`` and dictionary ``(c, d)``."""
    options = {"encoder": encoder, "dictionary": dictionary, "k": k}
    explainer = DictionaryLearningExplainer(splitter, Planted, nb_concepts=len(dictionary), split_point=point, **options)
    return explainer.fit(torch.randn(4, dictionary.shape[1]))


class Mixing(nn.Module):
    """h(t') W + Σ over t of M[t', t] h(t) V."""

    def __init__(self, weight: Tensor, values: Tensor, mix: Tensor) -> None:
        super().__init__()
        self.weight, self.values, self.mix = nn.Parameter(weight), nn.Parameter(values), mix

    def forward(self, hidden: Tensor) -> Tensor:
        length = hidden.shape[1]
        return hidden @ self.weight + self.mix[:length, :length] @ hidden @ self.values


class Linear(nn.Module):
    """Embeddings, linear layers that mix earlier tokens, and a head at each token."""

    def __init__(self, layers: int = 2, seed: int = 0) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        normal = lambda *shape: torch.randn(*shape, generator=draw) / WIDTH**0.5  # noqa: E731
        self.embedding = nn.Embedding.from_pretrained(normal(TOKENS + 1, WIDTH) * 3)
        self.blocks = nn.ModuleList(
            Mixing(normal(WIDTH, WIDTH), normal(WIDTH, WIDTH), normal(TOKENS, TOKENS).tril()) for _ in range(layers)
        )
        self.head = nn.Linear(WIDTH, TOKENS, bias=False)
        self.head.weight.data = normal(TOKENS, WIDTH)

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> SimpleNamespace:
        hidden = self.embedding(input_ids)
        for block in self.blocks:
            hidden = block(hidden)
        return SimpleNamespace(logits=self.head(hidden))


class Attention(nn.Module):
    """Heads with fixed attention; the concatenated heads go through ``o_proj``."""

    def __init__(self, heads: int, width: int, reads: dict[int, tuple[int, int]]) -> None:
        super().__init__()
        self.heads, self.reads = heads, reads
        self.o_proj = nn.Linear(width, width, bias=False)
        self.o_proj.weight.data = torch.eye(width)

    def forward(self, hidden: Tensor) -> Tensor:
        mixed = torch.zeros_like(hidden)
        size = hidden.shape[2] // self.heads
        for head, (to, source) in self.reads.items():  # a head writes to one token what it finds at another
            part = slice(head * size, (head + 1) * size)
            mixed[:, to, part] = hidden[:, source, part]
        return self.o_proj(mixed)


class Block(nn.Module):
    def __init__(self, heads: int, width: int, reads: dict[int, tuple[int, int]]) -> None:
        super().__init__()
        self.attention = Attention(heads, width, reads)
        self.mlp = nn.Linear(width, width, bias=False)
        self.mlp.weight.data.zero_()

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = hidden + self.attention(hidden)
        return hidden + self.mlp(hidden)


class Copying(nn.Module):
    """Blocks whose heads copy tokens, each its own part of the hidden states, and a head that reads all parts."""

    def __init__(self, reads: tuple[dict[int, tuple[int, int]], ...], heads: int = 2, nonlinear: bool = False) -> None:
        super().__init__()
        width = heads * TOKENS
        self.config = SimpleNamespace(num_attention_heads=heads, num_hidden_layers=len(reads), hidden_size=width)
        self.embedding = nn.Embedding(TOKENS + 1, width)
        table = torch.zeros(TOKENS + 1, width)
        table[:TOKENS] = torch.eye(TOKENS).repeat(1, heads)  # every head's part holds the token
        self.embedding.weight.data = table
        self.blocks = nn.ModuleList(Block(heads, width, read) for read in reads)
        self.nonlinear = nonlinear
        self.heads = heads

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> SimpleNamespace:
        hidden = self.embedding(input_ids)
        for block in self.blocks:
            hidden = block(hidden)
        logits = hidden.unflatten(2, (self.heads, TOKENS)).sum(2)
        return SimpleNamespace(logits=logits.pow(3) + logits if self.nonlinear else logits)


def split(model, points):
    return ModelWithSplitPoints(model.eval(), points, tokenizer=Numbers(TOKENS))
