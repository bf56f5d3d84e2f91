"""Flows that take a layer apart: what each token adds to each token's hidden state behind the attention."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.attributions.attention.chains import Chain, check_layer, identity_like
from interpreto.errors import ModelError
from interpreto.models.attention import AttentionMap
from interpreto.models.attention_flow import Flow, LayerStates, Rows

NUMBERS = 2**24  # of transformed vectors that are held at a time
ROUNDINGS = 8  # of the model's dtype, where these are more
CLOSE = 1e-3  # of the largest number: how closely the parts sum to what the layer adds


class AltiFlow(Flow):
    """Multiply the contributions of tokens to tokens in each layer, and read a row of the product.

    Args:
        start_layer: First layer that takes part; negative ones count from the last.
    """

    closes: ClassVar[bool] = True

    def __init__(self, start_layer: int = 0) -> None:
        self._start, self._chain = start_layer, Chain(start_layer)

    def close(self, layer: AttentionMap, states: LayerStates) -> None:
        self._chain.add(contributions(layer, states))

    def row(self, read: Float[Tensor, "b q"]) -> Rows:
        check_layer(self._start, self._chain.count)
        return Rows(self._chain.through(read))


class LogitFlow(Flow):
    """Take what each token adds to a direction of the last hidden states, layer by layer, down to the tokens.

    Args:
        directions: Gradients of the scores in the last hidden states.
    """

    closes: ClassVar[bool] = True

    def __init__(self, directions: Float[Tensor, "b t q d"]) -> None:
        self._directions, self._below = directions, Chain()
        self._total: Tensor | None = None
        self._scores = 0

    def close(self, layer: AttentionMap, states: LayerStates) -> None:
        check_one_stack(layer)
        if states.normalization is not None:
            raise ModelError(
                "`logits`: the model normalizes its residual stream itself, so that layers do not add up to the logits; use "
                "Alti(logits=False)."
            )
        along = torch.einsum("btqd,bqd->btqd", self._directions, _scale(states))
        weighed = torch.einsum("bhqk,btqd->bthkd", layer.weights.to(along), along)
        vectors = transformed(layer, states).to(along)
        added = torch.einsum("bhkd,bthkd->btk", vectors, weighed)
        if self._total is None:
            self._total = torch.einsum("btqd,bqd->btq", self._directions, states.inputs.to(along))
        self._total = self._total + torch.stack([self._below.through(added[:, k]) for k in range(added.shape[1])], 1)
        self._below.add(contributions(layer, states))

    def row(self, read: Float[Tensor, "b q"]) -> Rows:
        assert self._total is not None
        self._scores += 1
        return Rows(self._total[:, self._scores - 1])


def contributions(layer: AttentionMap, states: LayerStates) -> Float[Tensor, "b q k"]:
    """Return the share of each token in each token's hidden state behind the attention; rows sum to 1.

    A share is how much closer a token's part brings the hidden state, in the L1 norm, at least 0.

    Raises:
        ModelError: the parts do not sum to what the layer adds.
    """
    check_one_stack(layer)
    inputs, scale = states.inputs.to(torch.promote_types(states.inputs.dtype, torch.float32)), _scale(states)
    whole = inputs + added_to(states)
    out, deviation = _normalized(whole, states)
    found = []
    for first, bare in _parts(layer, states, scale):
        count = bare.shape[1]
        rows, here = slice(first, first + count), torch.arange(count, device=bare.device)
        if first == 0:
            _check(bare, states, scale[:, rows], layer.module)
        bare[:, here, first + here] += inputs[:, rows]
        parts = _linear(bare, states, deviation[:, rows])
        distance = (out[:, rows, None] - parts).abs().sum(-1)
        found.append((out[:, rows].abs().sum(-1, keepdim=True) - distance).clamp(min=0))
    shares = torch.cat(found, 1)
    total = shares.sum(-1, keepdim=True)
    return torch.where(total > 0, shares / torch.where(total > 0, total, torch.ones_like(total)), identity_like(shares))


def check_one_stack(layer: AttentionMap) -> None:
    """Raise a `ModelError` for a layer of an encoder or a decoder next to the other."""
    if layer.kind != "self":
        raise ModelError(
            "`model`: Alti takes models with one stack apart, and this one has an encoder and a decoder; use GenericAttention, "
            "AttentionRollout or ValueZeroing."
        )


def transformed(layer: AttentionMap, states: LayerStates) -> Float[Tensor, "b h k d"]:
    """Return the values of each head, taken to the width of the hidden states."""
    assert layer.values is not None
    values = layer.values.to(torch.promote_types(layer.values.dtype, torch.float32))
    heads, width = values.shape[1], values.shape[-1]
    matrices = states.projection.matrix.to(values).reshape(-1, heads, width)
    return torch.einsum("bhke,dhe->bhkd", values, matrices)


def _parts(layer: AttentionMap, states: LayerStates, scale: Tensor) -> Iterator[tuple[int, Float[Tensor, "b q k d"]]]:
    """Yield what each key adds to some queries, and the first of these."""
    vectors = transformed(layer, states)
    size = max(1, NUMBERS // max(1, vectors[:, 0].numel()))
    for first in range(0, layer.weights.shape[2], size):
        weights = layer.weights[:, :, first : first + size].to(vectors)
        parts = torch.einsum("bhqk,bhkd->bqkd", weights, vectors)
        yield first, parts.to(scale) * scale[:, first : first + size, None]


def added_to(states: LayerStates) -> Float[Tensor, "b q d"]:
    """Return what a layer adds to the residual stream.

    Raises:
        ModelError: that was not seen.
    """
    if states.addition is None:
        raise ModelError(
            "`model`: where its blocks add attention to the residual stream was not found; Alti cannot take them apart."
        )
    return states.addition[1].to(torch.promote_types(states.addition[1].dtype, torch.float32))


def _scale(states: LayerStates) -> Float[Tensor, "b q d"]:
    """Return by what a normalization behind the matrix multiplies its output, which is kept fixed."""
    added = added_to(states)
    assert states.addition is not None
    product = states.addition[0].to(added)
    if torch.equal(product, added):
        return torch.ones_like(added)
    return torch.where(product == 0, 0.0, added / torch.where(product == 0, torch.ones_like(product), product))


def _normalized(whole: Float[Tensor, "b q d"], states: LayerStates) -> tuple[Float[Tensor, "b q d"], Float[Tensor, "b q 1"]]:
    """Return the hidden states that the next operation reads, and what they are divided by."""
    norm = states.normalization
    if norm is None:
        return whole, torch.ones_like(whole[..., :1])
    deviation = (whole.var(-1, unbiased=False, keepdim=True) + norm.eps).sqrt()
    bias = 0.0 if norm.bias is None else norm.bias.to(whole)
    return _linear(whole, states, deviation) + bias, deviation


def _linear(
    parts: Float[Tensor, "b q *k d"], states: LayerStates, deviation: Float[Tensor, "b q 1"]
) -> Float[Tensor, "b q *k d"]:
    """Return parts of hidden states as they are after a normalization whose divisor is kept fixed."""
    norm = states.normalization
    if norm is None:
        return parts
    centered = parts - parts.mean(-1, keepdim=True)
    divisor = deviation if parts.ndim == deviation.ndim else deviation[:, :, None]
    return centered / divisor * (1.0 if norm.weight is None else norm.weight.to(parts))


def _check(parts: Float[Tensor, "b q k d"], states: LayerStates, scale: Tensor, module: str) -> None:
    bias = states.projection.bias
    wanted = added_to(states)[:, : parts.shape[1]]
    found = parts.sum(2) + (0.0 if bias is None else bias.to(parts) * scale)
    assert states.addition is not None
    close = max(CLOSE, ROUNDINGS * torch.finfo(states.addition[1].dtype).eps)  # that of the model, which may be bfloat16
    if not bool((found - wanted).abs().max() <= close * wanted.abs().max().clamp(min=1.0)):
        raise ModelError(
            f"`model`: the parts of {module!r} do not sum to what it adds to the residual stream; Alti cannot take it apart. "
            "Use AttentionRollout or GenericAttention."
        )
