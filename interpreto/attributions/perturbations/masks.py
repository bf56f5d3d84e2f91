"""Masks of units: one at a time, or at random."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from interpreto.attributions.perturbations.base import MaskPerturbator
from interpreto.errors import OptionError
from interpreto.validation import check_optional_count, is_number, shown


class OcclusionPerturbator(MaskPerturbator):
    """Mask nothing, then each unit alone."""

    def masks(self, u: int, generator: Generator) -> Float[Tensor, "p u"]:
        return torch.cat([torch.zeros(1, u), torch.eye(u)])


class RandomMaskedTokenPerturbator(MaskPerturbator):
    """Draw the unperturbed input, then inputs in which each unit is masked with the same probability.

    Args:
        n_perturbations: Number of perturbed inputs, the unperturbed one included. None: 200, or four per unit if that is
            more.
        perturb_probability: Probability that a unit is masked, in (0, 1).

    Attributes:
        rows_a_unit: Masks per unit of a first round of sampling, from which standard errors can be told.
    """

    rows_a_unit = 8

    def __init__(self, n_perturbations: int | None = None, perturb_probability: float = 0.5) -> None:
        self.n_perturbations = check_optional_count(n_perturbations, "n_perturbations", 2)
        if not is_number(perturb_probability) or not 0 < perturb_probability < 1:
            raise OptionError(f"`perturb_probability`: got {shown(perturb_probability)}; pass a probability between 0 and 1.")
        self.perturb_probability = perturb_probability

    def masks(self, u: int, generator: Generator) -> Float[Tensor, "p u"]:
        n = max(200, 4 * u) if self.n_perturbations is None else self.n_perturbations
        drawn = torch.rand(n - 1, u, generator=generator, dtype=torch.float32) < self.perturb_probability
        return torch.cat([torch.zeros(1, u), drawn]).float()
