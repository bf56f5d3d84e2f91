"""Rules of layer-wise relevance propagation for layers of weights: epsilon, gamma, alpha-beta, and those of pixels.

A layer with outputs z hands relevance z·g back, where g is the gradient at z. A rule replaces z by weighted contributions z′ of
its inputs, so that input i has the share of z′ that it contributes: in the forward pass z is kept, and its derivative becomes
that of z′ · (z / z′), the second factor being a constant.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from interpreto.errors import ModelError
from interpreto.models.relevance_rules import LrpRules
from interpreto.models.secants import Function
from interpreto.models.watching import variable

CONVOLUTIONS: frozenset[Function] = frozenset({F.conv1d, F.conv2d, F.conv3d})
LINEAR: frozenset[Function] = frozenset({F.linear})
LAYOUT = (
    *(
        "view",
        "reshape",
        "permute",
        "transpose",
        "flatten",
        "unflatten",
        "contiguous",
        "clone",
        "to",
        "float",
        "type_as",
        "stack",
    ),
    *("__getitem__", "squeeze", "unsqueeze", "expand", "chunk", "split", "cat", "unbind", "narrow", "view_as", "swapaxes"),
)
"""Names of functions that move numbers and leave them as they are."""
Layer = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""Takes an input, weights and a bias to a layer's output."""


class LayerRule(ABC):
    """Share a layer's relevance among its inputs."""

    @abstractmethod
    def contributions(
        self, layer: Layer, x: Tensor, weight: Tensor, bias: Tensor | None, value: Tensor
    ) -> list[tuple[float, Tensor]]:
        """Return sums of contributions by which relevance is shared, each with the share of relevance that it takes."""

    def __call__(self, layer: Layer, x: Tensor, weight: Tensor, bias: Tensor | None, epsilon: float) -> Tensor:
        """Return a layer's output whose relevance passes to its input by the rule."""
        with torch.no_grad():
            value = layer(x, weight, bias)
        out = value
        for share, part in self.contributions(layer, x, weight, bias, value):
            kept = part.detach()
            out = out + (part - kept) * (share * value / stabilized(kept, epsilon))
        return out


class Epsilon(LayerRule):
    """Share by x·w; relevance that hardly anything contributes to is lost."""

    def contributions(
        self, layer: Layer, x: Tensor, weight: Tensor, bias: Tensor | None, value: Tensor
    ) -> list[tuple[float, Tensor]]:
        return [(1.0, layer(x, weight, bias))]


@dataclass(frozen=True)
class Gamma(LayerRule):
    """Share by x·w, where contributions of the output's own sign count 1 + γ times."""

    gamma: float = 0.25

    def contributions(
        self, layer: Layer, x: Tensor, weight: Tensor, bias: Tensor | None, value: Tensor
    ) -> list[tuple[float, Tensor]]:
        agreeing, opposing = (_signed(layer, x, weight, bias, sign) for sign in (1, -1))
        return [(1.0, layer(x, weight, bias) + self.gamma * torch.where(value > 0, agreeing, opposing))]


@dataclass(frozen=True)
class AlphaBeta(LayerRule):
    """Share α of the relevance by the positive contributions, and α − 1 of it, negated, by the negative ones."""

    alpha: float = 2.0

    def contributions(
        self, layer: Layer, x: Tensor, weight: Tensor, bias: Tensor | None, value: Tensor
    ) -> list[tuple[float, Tensor]]:
        found = [(self.alpha, _signed(layer, x, weight, bias, 1))]
        return found if self.alpha == 1 else [*found, (1 - self.alpha, _signed(layer, x, weight, bias, -1))]


def _signed(layer: Layer, x: Tensor, weight: Tensor, bias: Tensor | None, sign: int) -> Tensor:
    """Return the sum of the contributions x·w, and of the biases, that have a sign."""
    own, other = (weight.clamp(min=0), weight.clamp(max=0))[::sign]
    part = layer(x.clamp(min=0), own, None if bias is None else bias.clamp(min=0) if sign > 0 else bias.clamp(max=0))
    return part + layer(x.clamp(max=0), other, None) if bool((x < 0).any()) else part


