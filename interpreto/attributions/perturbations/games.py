"""Coalitions of units for games: all of them, growing along orders, drawn in pairs, or for interactions."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Generator, Tensor

from interpreto.attributions.games.indices import all_coalitions
from interpreto.attributions.perturbations.base import MaskPerturbator, WeightedMaskPerturbator, over_units
from interpreto.attributions.perturbations.shap import ShapTokenPerturbator
from interpreto.errors import OptionError
from interpreto.inputs.samples import MaskVariants, Sample
from interpreto.validation import check_count, check_optional_count

MOST_REPEATS = 16  # coalitions along orders for each distinct one


class AllCoalitionsPerturbator(MaskPerturbator):
    """Take every coalition of present units, in the order of a table's rows (see `all_coalitions`).

    Args:
        max_units: Largest number of units; more are refused, as each doubles the number of perturbed inputs.
    """

    def __init__(self, max_units: int = 12) -> None:
        self.max_units = check_count(max_units, "max_units")

    def masks(self, u: int, generator: Generator) -> Float[Tensor, "p u"]:
        if u > self.max_units:
            raise OptionError(
                f"`max_units`: the text has {u} units, and 2^{u} = {2**u:,} coalitions; {self.max_units} units are allowed. "
                "Pass max_units=…, take a coarser `granularity`, or estimate with KernelShap or PermutationShap."
            )
        return (1 - all_coalitions(u)).float()


class OrdersPerturbator(WeightedMaskPerturbator):
    """Take the full and the empty coalition, then those that grow along random orders of the units and along their reverses.

    Every coalition, in the order of a table's rows, where they are no more.

    Args:
        n_perturbations: Number of distinct coalitions at most: at least ``2u`` for ``u`` units, one order with its reverse.
            Orders share coalitions, and a coalition that is known costs nothing: orders are drawn until they have so many, or
            sixteen times as many with the repeated ones. None: ``least``, or ``8u`` if that is more.
        least: Number of coalitions of short texts, where none is given.
    """

    def __init__(self, n_perturbations: int | None = None, *, least: int = 500) -> None:
        self.n_perturbations = check_optional_count(n_perturbations, "n_perturbations", 2)
        self.least = check_count(least, "least")

    def __call__(self, sample: Sample, generator: Generator) -> MaskVariants:
        u = sample.players
        ends = torch.stack([torch.zeros(u), torch.ones(u)])
        n = max(self.least, 8 * u) if self.n_perturbations is None else self.n_perturbations
        if u < 2:
            return MaskVariants(sample, over_units(ends, sample))
        if n < 2 * u and (u >= 31 or n < 2**u):
            raise OptionError(
                f"`n_perturbations`: {n} coalitions hold no order of {u} units with its reverse; pass at least {2 * u}, better "
                f"{8 * u}, or a coarser `granularity`."
            )
        if u < 31 and 2**u <= n:
            return MaskVariants(sample, over_units((1 - all_coalitions(u)).float(), sample))
        return MaskVariants(sample, over_units(torch.cat([ends, *_orders(u, n, generator)]), sample))


def _orders(u: int, n: int, generator: Generator) -> list[Float[Tensor, "k u"]]:
    """Return the masks along orders and their reverses, for as many orders as have ``n - 2`` distinct coalitions at most."""
    drawn: list[Tensor] = []
    known: set[bytes] = set()
    while len(drawn) < MOST_REPEATS * n // (2 * (u - 1)):
        place = torch.randperm(u, generator=generator).argsort()
        both = torch.stack([place, u - 1 - place])[:, None]
        masks = (both >= torch.arange(1, u)[:, None]).float().flatten(0, 1)  # the first units of the order are present
        known.update(row.tobytes() for row in np.packbits(masks.numpy().astype(bool), axis=1))
        if drawn and len(known) > n - 2:
            break
        drawn.append(masks)
    return drawn


class PairedMasksPerturbator(MaskPerturbator):
    """Mask each unit with probability ½, in pairs of a mask and its complement; all masks where they are no more.

    Args:
        n_perturbations: Number of perturbed inputs. None: 500, or ``8u`` if that is more.
    """

    def __init__(self, n_perturbations: int | None = None) -> None:
        self.n_perturbations = check_optional_count(n_perturbations, "n_perturbations", 2)

    def masks(self, u: int, generator: Generator) -> Float[Tensor, "p u"]:
        n = max(500, 8 * u) if self.n_perturbations is None else self.n_perturbations
        if u < 31 and 2**u <= n:
            return (1 - all_coalitions(u)).float()
        drawn = torch.rand(n // 2, u, generator=generator, dtype=torch.float32) < 0.5
        return torch.stack([drawn, ~drawn], 1).flatten(0, 1).float()


class InteractionPerturbator(WeightedMaskPerturbator):
    """Take every coalition where they fit in the budget, in the order of a table's rows; else draw them by size, in pairs.

    Args:
        n_perturbations: Number of coalitions: at least ``16u`` for ``u`` units, unless all fit. None: 2,048, or ``32u`` if that
            is more.

    Attributes:
        rows_a_unit: Coalitions per unit that it needs at least.
    """

    rows_a_unit = 16

    def __init__(self, n_perturbations: int | None = None) -> None:
        self.n_perturbations = check_optional_count(n_perturbations, "n_perturbations", 2)

    def __call__(self, sample: Sample, generator: Generator) -> MaskVariants:
        u = sample.players
        n = max(2048, 32 * u) if self.n_perturbations is None else self.n_perturbations
        if u < 31 and 2**u <= n:
            return MaskVariants(sample, over_units((1 - all_coalitions(u)).float(), sample))
        if n < self.rows_a_unit * u:
            raise OptionError(
                f"`n_perturbations`: {n} coalitions tell too little of the interactions of {u} units; pass at least "
                f"{self.rows_a_unit * u}, "
                "or a coarser `granularity`."
            )
        return ShapTokenPerturbator(n)(sample, generator)
