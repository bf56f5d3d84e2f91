"""Values and interaction indices of a game that is known for every coalition.

A game is a table ``(2^n, t)``: row ``r`` is the score of the coalition whose players are the set bits of ``r``. Indices follow
from the Möbius transform m (Harsanyi dividends), in float64.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

Coalition = tuple[int, ...]
"""Players in ascending order."""

BERNOULLI = (1.0, -0.5, 1 / 6, 0.0, -1 / 30, 0.0, 1 / 42, 0.0, -1 / 30)
"""Bernoulli numbers with B₁ = −½, for the aggregation of interactions into k-SII."""


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


def interactions(table: Float[Tensor, "r t"], index: str, order: int) -> dict[Coalition, Float[Tensor, " t"]]:
    """Compute an interaction index of every coalition of 1 to ``order`` players.

    Args:
        table: The game.
        index: ``"SII"`` (Grabisch & Roubens, 1999), ``"k-SII"`` (Bordt & von Luxburg, 2023), ``"STII"`` (Sundararajan et al.,
            2020), ``"FSII"`` (Tsai et al., 2023) or ``"BII"`` (Grabisch & Roubens, 1999).
        order: Largest number of players in an interaction, k.

    Returns:
        Values ``(t,)`` per coalition, in the units of the game. k-SII, STII and FSII sum to v(N) − v(∅).

    References:
        Bordt & von Luxburg, AISTATS 2023, https://arxiv.org/abs/2209.04012; Sundararajan, Dhamdhere & Agarwal, ICML 2020,
        https://arxiv.org/abs/1902.05622; Tsai, Yeh & Ravikumar, JMLR 2023, https://arxiv.org/abs/2203.00870.
    """
    n = len(table).bit_length() - 1
    order = min(order, n)
    if index == "FSII":
        return faithful_interactions(table, order)
    dividends = moebius(table)
    found = {c: _index(dividends, n, c, index, order) for c in coalitions_of_size(n, order)}
    return _aggregated(found) if index == "k-SII" else found


def _index(dividends: Tensor, n: int, coalition: Coalition, index: str, order: int) -> Tensor:
    size, own = len(coalition), number_of(coalition)
    if index == "STII" and size < order:
        return dividends[own]
    rows, extra = _supersets(n, own)
    share: dict[str, Callable[[int], float]] = {
        "SII": lambda more: 1 / (more + 1),
        "k-SII": lambda more: 1 / (more + 1),
        "BII": lambda more: 0.5**more,
        "STII": lambda more: 1 / math.comb(size + more, order),
    }
    weights = torch.tensor([share[index](more) for more in range(n - size + 1)], dtype=torch.float64)
    return (dividends[rows] * weights[extra][:, None]).sum(0)


@lru_cache(maxsize=64)
def _bits(n: int) -> Int[Tensor, " r"]:
    return all_coalitions(n).sum(1).long()


def _supersets(n: int, own: int) -> tuple[Int[Tensor, " s"], Int[Tensor, " s"]]:
    """Return the rows of all coalitions that contain the players of ``own``, and how many more players each has."""
    rows = torch.arange(2**n)
    rows = rows[(rows & own) == own]
    return rows, _bits(n)[rows] - bin(own).count("1")


def _aggregated(found: dict[Coalition, Tensor]) -> dict[Coalition, Tensor]:
    """Turn SII up to an order into k-SII: lower orders take over what higher ones describe."""
    out = {}
    for coalition in tuple(found):
        above = [(other, value) for other, value in found.items() if set(coalition) <= set(other)]
        terms = [BERNOULLI[len(other) - len(coalition)] * value for other, value in above]
        out[coalition] = torch.stack(terms).sum(0)
    return out


def faithful_interactions(table: Float[Tensor, "r t"], order: int) -> dict[Coalition, Float[Tensor, " t"]]:
    """Compute the Faithful Shapley interaction index: least squares under the Shapley kernel, exact at ∅ and N."""
    n = len(table).bit_length() - 1
    presence, sizes = all_coalitions(n), _bits(n)
    columns = coalitions_of_size(n, order)
    design = torch.stack([presence[:, list(c)].prod(1) for c in columns], 1)
    scores = table.double() - table[:1].double()
    inner = (sizes > 0) & (sizes < n)
    kernel = torch.tensor([(n - 1) / (math.comb(n, s) * s * (n - s)) if 0 < s < n else 0.0 for s in range(n + 1)])
    weights = kernel.double()[sizes[inner]]
    solution = constrained_least_squares(design[inner], scores[inner], weights, design[-1], scores[-1])
    return dict(zip(columns, solution, strict=True))


def constrained_least_squares(
    design: Float[Tensor, "m k"],
    scores: Float[Tensor, "m t"],
    weights: Float[Tensor, " m"],
    row: Float[Tensor, " k"],
    total: Float[Tensor, " t"],
) -> Float[Tensor, "k t"]:
    """Solve min Σ w (y − Xβ)² under rowᵀβ = total, by substitution of one coefficient."""
    pivot = int(row.abs().argmax())
    others = [j for j in range(design.shape[1]) if j != pivot]
    root = weights.sqrt()[:, None]
    ratio = row[others] / row[pivot]
    reduced = (design[:, others] - design[:, [pivot]] * ratio) * root
    rest = (scores - design[:, [pivot]] * (total / row[pivot])) * root
    out = scores.new_zeros(design.shape[1], scores.shape[1])
    if others:
        out[others] = torch.linalg.lstsq(reduced, rest, driver="gelsd").solution
    out[pivot] = (total - row[others] @ out[others]) / row[pivot]
    return out


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
