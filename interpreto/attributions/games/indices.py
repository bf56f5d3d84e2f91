"""Values of a game that is known for every coalition.

A game is a table ``(2^n, t)``: row ``r`` is the score of the coalition whose players are the set bits of ``r``. Values follow
from the Möbius transform m (Harsanyi dividends), in float64.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

Coalition = tuple[int, ...]
"""Players in ascending order."""


def all_coalitions(n: int) -> Float[Tensor, "r n"]:
    """Return the presence of each player in every coalition, in the order of a table's rows."""
    return ((torch.arange(2**n)[:, None] >> torch.arange(n)) & 1).double()


def moebius(table: Float[Tensor, "r t"]) -> Float[Tensor, "r t"]:
    """Compute the Möbius transform: m(S) = Σ_{T ⊆ S} (−1)^{|S| − |T|} v(T).

    References:
        Grabisch & Roubens, 1999, https://doi.org/10.1007/s001820050125.
    """
    out, step = table.double().clone(), 1
    while step < len(out):
        pairs = out.view(-1, 2, step, out.shape[1])
        pairs[:, 1] -= pairs[:, 0]
        step *= 2
    return out


def coalitions_of_size(n: int, largest: int, least: int = 1) -> list[Coalition]:
    """Return the coalitions of ``least`` to ``largest`` of ``n`` players, smaller ones first."""
    return [c for size in range(least, largest + 1) for c in itertools.combinations(range(n), size)]


def number_of(coalition: Sequence[int]) -> int:
    """Return the row of a coalition in a table."""
    return sum(1 << player for player in coalition)


def shapley_values(table: Float[Tensor, "r t"]) -> Float[Tensor, "t n"]:
    """Compute Shapley values: each dividend is shared equally by the players of its coalition.

    References:
        Shapley, 1953, https://doi.org/10.1515/9781400881970-018.
    """
    return _shared(table, lambda size: 1 / size)


def banzhaf_values(table: Float[Tensor, "r t"]) -> Float[Tensor, "t n"]:
    """Compute Banzhaf values: the mean of f(S ∪ i) − f(S) over all coalitions S without i.

    References:
        Banzhaf, 1965; Wang & Jia, 2023, https://arxiv.org/abs/2205.15466.
    """
    return _shared(table, lambda size: 0.5 ** (size - 1))


def _shared(table: Tensor, share: Callable[[int], float]) -> Tensor:
    presence = all_coalitions(len(table).bit_length() - 1)
    sizes = presence.sum(1).long()
    weights = torch.tensor([0.0, *(share(size) for size in range(1, presence.shape[1] + 1))], dtype=torch.float64)
    return moebius(table).T @ (presence * weights[sizes][:, None])


# --- Games with a hierarchy of players

Tree = int | Sequence[Any]
"""A player, or a group of players and groups."""


def leaves(tree: Tree) -> Iterator[int]:
    """Yield the players of a tree from left to right."""
    if isinstance(tree, int):
        yield tree
        return
    for child in tree:
        yield from leaves(child)


def owen_values(table: Float[Tensor, "r t"], tree: Tree) -> Float[Tensor, "t n"]:
    """Compute Owen values: the children of each group play Shapley's game among themselves, groups outside being all present
    or all absent.

    References:
        Owen, 1977, https://doi.org/10.1007/978-3-642-45494-3_7.
    """
    n = len(table).bit_length() - 1
    values = torch.zeros(table.shape[1], n, dtype=torch.float64)
    scores = table.double()

    def walk(node: Tree, contexts: dict[int, float]) -> None:
        if isinstance(node, int):
            for outside, weight in contexts.items():
                values[:, node] += weight * (scores[outside | 1 << node] - scores[outside])
            return
        for child, inner in child_contexts(node, contexts):
            walk(child, inner)

    walk(tree, {0: 1.0})
    return values


def child_contexts(node: Sequence[Tree], contexts: dict[int, float]) -> Iterator[tuple[Tree, dict[int, float]]]:
    """Yield each child of a group with the coalitions outside it (as row numbers) and their weights."""
    k, groups = len(node), [number_of(list(leaves(child))) for child in node]
    for i, child in enumerate(node):
        others = groups[:i] + groups[i + 1 :]
        inner: dict[int, float] = {}
        for size in range(k):
            weight = 1 / (k * math.comb(k - 1, size))
            for chosen in itertools.combinations(others, size):
                for outside, of_outside in contexts.items():
                    row = outside | sum(chosen)
                    inner[row] = inner.get(row, 0.0) + of_outside * weight
        yield child, inner
