"""Recursive updates of importance by random replacements, until the most important units are enough."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from interpreto.attributions.aggregations.base import Estimate
from interpreto.attributions.games.rounds import AdaptivePerturbator, Play
from interpreto.errors import OptionError
from interpreto.inputs.samples import Sample
from interpreto.validation import check_count, is_number, shown

LARGEST = 1 - 1e-6  # a change of a probability is taken to be this large at most


class RecursivePerturbator(AdaptivePerturbator):
    """Mask random shares of the units, and move importance by what that changes, until the top of the order is enough.

    Args:
        n_perturbations: Most perturbed inputs for one score; several share their random masks, and each has its own trials.
        replaced: Share of the units that is masked at random.
        kept: Share of the units that is tried alone.
        enough: Share of the score that these must keep for the recursion to end.
        together: Random masks of a round.
    """

    def __init__(
        self, n_perturbations: int = 300, replaced: float = 0.3, kept: float = 0.3, enough: float = 0.5, together: int = 8
    ) -> None:
        for name, value in (("replaced", replaced), ("kept", kept), ("enough", enough)):
            if not is_number(value) or not 0 < value < 1:
                raise OptionError(f"`{name}`: got {shown(value)}; pass a share between 0 and 1.")
        self.n_perturbations = check_count(n_perturbations, "n_perturbations", 2)
        self.replaced, self.kept, self.enough = replaced, kept, enough
        self.together = check_count(together, "together")

    def rounds(self, sample: Sample, generator: Generator) -> Play:
        u = sample.players
        told: Float[Tensor, "p t"] = yield torch.zeros(1, u)
        base, left = told[0].double(), self.n_perturbations - 1
        logits = torch.zeros(len(base), u, dtype=torch.float64)
        seen = _within(sample, len(base), u)
        done = torch.zeros(len(base), dtype=torch.bool)
        while not bool(done.all()) and left > 2:  # the untouched input is scored in every round, and a trial
            masks = self._random(min(self.together, left - 2), u, generator)
            tried = (~done).nonzero()[:, 0]
            scores = yield torch.cat([masks, self._tops(logits[tried], seen[tried])])
            left -= len(masks) + 2  # with one trial, however many scores there are: none depends on the others
            moved = base - scores[: len(masks)].double()
            logits[~done] += updates(masks, moved)[~done]
            keeping = scores[len(masks) :, tried].diagonal().double()
            done[tried] = (keeping >= self.enough * base[tried]) & (base[tried] > 0)
        return Estimate(torch.where(seen, logits, -math.inf).softmax(1))

    def _random(self, n: int, u: int, generator: Generator) -> Float[Tensor, "n u"]:
        """Return masks of a random share of the units, of one at least."""
        order = torch.rand(n, u, generator=generator, dtype=torch.float32).argsort(1)
        return (order < max(1, round(self.replaced * u))).float()

    def _tops(self, logits: Float[Tensor, "t u"], seen: Bool[Tensor, "t u"]) -> Float[Tensor, "t u"]:
        """Return the masks of all units but the most important ones."""
        order = torch.where(seen, logits, -math.inf).argsort(dim=1, descending=True, stable=True)
        places = torch.empty_like(order).scatter_(1, order, torch.arange(order.shape[1]).expand_as(order))
        return (places >= (self.kept * seen.sum(1, keepdim=True)).ceil()).float()


def updates(masks: Float[Tensor, "p u"], moved: Float[Tensor, "p t"]) -> Float[Tensor, "t u"]:
    """Return the sum over masks of the moves of importance: up where a masked unit took away from a score, else down.

    A drop Δ of a probability moves the masked units by the logit of ½ + ½Δ, and the others by its negative.

    Args:
        masks: 1 where a unit is masked.
        moved: Drop of each score under each mask.
    """
    step = torch.logit(0.5 + 0.5 * moved.clamp(-LARGEST, LARGEST))
    return torch.einsum("pt,pu->tu", step, 2 * masks.double() - 1)


def _within(sample: Sample, t: int, u: int) -> Bool[Tensor, "t u"]:
    """Return which units each score can depend on."""
    if sample.targets is None:
        return torch.ones(t, u, dtype=torch.bool)
    return torch.arange(u) < sample.reach[:, None]
