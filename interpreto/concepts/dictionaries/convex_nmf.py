"""Convex non-negative matrix factorization: atoms that are mixtures of rows."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from interpreto.concepts.activations import Activations
from interpreto.concepts.concept_model import Dictionary, check_at_most
from interpreto.concepts.dictionaries.explainer import DictionaryConcepts
from interpreto.concepts.dictionaries.factorization import descend
from interpreto.concepts.dictionaries.semi_nmf import membership
from interpreto.concepts.scales import root_mean_square
from interpreto.concepts.solvers.coordinate_descent import Descent
from interpreto.concepts.solvers.least_squares import encode


class ConvexNMF(Dictionary):
    """Rows of any sign as non-negative combinations of atoms, each a weighted mean of rows.

    Args:
        nb_concepts: Number of atoms.
        max_iter: Maximum number of updates of codes and weights.
        tolerance: Stop when ten updates lower the squared error by less than this fraction.
        max_candidates: Number of rows, drawn at random, of which the atoms are means; memory grows with its square.
    """

    axes: ClassVar = {**Dictionary.axes, "candidates": "m", "weights": "c m"}

    candidates: Tensor
    weights: Tensor

    def __init__(self, nb_concepts: int, max_iter: int = 200, tolerance: float = 1e-3, max_candidates: int = 1000) -> None:
        super().__init__(nb_concepts)
        self.max_iter = max_iter
        self.tolerance = tolerance
        self.max_candidates = max_candidates
        self.errors: list[float] = []
        self.register_buffer("candidates", torch.empty(0, dtype=torch.int64))
        self.register_buffer("weights", torch.empty(0, dtype=torch.float32))

    def fit(self, activations: Activations, random_state: int, tqdm_bar: bool | None) -> None:
        """Alternate sweeps for the codes and the paper's update for the weights; neither raises the error."""
        rows = activations.read()
        scale = root_mean_square(rows)
        rows = rows / scale
        chosen = torch.randperm(len(rows), generator=Generator().manual_seed(random_state))[: self.max_candidates]
        chosen = chosen.to(rows.device).sort().values
        check_at_most(self.nb_concepts, len(chosen), "one for each candidate row")
        candidates = rows[chosen]
        gram = candidates @ candidates.T
        weights = membership(candidates, self.nb_concepts, random_state)
        weights /= weights.sum(1, keepdim=True)
        codes = rows.new_zeros(self.nb_concepts, len(rows))
        self.errors = [float(rows.square().sum(dtype=torch.float64))]

        def step() -> None:
            atoms = weights @ candidates
            descent = Descent(atoms @ atoms.T)
            targets = descent.targets(atoms @ rows.T)
            for _ in range(2):
                descent.sweep(codes, targets)
            weights.copy_(_update(weights, codes, rows, candidates, gram))
            self.errors.append(error())

        def error() -> float:
            residual = torch.addmm(rows, codes.T, weights @ candidates, alpha=-1)
            return float(residual.square().sum(dtype=torch.float64))

        descend(step, error, self.max_iter, self.tolerance, tqdm_bar=tqdm_bar, name="ConvexNMF")
        self.candidates = chosen
        self.weights = weights / weights.sum(1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)
        self.learned(self.weights @ candidates * scale)

    def encode(self, activations: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """Compute the non-negative codes of least squared error, ``(n, c)``."""
        return encode(activations, self.dictionary)


def _update(weights: Tensor, codes: Tensor, rows: Tensor, candidates: Tensor, gram: Tensor) -> Tensor:
    """Apply the multiplicative update of Ding et al. to the weights ``(c, m)``: √(positive part / negative part)."""
    target = (codes @ rows) @ candidates.T  # (c, m)
    use = codes @ codes.T
    mixed = use @ weights
    up = target.clamp_min(0) + mixed @ (-gram).clamp_min(0)
    down = (-target).clamp_min(0) + mixed @ gram.clamp_min(0)
    return weights * (up / down.clamp_min(torch.finfo(down.dtype).tiny)).sqrt()


class ConvexNMFConcepts(DictionaryConcepts):
    """Concepts by convex factorization: each is a weighted mean of activations, so that it lies among them.

    Examples:
        >>> import torch
        >>> activations = torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
        >>> model = ConvexNMFConcepts(None, nb_concepts=4).fit(activations).concept_model
        >>> bool((model.weights >= 0).all()), model.weights.sum(1).allclose(torch.ones(4))
        (True, True)

    References:
        Ding, Li & Jordan, 2010, https://doi.org/10.1109/TPAMI.2008.277.
    """

    model_class = ConvexNMF
