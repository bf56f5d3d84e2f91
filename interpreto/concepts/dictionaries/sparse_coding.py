"""Sparse coding: a dictionary whose codes pay an L1 penalty."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.activations import Activations
from interpreto.concepts.adapters.scikit_learn import load_scikit_learn, solving
from interpreto.concepts.concept_model import Dictionary
from interpreto.concepts.dictionaries.explainer import DictionaryConcepts
from interpreto.concepts.scales import spread
from interpreto.concepts.solvers.coordinate_descent import Penalty
from interpreto.concepts.solvers.least_squares import encode


class SparseCoding(Dictionary):
    """Centered rows as sparse combinations of atoms, learned by scikit-learn's mini-batch solver.

    Args:
        nb_concepts: Number of atoms.
        alpha: Weight of the L1 penalty on the codes, for rows whose numbers have a variance of 1 on average.
        max_iter: Maximum number of passes over the rows.
        batch_size: Rows per step.
    """

    axes: ClassVar = {**Dictionary.axes, "scale": "1"}

    scale: Tensor

    def __init__(self, nb_concepts: int, alpha: float = 1.0, max_iter: int = 20, batch_size: int = 256) -> None:
        super().__init__(nb_concepts)
        self.alpha = alpha
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.register_buffer("scale", torch.empty(0, dtype=torch.float32))

    def fit(self, activations: Activations, random_state: int, tqdm_bar: bool | None) -> None:
        """Learn the atoms of the centered rows, scaled to a variance of 1."""
        rows = activations.read().double()
        center, scale = rows.mean(0), spread(rows)
        solver = load_scikit_learn("decomposition").MiniBatchDictionaryLearning(
            self.nb_concepts,
            alpha=self.alpha,
            max_iter=self.max_iter,
            batch_size=min(self.batch_size, len(rows)),
            fit_algorithm="cd",
            transform_max_iter=10_000,  # also of the codes while it learns
            random_state=random_state,
        )
        with solving("DictionaryLearning", random_state, "raise `max_iter`"):
            solver.fit(((rows - center) / scale).cpu().numpy())
        self.scale = rows.new_tensor([scale], dtype=activations.dtype)
        atoms = torch.from_numpy(solver.components_).to(rows)
        self.learned((atoms * scale).to(activations.dtype), center)

    def encode(self, activations: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """Compute the codes of least squared error and L1 penalty, of either sign, ``(n, c)``."""
        rows = (activations - self.offset) / self.scale
        return encode(rows, self.dictionary / self.scale, Penalty(self.alpha, signed=True))


class DictionaryLearningConcepts(DictionaryConcepts):
    """Concepts by sparse coding: few of them, of either sign, make each activation.

    Examples:
        >>> import torch
        >>> activations = torch.randn(100, 8, generator=torch.Generator().manual_seed(0))
        >>> concepts = DictionaryLearningConcepts(None, nb_concepts=12).fit(activations).encode_activations(activations)
        >>> 0 < float((concepts != 0).float().mean()) < 0.6
        True

    References:
        Mairal et al., 2009, https://arxiv.org/abs/0908.0050.
    """

    model_class = SparseCoding
