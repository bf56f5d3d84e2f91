"""Which units are removed: one at a time, or at random."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from interpreto.attributions.perturbations.base import MaskPerturbator, check_count
from interpreto.errors import OptionError


class OcclusionPerturbator(MaskPerturbator):
    """The untouched input, then each unit removed alone."""

    def masks(self, u: int, generator: Generator) -> Float[Tensor, "p u"]:
        return torch.cat([torch.zeros(1, u), torch.eye(u)])


class RandomMaskedTokenPerturbator(MaskPerturbator):
    """The untouched input, then copies that lose each unit with the same probability.

    Args:
        n_perturbations: Copies, the untouched one included.
        perturb_probability: Probability that a copy loses a unit, in (0, 1).
    """

    def __init__(self, n_perturbations: int = 200, perturb_probability: float = 0.5) -> None:
        self.n_perturbations = check_count(n_perturbations, "n_perturbations", 2)
        if not 0 < perturb_probability < 1:
            raise OptionError(f"`perturb_probability`: got {perturb_probability!r}; pass a probability between 0 and 1.")
        self.perturb_probability = perturb_probability

    def masks(self, u: int, generator: Generator) -> Float[Tensor, "p u"]:
        drawn = torch.rand(self.n_perturbations - 1, u, generator=generator) < self.perturb_probability
        return torch.cat([torch.zeros(1, u), drawn.float()])