class PixelRule(ABC):
    """Share the relevance of the first layer among pixels, which may have relevance where they are 0."""

    @abstractmethod
    def contributions(self, layer: Layer, scale: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """Return the contributions of pixels, each of them times its scale."""

    def __call__(self, layer: Layer, x: Tensor, weight: Tensor, bias: Tensor | None, epsilon: float) -> Tensor:
        """Return the layer's output, whose gradient at ``x`` is the relevance itself."""
        with torch.no_grad():
            value = layer(x, weight, bias)
        given = x.detach()
        with torch.enable_grad():
            scale = torch.ones_like(given).requires_grad_()
            part = self.contributions(layer, scale, given, weight.detach())
        return _Pixels.apply(x, value, scale, part, epsilon)


class _Pixels(torch.autograd.Function):
    """A value that is known, whose backward pass returns relevance."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor, scale: Tensor, part: Tensor, epsilon: float) -> Tensor:  # noqa: PLR0917
        ctx.graph, ctx.epsilon = (scale, part), epsilon
        ctx.save_for_backward(value)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (scale, part), (value,) = ctx.graph, ctx.saved_tensors
        shares = grad_outputs[0] * value / stabilized(part.detach(), ctx.epsilon)
        with torch.enable_grad():
            (relevance,) = torch.autograd.grad(part, scale, shares, retain_graph=True)
        return relevance, None, None, None, None


class Flat(PixelRule):
    """Share equally among the pixels that an output reads."""

    def contributions(self, layer: Layer, scale: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        return layer(scale, torch.ones_like(weight), None)


@dataclass(frozen=True, eq=False)
class Box(PixelRule):
    """Share by x·w − low·w⁺ − high·w⁻: how far pixels are from the worst value within their bounds (the zᴮ rule).

    Attributes:
        low: Least values of pixels, by channel.
        high: Largest ones.
    """

    low: Float[Tensor, "c 1 1"]
    high: Float[Tensor, "c 1 1"]

    def contributions(self, layer: Layer, scale: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        low, high = (
            layer(scale * v.to(x), w, None) for v, w in ((self.low, weight.clamp(min=0)), (self.high, weight.clamp(max=0)))
        )
        return layer(scale * x, weight, None) - low - high


def stabilized(value: Tensor, epsilon: float) -> Tensor:
    """Return a denominator, moved away from zero."""
    return value + torch.where(value < 0, -epsilon, epsilon)


@dataclass(frozen=True, eq=False)
class _Affine:
    """A convolution whose output may be normalized next.

    Attributes:
        version: Of its output: one that was written over is no output of the convolution any more.
    """

    layer: Layer
    x: Tensor
    weight: Tensor
    bias: Tensor | None
    rule: LayerRule | PixelRule
    version: int


class CompositeRules(LrpRules):
    """Layer-wise relevance propagation with a rule for convolutions, one for linear layers, and one for pixels.

    Batch normalization belongs to the convolution before it: the rule sees their product. Max pooling hands relevance to the
    maximum; sums, average pooling and batch normalization without a convolution share it by their terms. Activations pass
    relevance on unchanged, and everything else has the rules of `LrpRules`.

    Args:
        convolution: Rule of convolutions.
        linear: Rule of linear layers.
        pixels: Rule of the first layer; None: that of its kind. The gradient at the pixels is then relevance itself.
        epsilon: What is added to the magnitude of denominators.

    References:
        Bach et al., PLOS ONE 2015, https://doi.org/10.1371/journal.pone.0130140; Montavon et al., 2019,
        https://doi.org/10.1007/978-3-030-28954-6_10; Montavon et al., Pattern Recognition 2017,
        https://arxiv.org/abs/1512.02479 (pixels).
    """

    def __init__(
        self, convolution: LayerRule, linear: LayerRule, pixels: PixelRule | None = None, epsilon: float = 1e-6
    ) -> None:
        super().__init__()
        self.rules = {**dict.fromkeys(CONVOLUTIONS, convolution), **dict.fromkeys(LINEAR, linear)}
        self.pixels, self.epsilon = pixels, epsilon
        self._at_pixels = pixels is not None
        self._affine: dict[int, tuple[Tensor, _Affine]] = {}

    def enter(self, module: nn.Module) -> None:
        """Begin again with the pixels where a forward pass begins."""
        if len(self.inside) == 1:
            self._at_pixels = self.pixels is not None
            self._affine.clear()

    def leave(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        """Forget the convolutions of a forward pass at its end."""
        if len(self.inside) == 1:
            self._affine.clear()
        return super().leave(module, inputs, output)

    def call(self, function: Function, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
        """Return the function's value, with the derivative that its rule gives it."""
        if not torch.is_grad_enabled() or not any(map(variable, (*arguments, *options.values()))):
            return super().call(function, arguments, options)
        if function in self.rules:
            return self._layer(function, *arguments, **options)
        if function is F.batch_norm:
            return self._normalized(*arguments, **options)
        value = super().call(function, arguments, options)
        if self._at_pixels and variable(value) and getattr(function, "__name__", "") not in LAYOUT:
            raise ModelError(
                f"`first`: the model computes {getattr(function, '__name__', function)} of the pixels before its first layer, "
                'and the rules of pixels need a layer that reads them; pass first="same".'
            )
        return value

    def _layer(
        self, function: Function, input: Tensor, weight: Tensor, bias: Tensor | None = None, *more: Any, **options: Any
    ) -> Tensor:
        """Return the output of a layer of weights, by its rule."""
        if not variable(input):
            return function(input, weight, bias, *more, **options)

        def layer(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
            return function(x, w, b, *more, **options)

        rule: LayerRule | PixelRule = self.rules[function]
        if self._at_pixels:
            assert self.pixels is not None
            rule, self._at_pixels = self.pixels, False
        value = rule(layer, input, weight, bias, self.epsilon)
        if function in CONVOLUTIONS:
            self._affine[id(value)] = value, _Affine(layer, input, weight, bias, rule, value._version)
        return value

    def _normalized(  # noqa: PLR0917  # as torch's function
        self,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """Return batch normalization: the convolution that it follows with other weights, or an affine map of its own."""
        if training or running_mean is None or running_var is None:
            raise ModelError("`model`: batch normalization by the batch's own statistics makes inputs depend on each other.")
        scale = torch.rsqrt(running_var + eps) * (1 if weight is None else weight)
        shift = -running_mean * scale + (0 if bias is None else bias)
        _, before = self._affine.pop(id(input), (None, None))
        if before is None or before.version != input._version:
            shape = (-1, *[1] * (input.ndim - 2))
            return input * scale.view(shape) + shift.view(shape)
        merged = before.weight * scale.view(-1, *[1] * (before.weight.ndim - 1))
        added = shift if before.bias is None else shift + before.bias * scale
        return before.rule(before.layer, before.x, merged, added, self.epsilon)
