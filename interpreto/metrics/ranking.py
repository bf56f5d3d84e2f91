"""Walks along the order of units: most important first."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def ranks(values: Float[Tensor, " u"], reverse: bool = False) -> Int[Tensor, " u"]:
    """The place of each unit in the order of falling value; ``reverse``: of equals, the last comes first."""
    numbers = torch.arange(len(values))
    numbers = numbers.flip(0) if reverse else numbers
    order = numbers[values[numbers].argsort(descending=True, stable=True)]
    return torch.empty_like(order).scatter_(0, order, torch.arange(len(order)))


def orders(values: Float[Tensor, " u"]) -> Int[Tensor, "o u"]:
    """One row of places, or two where values are equal: an order and the one with equals reversed.

    The mean of the two is the mean over all orders of equals, where units add up.
    """
    first, second = ranks(values), ranks(values, reverse=True)
    return first[None] if torch.equal(first, second) else torch.stack([first, second])


@lru_cache(maxsize=4096)
def steps(u: int, n: int, most: float = 1.0) -> Int[Tensor, " k"]:
    """At most ``n`` steps from 0 to a share ``most`` of ``u`` units, evenly spaced on whole numbers."""
    end = math.ceil(most * u - 1e-9)
    return torch.linspace(0, end, min(n, end) + 1, dtype=torch.float64).round().long().unique()


def first_of(places: Int[Tensor, "o u"], counts: Int[Tensor, " k"]) -> Bool[Tensor, "o k u"]:
    """The first ``k`` units of each order, for each count."""
    return places[:, None] < counts[None, :, None]


def area(fractions: Float[Tensor, " k"], scores: Float[Tensor, "o k"]) -> Float[Tensor, " o"]:
    """Area under curves by the trapezoid rule with their true spacing, per unit of the axis: a mean height."""
    width = float(fractions[-1] - fractions[0])
    return torch.trapezoid(scores, fractions.expand_as(scores), dim=1) / width if width else scores[:, 0]
