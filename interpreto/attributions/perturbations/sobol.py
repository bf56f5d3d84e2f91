"""Designs for variance-based sensitivity: two independent samples of masks, and their mixtures."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from interpreto.attributions.aggregations.sobol import REPLICATES, replicates
from interpreto.attributions.perturbations.base import MaskPerturbator
from interpreto.choices import Choice
from interpreto.errors import OptionError
from interpreto.validation import check_count

DIGITS = 1e-6  # of a point: smaller ones cannot move it over a half often enough to matter
MOST_DIMENSIONS = torch.quasirandom.SobolEngine.MAXDIM


class SequenceSamplers(Choice):
    """Samplers of points in the unit cube."""

    SOBOL = "sobol"
    HALTON = "halton"
    LATIN_HYPERCUBE = "latin_hypercube"
    LatinHypercube = "latin_hypercube"  # the same member, by the name that the reference library has for it

    def __call__(self, n: int, dimensions: int, generator: Generator) -> Float[Tensor, "n m"]:
        """Return ``n`` points in ``[0, 1)^dimensions``, randomized by the generator."""
        if self is SequenceSamplers.LATIN_HYPERCUBE:
            order = torch.rand(n, dimensions, generator=generator, dtype=torch.float64).argsort(0)
            return (order + torch.rand(n, dimensions, generator=generator, dtype=torch.float64)) / n
        if self is SequenceSamplers.HALTON:
            return _halton(n, dimensions, generator)
        seed = int(torch.randint(2**31, (1,), generator=generator))
        return _scrambled(n, dimensions, seed).clone()


@lru_cache(maxsize=512)  # inputs with equally many units have equal draws, as each has a fresh generator
def _scrambled(n: int, dimensions: int, seed: int) -> Float[Tensor, "n m"]:
    """Return the first points of a scrambled Sobol' sequence: scrambling it takes longer than all the rest of a design."""
    return torch.quasirandom.SobolEngine(dimensions, scramble=True, seed=seed).draw(n, dtype=torch.float64)


def _halton(n: int, dimensions: int, generator: Generator) -> Float[Tensor, "n m"]:
    """Return digits of 1..n in the first primes, mirrored at the point; each digit is permuted at random.

    Without permutations, columns of large primes grow together, however they are shifted.

    References:
        Owen (2017), https://arxiv.org/abs/1706.02808.
    """
    points = torch.zeros(n, dimensions, dtype=torch.float64)
    for column, prime in enumerate(_primes(dimensions)):
        places = prime ** torch.arange(1, math.ceil(-math.log(DIGITS, prime)))  # of the digits: those that count
        permuted = torch.rand(len(places), prime, generator=generator, dtype=torch.float64).argsort(1)
        digits = torch.arange(1, n + 1) * prime // places[:, None] % prime
        points[:, column] = (permuted.gather(1, digits).double() / places[:, None]).sum(0)
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
    """Draw masks A and B, where each unit is masked with probability ½, then for each unit A with that unit taken from B.

    The rows are drawn in up to eight independent replicates, from which standard errors are computed.

    Args:
        n_token_perturbations: Number of rows of A. There are ``(u + 2)`` times as many masks, of which the distinct ones are
            run.
        sampler: Distribution of the rows.

    Attributes:
        rows_a_unit: Masks per unit of a first round, from which standard errors can be told.
    """

    rows_a_unit = 24

    def __init__(self, n_token_perturbations: int = 32, sampler: SequenceSamplers = SequenceSamplers.SOBOL) -> None:
        self.n_token_perturbations = check_count(n_token_perturbations, "n_token_perturbations", 2)
        self.sampler = sampler

    def of_rows(self, rows: int, u: int) -> SobolTokenPerturbator:
        """Return the design with about so many masks: a whole number of rows in each replicate, so that larger ones go on."""
        n = max(1, rows // (u + 2) // REPLICATES) * REPLICATES
        return SobolTokenPerturbator(min(n, self.n_token_perturbations), self.sampler)

    def masks(self, u: int, generator: Generator) -> Float[Tensor, "p u"]:
        if 2 * u > MOST_DIMENSIONS:
            raise OptionError(
                f"`granularity`: {u} units are more than the {MOST_DIMENSIONS // 2} that Sobol takes; use a coarser one."
            )
        if u == 0:
            return torch.zeros(2 * self.n_token_perturbations, 0)
        parts = [self.sampler(rows, 2 * u, generator) for rows in replicates(self.n_token_perturbations)]
        masked = (torch.cat(parts) < 0.5).float()
        a, b = masked[:, :u], masked[:, u:]
        mixed = torch.where(torch.eye(u).bool()[:, None], b, a)  # (u, n, u)
        return torch.cat([a, b, mixed.reshape(-1, u)])
