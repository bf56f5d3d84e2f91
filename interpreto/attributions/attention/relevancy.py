"""Flows that read the gradients of attention, and the rules by which relevance passes between two streams of tokens."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.attributions.attention.chains import check_layer, identity_like, times
from interpreto.models.attention import AttentionMap, Kind
from interpreto.models.attention_flow import Flow, Rows


class Relevancy:
    """Relevance between two streams of tokens, each with self-attention, and attending to each other.

    ``within[s]`` ``(b, n_s, n_s)`` is the relevance of a stream's tokens for each other, the identity at first; ``between[s]``
    ``(b, n_s, n_r)`` that of the other stream's for them, zero at first. Attention comes reduced to one matrix per layer:
    the mean over heads of the positive part of attention × gradient.

    Args:
        sizes: Tokens of both streams.
        like: Any matrix of the batch.

    Examples:
        >>> import torch
        >>> streams = Relevancy((2, 1), torch.zeros(1, 1, 1))
        >>> streams.attend(0, torch.tensor([[[0.5, 0.5], [0.0, 1.0]]]))
        >>> streams.within[0]
        tensor([[[1.5000, 0.5000],
                 [0.0000, 2.0000]]])

    References:
        Chefer et al., ICCV 2021, https://arxiv.org/abs/2103.15679, equations 5 to 11.
    """

    def __init__(self, sizes: tuple[int, int], like: Float[Tensor, "b q k"]) -> None:
        self.within = [torch.eye(n, dtype=like.dtype, device=like.device).repeat(len(like), 1, 1) for n in sizes]
        self.between = [like.new_zeros(len(like), *shape) for shape in (sizes, sizes[::-1])]

    def attend(self, stream: int, weights: Float[Tensor, "b n n"]) -> None:
        """Pass relevance through a layer of self-attention of a stream."""
        self.within[stream] = self.within[stream] + weights @ self.within[stream]
        self.between[stream] = self.between[stream] + weights @ self.between[stream]

    def attend_to_other(self, stream: int, weights: Float[Tensor, "b n m"]) -> None:
        """Pass relevance through a layer in which a stream attends to the other."""
        own, other = normalized(self.within[stream]), normalized(self.within[1 - stream])
        gained = own.transpose(1, 2) @ weights @ other
        self.within[stream] = self.within[stream] + weights @ self.between[1 - stream]
        self.between[stream] = self.between[stream] + gained


def normalized(relevance: Float[Tensor, "b n n"]) -> Float[Tensor, "b n n"]:
    """Return relevance whose rows, the identity apart, sum to 1 (or are 0), plus the identity."""
    identity = identity_like(relevance)
    gained = relevance - identity
    total = gained.sum(-1, keepdim=True)
    return torch.where(total > 0, gained / torch.where(total > 0, total, torch.ones_like(total)), 0.0) + identity


class GradientFlow(Flow):
    """Reduce each layer's attention and its gradient to a matrix, and take the rows that are read down through the layers.

    With one stack a row passes through each layer when its gradient comes, and no matrix is kept: ``r ← r + r M``. With two,
    one matrix per layer is kept until all are there.

    Args:
        start_layer: First layer of each stack that takes part; negative ones count from the last.
    """

    backward: ClassVar[bool] = True

    def __init__(self, start_layer: int = 0) -> None:
        self._start = start_layer
        self._numbers: dict[int, int] = {}  # of a map in its stack
        self._counts: dict[Kind, int] = {}
        self._kept: dict[int, tuple[Kind, Tensor]] = {}
        self._row: Tensor | None = None

    @abstractmethod
    def matrix(self, layer: AttentionMap, gradient: Float[Tensor, "b h q k"]) -> Float[Tensor, "b q k"]:
        """Return the matrix of a layer."""

    @abstractmethod
    def two_stacks(self, kept: list[tuple[Kind, Tensor]], read: Float[Tensor, "b q"]) -> Rows:
        """Return the row of an encoder-decoder, given the matrices of its layers from the first up."""

    def see(self, layer: AttentionMap) -> None:
        self._numbers[layer.number] = self._counts.get(layer.kind, 0)
        self._counts[layer.kind] = self._numbers[layer.number] + 1

    def start(self, read: Float[Tensor, "b q"], two_stacks: bool) -> None:
        check_layer(self._start, self._counts["self"])
        self._kept.clear()
        self._row = None if two_stacks else read

    def feel(self, layer: AttentionMap, gradient: Float[Tensor, "b h q k"]) -> None:
        count = self._counts[layer.kind]
        if self._numbers[layer.number] < (self._start if self._start >= 0 else count + self._start):
            return
        matrix = self.matrix(layer, gradient.to(layer.weights))
        if self._row is None:
            self._kept[layer.number] = layer.kind, matrix
        else:
            self._row = self._row + times(self._row, matrix)

    def row(self, read: Float[Tensor, "b q"]) -> Rows:
        if self._row is None:
            return self.two_stacks([self._kept[number] for number in sorted(self._kept)], read)
        return Rows(self._row)


class GenericFlow(GradientFlow):
    """Follow the positive part of attention × gradient, averaged over heads; the identity of the beginning is left out."""

    def matrix(self, layer: AttentionMap, gradient: Float[Tensor, "b h q k"]) -> Float[Tensor, "b q k"]:
        return (layer.weights * gradient).clamp(min=0).mean(1)

    def row(self, read: Float[Tensor, "b q"]) -> Rows:
        found = super().row(read)
        return Rows(found.own - read.to(found.own), found.source)

    def two_stacks(self, kept: list[tuple[Kind, Tensor]], read: Float[Tensor, "b q"]) -> Rows:
        cross = next(matrix for kind, matrix in kept if kind == "cross")
        streams = Relevancy((cross.shape[1], cross.shape[2]), cross)
        for kind, matrix in sorted(kept, key=lambda each: each[0] != "encoder"):  # stable: the encoder first
            if kind == "cross":
                streams.attend_to_other(0, matrix)
            else:
                streams.attend(1 if kind == "encoder" else 0, matrix)
        return Rows(times(read, streams.within[0]), times(read, streams.between[0]))


class HeadFlow(GradientFlow):
    """Follow attention, its heads weighted by the mean size of ``Aᵀ ∇A``, as shares that sum to 1."""

    def matrix(self, layer: AttentionMap, gradient: Float[Tensor, "b h q k"]) -> Float[Tensor, "b q k"]:
        importance = (layer.weights.transpose(-2, -1) @ gradient).abs().mean((-2, -1))
        total = importance.sum(1, keepdim=True)
        even = torch.full_like(importance, 1 / importance.shape[1])
        shares = torch.where(total > 0, importance / torch.where(total > 0, total, torch.ones_like(total)), even)
        return torch.einsum("bh,bhqk->bqk", shares, layer.weights)

    def two_stacks(self, kept: list[tuple[Kind, Tensor]], read: Float[Tensor, "b q"]) -> Rows:
        def down(row: Tensor, kind: Kind) -> Tensor:
            for each, matrix in reversed(kept):
                row = row + times(row, matrix) if each == kind else row
            return row

        own = down(read, "self")
        cross = next(matrix for kind, matrix in reversed(kept) if kind == "cross")
        return Rows(own, down(times(own, cross), "encoder"))
