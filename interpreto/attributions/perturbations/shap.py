"""Coalitions for Shapley values: all of them, or an efficient sample."""

from __future__ import annotations

import itertools
from math import comb

import numpy as np
import torch
from torch import Generator

from interpreto.attributions.perturbations.base import WeightedMaskPerturbator, over_units
from interpreto.errors import OptionError
from interpreto.inputs.samples import MaskVariants, Sample
from interpreto.validation import check_optional_count

TRIES = 20  # to draw a new coalition of the least used units, before any other is taken


class ShapTokenPerturbator(WeightedMaskPerturbator):
    """Draw the full and the empty coalition, then those of a Kernel SHAP regression.

    With ``2^u <= n_perturbations`` all coalitions are taken, and the values are exact. Otherwise coalitions are drawn in
    pairs with their complements. Sizes get equal shares of the budget (leverage scores), sizes that fit in their share are
    enumerated, and the units appear equally often in the coalitions of one size. With fewer than four coalitions per unit
    a regression is unstable, and the coalitions are prefixes of random orders, for a permutation estimate.

    ``benchmarks/RESULTS.md`` compares this with draws by the Shapley kernel and by leverage scores, on random games.

    Args:
        n_perturbations: Number of coalitions: at least ``2u``, unless all fit. None: 500, or ``2u`` if that is more.

    References:
        Lundberg and Lee, NeurIPS 2017, https://arxiv.org/abs/1705.07874.
        Covert and Lee (pairs), AISTATS 2021, https://arxiv.org/abs/2012.01536.
        Musco and Witter (leverage), ICLR 2025, https://arxiv.org/abs/2410.01917.
    """

    def __init__(self, n_perturbations: int | None = None) -> None:
        self.n_perturbations = check_optional_count(n_perturbations, "n_perturbations", 2)

    def __call__(self, sample: Sample, generator: Generator) -> MaskVariants:
        u = sample.players
        n = max(500, 2 * u) if self.n_perturbations is None else self.n_perturbations
        if u < 2 or 2**u <= n:
            present, weights, groups = _all_coalitions(u)
        elif n < 2 * u:
            raise OptionError(
                f"`n_perturbations`: {n} coalitions cannot rank {u} units; pass at least {2 * u}, better {8 * u}, "
                "or a coarser `granularity`."
            )
        else:
            seed = int(torch.randint(2**62, (1,), generator=generator))
            sampled = n >= 4 * u
            present, weights, groups = _sampled(seed, u, n - 2) if sampled else _orders(np.random.default_rng(seed), u, n - 2)
        mask = torch.from_numpy(np.concatenate([np.zeros((1, u)), np.ones((1, u)), 1.0 - present])).float()
        groups = torch.from_numpy(np.concatenate([[-1, -1], groups]))
        weights = None if weights is None else torch.from_numpy(np.concatenate([[0.0, 0.0], weights]))
        return MaskVariants(sample, over_units(mask, sample), weights, groups)


