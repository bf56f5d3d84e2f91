"""Rounding of a model's scores: differences below it are no evidence."""

from __future__ import annotations

import torch
from torch import Tensor

STEPS = 8
"""Float steps by which the scores of equal inputs may differ, as batches of other sizes add up in another order."""


def noise_of(*scores: Tensor | float, dtype: torch.dtype = torch.float32) -> float:
    """Return by how much scores of this size may differ through rounding alone.

    Args:
        *scores: Scores of any shape; the largest magnitude counts.
        dtype: What the model computes in.

    Returns:
        A difference in the unit of the scores; 0 where there are none.

    Examples:
        >>> noise_of(torch.tensor([1.0, -4.0])) == 32 * torch.finfo(torch.float32).eps
        True
    """
    sizes = [torch.as_tensor(score).abs() for score in scores]
    return STEPS * torch.finfo(dtype).eps * max((float(size.max()) for size in sizes if size.numel()), default=0.0)
