"""DeepLift: slopes between an input and its baseline in the place of derivatives."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from interpreto.models import secants
from interpreto.models.backward_rules import BackwardRules, apart, normalization
from interpreto.models.rule_names import (
    COSINES,
    ELEMENTWISE,
    LOG_SOFTMAX,
    LOG_SUMS,
    MAX_POOLS,
    MAXIMA,
    NORMALIZATIONS,
    OF_DEEP_LIFT,
    POWERS,
    PRODUCTS,
    QUOTIENTS,
    SOFTMAX,
    SQUARES,
)
from interpreto.models.secants import Function
from interpreto.models.torch_attention import multi_head_attention
from interpreto.models.watching import causal_mask, expand_heads, is_activation, variable

POOL_ARGUMENTS = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")


class DeepLiftRules(BackwardRules):
    """DeepLift through transformers: derivatives are slopes between an input and its baseline.

    The first half of a batch holds inputs, the second their baselines. Each operation of the first half is linear in its
    input with the slope that gives the exact difference to the second half: secants of elementwise functions, half of each
    factor's difference in products (its Shapley value), secants of log and exp in softmax, and in max pooling the difference
    at the larger of the two maxima. A mixture of experts, which
    may choose others for the baseline, is one function of each token's vector, linear along its difference. So
    input − baseline times the gradient sums to f(input) − f(baseline), biases included.

    References:
        Shrikumar, Greenside & Kundaje, ICML 2017, https://arxiv.org/abs/1704.02685 (elementwise functions); the rules of
        products, normalizations, softmax and experts are this library's.
    """

    paired = True
    without_rule = OF_DEEP_LIFT

    def __init__(self) -> None:
        super().__init__()
        self._closed: str | None = None  # the mixture of experts that is running

    def call(self, function: Function, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> Any:  # noqa: PLR0911  # a rule each
        """Return the function's value, with the slope between input and baseline."""
        options = apart(function, options)
        if not torch.is_grad_enabled() or self._closed is not None:
            return function(*arguments, **options)
        if function is F.scaled_dot_product_attention and any(map(variable, arguments)):
            return self._attention(*arguments, **options)
        if function is F.multi_head_attention_forward and any(map(variable, arguments[:3])):
            return multi_head_attention(self._attention, arguments, options)
        if function is torch.einsum and len(arguments) == 3:
            equation, first, second = arguments
            if variable(first) and variable(second):
                return secants.product(self.pairs, lambda a, b: torch.einsum(equation, a, b), first, second)
        if (
            function is torch.addmm
            and len(arguments) == 3
            and not options
            and variable(arguments[1])
            and not variable(arguments[2])
        ):
            return secants.linear(self.pairs, arguments[1], arguments[2].T, arguments[0])
        if function in COSINES:
            return self._cosine(*arguments, **options)
        if arguments and variable(arguments[0]):
            return self._of_variable(function, arguments, options)
        if function in QUOTIENTS and len(arguments) == 2 and variable(arguments[1]):
            return arguments[0] * secants.elementwise(self.pairs, torch.reciprocal, arguments[1])
        return self.plain(function, arguments, options)

    def _of_variable(  # noqa: PLR0911, PLR0912  # a rule each
        self, function: Function, arguments: tuple[Any, ...], options: Mapping[str, Any]
    ) -> Any:
        """Return the value of a function whose first argument depends on the input."""
        pairs, first, others = self.pairs, arguments[0], arguments[1:]
        if function is F.linear and not any(map(variable, (*others, *options.values()))):
            return secants.linear(pairs, *arguments, **options)
        if function in NORMALIZATIONS:
            return normalization(function, arguments, options, self._scaled)
        if function in SOFTMAX:
            return secants.softmax(pairs, _cast(first, options), _dimension(arguments, options))
        if function in LOG_SOFTMAX:
            value, dim = _cast(first, options), _dimension(arguments, options)
            return value - secants.logsumexp(pairs, value, dim, keepdim=True)
        if function in LOG_SUMS and isinstance(dim := _dimension(arguments, options), int):
            return secants.logsumexp(pairs, first, dim, options.get("keepdim", len(others) > 1 and others[1]))
        if function is Tensor.__rtruediv__:
            return secants.elementwise(pairs, torch.reciprocal, first) * others[0]
        if function is F.normalize and _is_euclidean(*others, **options):
            return self._normalized(first, *others[1:], **{k: v for k, v in options.items() if k in ("dim", "eps")})
        if function in MAXIMA and isinstance(dim := _dimension(arguments, options), int):
            return secants.maximum(pairs, first, dim, options.get("keepdim", len(others) > 1 and others[1]))
        if function in MAX_POOLS:
            return self._max_pool(function, arguments, options)
        if function in SQUARES or (function in POWERS and others == (2,)):
            return secants.square(pairs, first)
        if function in ELEMENTWISE:
            return secants.elementwise(pairs, lambda v: function(v, *others, **options), first)
        if function in POWERS and isinstance(others[0], (int, float)):
            return secants.elementwise(pairs, lambda v: v ** others[0], first)
        if function in PRODUCTS and len(others) == 1 and variable(others[0]):
            return secants.product(pairs, function, first, others[0])
        if function in QUOTIENTS and len(others) == 1 and variable(others[0]) and not options:
            return secants.product(pairs, torch.mul, first, secants.elementwise(pairs, torch.reciprocal, others[0]))
        if function is F.normalize:
            self.missed.add("torch.nn.functional.normalize")
        return self.plain(function, arguments, options)

    def _normalized(self, x: Tensor, dim: int = 1, eps: float = 1e-12) -> Tensor:
        """Return vectors divided by their lengths."""
        if not variable(x):
            return F.normalize(x, dim=dim, eps=eps)
        square = secants.square(self.pairs, x).sum(dim, keepdim=True)
        scale = secants.elementwise(self.pairs, lambda v: v.clamp(min=eps**2).rsqrt(), square)
        return secants.product(self.pairs, torch.mul, x, scale)

    def _cosine(self, x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
        """Return the cosine similarity: a product of normalized vectors."""
        first, second = self._normalized(x1, dim, eps), self._normalized(x2, dim, eps)
        both = variable(x1) and variable(x2)
        return (secants.product(self.pairs, torch.mul, first, second) if both else first * second).sum(dim)

    def _max_pool(self, function: Function, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
        """Return the maxima of windows, with their places where these are asked for."""
        given = dict(zip(POOL_ARGUMENTS, arguments[1:], strict=False)) | dict(options)
        with_places = given.pop("return_indices", function is F.max_pool2d_with_indices)
        kernel = given.pop("kernel_size")

        def pool(x: Tensor) -> tuple[Tensor, Tensor]:
            return F.max_pool2d_with_indices(x, kernel, **given)

        value = secants.max_pool(self.pairs, pool, arguments[0])
        return (value, pool(arguments[0])[1]) if with_places else value

    def enter(self, module: nn.Module) -> None:
        """Open no function of a mixture of experts."""
        if self._closed is None and isinstance(getattr(module, "experts", None), nn.Module):
            self._closed = self.where

    def leave(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        """Return the output of an activation, or of a mixture of experts, with the slope between input and baseline."""
        if self._closed is not None:
            return self._closing(inputs, output) if self._closed == self.where else None
        if is_activation(module) and torch.is_grad_enabled() and inputs and variable(inputs[0]):
            with self.paused():
                return secants.elementwise(self.pairs, module.forward, inputs[0])
        return None

    def _closing(self, inputs: tuple[Any, ...], output: Any) -> Any:
        self._closed = None
        value = output[0] if isinstance(output, tuple) else output
        if not torch.is_grad_enabled() or not inputs or not variable(inputs[0]) or value.shape[:-1] != inputs[0].shape[:-1]:
            return None
        with self.paused():
            moved = secants.along_difference(self.pairs, inputs[0], value)
        return (moved, *output[1:]) if isinstance(output, tuple) else moved

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
        """Return attention written out: products, softmax, product."""
        key, value = expand_heads(query, key, value, enable_gqa)
        product = partial(secants.product, self.pairs, torch.matmul)
        scores = product(query, key.transpose(-2, -1)) * (query.shape[-1] ** -0.5 if scale is None else scale)
        low = torch.finfo(scores.dtype).min / 4
        if is_causal:
            scores = scores.masked_fill(~causal_mask(scores), low)
        if attn_mask is not None:
            masked = attn_mask.dtype is torch.bool
            scores = scores.masked_fill(~attn_mask, low) if masked else (scores + attn_mask).clamp(min=low)
        return product(secants.softmax(self.pairs, scores, -1), value)

    def _scaled(self, x: Tensor, eps: float, dims: tuple[int, ...]) -> Tensor:
        variance = secants.square(self.pairs, x).mean(dims, keepdim=True)
        scale = secants.elementwise(self.pairs, lambda v: torch.rsqrt(v + eps), variance)
        return secants.product(self.pairs, torch.mul, x, scale)


def _is_euclidean(p: float = 2.0, *_: Any, **options: Any) -> bool:
    return float(options.get("p", p)) == 2.0


def _dimension(arguments: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
    return options.get("dim", arguments[1] if len(arguments) > 1 else -1)


def _cast(value: Tensor, options: Mapping[str, Any]) -> Tensor:
    return value if options.get("dtype") is None else value.to(options["dtype"])
