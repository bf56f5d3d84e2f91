"""Inputs whose activations are read: tokens, and the unit of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from jaxtyping import Int
from torch import Tensor

from interpreto.inputs.samples import Sample


@dataclass(frozen=True, eq=False)
class SplitInput:
    """One input as the model takes it, and the unit of each of its tokens.

    Attributes:
        input_ids: Token ids.
        index: The unit of each token, ``-1`` for tokens in none.
        u: How many units there are.
        extras: Other inputs of the model with one value per token.
        source: Tokens that an encoder reads, where a decoder reads the others; 0: one stack reads all.
        held: The image whose cells the ids are, so that it stays; None: the input is a text.
    """

    input_ids: Int[Tensor, " l"]
    index: Int[Tensor, " l"]
    u: int
    extras: Mapping[str, Tensor]
    source: int = 0
    held: object = None

    @staticmethod
    def of(sample: Sample) -> SplitInput:
        """Return what the model needs of a sample."""
        return SplitInput(sample.input_ids, sample.units.index, len(sample.units), sample.extras, sample.source, sample.picture)

    def __len__(self) -> int:
        return self._length

    @cached_property
    def _length(self) -> int:
        return len(self.input_ids)
