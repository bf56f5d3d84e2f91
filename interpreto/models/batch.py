"""The rows of one forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Bool, Int
from torch import Tensor

from interpreto.models.kv_cache import Past


@dataclass(frozen=True, eq=False)
class Batch:
    """The rows of one forward pass, padded on the right.

    Attributes:
        ids: Token ids.
        lengths: Tokens of each row.
        visible: The attention mask; of rows with a past, over the past too.
        extras: Other inputs of the model, such as ``token_type_ids``.
        positions: Tokens of each row at which logits are read; None: the model returns one row of logits per text.
        sources: Number of a row's tokens that the encoder reads, where a decoder reads the others.
        past: Keys and values of the tokens before the rows.
    """

    ids: Int[Tensor, "b l"]
    lengths: Int[Tensor, " b"]
    visible: Bool[Tensor, "b m"]
    extras: Mapping[str, Int[Tensor, "b l"]]
    positions: Int[Tensor, "b k"] | None = None
    sources: Int[Tensor, " b"] | None = None
    past: Past | None = None
