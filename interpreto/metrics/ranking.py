"""Rankings of units and schedules of perturbation."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def ranks(values: Float[Tensor, " u"], reverse: bool = False) -> Int[Tensor, " u"]:
    """Return the rank of each unit, 0 for the largest value.

    Args:
        values: One value per unit.
        reverse: Put the last of equal values first, instead of the first.
    """
    numbers = torch.arange(len(values))
    numbers = numbers.flip(0) if reverse else numbers
    order = numbers[values[numbers].argsort(descending=True, stable=True)]
    return torch.empty_like(order).scatter_(0, order, torch.arange(len(order)))


def orders(values: Float[Tensor, " u"]) -> Int[Tensor, "o u"]:
    """Return one row of ranks; where values are equal a second one, with equal values in reverse.

    The mean over the two is the mean over all orders of equal values, where units add up.
    """
    first, second = ranks(values), ranks(values, reverse=True)
    return first[None] if torch.equal(first, second) else torch.stack([first, second])


@lru_cache(maxsize=4096)
def steps(u: int, n: int, most: float = 1.0) -> Int[Tensor, " k"]:
    """Return at most ``n`` steps from 0 to a share ``most`` of ``u`` units, evenly spaced, as whole numbers of units."""
    end = math.ceil(most * u - 1e-9)
    return torch.linspace(0, end, min(n, end) + 1, dtype=torch.float64).round().long().unique()


def first_of(places: Int[Tensor, "o u"], counts: Int[Tensor, " k"]) -> Bool[Tensor, "o k u"]:
    """Return masks of the first ``k`` units of each order, for each of the counts."""
    return places[:, None] < counts[None, :, None]


def area(fractions: Float[Tensor, " k"], scores: Float[Tensor, "o k"]) -> Float[Tensor, " o"]:
    """Return areas under curves by the trapezoid rule, divided by the width of the axis: mean heights."""
    width = float(fractions[-1] - fractions[0])
    return torch.trapezoid(scores, fractions.expand_as(scores), dim=1) / width if width else scores[:, 0]
