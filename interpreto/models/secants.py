"""Secants between inputs and baselines: operations that are linear in an input, with the slope of the exact difference.

A batch holds inputs and then as many baselines. Each function here returns the values of its operation; those of the inputs
have the slope between the two, those of the baselines are constant, so that no backward pass computes anything for them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

Function = Callable[..., Any]

MATRIX_PRODUCTS: frozenset[Function] = frozenset({torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm})
ELEMENTWISE_PRODUCTS: frozenset[Function] = frozenset(
    {torch.mul, Tensor.mul, Tensor.__mul__, Tensor.__rmul__, torch.multiply, Tensor.multiply}
)

NEAR = 1e-7  # of a value: inputs of a pair this close have the slope of the derivative


@dataclass
class Pairs:
    """Where a tensor holds inputs and baselines.

    Attributes:
        rows: Rows of the batch, baselines included; None: any even number.
        leads: Tensors lead with the batch, as in all models but XLNet.
    """

    rows: int | None = None
    leads: bool = True

    def dimension(self, x: Tensor) -> int | None:
        """Return the dimension along which baselines follow inputs; None: the tensor holds no pairs."""
        if self.leads or self.rows is None:
            return 0 if x.ndim and x.shape[0] and x.shape[0] % (self.rows or 2) == 0 else None
        return next((d for d, size in enumerate(x.shape) if size == self.rows), None)

    def halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inputs' part and the baselines'."""
        first, second = x.chunk(2, self._known(x))
        return first, second

    def joined(self, first: Tensor, second: Tensor, like: Tensor) -> Tensor:
        """Return two halves as one tensor, laid out like another."""
        return torch.cat([first, second], self._known(like))

    def of_inputs(self, gradient: Tensor, moved: Callable[[Tensor], Tensor]) -> Tensor:
        """Return what the inputs' part of a gradient becomes, and zero for the baselines."""
        ours = moved(self.halves(gradient)[0])
        return self.joined(ours, torch.zeros_like(ours), gradient)

    def copied(self) -> Pairs:
        """Return the same facts for a backward pass, which may come after they have changed."""
        return replace(self)

    def _known(self, x: Tensor) -> int:
        found = self.dimension(x)
        assert found is not None
        return found


class _Elementwise(torch.autograd.Function):
    """Values that are known, with slopes in the inputs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor, rise: Tensor, pairs: Pairs) -> Tensor:  # for the graph
        ctx.save_for_backward(rise)
        ctx.pairs = pairs
        return value

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = grad_outputs
        (rise,) = ctx.saved_tensors
        return ctx.pairs.of_inputs(gradient, lambda ours: ours * rise), None, None, None


class _Softmax(torch.autograd.Function):
    """A softmax that is known: exp and the logarithm of its sum have slopes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor, rise: Tensor, weight: Tensor, dim: int, pairs: Pairs) -> Tensor:  # noqa: PLR0917
        ctx.save_for_backward(rise, weight)
        ctx.dim, ctx.pairs = dim, pairs
        return value

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = grad_outputs
        rise, weight = ctx.saved_tensors

        def moved(ours: Tensor) -> Tensor:
            found = ours * rise
            return found - weight * found.sum(ctx.dim, keepdim=True)

        return ctx.pairs.of_inputs(gradient, moved), None, None, None, None, None


class _Product(torch.autograd.Function):
    """A product, matrices' or elementwise, whose factors have the mean of the other as slope."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, matrices: bool, pairs: Pairs) -> Tensor:
        (a1, a2), (b1, b2) = pairs.halves(a), pairs.halves(b)
        ctx.save_for_backward((a1 + a2) / 2, (b1 + b2) / 2)
        ctx.matrices, ctx.pairs = matrices, pairs
        return a @ b if matrices else a * b

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = grad_outputs
        a, b = ctx.saved_tensors

        def of_first(ours: Tensor) -> Tensor:
            return ours @ b.transpose(-2, -1) if ctx.matrices else _summed(ours * b, a)

        def of_second(ours: Tensor) -> Tensor:
            return a.transpose(-2, -1) @ ours if ctx.matrices else _summed(a * ours, b)

        return ctx.pairs.of_inputs(gradient, of_first), ctx.pairs.of_inputs(gradient, of_second), None, None


class _Linear(torch.autograd.Function):
    """A linear layer, run backward for the inputs alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, pairs: Pairs) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.pairs = pairs
        return torch.nn.functional.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = grad_outputs
        (weight,) = ctx.saved_tensors
        return ctx.pairs.of_inputs(gradient, lambda ours: ours @ weight), None, None, None


def _summed(gradient: Tensor, like: Tensor) -> Tensor:
    """Return a gradient, summed over the dimensions along which a factor was repeated."""
    repeated = [d for d in range(-like.ndim, 0) if like.shape[d] == 1 != gradient.shape[d]]
    return gradient.sum(repeated, keepdim=True) if repeated else gradient


