"""Read attention weights from outside, whatever the implementation: fused kernels are written out, others are recognized."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from interpreto.errors import ModelError
from interpreto.models.torch_attention import einsum_parts, multi_head_attention
from interpreto.models.watching import Watcher, causal_mask, expand_heads
from interpreto.models.wrappers import model_name

SOFTMAX = frozenset({F.softmax, torch.softmax, Tensor.softmax})
PRODUCTS = frozenset({torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm})

Kind = Literal["self", "encoder", "cross"]
Edit = Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Takes the number of a layer of attention, its weights ``(b, h, q, k)`` and its values ``(b, h, k, e)``; returns others."""


@dataclass(frozen=True, eq=False)
class AttentionMap:
    """The attention of one layer.

    Attributes:
        weights: Share of each key in each query; rows sum to 1.
        values: The value vectors that they weigh, with a head for each of the weights'; None where they are not known.
        module: Name of the innermost module that computes them.
        kind: ``"self"``, ``"encoder"`` (self-attention of an encoder next to a decoder) or ``"cross"``.
        number: Number of the map among all of the pass.
        tokens_first: The model has tokens before rows in its hidden states, as XLNet has.
    """

    weights: Float[Tensor, "b h q k"]
    values: Float[Tensor, "b h k e"] | None
    module: str
    kind: Kind
    number: int = 0
    tokens_first: bool = False


Visit = Callable[[AttentionMap], Tensor]
"""Sees each map as it is computed; returns the weights ``(b, h, q, k)`` that the model goes on with."""


