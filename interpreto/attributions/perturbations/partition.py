"""Owen values of a hierarchy of units, best first under a budget."""

from __future__ import annotations

from collections.abc import Generator as Generates
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from interpreto.attributions.aggregations.base import Estimate
from interpreto.attributions.games.hierarchy import Hierarchy, tree_of
from interpreto.attributions.games.indices import Tree, child_contexts, leaves, number_of
from interpreto.attributions.games.rounds import AdaptivePerturbator, Play
from interpreto.errors import OptionError
from interpreto.inputs.samples import Sample
from interpreto.validation import check_optional_count

Asking = Generates[Float[Tensor, "p u"], Float[Tensor, "p t"], None]

ALIKE = 0.25  # of the largest value, that groups of one round have at least
TOGETHER = 64  # coalitions that a round asks for at most, unless a single group needs more


@dataclass(frozen=True, eq=False)
class _Group:
    """A node of the tree, with the coalitions outside of it and their weights."""

    tree: Tree
    contexts: dict[int, float]
    own: int  # the row number of its units

    @staticmethod
    def of(tree: Tree, contexts: dict[int, float]) -> _Group:
        return _Group(tree, contexts, number_of(list(leaves(tree))))

    @property
    def needed(self) -> set[int]:
        return set(self.contexts) | {outside | self.own for outside in self.contexts}


class PartitionPerturbator(AdaptivePerturbator):
    """Ask for the coalitions of the groups that matter most, until the whole tree or the budget is used up.

    Args:
        n_perturbations: Most coalitions; None: 500, or ``4u`` if that is more.
        hierarchy: See `tree_of`.
    """

    def __init__(self, n_perturbations: int | None = None, hierarchy: Hierarchy = "auto") -> None:
        self.n_perturbations = check_optional_count(n_perturbations, "n_perturbations", 2)
        if not callable(hierarchy) and hierarchy not in ("auto", "balanced"):
            raise OptionError(
                f"`hierarchy`: got {hierarchy!r:.60}; pass 'auto', 'balanced', or a function of the units' texts."
            )
        self.hierarchy = hierarchy

    def rounds(self, sample: Sample, generator: Generator) -> Play:
        u = sample.players
        budget = max(500, 4 * u) if self.n_perturbations is None else self.n_perturbations
        scores: dict[int, Tensor] = {}
        whole = 2**u - 1
        yield from _ask([whole, 0] if u else [0], scores, u)
        if not u:
            return Estimate(scores[0].new_zeros(len(scores[0]), 0), reference=scores[0])
        open_groups, done = [_Group.of(tree_of(sample, self.hierarchy, u), {0: 1.0})], []
        while open_groups:
            open_groups.sort(key=lambda group: -_size(group, scores))
            taken, needed = _affordable(open_groups, scores, budget - len(scores))
            if not taken:
                break
            yield from _ask(sorted(needed), scores, u)
            for group in taken:
                for child in _children(group):
                    (done if isinstance(child.tree, int) else open_groups).append(child)
            open_groups = [group for group in open_groups if group not in taken]
        return _estimate(done, open_groups, scores, u)


def _children(group: _Group) -> list[_Group]:
    if isinstance(group.tree, int):
        return [group]
    return [_Group.of(child, contexts) for child, contexts in child_contexts(group.tree, group.contexts)]


def _affordable(groups: list[_Group], scores: dict[int, Tensor], left: int) -> tuple[list[_Group], set[int]]:
    """Return the first groups whose children can be scored, and the coalitions that this needs.

    Groups of a round share batches, and their values are of one size, as smaller ones may not be worth the budget.
    """
    taken: list[_Group] = []
    needed: set[int] = set()
    for group in groups:
        if taken and _size(group, scores) < ALIKE * _size(taken[0], scores):
            break
        more = set().union(*(child.needed for child in _children(group))) - set(scores)
        if len(needed | more) > left or (taken and len(needed | more) > TOGETHER):
            continue
        taken.append(group)
        needed |= more
    return taken, needed


def _ask(rows: list[int], scores: dict[int, Tensor], u: int) -> Asking:
    """Ask for the coalitions of these rows, and keep their scores in float64."""
    if not rows:
        return
    present = torch.tensor([[row >> i & 1 for i in range(u)] for row in rows], dtype=torch.float32).reshape(len(rows), u)
    told: Float[Tensor, "p t"] = yield 1 - present
    scores.update(zip(rows, told.double(), strict=True))


def _value(group: _Group, scores: dict[int, Tensor]) -> Float[Tensor, " t"]:
    """Return what the units of a group contribute together."""
    parts = [weight * (scores[outside | group.own] - scores[outside]) for outside, weight in group.contexts.items()]
    return torch.stack(parts).sum(0)


def _size(group: _Group, scores: dict[int, Tensor]) -> float:
    """Return the largest value of a group over the targets, without its sign."""
    return float(_value(group, scores).abs().max())


def _estimate(done: list[_Group], open_groups: list[_Group], scores: dict[int, Tensor], u: int) -> Estimate:
    """Return the values of units; those of a group that was not opened share its value, and their error is not known."""
    t = len(scores[0])
    values, error = torch.zeros(t, u, dtype=torch.float64), torch.zeros(t, u, dtype=torch.float64)
    for group in [*done, *open_groups]:
        units = list(leaves(group.tree))
        values[:, units] = _value(group, scores)[:, None] / len(units)
        if len(units) > 1:
            error[:, units] = torch.nan
    return Estimate(values, error if open_groups else None, reference=scores[0])