def slope(function: Function, derivative: Function, a: Tensor, b: Tensor) -> Tensor:
    """Return the secant's slope between two points, the derivative's where they are too close."""
    return _rise(derivative, a, b, function(a) - function(b))


def _rise(derivative: Function, a: Tensor, b: Tensor, difference: Tensor) -> Tensor:
    """Return the slope of a function whose values differ by so much between two points."""
    return (_rise_everywhere if a.is_cuda else _rise_where_needed)(derivative, a, b, difference)


def _rise_where_needed(derivative: Function, a: Tensor, b: Tensor, difference: Tensor) -> Tensor:
    """Look at the values, and compute the derivative where the points are too close."""
    step = a - b
    if not step.numel() or float(step.abs().amin()) > NEAR:
        return difference / step
    near = _near(a, b, step)
    if not bool(near.any()):
        return difference / step
    rise = difference / torch.where(near, torch.ones_like(step), step)
    rise[near] = derivative((a[near] + b[near]) / 2)
    return rise


def _rise_everywhere(derivative: Function, a: Tensor, b: Tensor, difference: Tensor) -> Tensor:
    """Compute the derivative everywhere: a look at the values would wait for the device, which costs more there."""
    step = a - b
    near = _near(a, b, step)
    return torch.where(near, derivative((a + b) / 2), difference / torch.where(near, torch.ones_like(step), step))


def _near(a: Tensor, b: Tensor, step: Tensor) -> Tensor:
    return step.abs() <= NEAR * torch.maximum(a.abs(), b.abs()).clamp(max=1)


def elementwise(pairs: Pairs, function: Function, x: Tensor) -> Tensor:
    """Return f(x) with the secant's slope; slopes are computed in float64, where differences keep their digits."""
    if pairs.dimension(x) is None:
        return function(x)

    def derivative(at: Tensor) -> Tensor:
        point = at.detach().requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(function(point).sum(), point)
        return gradient

    with torch.no_grad():
        first, second = (half.double() for half in pairs.halves(x))
        ours, theirs = function(first), function(second)
        rise = _rise(derivative, first, second, ours - theirs).to(x.dtype)
        value = pairs.joined(ours.to(x.dtype), theirs.to(x.dtype), x)
    return _Elementwise.apply(x, value, rise, pairs.copied())


def square(pairs: Pairs, x: Tensor) -> Tensor:
    """Return x² with the secant's slope, x + x′."""
    if pairs.dimension(x) is None:
        return x.square()
    with torch.no_grad():
        first, second = pairs.halves(x)
        value, rise = x.square(), first + second
    return _Elementwise.apply(x, value, rise, pairs.copied())


