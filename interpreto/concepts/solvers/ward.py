"""Agglomerative clustering of weighted rows by Ward's criterion, without a matrix of distances."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def ward(rows: Float[Tensor, "n d"], weights: Float[Tensor, " n"], count: int) -> Int[Tensor, " n"]:
    """Cluster rows: of all pairs of clusters, merge the one that raises the sum of squares least, until ``count`` are left.

    Nearest neighbors are followed until two are each other's, which are merged: the result is that of merging the best pair
    each time. Memory is that of the rows.

    Args:
        rows: What is clustered.
        weights: How many rows each one represents.
        count: Number of clusters.

    Returns:
        The cluster of each row, numbered by first occurrence.

    References:
        Ward, JASA 1963, https://doi.org/10.1080/01621459.1963.10500845; chains of neighbors: Murtagh, Computer Journal 1983,
        https://doi.org/10.1093/comjnl/26.4.354.

    Examples:
        >>> ward(torch.tensor([[0.0], [9.0], [1.0], [8.0]]), torch.ones(4), 2)
        tensor([0, 1, 0, 1])
    """
    centers, sizes = rows.double().clone(), weights.double().clone()
    active = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    squares = centers.square().sum(1)
    chain: list[int] = []
    merges: list[tuple[float, int, int]] = []
    while len(merges) < len(rows) - 1:
        if not chain:
            chain.append(int(active.nonzero()[0]))
        last = chain[-1]
        distances = (squares + squares[last] - 2 * centers @ centers[last]).clamp(min=0)
        costs = torch.where(active, distances * sizes * sizes[last] / (sizes + sizes[last]), torch.inf)
        costs[last] = torch.inf
        nearest = int(costs.argmin())
        if len(chain) > 1 and float(costs[chain[-2]]) <= float(costs[nearest]):
            nearest = chain[-2]
        if len(chain) < 2 or nearest != chain[-2]:
            chain.append(nearest)
            continue
        merges.append((float(costs[nearest]), last, nearest))
        total = sizes[last] + sizes[nearest]
        centers[last] = (sizes[last] * centers[last] + sizes[nearest] * centers[nearest]) / total
        sizes[last], squares[last], active[nearest] = total, centers[last].square().sum(), False
        del chain[-2:]
    return _cut(merges, len(rows), count).to(rows.device)


def _cut(merges: list[tuple[float, int, int]], n: int, count: int) -> Int[Tensor, " n"]:
    """Return the clusters that the cheapest merges leave."""
    parents = list(range(n))

    def root(i: int) -> int:
        while parents[i] != i:
            parents[i] = parents[parents[i]]
            i = parents[i]
        return i

    for _, one, other in sorted(merges, key=lambda merge: merge[0])[: n - count]:
        parents[root(other)] = root(one)
    numbers: dict[int, int] = {}
    return torch.tensor([numbers.setdefault(root(i), len(numbers)) for i in range(n)])
