"""Interaction indices of games: exact from every coalition, or from the dividends of a game that is known as a polynomial.

Each index is linear in the dividends m (the Möbius transform of the game): I(S) = Σ_{T ⊇ S} share(|S|, |T|) · m(T). `share` is
the definition of an index; everything else follows from it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interpreto.attributions.games.indices import Coalition, all_coalitions, coalitions_of_size, moebius, number_of

INDICES = ("k-SII", "SII", "STII", "FSII", "BII")
EFFICIENT = ("k-SII", "STII", "FSII")
"""Indices whose values sum to v(N) − v(∅)."""
BERNOULLI = tuple(Fraction(*pair) for pair in ((1, 1), (-1, 2), (1, 6), (0, 1), (-1, 30), (0, 1), (1, 42), (0, 1), (-1, 30)))
"""Bernoulli numbers with B₁ = −½."""
LARGEST_ORDER = len(BERNOULLI) - 1


@dataclass(frozen=True, eq=False)
class Interactions:
    """An interaction index of one game for several targets.

    Attributes:
        coalitions: Players of each interaction, smaller coalitions first.
        values: ``(t, s)`` in the units of the game; NaN where a target cannot depend on a player.
        standard_error: ``(t, s)`` of estimates; 0 where they are exact; None: not known.
        exact: Every coalition was scored.
    """

    coalitions: tuple[Coalition, ...]
    values: Float[Tensor, "t s"]
    standard_error: Float[Tensor, "t s"] | None = None
    exact: bool = True


@lru_cache(maxsize=65536)
def share(index: str, size: int, of: int, order: int) -> Fraction:
    """Return the part of the dividend of ``of`` players that an interaction of ``size`` of them gets.

    Args:
        index: ``"SII"`` (Grabisch & Roubens, 1999), ``"k-SII"`` (Bordt & von Luxburg, 2023), ``"STII"`` (Sundararajan et al.,
            2020), ``"FSII"`` (Tsai et al., 2023) or ``"BII"`` (Grabisch & Roubens, 1999).
        size: Players of the interaction.
        of: Players of the dividend's coalition, which contains the interaction.
        order: Largest size of an interaction, k.

    Examples:
        >>> share("SII", 2, 4, 2), share("STII", 2, 4, 2), share("k-SII", 1, 2, 2)
        (Fraction(1, 3), Fraction(1, 6), Fraction(0, 1))
    """
    more = of - size
    if index == "SII":
        return Fraction(1, more + 1)
    if index == "BII":
        return Fraction(1, 2**more)
    if index == "STII":
        return Fraction(int(more == 0)) if size < order else Fraction(1, math.comb(of, order))
    if index == "FSII":
        if of <= order:
            return Fraction(int(more == 0))
        sign = (-1) ** (order - size) * size * math.comb(order, size) * math.comb(of - 1, order)
        return Fraction(sign, (order + size) * math.comb(of + order - 1, order + size))
    above = range(min(order - size, more) + 1)  # k-SII: lower orders take over what higher ones describe
    return sum((BERNOULLI[r] * math.comb(more, r) / (more - r + 1) for r in above), Fraction(0))


@lru_cache(maxsize=256)
def coalition_weights(index: str, n: int, size: int, order: int) -> Float[Tensor, "n1 s1"]:
    """Return the weight of each coalition's score in an interaction: I(S) = Σ_T weight[|T|, |T ∩ S|] · v(T).

    Returns:
        ``(n + 1, size + 1)`` weights by the number of players, and by how many of them are in the interaction. Exact up to
        the last rounding, as they are alternating sums of fractions.
    """
    weights = torch.zeros(n + 1, size + 1, dtype=torch.float64)
    for t in range(n + 1):
        for common in range(max(0, t + size - n), min(size, t) + 1):
            missing = size - common
            free = n - t - missing
            terms = (
                (-1) ** (missing + j) * math.comb(free, j) * share(index, size, t + missing + j, order) for j in range(free + 1)
            )
            weights[t, common] = float(sum(terms, Fraction(0)))
    return weights


def interactions(table: Float[Tensor, "r t"], index: str, order: int) -> dict[Coalition, Float[Tensor, " t"]]:
    """Compute an interaction index of every coalition of 1 to ``order`` players.

    Args:
        table: The game: row ``r`` is the score of the coalition whose players are the set bits of ``r``.
        index: See `share`.
        order: Largest number of players in an interaction, k.

    Returns:
        Values ``(t,)`` per coalition, in the units of the game. k-SII, STII and FSII sum to v(N) − v(∅).

    References:
        Bordt & von Luxburg, AISTATS 2023, https://arxiv.org/abs/2209.04012; Sundararajan, Dhamdhere & Agarwal, ICML 2020,
        https://arxiv.org/abs/1902.05622; Tsai, Yeh & Ravikumar, JMLR 2023, https://arxiv.org/abs/2203.00870.
    """
    n = len(table).bit_length() - 1
    order = min(order, n)
    dividends, rows = moebius(table), torch.arange(len(table))
    sizes = all_coalitions(n).sum(1).long()
    found = {}
    for coalition in coalitions_of_size(n, order):
        own, size = number_of(coalition), len(coalition)
        above = rows[(rows & own) == own]
        shares = torch.tensor([float(share(index, size, of, order)) for of in range(size, n + 1)], dtype=torch.float64)
        found[coalition] = (dividends[above] * shares[sizes[above] - size][:, None]).sum(0)
    return found


def of_polynomial(
    dividends: Mapping[Coalition, Float[Tensor, " t"]], coalitions: Sequence[Coalition], index: str, order: int
) -> Float[Tensor, "s t"]:
    """Compute an index of a game that has few dividends, for these coalitions."""
    places = {coalition: i for i, coalition in enumerate(coalitions)}
    t = len(next(iter(dividends.values()))) if dividends else 0
    values = torch.zeros(len(coalitions), t, dtype=torch.float64)
    for players, dividend in dividends.items():
        for size in range(1, min(order, len(players)) + 1):
            part = float(share(index, size, len(players), order)) * dividend
            for coalition in itertools.combinations(players, size):
                if coalition in places:
                    values[places[coalition]] += part
    return values


def presence_products(present: Float[Tensor, "p n"], coalitions: Sequence[Coalition]) -> Float[Tensor, "p s"]:
    """Return 1 where all players of a coalition are present."""
    found = present.new_ones(len(present), len(coalitions))
    sizes = torch.tensor([len(coalition) for coalition in coalitions])
    for size in sizes.unique().tolist() if coalitions else []:
        places = (sizes == size).nonzero()[:, 0]
        found[:, places] = present[:, torch.tensor([coalitions[i] for i in places.tolist()]).long()].prod(-1)
    return found


def within(coalitions: Sequence[Coalition], n: int) -> Bool[Tensor, " s"]:
    """Return True for the coalitions of the first ``n`` players."""
    return torch.tensor([coalition[-1] < n for coalition in coalitions], dtype=torch.bool)
