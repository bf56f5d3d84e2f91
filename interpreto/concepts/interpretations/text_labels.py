"""Base of labels that are made from the texts in which a concept is active, of which a part is held out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from interpreto.concepts.base import ConceptExplainer
from interpreto.concepts.interpretations.base import Interpretation
from interpreto.concepts.interpretations.concept_label import ConceptLabels
from interpreto.concepts.interpretations.held_out import ConceptTexts, TextSplit, read_text_unit, read_texts
from interpreto.concepts.interpretations.topk_inputs import read_indices
from interpreto.validation import check_probability


class TextLabels(Interpretation, ABC):
    """Base of labelers that read a data set: they label concepts from one part of its texts, and leave the other for scores.

    Args:
        concept_explainer: Fitted concepts with a splitter.
        activation_granularity: The unit; None: words, or texts where the splitter has one row per text.
        held_out: Share of the texts that are held out.
        quantile: Share of the texts in which a concept does not count as active.
        random_state: Seed of the split.

    Raises:
        OptionError: an option is out of range.
    """

    def __init__(
        self,
        concept_explainer: ConceptExplainer,
        activation_granularity: Any,
        *,
        held_out: float,
        quantile: float,
        random_state: int,
    ) -> None:
        self.concept_explainer = concept_explainer
        self.activation_granularity = read_text_unit(concept_explainer, activation_granularity)
        self.quantile = check_probability(quantile, "quantile", one=False)
        self.split = TextSplit(held_out, random_state)

    def interpret(
        self,
        inputs: Any = None,
        latent_activations: Any = None,
        concepts_indices: Any = "all",
        *,
        concepts_activations: Tensor | None = None,
    ) -> ConceptLabels:
        """Return a label for each concept.

        Args:
            inputs: The data set, in any form that the splitter reads.
            latent_activations: Activations of the inputs' units, in order; None: computed.
            concepts_indices: Which concepts: a number, several, or ``"all"``.
            concepts_activations: Amounts ``(n, c)`` of all concepts in the units, in place of activations.

        Raises:
            ModelError: the concepts are not fitted.
            InputError: rows and units are of different numbers, or there is one text only.
            OptionError: no such concept.
            EndpointError, JudgeError: a judge writes the labels, and cannot be asked.
        """
        self.concept_explainer.check_fitted()
        concepts = read_indices(concepts_indices, self.concept_explainer.nb_concepts)
        texts = read_texts(
            self.concept_explainer,
            inputs,
            latent_activations,
            concepts,
            unit=self.activation_granularity,
            split=self.split,
            quantile=self.quantile,
            concepts_activations=concepts_activations,
        )
        return self._labels_of(texts)

    @abstractmethod
    def _labels_of(self, texts: ConceptTexts) -> ConceptLabels:
        """Return a label for each concept of a data set."""

    @property
    def _split_config(self) -> dict[str, Any]:
        """Return what scores need to know of the texts that are held out."""
        return {"held_out": self.split.share, "random_state": self.split.random_state, "quantile": self.quantile}
