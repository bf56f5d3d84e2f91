"""Matryoshka sparse autoencoders: the first concepts must explain the activations by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.saes.architectures import AverageTopK
from interpreto.concepts.saes.base import Pass
from interpreto.errors import OptionError
from interpreto.validation import is_whole, shown


class MatryoshkaSAE(AverageTopK):
    """Codes are those of BatchTopK; several beginnings of the dictionary reconstruct each row too, each by itself.

    The loss is the sum of the squared errors of all beginnings, so that the first concepts are general, and do not fall apart
    into special cases (absorption) as a dictionary grows.

    Args:
        nb_concepts: Number of concepts.
        k: Concepts per row, on average; None for a tenth of them, at most 32.
        beginnings: Number of concepts of each beginning, in ascending order; None: a sixteenth, an eighth, a quarter and
            half of the concepts. All of them together always count too.
    """

    def __init__(self, nb_concepts: int, k: int | None = None, beginnings: Sequence[int] | None = None) -> None:
        super().__init__(nb_concepts, k)
        self.beginnings = _checked(beginnings, self.nb_concepts)

    def learn(self, rows: Float[Tensor, "b d"], sparsity: float, weights: Float[Tensor, " b"]) -> Pass:
        """Run a forward pass; the penalty is the squared error of all beginnings but the last, which is the whole."""
        codes = self.chosen(rows, weights)
        rebuilt: Tensor = self.decoder_bias.expand(len(rows), -1)
        penalty, start = codes.new_zeros((), dtype=torch.float32), 0
        for end in self.beginnings:
            rebuilt = rebuilt + codes[:, start:end] @ self.atoms[start:end]
            penalty = penalty + (weights * (rows - rebuilt.float()).square().sum(1)).mean()
            start = end
        return Pass(codes, rebuilt + codes[:, start:] @ self.atoms[start:], penalty)


def _checked(beginnings: Any, count: int) -> tuple[int, ...]:
    """Return the sizes of the beginnings that are not the whole."""
    if beginnings is None:
        return tuple(size for size in dict.fromkeys(count // share for share in (16, 8, 4, 2)) if 0 < size < count)
    found = list(beginnings) if isinstance(beginnings, Sequence) and not isinstance(beginnings, str) else []
    rises = all(is_whole(size) and 0 < size <= count for size in found) and found == sorted(set(found))
    if not found or not rises:
        raise OptionError(f"`beginnings`: got {shown(beginnings)}; pass ascending numbers of concepts from 1 to {count}.")
    return tuple(int(size) for size in found if size < count)