class AttentionReader(Watcher):
    """Records the attention of every layer of a forward pass, in the order of computation.

    Weights are those of the computation itself, so gradients with respect to them can be taken.

    Args:
        model: The model that is watched.
        rows: Rows of the batch.
        edit: Replaces weights and values before they are multiplied.
        visit: Is handed the maps one by one; without it they are kept in ``maps``.

    Attributes:
        maps: All maps, unless they are visited.
        count: Maps seen so far.
        two_stacks: The model has an encoder and a decoder.
    """

    def __init__(self, model: nn.Module, rows: int, edit: Edit | None = None, visit: Visit | None = None) -> None:
        super().__init__()
        self.maps: list[AttentionMap] = []
        self.count = 0
        self._rows, self._edit, self._visit = rows, edit, visit
        self._name, self._encoder = model_name(model), _name_of_encoder(model)
        self._open: tuple[int, ...] | None = None  # shape of a softmax whose product with values is awaited

    @property
    def two_stacks(self) -> bool:
        return self._encoder is not None

    def call(self, function: Callable[..., Any], arguments: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
        """Return the function's value; record it where it is attention."""
        if function is F.scaled_dot_product_attention:
            self._open = None
            return self._attention(*arguments, **options)
        if function is F.multi_head_attention_forward:
            return multi_head_attention(self._attention, arguments, options)
        if function in SOFTMAX:
            value = function(*arguments, **options)
            if value.ndim >= 3 and _over_keys(value, arguments, options):
                self._open = tuple(value.shape)
            return value
        if function in PRODUCTS and self._awaited(arguments[0]):
            self._open = None
            weights, values = self._recorded(arguments[0], arguments[1])
            return function(weights, values, *arguments[2:], **options)
        if function is torch.einsum and len(arguments) == 3 and self._awaited(arguments[1]):
            self._open = None
            equation, given, values = arguments
            order, back, tokens_first = einsum_parts(equation)
            weights, values = self._recorded(given, values.permute(order), tokens_first)
            return function(equation, weights, values.permute(back))
        return function(*arguments, **options)

    def _awaited(self, value: object) -> bool:
        return (
            self._open is not None
            and isinstance(value, Tensor)
            and value.ndim >= 3
            and tuple(value.shape[-2:]) == self._open[-2:]
            and value.numel() == math.prod(self._open)
        )

    def _attention(  # noqa: PLR0917  # as torch's function
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,  # models are in evaluation mode
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """Return what the fused kernel computes, by way of its weights."""
        key, value = expand_heads(query, key, value, enable_gqa)
        scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
        if is_causal:
            scores = scores.masked_fill(~causal_mask(scores), -math.inf)
        if attn_mask is not None:
            masked = attn_mask.dtype is torch.bool
            scores = scores.masked_fill(~attn_mask, -math.inf) if masked else scores + attn_mask
        weights = scores.to(torch.promote_types(scores.dtype, torch.float32)).softmax(-1).to(value.dtype)
        if attn_mask is not None:
            weights = weights.nan_to_num()  # queries that may attend to nothing
        weights, value = self._recorded(weights, value)
        return weights @ value

    def _recorded(self, weights: Tensor, values: Tensor, tokens_first: bool = False) -> tuple[Tensor, Tensor]:
        """Record weights and values of any layout; return them, or what the edit or the visit makes of them."""
        shape, of_values = weights.shape, values.shape
        if weights.ndim == 4 and len(weights) != self._rows:
            raise ModelError(
                f"`model`: {self._name} attends within windows ({self.where!r} has {len(weights)} of them for {self._rows} "
                "rows), so its layers have no map of all tokens; use a method that masks units or reads gradients."
            )
        seen = weights.reshape(self._rows, -1, *shape[-2:])
        heads = seen.shape[1]
        known = values.expand(*shape[:-2], *of_values[-2:]).reshape(self._rows, heads, *of_values[-2:])
        if self._edit is not None:
            seen, known = self._edit(self.count, seen, known)
        found = AttentionMap(seen, known, self.where, self._kind(shape[-2], shape[-1]), self.count, tokens_first)
        if self._visit is None:
            self.maps.append(found)
        else:
            seen = self._visit(found)
        self.count += 1
        return seen.reshape(shape), known.reshape(*shape[:-2], *of_values[-2:])

    def _kind(self, queries: int, keys: int) -> Kind:
        if self._encoder is None:
            return "self"
        if self.where == self._encoder or self.where.startswith(f"{self._encoder}."):
            return "encoder"
        name = self.where.lower()
        crosses = any(part in name for part in ("encdecattention", "encoder_attn", "crossattention", "cross_attn"))
        return "cross" if crosses or queries != keys else "self"

    def checked(self) -> list[AttentionMap]:
        """Return the recorded maps.

        Raises:
            ModelError: there are none.
        """
        if not self.count:
            raise ModelError(
                f"`model`: {self._name} has no attention that can be read (state-space models have none); use a method that "
                "masks units or reads gradients."
            )
        return self.maps


def check_sizes(layer: AttentionMap, sizes: Mapping[Kind, tuple[int, int]], model: nn.Module) -> None:
    """Check that a layer attends from and to the tokens of the text, one row and one column for each.

    Raises:
        ModelError: it does not: the model reads each text of a pair by itself, or attends to something else.
    """
    attends, wanted, name = tuple(layer.weights.shape[-2:]), sizes.get(layer.kind), model_name(model)
    if attends == wanted:
        return
    if instead := getattr(model, "encodes_apart", ""):
        raise ModelError(
            f"`model`: {name} reads each side of a pair by itself, so that no attention joins them. {instead}, or use a method "
            "that masks units or reads gradients."
        )
    raise ModelError(
        f"`model`: {layer.module!r} of {name} attends with weights {attends}, and the text has {wanted} tokens; attention "
        "methods need one row and one column per token. Use a method that masks units or reads gradients."
    )


def _over_keys(value: Tensor, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> bool:
    dim = options.get("dim", arguments[1] if len(arguments) > 1 and isinstance(arguments[1], int) else None)
    return dim in (-1, value.ndim - 1)


def _name_of_encoder(model: nn.Module) -> str | None:
    """Return the name of the encoder that a decoder attends to; None where there is one stack."""
    if not getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        return None
    getter: Any = getattr(model, "get_encoder", None)
    encoder = getter() if callable(getter) else None
    return next((name for name, module in model.named_modules() if module is encoder), None)
