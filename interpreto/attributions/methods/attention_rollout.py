"""Attention rollout: attention of all layers, multiplied."""

from __future__ import annotations

from functools import partial
from typing import Any

from jaxtyping import Float
from torch import Tensor
from typing_extensions import Unpack

from interpreto.attributions.attention.chains import Heads, check_heads, check_number, identity_like, reduce_heads
from interpreto.attributions.attention.evidence import Attention
from interpreto.attributions.attention.flows import ProductFlow
from interpreto.attributions.attention.rules import FlowRule
from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.options import Options
from interpreto.models.attention import AttentionMap
from interpreto.validation import check_probability


class AttentionRollout(AttributionExplainer):
    """Multiply the attention of all layers, each mixed with the identity for the residual connection.

    Values are shares without a sign: over all tokens, special ones included, they sum to 1. They are the same for all classes
    that are read at one place. Of an encoder-decoder, the shares of the source sum to 1, and those of the target's tokens.

    Args:
        residual: Share of the residual connection in each layer, from 0 to 1.
        heads: ``"mean"`` or ``"max"`` over a layer's heads, or the number of one; rows are made to sum to 1.
        start_layer: First layer that takes part; negative numbers count from the last.

    Examples:
        >>> from interpreto import AttentionRollout, demo
        >>> explanation = AttentionRollout(*demo.load_classifier(), granularity="all_tokens")("A gorgeous, moving film.")[0]
        >>> round(float(explanation.attributions.sum()), 5)
        1.0

    References:
        Abnar and Zuidema, ACL 2020, https://arxiv.org/abs/2005.00928.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        *,
        residual: float = 0.5,
        heads: Heads = "mean",
        start_layer: int = 0,
        **options: Unpack[Options],
    ) -> None:
        share, heads = check_probability(residual, "residual"), check_heads(heads)
        mix, cross = partial(mixed_with_identity, share=share, heads=heads), partial(shares, heads=heads)
        flow = partial(ProductFlow, mix, cross, check_number(start_layer, "start_layer"))
        super().__init__(model, tokenizer, batch_size, evidence=Attention(FlowRule(flow)), signed=False, **options)


def shares(layer: AttentionMap, heads: Heads) -> Float[Tensor, "b q k"]:
    """Return the attention of a layer as one matrix whose rows sum to 1."""
    matrix = reduce_heads(layer.weights, heads)
    return matrix / matrix.sum(-1, keepdim=True).clamp(min=1e-12)


def mixed_with_identity(layer: AttentionMap, share: float, heads: Heads) -> Float[Tensor, "b l l"]:
    """Return the attention of a layer, mixed with a share of the identity; rows sum to 1."""
    matrix = shares(layer, heads)
    return (1 - share) * matrix + share * identity_like(matrix)
