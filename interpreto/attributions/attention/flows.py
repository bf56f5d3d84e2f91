"""Flows that read attention alone: one layer, products of layers, transitions."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from interpreto.attributions.attention.chains import Chain, Heads, check_layer, identity_like, reduce_heads, times
from interpreto.models.attention import AttentionMap, Kind
from interpreto.models.attention_flow import Flow, Rows

Matrix = Callable[[AttentionMap], Tensor]
"""Takes the attention of a layer to one matrix ``(b, q, k)`` for its heads."""


class SingleFlow(Flow):
    """Read a row of one layer's attention; of an encoder-decoder, also of its cross-attention.

    Args:
        layer: Its number in the decoder, or in the only stack; negative ones count from the last.
        heads: How its heads are reduced.
    """

    def __init__(self, layer: int, heads: Heads) -> None:
        self._layer, self._heads = layer, heads
        self._seen: defaultdict[Kind, int] = defaultdict(int)
        self._kept: defaultdict[Kind, deque[Tensor]] = defaultdict(lambda: deque(maxlen=max(1, -layer)))

    def see(self, layer: AttentionMap) -> None:
        if layer.kind != "encoder" and (self._layer < 0 or self._seen[layer.kind] == self._layer):
            self._kept[layer.kind].append(reduce_heads(layer.weights, self._heads))
        self._seen[layer.kind] += 1

    def row(self, read: Float[Tensor, "b q"]) -> Rows:
        check_layer(self._layer, self._seen["self"], "layer")
        cross = self._kept["cross"]
        return Rows(times(read, self._kept["self"][0]), times(read, cross[0]) if cross else None)


class ProductFlow(Flow):
    """Multiply matrices of the layers and read a row of the product.

    Of an encoder-decoder, the row of the source is the decoder's, taken through the last cross-attention and then through the
    encoder's product.

    Args:
        matrix: Takes self-attention to a matrix.
        cross: Takes cross-attention to one.
        start_layer: First layer of each stack that takes part; negative ones count from the last.
    """

    def __init__(self, matrix: Matrix, cross: Matrix, start_layer: int = 0) -> None:
        self._matrix, self._cross, self._start = matrix, cross, start_layer
        self._chains: defaultdict[Kind, Chain] = defaultdict(lambda: Chain(start_layer))
        self._between: Tensor | None = None

    def see(self, layer: AttentionMap) -> None:
        if layer.kind == "cross":
            self._between = self._cross(layer)
        else:
            self._chains[layer.kind].add(self._matrix(layer))

    def row(self, read: Float[Tensor, "b q"]) -> Rows:
        check_layer(self._start, self._chains["self"].count)
        own = self._chains["self"].through(read)
        return Rows(own, None if self._between is None else self._chains["encoder"].through(times(own, self._between)))


class TransitionFlow(Flow):
    """Take a row of the last layer's attention down through the layers below it: ``s ← s + s A``.

    Of an encoder-decoder, the row of the last cross-attention goes down the encoder.

    Args:
        start_layer: First layer of each stack that takes part; negative ones count from the last.
    """

    def __init__(self, start_layer: int = 0) -> None:
        self._start = start_layer
        below = start_layer + 1 if start_layer < 0 else start_layer
        self._chain, self._encoder = Chain(below), Chain(start_layer)
        self._none_below = start_layer == -1
        self._last: dict[Kind, Tensor] = {}
        self._count = 0

    def see(self, layer: AttentionMap) -> None:
        matrix = reduce_heads(layer.weights, "mean")
        if layer.kind == "encoder":
            self._encoder.add(identity_like(matrix) + matrix)
            return
        if layer.kind == "self":
            self._count += 1
            if "self" in self._last and not self._none_below:
                self._chain.add(identity_like(matrix) + self._last["self"])
        self._last[layer.kind] = matrix

    def row(self, read: Float[Tensor, "b q"]) -> Rows:
        check_layer(self._start, self._count)
        own = self._chain.through(times(read, self._last["self"]))
        return Rows(own, self._encoder.through(times(read, self._last["cross"])) if "cross" in self._last else None)
