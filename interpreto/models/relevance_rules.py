"""Layer-wise relevance propagation: the rules of AttnLRP and CP-LRP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from interpreto.models.backward_rules import BackwardRules, apart, normalization
from interpreto.models.rule_names import (
    ACTIVATIONS,
    COSINES,
    INVERSE_ROOTS,
    NORMALIZATIONS,
    OF_RELEVANCE,
    POWERS,
    PRODUCTS,
    QUOTIENTS,
    SOFTMAX,
)
from interpreto.models.secants import Function
from interpreto.models.torch_attention import multi_head_attention
from interpreto.models.watching import is_activation, variable

SMALL = 1e-6  # inputs of an activation below this have slope 0


class LrpRules(BackwardRules):
    """Layer-wise relevance propagation through transformers.

    A product of two variable factors gives each half of its relevance; normalizations scale by a constant; elementwise
    activations are multiplied by the constant f(x)/x; linear layers have their gradient (LRP-0). Softmax has its gradient
    (``"attnlrp"``), or attention weights are constants (``"frozen"``, CP-LRP), which makes the network linear in its input.

    References:
        Achtibat et al., ICML 2024, https://arxiv.org/abs/2402.05602; Ali et al., ICML 2022,
        https://arxiv.org/abs/2202.07304.
    """

    without_rule = OF_RELEVANCE

    def __init__(self, attention: str = "attnlrp") -> None:
        super().__init__()
        self.frozen = attention == "frozen"

    def call(self, function: Function, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> Any:  # noqa: PLR0911  # a rule each
        """Return the function's value, with the derivative that its rule gives it."""
        options = apart(function, options)
        if not torch.is_grad_enabled():
            return function(*arguments, **options)
        if function is F.scaled_dot_product_attention:
            return self._attention(*arguments, **options)
        if function is F.multi_head_attention_forward:
            return multi_head_attention(self._attention, arguments, options)
        if function in NORMALIZATIONS:
            return normalization(function, arguments, options, _constant_scale)
        if function is F.normalize and variable(arguments[0]):
            return _normalized(*arguments, **{k: v for k, v in options.items() if k != "out"})
        if function in COSINES:
            return self._cosine(*arguments, **options)
        if function in QUOTIENTS and len(arguments) == 2 and variable(arguments[0]) and variable(arguments[1]):
            return function(arguments[0], arguments[1].detach(), **options)
        value = self.plain(function, arguments, options)
        if function in INVERSE_ROOTS or (function in POWERS and _is_negative(arguments[1])):
            return value.detach()
        if function in SOFTMAX:
            return value.detach() if self.frozen else value
        if function in ACTIVATIONS and variable(arguments[0]):
            return _proportional(arguments[0], value)
        if function in PRODUCTS and sum(map(variable, arguments)) == 2:
            return _half(value)
        return value

    @staticmethod
    def _cosine(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
        """Return the cosine similarity: lengths are constants, the product is shared."""
        product = _normalized(x1, dim=dim, eps=eps) * _normalized(x2, dim=dim, eps=eps)
        return (_half(product) if variable(x1) and variable(x2) else product).sum(dim)

    def leave(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        """Return an activation module's output as a multiple of its input."""
        if is_activation(module) and torch.is_grad_enabled() and inputs and variable(inputs[0]):
            return _proportional(inputs[0], output)
        return None

    def _attention(  # noqa: PLR0917  # as torch's function
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """Return attention by the fused kernel: its factors get their shares, so that no map is built."""
        if self.frozen:
            query, key = query.detach(), key.detach()
        else:
            both = variable(query) and variable(key)  # else the product has one factor, as where a learned query pools
            query, key, value = *((_half(_half(x)) if both else _half(x)) for x in (query, key)), _half(value)
        grouped: dict[str, Any] = {"enable_gqa": True} if enable_gqa else {}
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask=attn_mask, dropout_p=dropout_p, is_causal=is_causal, scale=scale, **grouped
        )


def _half(value: Tensor) -> Tensor:
    """Return the value, half of whose gradient passes on."""
    return value / 2 + (value / 2).detach() if value.requires_grad else value


def _proportional(x: Tensor, value: Tensor) -> Tensor:
    """Return ``value`` as x times the constant value/x, so that its relevance passes to x unchanged."""
    small = x.abs() < SMALL
    ratio = torch.where(small, torch.zeros_like(x), value / torch.where(small, torch.ones_like(x), x)).detach()
    return value.detach() + (x - x.detach()) * ratio


def _normalized(x: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """Return vectors divided by their lengths, which are constants."""
    return x / x.norm(p, dim, keepdim=True).clamp(min=eps).detach()


def _is_negative(exponent: object) -> bool:
    return isinstance(exponent, (int, float)) and exponent < 0


def _constant_scale(x: Tensor, eps: float, dims: tuple[int, ...]) -> Tensor:
    return x * torch.rsqrt(x.square().mean(dims, keepdim=True) + eps).detach()