def linear(pairs: Pairs, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return a linear layer of x: its slope is its weight."""
    if pairs.dimension(x) is None or x.ndim < 2:
        return torch.nn.functional.linear(x, weight, bias)
    return _Linear.apply(x, weight, bias, pairs.copied())


def product(pairs: Pairs, function: Function, a: Tensor, b: Tensor) -> Tensor:
    """Return a product whose difference is shared by both factors: ½(b + b′)Δa + ½(a + a′)Δb."""
    if pairs.dimension(a) is None or pairs.dimension(b) is None or (pairs.leads and a.shape[0] != b.shape[0]):
        return function(a, b)
    matrices = function in MATRIX_PRODUCTS
    if (matrices and a.ndim > 2 and a.shape[:-2] == b.shape[:-2]) or (function in ELEMENTWISE_PRODUCTS and a.ndim == b.ndim):
        return _Product.apply(a, b, matrices, pairs.copied())
    (a1, a2), (b1, b2) = pairs.halves(a), pairs.halves(b)
    with torch.no_grad():
        value = function(a, b)
        mean_a, mean_b = (a1 + a2) / 2, (b1 + b2) / 2
    ours, theirs = pairs.halves(value)
    moved = function(a1 - a1.detach(), mean_b) + function(mean_a, b1 - b1.detach())
    return pairs.joined(ours + moved, theirs, value)


def softmax(pairs: Pairs, x: Tensor, dim: int) -> Tensor:
    """Return exp(x − logsumexp(x)) by secants of exp and log, which are bounded and exact."""
    x = bounded(x)
    if pairs.dimension(x) is None:
        return x.softmax(dim)
    with torch.no_grad():
        x1, x2 = (half.double() for half in pairs.halves(x))
        weight, log1, log2 = _shares(x1, x2, dim)
        rise, value = slope(torch.exp, torch.exp, x1 - log1, x2 - log2), x.softmax(dim)
    return _Softmax.apply(x, value, rise.to(x.dtype), weight.to(x.dtype), dim, pairs.copied())


def logsumexp(pairs: Pairs, x: Tensor, dim: int, keepdim: bool = False) -> Tensor:
    """Return log Σ exp(x), whose difference is shared by secants of exp and log."""
    x = bounded(x)
    if pairs.dimension(x) is None:
        return x.logsumexp(dim, keepdim)
    x1, x2 = (half.double() for half in pairs.halves(x.detach()))
    weight, log1, log2 = _shares(x1, x2, dim)
    moved = (weight.to(x.dtype) * _step(pairs, x)).sum(dim, keepdim=True)
    value = pairs.joined(log1.to(x.dtype) + moved, log2.to(x.dtype), x)
    return value if keepdim else value.squeeze(dim)


def maximum(pairs: Pairs, x: Tensor, dim: int, keepdim: bool = False) -> Tensor:
    """Return the largest value along a dimension, whose difference is shared by the places of both largest values.

    It lies between the differences at these two places, so that both shares are between 0 and 1.
    """
    if pairs.dimension(x) is None or dim in (0, -x.ndim):
        return x.amax(dim, keepdim)
    x1, x2 = pairs.halves(x)
    with torch.no_grad():
        top1, top2 = (half.max(dim, keepdim=True) for half in (x1, x2))
        at_first, at_second = ((x1.gather(dim, top.indices) - x2.gather(dim, top.indices)) for top in (top1, top2))
        apart = at_first - at_second
        share = torch.where(apart == 0, torch.ones_like(apart), (top1.values - top2.values - at_second) / apart)
        share = torch.where(top1.indices == top2.indices, torch.ones_like(share), share)
    own, other = (x1.gather(dim, top.indices) for top in (top1, top2))
    moved = share * (own - own.detach()) + (1 - share) * (other - other.detach())
    value = pairs.joined(top1.values + moved, top2.values, x)
    return value if keepdim else value.squeeze(dim)


def max_pool(pairs: Pairs, pool: Function, x: Tensor) -> Tensor:
    """Return the maxima of windows; the difference of a window belongs to where the larger of its two maxima is.

    Args:
        pairs: Where inputs and baselines are.
        pool: Takes ``(b, c, h, w)`` to the maxima and their places in ``h × w``.
        x: Inputs, then baselines.
    """
    with torch.no_grad():
        value, places = pool(x)
    if pairs.dimension(x) is None:
        return x.flatten(2).gather(2, places.flatten(2)).view_as(value)
    (x1, x2), (ours, theirs), (place1, place2) = pairs.halves(x), pairs.halves(value), pairs.halves(places)
    where = torch.where(ours >= theirs, place1, place2).flatten(2)
    first, second = x1.flatten(2).gather(2, where), x2.detach().flatten(2).gather(2, where)
    rise, step = (ours - theirs).flatten(2).double(), (first.detach().double() - second.double())
    share = torch.where(rise == 0, 0.0, rise / torch.where(step == 0, 1.0, step)).to(value.dtype)
    moved = (share * (first - first.detach())).view_as(ours)
    return pairs.joined(ours + moved, theirs, value)


def bounded(x: Tensor) -> Tensor:
    """Return scores that are finite: −∞ − (−∞) has no value."""
    return x.clamp(min=torch.finfo(x.dtype).min / 4)


def along_difference(pairs: Pairs, x: Tensor, value: Tensor) -> Tensor:
    """Return the output of a function of each token's vector, linear along the difference of input and baseline.

    For parts of a model that have no rule of their own, such as a mixture of experts. The difference of the outputs belongs
    to the same token's input.
    """
    (x1, x2), (ours, theirs) = pairs.halves(x), pairs.halves(value.detach())
    step = (x1 - x2).detach()
    square = step.square().sum(-1, keepdim=True)
    share = (step * (x1 - x1.detach())).sum(-1, keepdim=True) / square.clamp(min=torch.finfo(step.dtype).tiny)
    return pairs.joined(ours + (ours - theirs) * share, theirs, value)


def _step(pairs: Pairs, x: Tensor) -> Tensor:
    """Return zero, with the gradient of the inputs' half."""
    x1 = pairs.halves(x)[0]
    return x1 - x1.detach()


def _shares(x1: Tensor, x2: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return how the step of log Σ exp is shared by the steps of its inputs, and its two values."""
    top = torch.maximum(x1.amax(dim, keepdim=True), x2.amax(dim, keepdim=True))
    sum1, sum2 = (x1 - top).exp().sum(dim, keepdim=True), (x2 - top).exp().sum(dim, keepdim=True)
    log1, log2 = x1.logsumexp(dim, keepdim=True), x2.logsumexp(dim, keepdim=True)
    share = slope(torch.exp, torch.exp, x1 - top, x2 - top)
    return share * slope(torch.log, torch.reciprocal, sum1, sum2), log1, log2
