"""Secants between inputs and baselines: operations that are linear in an input, with the slope of the exact difference.

A batch holds inputs and then as many baselines. Each function here returns the values of its operation; those of the inputs
have the slope between the two, those of the baselines are constant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Function = Callable[..., Any]

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

    def _known(self, x: Tensor) -> int:
        found = self.dimension(x)
        assert found is not None
        return found


def slope(function: Function, derivative: Function, a: Tensor, b: Tensor) -> Tensor:
    """Return the secant's slope between two points, the derivative's where they are too close."""
    step = a - b
    near = step.abs() <= NEAR * torch.maximum(a.abs(), b.abs()).clamp(max=1)
    if not bool(near.any()):
        return (function(a) - function(b)) / step
    rise = (function(a) - function(b)) / torch.where(near, torch.ones_like(step), step)
    rise[near] = derivative((a[near] + b[near]) / 2)
    return rise


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
        value = function(x)
        first, second = (half.double() for half in pairs.halves(x.detach()))
        rise = slope(function, derivative, first, second).to(value.dtype)
    x1 = pairs.halves(x)[0]
    ours, theirs = pairs.halves(value)
    return pairs.joined(ours + rise * (x1 - x1.detach()), theirs, x)


def product(pairs: Pairs, function: Function, a: Tensor, b: Tensor) -> Tensor:
    """Return a product whose difference is shared by both factors: ½(b + b′)Δa + ½(a + a′)Δb."""
    if pairs.dimension(a) is None or pairs.dimension(b) is None or (pairs.leads and a.shape[0] != b.shape[0]):
        return function(a, b)
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
    x1, x2 = (half.double() for half in pairs.halves(x.detach()))
    step, (weight, log1, log2) = _step(pairs, x), _shares(x1, x2, dim)
    rise = slope(torch.exp, torch.exp, x1 - log1, x2 - log2)
    moved = rise.to(x.dtype) * (step - (weight.to(x.dtype) * step).sum(dim, keepdim=True))
    return pairs.joined(x1.softmax(dim).to(x.dtype) + moved, x2.softmax(dim).to(x.dtype), x)


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
