"""The concept model of probes: a linear score for each concept, and one direction of the activations."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.concept_model import ConceptModel
from interpreto.concepts.probes.fits import LinearScores
from interpreto.errors import ModelError


class Probe(ConceptModel):
    """Linear scores of concepts. A probe reads activations, and does not reconstruct them.

    Args:
        nb_concepts: Number of concepts.
    """

    axes: ClassVar = {"weights": "c d", "bias": "c", "dictionary": "c d"}

    weights: Tensor
    bias: Tensor
    dictionary: Tensor

    def __init__(self, nb_concepts: int) -> None:
        super().__init__(nb_concepts)
        self.has_differentiable_decoder = False
        for name in self.axes:
            self.register_buffer(name, torch.empty(0, dtype=torch.float32))

    @property
    def is_fitted(self) -> bool:
        """Return True once concepts have been learned or loaded."""
        return self.weights.numel() > 0

    def encode(self, activations: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """Compute the score of each concept in each row."""
        return activations @ self.weights.T + self.bias

    def decode(self, concepts: Float[Tensor, "n c"], activations: Float[Tensor, "n d"] | None = None) -> Float[Tensor, "n d"]:
        """Raise an error: activations do not follow from scores.

        Raises:
            ModelError: always.
        """
        raise ModelError(
            "A probe reads concepts, and does not reconstruct activations from them; use a dictionary, such as NMFConcepts."
        )

    def get_dictionary(self) -> Float[Tensor, "c d"]:
        """Return what one unit of each concept adds to the activations."""
        return self.dictionary

    def learned(self, scores: LinearScores, directions: Float[Tensor, "c d"], dtype: torch.dtype) -> None:
        """Store learned scores, and the direction of each concept."""
        self.nb_concepts = len(directions)
        self.weights, self.bias = scores.weights.to(dtype).contiguous(), scores.bias.to(dtype)
        self.dictionary = directions.to(dtype).contiguous()
