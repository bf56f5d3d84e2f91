"""The linear maps from the activations after each layer to those after the last, by least squares."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

RIDGES = (1e-4, 1e-2, 1e-1, 1.0, 10.0)  # of the mean variance of the activations; which, texts that are held out decide


class Moments:
    """Sums over pairs of rows, from which a linear map is solved; in float64 on the CPU."""

    def __init__(self, width: int) -> None:
        self.count = 0
        self.x, self.y = torch.zeros(2, width, dtype=torch.float64)
        self.xx, self.xy = torch.zeros(2, width, width, dtype=torch.float64)

    def add(self, x: Float[Tensor, "n d"], y: Float[Tensor, "n d"]) -> None:
        """Add pairs of rows."""
        x, y = x.double().cpu(), y.double().cpu()
        self.count += len(x)
        self.x += x.sum(0)
        self.y += y.sum(0)
        self.xx += x.T @ x
        self.xy += x.T @ y

    def solve(self, ridge: float) -> tuple[Float[Tensor, "d d"], Float[Tensor, " d"]]:
        """Return matrix and shift of the map ``x + x Aᵀ + b`` that is nearest to ``y``, in float32.

        Args:
            ridge: Price of the size of ``A``, in the mean variance of ``x``: the larger, the nearer to the identity.
        """
        n = max(1, self.count)
        mean_x, mean_y = self.x / n, self.y / n
        xx, xy = self.xx / n - torch.outer(mean_x, mean_x), self.xy / n - torch.outer(mean_x, mean_y)
        eye = torch.eye(len(xx), dtype=torch.float64)
        least = ridge * xx.diagonal().mean().clamp(min=1e-12)
        step = torch.linalg.solve(xx + least * eye, xy - xx)  # towards the identity where rows say nothing
        return step.T.float(), (mean_y - mean_x - mean_x @ step).float()


def moments_of(
    batches: Iterable[Any], states: Callable[[Any], tuple[list[Tensor], Tensor, Tensor]], count: int
) -> list[Moments]:
    """Return the moments of each layer with the last one.

    Args:
        batches: Rows.
        states: Returns activations after each layer, after the last, and the tokens that count.
        count: Number of layers.
    """
    moments: list[Moments] = []
    for batch in batches:
        own, last, mask = states(batch)
        moments = moments or [Moments(last.shape[-1]) for _ in range(count)]
        for each, hidden in zip(moments, own, strict=True):
            each.add(hidden[mask], last[mask])
    return moments
