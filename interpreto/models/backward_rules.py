"""Backward passes by other rules than the chain rule: layer-wise relevance propagation and DeepLift.

Rules keep every value of the forward pass (up to rounding) and replace local derivatives, so that gradient × input is the
relevance of each token.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from interpreto.models.watching import Watcher, causal_mask, expand_heads, is_activation, variable

Function = Callable[..., Any]

PRODUCTS: frozenset[Function] = frozenset(
    {
        *(torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm, torch.einsum),
        *(torch.mul, Tensor.mul, Tensor.__mul__, Tensor.__rmul__, torch.multiply, Tensor.multiply),
    }
)
ACTIVATIONS: frozenset[Function] = frozenset(
    {
        *(F.gelu, F.silu, F.relu, torch.relu, Tensor.relu, F.elu, F.leaky_relu, F.relu6, F.mish, F.hardswish, F.celu, F.selu),
        *(torch.tanh, Tensor.tanh, F.tanh, torch.sigmoid, Tensor.sigmoid, F.sigmoid, F.softplus),
    }
)
SOFTMAX: frozenset[Function] = frozenset({F.softmax, torch.softmax, Tensor.softmax})
POWERS: frozenset[Function] = frozenset({torch.pow, Tensor.pow, Tensor.__pow__})
SQUARES: frozenset[Function] = frozenset({torch.square, Tensor.square})
INVERSE_ROOTS: frozenset[Function] = frozenset({torch.rsqrt, Tensor.rsqrt})
RMS_NORM: Function | None = getattr(F, "rms_norm", None)

SMALL = 1e-6  # inputs of an activation below this have slope 0 in relevance propagation
NEAR = 1e-7  # of a value: inputs of a pair this close have the slope of the derivative


class BackwardRules(Watcher, ABC):
    """Local derivatives that take the place of the chain rule's.

    Attributes:
        paired: The rows of a batch are followed by as many rows of baselines.
    """

    paired = False


class LrpRules(BackwardRules):
    """Layer-wise relevance propagation through transformers.

    A product of two variable factors gives each half of its relevance; normalizations scale by a constant; elementwise
    activations are multiplied by the constant f(x)/x; linear layers have their gradient (LRP-0). Softmax has its gradient
    (``"attnlrp"``), or attention weights are constants (``"frozen"``, CP-LRP), which makes the network linear in its input.

    References:
        Achtibat et al., ICML 2024, https://arxiv.org/abs/2402.05602; Ali et al., ICML 2022,
        https://arxiv.org/abs/2202.07304.
    """

    def __init__(self, attention: Literal["attnlrp", "frozen"] = "attnlrp") -> None:
        super().__init__()
        self.frozen = attention == "frozen"

    def call(self, function: Function, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> Any:  # noqa: PLR0911  # a rule each
        """Return the function's value, with the derivative that its rule gives it."""
        if not torch.is_grad_enabled():
            return function(*arguments, **options)
        if function is F.scaled_dot_product_attention:
            return self._attention(*arguments, **options)
        if function is F.layer_norm or (RMS_NORM is not None and function is RMS_NORM):
            return _normalization(function, arguments, options, _constant_scale)
        value = function(*arguments, **options)
        if function in INVERSE_ROOTS or (function in POWERS and _is_negative(arguments[1])):
            return value.detach()
        if function in SOFTMAX:
            return value.detach() if self.frozen else value
        if function in ACTIVATIONS and variable(arguments[0]):
            return _proportional(arguments[0], value)
        if function in PRODUCTS and sum(map(variable, arguments)) == 2:
            return _half(value)
        return value

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
            query, key, value = _half(_half(query)), _half(_half(key)), _half(value)
        grouped: dict[str, Any] = {"enable_gqa": True} if enable_gqa else {}
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask=attn_mask, dropout_p=dropout_p, is_causal=is_causal, scale=scale, **grouped
        )


