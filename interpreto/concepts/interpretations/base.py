"""Base of interpretations: what concepts mean, in words."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from interpreto.concepts.base import ConceptExplainer


class Interpretation(ABC):
    """Base of interpretations, which plots and the dashboard take to name concepts.

    Attributes:
        concept_explainer: Whose concepts are interpreted.
        needs_inputs: It reads a data set; otherwise the concepts alone, as their directions in a vocabulary.
    """

    concept_explainer: ConceptExplainer
    needs_inputs: ClassVar[bool] = True

    @abstractmethod
    def interpret(self, *arguments: Any, **options: Any) -> Mapping[int, Any]:
        """Return what each concept means: texts with their weights, a label, or None where it means nothing.

        Args:
            arguments: ``inputs``, the data set; ``latent_activations`` of its units; ``concepts_indices``, which concepts.
            options: The same by name. Interpretations that need no inputs take ``concepts_indices`` alone.
        """
