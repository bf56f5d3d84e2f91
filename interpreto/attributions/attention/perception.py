"""Flows that read attention and what its values become: norms of transformed values."""

from __future__ import annotations

from collections import defaultdict
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.attributions.attention.chains import Chain, check_layer, identity_like, reduce_heads, times
from interpreto.models.attention import AttentionMap, Kind
from interpreto.models.attention_flow import Flow, LayerStates, Rows


class TokenFlow(Flow):
    """Weigh the attention of each layer by the length of each token's transformed value, compared with the token's own.

    Args:
        start_layer: First layer of each stack that takes part; negative ones count from the last.
    """

    closes: ClassVar[bool] = True

    def __init__(self, start_layer: int = 0) -> None:
        self._start = start_layer
        self._chains: defaultdict[Kind, Chain] = defaultdict(lambda: Chain(start_layer))
        self._between: Tensor | None = None

    def close(self, layer: AttentionMap, states: LayerStates) -> None:
        matrix = reduce_heads(layer.weights, "mean")
        matrix = matrix * perceived(layer, states)[:, None].to(matrix)
        if layer.kind == "cross":
            self._between = matrix
        else:
            self._chains[layer.kind].add(identity_like(matrix) + matrix)

    def row(self, read: Float[Tensor, "b q"]) -> Rows:
        check_layer(self._start, self._chains["self"].count)
        own = self._chains["self"].through(read)
        return Rows(own, None if self._between is None else self._chains["encoder"].through(times(own, self._between)))


def perceived(layer: AttentionMap, states: LayerStates) -> Float[Tensor, "b k"]:
    """Return the length of each key's transformed value ``v W``, compared with that of the hidden states it is made of."""
    assert layer.values is not None
    transformed = layer.values.transpose(1, 2).flatten(2) @ states.projection.matrix.T.to(layer.values)
    lengths = states.keys.norm(dim=-1)
    return transformed.norm(dim=-1) / lengths.clamp(min=torch.finfo(lengths.dtype).tiny)