class DeepLiftRules(BackwardRules):
    """DeepLift through transformers: derivatives are slopes between an input and its baseline.

    The first half of a batch holds inputs, the second their baselines. Each operation of the first half is linear in its
    input with the slope that gives the exact difference to the second half: secants of elementwise functions, half of each
    factor's difference in products (its Shapley value), and secants of log and exp in softmax. So input − baseline times the
    gradient sums to f(input) − f(baseline), biases included.

    References:
        Shrikumar, Greenside & Kundaje, ICML 2017, https://arxiv.org/abs/1704.02685 (elementwise functions); the rules of
        products, normalizations and softmax are this library's.
    """

    paired = True

    def call(self, function: Function, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> Any:  # noqa: PLR0911  # a rule each
        """Return the function's value, with the slope between input and baseline."""
        first = arguments[0] if arguments else None
        if not torch.is_grad_enabled():
            return function(*arguments, **options)
        if function is F.scaled_dot_product_attention and any(map(variable, arguments)):
            return self._attention(*arguments, **options)
        if not isinstance(first, Tensor) or not first.requires_grad:
            return function(*arguments, **options)
        if function is F.layer_norm or (RMS_NORM is not None and function is RMS_NORM):
            return _normalization(function, arguments, options, _paired_scale)
        if function in SOFTMAX:
            value = first.float() if options.get("dtype") is torch.float32 else first
            return _softmax(value, _dimension(arguments, options))
        if function in INVERSE_ROOTS or function in SQUARES or function in ACTIVATIONS:
            return _elementwise(lambda v: function(v, *arguments[1:], **options), first)
        if function in POWERS and isinstance(arguments[1], (int, float)):
            return _elementwise(lambda v: v ** arguments[1], first)
        if function in PRODUCTS and len(arguments) == 2 and variable(arguments[1]):
            return _product(function, first, arguments[1])
        return function(*arguments, **options)

    def leave(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        """Return an activation module's output with the slope between input and baseline."""
        if is_activation(module) and torch.is_grad_enabled() and inputs and variable(inputs[0]):
            with self.paused():
                return _elementwise(module.forward, inputs[0])
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
        """Return attention written out: products, softmax, product."""
        key, value = expand_heads(query, key, value, enable_gqa)
        scores = _product(torch.matmul, query, key.transpose(-2, -1)) * (query.shape[-1] ** -0.5 if scale is None else scale)
        low = torch.finfo(scores.dtype).min / 4
        if is_causal:
            scores = scores.masked_fill(~causal_mask(scores), low)
        if attn_mask is not None:
            masked = attn_mask.dtype is torch.bool
            scores = scores.masked_fill(~attn_mask, low) if masked else (scores + attn_mask).clamp(min=low)
        return _product(torch.matmul, _softmax(scores, -1), value)


def _half(value: Tensor) -> Tensor:
    """Return the value, half of whose gradient passes on."""
    return value / 2 + (value / 2).detach() if value.requires_grad else value


def _proportional(x: Tensor, value: Tensor) -> Tensor:
    """Return ``value`` as x times the constant value/x, so that its relevance passes to x unchanged."""
    small = x.abs() < SMALL
    ratio = torch.where(small, torch.zeros_like(x), value / torch.where(small, torch.ones_like(x), x)).detach()
    return value.detach() + (x - x.detach()) * ratio


def _is_negative(exponent: object) -> bool:
    return isinstance(exponent, (int, float)) and exponent < 0


def _dimension(arguments: tuple[Any, ...], options: Mapping[str, Any]) -> int:
    return options.get("dim", arguments[1] if len(arguments) > 1 and isinstance(arguments[1], int) else -1)


def _normalization(
    function: Function, arguments: tuple[Any, ...], options: Mapping[str, Any], scaled: Callable[..., Tensor]
) -> Tensor:
    """Return layer or RMS normalization whose scale follows a rule."""
    names = ["input", "normalized_shape", "weight", *(["bias"] if function is F.layer_norm else []), "eps"]
    given = {**dict(zip(names, arguments, strict=False)), **options}
    x, weight, bias = given["input"], given.get("weight"), given.get("bias")
    dims = tuple(range(-len(given["normalized_shape"]), 0))
    if function is F.layer_norm:
        x = x - x.mean(dims, keepdim=True)
    eps = given.get("eps")
    out = scaled(x, (1e-5 if function is F.layer_norm else torch.finfo(x.dtype).eps) if eps is None else eps, dims)
    out = out if weight is None else out * weight
    return out if bias is None else out + bias


def _constant_scale(x: Tensor, eps: float, dims: tuple[int, ...]) -> Tensor:
    return x * torch.rsqrt(x.square().mean(dims, keepdim=True) + eps).detach()


def _paired_scale(x: Tensor, eps: float, dims: tuple[int, ...]) -> Tensor:
    variance = _elementwise(torch.square, x).mean(dims, keepdim=True)
    return _product(torch.mul, x, _elementwise(lambda v: torch.rsqrt(v + eps), variance))


# --- Pairs of inputs and baselines


def _halves(x: Tensor) -> tuple[Tensor, Tensor]:
    n = x.shape[0] // 2
    return x[:n], x[n:]


def _slope(function: Function, derivative: Function, a: Tensor, b: Tensor) -> Tensor:
    """Return the secant's slope between two points, the derivative's where they are too close; float64."""
    step = a - b
    near = step.abs() <= NEAR * torch.maximum(a.abs(), b.abs()).clamp(max=1)
    rise = (function(a) - function(b)) / torch.where(near, torch.ones_like(step), step)
    return torch.where(near, derivative((a + b) / 2), rise)


def _elementwise(function: Function, x: Tensor) -> Tensor:
    """Return f(x), linear in the first half with the secant's slope, constant in the second."""

    def derivative(at: Tensor) -> Tensor:
        point = at.detach().requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(function(point).sum(), point)
        return gradient

    with torch.no_grad():
        value = function(x)
    first, second = (half.detach().double() for half in _halves(x))
    with torch.no_grad():
        slope = _slope(function, derivative, first, second).to(value.dtype)
    x1 = _halves(x)[0]
    ours, theirs = _halves(value)
    return torch.cat([ours + slope * (x1 - x1.detach()), theirs])


def _product(function: Function, a: Tensor, b: Tensor) -> Tensor:
    """Return a product whose difference is shared by both factors: ½(b + b′)Δa + ½(a + a′)Δb."""
    if a.shape[:1] != b.shape[:1]:
        return function(a, b)
    (a1, a2), (b1, b2) = _halves(a), _halves(b)
    ours, theirs = _halves(function(a.detach(), b.detach()))
    mean_a, mean_b = ((a1 + a2) / 2).detach(), ((b1 + b2) / 2).detach()
    return torch.cat([ours + function(a1 - a1.detach(), mean_b) + function(mean_a, b1 - b1.detach()), theirs])


def _softmax(x: Tensor, dim: int) -> Tensor:
    """Return exp(x − logsumexp(x)) by secants of exp and log, which are bounded and exact."""
    x = x.clamp(min=torch.finfo(x.dtype).min / 4)
    (x1, x2), step = _halves(x.detach().double()), _halves(x)[0]
    top = torch.maximum(x1.amax(dim, keepdim=True), x2.amax(dim, keepdim=True))
    sum1, sum2 = (x1 - top).exp().sum(dim, keepdim=True), (x2 - top).exp().sum(dim, keepdim=True)
    weight = _slope(torch.log, torch.reciprocal, sum1, sum2) * _slope(torch.exp, torch.exp, x1 - top, x2 - top)
    slope = _slope(torch.exp, torch.exp, x1 - top - sum1.log(), x2 - top - sum2.log())
    step = step - step.detach()
    moved = slope.to(x.dtype) * (step - (weight.to(x.dtype) * step).sum(dim, keepdim=True))
    return torch.cat([x1.softmax(dim).to(x.dtype) + moved, x2.softmax(dim).to(x.dtype)])