def _all_coalitions(u: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    present = np.array(list(itertools.product([0.0, 1.0], repeat=u)))[1:-1].reshape(-1, u)
    weights = np.array([_kernel(u, int(s)) for s in present.sum(1)], dtype=np.float64)
    return present, weights, np.full(len(present), -1)


def _kernel(u: int, size: int) -> float:
    """Return the Shapley kernel of one coalition, up to a factor."""
    return 1.0 / (comb(u, size) * size * (u - size))


def _sampled(seed: int, u: int, budget: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return pairs of coalitions; a pair's two weights are its share of the kernel's mass on its sizes."""
    pairs, weights, groups = [], [], []
    for size, (count, total) in _shares(u, budget // 2).items():
        if count == 0:
            continue
        enumerated = count == total
        half = _enumerate(u, size) if enumerated else _drawn(seed, u, size, count, total)
        mass = total * _kernel(u, size)
        pairs.append(half)
        weights += [mass / count] * count
        groups += [-1] * count if enumerated else list(range(sum(map(len, pairs)) - count, sum(map(len, pairs))))
    half = np.concatenate(pairs)
    return np.concatenate([half, 1.0 - half]), np.array(weights * 2), np.array(groups * 2)


def _shares(u: int, pairs: int) -> dict[int, tuple[int, int]]:
    """Return for each size up to a half how many pairs are taken, out of how many there are."""
    sizes = list(range(1, u // 2 + 1))
    total = {s: comb(u, s) // (2 if 2 * s == u else 1) for s in sizes}
    share = {s: 0.5 if 2 * s == u else 1.0 for s in sizes}
    taken: dict[int, int] = {}
    left = pairs
    while full := [s for s in sizes if s not in taken and total[s] <= share[s] * left / _sum(share, sizes, taken)]:
        for s in full:
            taken[s] = total[s]
        left = pairs - sum(taken.values())
    open_sizes = [s for s in sizes if s not in taken]
    exact = {s: share[s] * left / _sum(share, sizes, taken) for s in open_sizes}
    for s in open_sizes:
        taken[s] = int(exact[s])
    rest = pairs - sum(taken.values())
    for s in sorted(open_sizes, key=lambda s: int(exact[s]) - exact[s])[:rest]:  # small sizes first among equals
        taken[s] += 1
    return {s: (taken[s], total[s]) for s in sizes}


def _sum(share: dict[int, float], sizes: list[int], taken: dict[int, int]) -> float:
    return sum(share[s] for s in sizes if s not in taken) or 1.0


def _enumerate(u: int, size: int) -> np.ndarray:
    half = np.zeros((comb(u, size), u))
    for row, members in zip(half, itertools.combinations(range(u), size), strict=True):
        row[list(members)] = 1.0
    return half[half[:, 0] == 1.0] if 2 * size == u else half  # at a half, one of each pair


def _drawn(seed: int, u: int, size: int, count: int, total: int) -> np.ndarray:
    """Return distinct coalitions of one size, none the complement of another; the first ones are the same for any count."""
    ties, again, order = (np.random.default_rng([seed, size, i]) for i in range(3))
    half, used, seen = np.zeros((count, u)), np.zeros(u), set()
    balanced = min(count, total // 2)
    for row, tie in zip(half[:balanced], ties.random((balanced, u)), strict=True):
        # The least used units first, so that all appear equally often; at a half, pairs do that by themselves.
        members = tie.argsort()[:size] if 2 * size == u else np.lexsort((tie, used))[:size]
        tries = 0
        while (key := _key(u, members)) in seen:
            tries += 1
            least_used = 2 * size != u and tries < TRIES
            members = np.lexsort((again.random(u), used))[:size] if least_used else again.permutation(u)[:size]
        seen.add(key)
        row[members] = 1.0
        used[members] += 1
    if count > balanced:  # most of them: fewer than twice the budget
        every = _enumerate(u, size)[order.permutation(total)]
        left = np.stack([row for row in every if _key(u, row.nonzero()[0]) not in seen])
        for i in range(balanced, count):
            chosen = int((left @ used).argmin())  # of the least used units
            half[i] = left[chosen]
            used += left[chosen]
            left = np.delete(left, chosen, axis=0)
    return half


def _key(u: int, members: np.ndarray) -> frozenset[int]:
    """Return a key of a coalition, shared with its complement where the two have one size."""
    found = frozenset(members.tolist())
    return found if 2 * len(found) != u or 0 in found else frozenset(range(u)) - found


def _orders(rng: np.random.Generator, u: int, budget: int) -> tuple[np.ndarray, None, np.ndarray]:
    """Return growing coalitions along random orders; what is left of the budget is an order of blocks of units."""
    count, rest = divmod(budget, u - 1)
    orders = [_grown(rng.permutation(u), np.arange(1, u)) for _ in range(count)]
    if rest:  # blocks of nearly equal size
        orders.append(_grown(rng.permutation(u), np.arange(1, rest + 1) * u // (rest + 1)))
    groups = [group for group, rows in enumerate(orders) for _ in rows]
    return np.concatenate(orders), None, np.array(groups)


def _grown(order: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return the coalitions of the first units of an order, of these sizes."""
    place = order.argsort()
    return (place[None] < sizes[:, None]).astype(float)
