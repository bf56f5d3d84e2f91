"""Mean and scatter of rows that come a batch at a time."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


class RunningMoments:
    """Accumulate the mean, and sums of products about it, in float64; they do not depend on the batches.

    Args:
        d: Width of a row.
        full: Keep ``(d, d)`` products; else only the squares of each dimension.

    Examples:
        >>> import torch
        >>> moments = RunningMoments(1)
        >>> moments.add(torch.tensor([[1.0], [3.0]]))
        >>> moments.add(torch.tensor([[8.0]]))
        >>> moments.mean, moments.scatter
        (tensor([4.], dtype=torch.float64), tensor([26.], dtype=torch.float64))

    References:
        Chan, Golub and LeVeque, 1983, https://doi.org/10.1080/00031305.1983.10483115.
    """

    def __init__(self, d: int, full: bool = False) -> None:
        self.n, self.full = 0, full
        self.mean: Float[Tensor, " d"] = torch.zeros(d, dtype=torch.float64)
        self.scatter: Tensor = torch.zeros(d, d, dtype=torch.float64) if full else torch.zeros(d, dtype=torch.float64)

    def add(self, rows: Float[Tensor, "b d"]) -> None:
        """Add some rows."""
        wide = rows.double()
        own = wide.mean(0)
        centered, moved = wide - own, own.cpu() - self.mean
        share = self.n * len(wide) / (self.n + len(wide))
        within = (centered.T @ centered if self.full else centered.square().sum(0)).cpu()
        self.scatter = self.scatter + within + share * (torch.outer(moved, moved) if self.full else moved.square())
        self.n += len(wide)
        self.mean = self.mean + moved * (len(wide) / self.n)
