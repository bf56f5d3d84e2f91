"""Scales of activations: concept models work on rows of size about 1, so that no scale is special."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor

from interpreto.errors import InputError


def root_mean_square(rows: Float[Tensor, "n d"]) -> float:
    """Return the root mean square of all numbers, in the unit of the activations.

    Raises:
        InputError: all numbers are zero.
    """
    scale = float(rows.double().square().mean().sqrt())
    if scale == 0:
        raise InputError("`activations`: all are zero; there is nothing to learn concepts from.")
    return scale


def spread(rows: Float[Tensor, "n d"]) -> float:
    """Return the standard deviation of the numbers around their column's mean, one for all columns; 1 if nothing varies."""
    return float((rows - rows.mean(0)).square().mean().sqrt()) or 1.0


def power_of_two(numbers: Float[Tensor, ...]) -> float:
    """Return the power of two nearest to the largest magnitude; 1 if all are zero.

    Dividing by a power of two rounds nothing away, so that it changes no result whose squares stay in range.

    Examples:
        >>> import torch
        >>> power_of_two(torch.tensor([3.0, -9.0]))
        8.0
    """
    largest = float(numbers.detach().abs().max()) if numbers.numel() else 0.0
    return 2.0 ** round(math.log2(largest)) if largest > 0 else 1.0
