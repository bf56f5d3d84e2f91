"""The space of a model's embeddings: where ids are, and where a baseline's name points."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpreto.errors import OptionError, TokenizerError
from interpreto.inputs.samples import Sample
from interpreto.models.forward import Forward

BASELINES = ("auto", "zero", "pad", "mask", "unk", "mean")
OF_IMAGES = ("blur", "noise")
"""Further names, of images alone."""
NEUTRAL = ("mask", "unk")
"""Tokens that represent no word: the first one that a tokenizer has is the ``"auto"`` baseline."""
Baseline = str | float | Tensor
"""A name out of `BASELINES`, a number for every coordinate, or a tensor ``(d,)`` or ``(l, d)``."""


class InputSpace(ABC):
    """Look up the vectors at the places of a sample's ids: embeddings of tokens, or pixels of an image's cells."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Return how many ids of a vocabulary have a vector."""

    @abstractmethod
    def embed(self, sample: Sample) -> Float[Tensor, "l d"]:
        """Return the vectors of a sample's ids."""

    @abstractmethod
    def rows(self, ids: Int[Tensor, " l"], sample: Sample) -> Float[Tensor, "l d"]:
        """Return the vectors of other ids in the places of a sample's."""

    @abstractmethod
    def table(self, ids: Int[Tensor, " l"]) -> Float[Tensor, "l d"]:
        """Return the vectors of ids of a vocabulary."""

    @abstractmethod
    def baseline(self, value: Baseline, embeddings: Float[Tensor, "l d"], sample: Sample | None = None) -> Float[Tensor, "l d"]:
        """Return the baseline that an option asks for, for every place."""


class EmbeddingSpace(InputSpace):
    """Look embeddings up as the embedding layer returns them (some scale or normalize their table), in at least float32."""

    def __init__(self, forward: Forward, tokenizer: Any) -> None:
        self.forward, self.tokenizer = forward, tokenizer
        self._named: dict[str, Tensor] = {}

    def embed(self, sample: Sample) -> Float[Tensor, "l d"]:
        """Return the embeddings of a sample's tokens."""
        return self.forward.embeddings.embed(sample.input_ids, sample.source)

    def rows(self, ids: Int[Tensor, " l"], sample: Sample) -> Float[Tensor, "l d"]:
        """Return the embeddings of other ids in the places of a sample's tokens."""
        return self.forward.embeddings.embed(ids, sample.source)

    def table(self, ids: Int[Tensor, " l"]) -> Float[Tensor, "l d"]:
        """Return the embeddings of ids; of an encoder-decoder, the encoder's."""
        return self.forward.embeddings.embed(ids, len(ids))

    @property
    def size(self) -> int:
        """Return how many tokens have an embedding; some may have been added to the tokenizer alone."""
        table = self.forward.embeddings.vocabulary
        return len(self.tokenizer) if table is None else min(len(self.tokenizer), table)

    def vector(self, name: str) -> Float[Tensor, " d"]:
        """Return the embedding of that name, one of `BASELINES`."""
        if name not in self._named:
            self._named[name] = self._find(name)
        return self._named[name]

    def baseline(self, value: Baseline, embeddings: Float[Tensor, "l d"], sample: Sample | None = None) -> Float[Tensor, "l d"]:
        """Return the baseline that an option asks for, for every token; it does not depend on the sample."""
        if isinstance(value, str):
            return self.vector(value).expand_as(embeddings)
        value = torch.as_tensor(value, dtype=embeddings.dtype, device=embeddings.device)
        if value.ndim and tuple(value.shape) not in (embeddings.shape, embeddings.shape[1:]):
            raise OptionError(
                f"`baseline`: got shape {tuple(value.shape)}; "
                f"pass a number, ({embeddings.shape[1]},) or {tuple(embeddings.shape)}."
            )
        return value.expand_as(embeddings)

    def _find(self, name: str) -> Tensor:
        if name == "zero":
            return torch.zeros_like(self.table(torch.tensor([0]))[0])
        if name != "mean":
            return self.table(torch.tensor([special_id(name, self.tokenizer, "baseline")]))[0]
        sums = [self.table(part).sum(0) for part in torch.arange(self.size).split(8192)]  # in parts: vocabularies are large
        return torch.stack(sums).sum(0) / self.size


def read_baseline(value: object, tokenizer: Any) -> Baseline:
    """Return a baseline that can be used; ``"auto"`` becomes the name of a token that represents no word, or ``"mean"``.

    Raises:
        OptionError: there is no such baseline; the message lists those that there are. None is ``"zero"``.
        TokenizerError: the tokenizer has no such token.
    """
    if value is None:
        return "zero"
    if isinstance(value, str) and value == "auto":
        return next((name for name in NEUTRAL if getattr(tokenizer, f"{name}_token_id", None) is not None), "mean")
    if isinstance(value, str):
        if value in OF_IMAGES and not hasattr(tokenizer, "convert_ids_to_tokens"):
            return value
        if value not in BASELINES:
            raise OptionError(
                f"`baseline`: got {value!r}; pass one of {', '.join(map(repr, BASELINES))}, a number or a tensor."
            )
        if value not in ("zero", "mean"):
            special_id(value, tokenizer, "baseline")
        return value
    if isinstance(value, Tensor) or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return value
    raise OptionError(f"`baseline`: got {value!r}; pass one of {', '.join(map(repr, BASELINES))}, a number or a tensor.")


def special_id(name: str, tokenizer: Any, option: str) -> int:
    token_id = getattr(tokenizer, f"{name}_token_id", None)
    if token_id is None:
        raise TokenizerError(f"`{option}`: the tokenizer has no {name} token; use 'mean', 'zero' or a token id instead.")
    return token_id
