"""Designs for variance-based sensitivity: two independent samples of masks, and their mixtures."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from interpreto.attributions.perturbations.base import MaskPerturbator, check_count
from interpreto.choices import Choice
from interpreto.errors import OptionError

MOST_DIMENSIONS = torch.quasirandom.SobolEngine.MAXDIM


class SequenceSamplers(Choice):
    """How points are spread over the unit cube."""

    SOBOL = "sobol"
    HALTON = "halton"
    LATIN_HYPERCUBE = "latin_hypercube"

    def __call__(self, n: int, dimensions: int, generator: Generator) -> Float[Tensor, "n m"]:
        """``n`` points in ``[0, 1)^dimensions``, randomised by the generator."""
        if self is SequenceSamplers.LATIN_HYPERCUBE:
            order = torch.rand(n, dimensions, generator=generator, dtype=torch.float64).argsort(0)
            return (order + torch.rand(n, dimensions, generator=generator, dtype=torch.float64)) / n
        if self is SequenceSamplers.HALTON:
            shift = torch.rand(dimensions, generator=generator, dtype=torch.float64)  # Cranley and Patterson's rotation
            return (_halton(n, dimensions) + shift) % 1.0
        seed = int(torch.randint(2**31, (1,), generator=generator))
        return torch.quasirandom.SobolEngine(dimensions, scramble=True, seed=seed).draw(n, dtype=torch.float64)


def _halton(n: int, dimensions: int) -> Float[Tensor, "n m"]:
    """Digits of 1..n in the first primes, mirrored at the point."""
    points = torch.zeros(n, dimensions, dtype=torch.float64)
    for column, prime in enumerate(_primes(dimensions)):
        index, scale = torch.arange(1, n + 1), 1.0 / prime
        while bool((index > 0).any()):
            points[:, column] += (index % prime) * scale
            index, scale = index // prime, scale / prime
    return points


def _primes(count: int) -> list[int]:
    found: list[int] = []
    candidate = 2
    while len(found) < count:
        if all(candidate % prime for prime in found if prime * prime <= candidate):
            found.append(candidate)
        candidate += 1
    return found


class SobolTokenPerturbator(MaskPerturbator):
    """Masks A and B, each unit removed with probability ½, then for each unit A with that unit taken from B.

    Args:
        n_token_perturbations: Rows of A; ``(u + 2)`` times as many copies in all, of which the distinct ones are run.
        sampler: How the rows are spread.
    """

    def __init__(self, n_token_perturbations: int = 32, sampler: SequenceSamplers = SequenceSamplers.SOBOL) -> None:
        self.n_token_perturbations = check_count(n_token_perturbations, "n_token_perturbations", 2)
        self.sampler = sampler

    def masks(self, u: int, generator: Generator) -> Float[Tensor, "p u"]:
        if 2 * u > MOST_DIMENSIONS:
            raise OptionError(
                f"`granularity`: {u} units are more than the {MOST_DIMENSIONS // 2} that Sobol takes; use a coarser one."
            )
        if u == 0:
            return torch.zeros(2 * self.n_token_perturbations, 0)
        removed = (self.sampler(self.n_token_perturbations, 2 * u, generator) < 0.5).float()
        a, b = removed[:, :u], removed[:, u:]
        mixed = torch.where(torch.eye(u).bool()[:, None], b, a)  # (u, n, u)
        return torch.cat([a, b, mixed.reshape(-1, u)])
