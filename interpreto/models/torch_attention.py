"""Attention in layouts of its own: that of `torch.nn.MultiheadAttention`, and einsum (XLNet's)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from interpreto.errors import ModelError

Attention = Callable[..., Tensor]
"""As `torch.nn.functional.scaled_dot_product_attention`."""

_SIGNATURE = inspect.signature(F.multi_head_attention_forward)


def multi_head_attention(
    attention: Attention, arguments: tuple[Any, ...], options: Mapping[str, Any]
) -> tuple[Tensor, Tensor | None]:
    """Return what ``F.multi_head_attention_forward`` returns, by way of an attention function.

    It is one function to whoever watches torch's functions, so that the attention within it would not be seen.

    Args:
        attention: Computes attention of queries, keys and values ``(b, h, l, e)``.
        arguments: Arguments of the function, whose tensors are ``(l, b, d)``.
        options: Its named arguments.

    Returns:
        Output ``(l, b, d)``, and no weights.

    Raises:
        ModelError: keys or values of the layer's own are added to the text's.
    """
    bound = _SIGNATURE.bind(*arguments, **options)
    bound.apply_defaults()
    given = bound.arguments
    if any(given[name] is not None for name in ("bias_k", "bias_v", "static_k", "static_v")) or given["add_zero_attn"]:
        raise ModelError("`model`: a torch.nn.MultiheadAttention adds keys of its own; its attention cannot be read.")
    single = given["query"].ndim == 2
    tensors = [given[name].unsqueeze(1) if single else given[name] for name in ("query", "key", "value")]
    q, k, v = (_split(part, given["num_heads"]) for part in _projected(tensors, given))
    mixed = attention(q, k, v, _mask(given, q, k))
    length, rows = tensors[0].shape[:2]
    out = F.linear(mixed.permute(2, 0, 1, 3).reshape(length, rows, -1), given["out_proj_weight"], given["out_proj_bias"])
    return (out.squeeze(1) if single else out), None


def _projected(tensors: list[Tensor], given: Mapping[str, Any]) -> list[Tensor]:
    bias = given["in_proj_bias"]
    biases = (None, None, None) if bias is None else bias.chunk(3)
    if given["use_separate_proj_weight"]:
        weights = [given[f"{name}_proj_weight"] for name in "qkv"]
    else:
        weights = given["in_proj_weight"].chunk(3)
    return [F.linear(x, w, b) for x, w, b in zip(tensors, weights, biases, strict=True)]


def _split(value: Tensor, heads: int) -> Tensor:
    """Return ``(l, b, h · e)`` as ``(b, h, l, e)``."""
    return value.reshape(*value.shape[:2], heads, -1).permute(1, 2, 0, 3)


def _mask(given: Mapping[str, Any], q: Tensor, k: Tensor) -> Tensor | None:
    """Return both masks, in which True and −inf hide a key, as one that is added to the scores."""
    total: Tensor | None = None
    attn, padding = given["attn_mask"], given["key_padding_mask"]
    if attn is not None:
        attn = attn.reshape(-1, q.shape[1], *attn.shape[-2:]) if attn.ndim == 3 else attn
        total = _additive(attn, q)
    if padding is not None:
        hidden = _additive(padding.reshape(-1, 1, 1, k.shape[-2]), q)
        total = hidden if total is None else total + hidden
    return total


def _additive(mask: Tensor, like: Tensor) -> Tensor:
    if mask.dtype is not torch.bool:
        return mask.to(like)
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask, -torch.inf)


def einsum_parts(equation: str) -> tuple[tuple[int, ...], tuple[int, ...], bool]:
    """Return how values enter a product of weights ``(b, h, q, k)`` and values that an equation describes.

    Args:
        equation: Such as ``"bnij,jbnd->ibnd"``.

    Returns:
        The permutation that takes the values to ``(b, h, k, e)``, its inverse, and True where tokens come before rows.

    Examples:
        >>> einsum_parts("bnij,jbnd->ibnd")
        ((1, 2, 0, 3), (2, 0, 1, 3), True)
    """
    inputs, output = equation.replace(" ", "").split("->")
    weights, values = inputs.split(",")
    rows, heads, _, keys = weights
    width = next(letter for letter in values if letter not in weights)
    order = tuple(values.index(letter) for letter in (rows, heads, keys, width))
    return order, tuple(order.index(i) for i in range(4)), output.index(rows) > 0
