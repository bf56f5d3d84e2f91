"""Rules of integration."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def gauss_legendre(n: int) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Return the nodes in [0, 1] and the weights, which sum to 1, of the rule that is exact up to degree 2n - 1.

    Args:
        n: Number of nodes.

    Returns:
        Nodes and weights in float64.
    """
    nodes, weights = _found(n)
    return torch.from_numpy((nodes + 1) / 2), torch.from_numpy(weights / 2)


@lru_cache(maxsize=64)  # an eigenvalue problem, as dear as a small model's pass
def _found(n: int) -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(n)
