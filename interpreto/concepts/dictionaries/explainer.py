"""Concepts by dictionary learning, whichever model learns the dictionary."""

from __future__ import annotations

from typing import Any

import torch

from interpreto.concepts.adapters.foreign_models import build_model
from interpreto.concepts.base import AnyActivations, ConceptAutoEncoderExplainer, Explainer
from interpreto.concepts.concept_model import all_or_nothing


class DictionaryLearningExplainer(ConceptAutoEncoderExplainer):
    """Concepts by any model with ``fit``, ``encode`` and ``decode``: one of this package, of overcomplete, or your own.

    Args:
        splitter: See `ConceptAutoEncoderExplainer`.
        concept_model: A class, made with ``nb_concepts`` and the options below, or an instance. Rows go in as ``(n, d)``
            and codes come out as ``(n, c)``.
        nb_concepts: Number of concepts; of an instance, its own.
        split_point: See `ConceptAutoEncoderExplainer`.
        device: See `ConceptAutoEncoderExplainer`.
        random_state: Seed; for a foreign model also of the global generators, while it runs and no longer.
        **concept_model_options: Given to the class.

    Examples:
        >>> import torch
        >>> class Mean(torch.nn.Module):
        ...     nb_concepts = 1
        ...     def fit(self, rows):
        ...         self.mean = rows.mean(0, keepdim=True)
        ...     def encode(self, rows):
        ...         return rows @ self.mean.T / self.mean.square().sum()
        ...     def decode(self, codes):
        ...         return codes @ self.mean
        >>> explainer = DictionaryLearningExplainer(None, Mean()).fit(torch.eye(2))
        >>> explainer.get_dictionary()
        tensor([[0.5000, 0.5000]])
    """

    def __init__(
        self,
        splitter: Any,
        concept_model: Any,
        nb_concepts: int | None = None,
        split_point: str | None = None,
        device: torch.device | str = "cpu",
        *,
        random_state: int = 0,
        **concept_model_options: Any,
    ) -> None:
        model = build_model(concept_model, nb_concepts, random_state, concept_model_options)
        super().__init__(splitter, model, split_point, device, random_state=random_state, options=concept_model_options)

    def fit(self: Explainer, activations: AnyActivations, overwrite: bool = False, tqdm_bar: bool = False) -> Explainer:
        """Learn the concepts, and answer the explainer itself.

        Args:
            activations: ``(n, d)``, a dictionary of them by split point, or an `ActivationStore`.
            overwrite: Learn anew what has been learned.
            tqdm_bar: Show the progress.

        Raises:
            InputError: the activations hold NaN, or do not suit the method.
            OptionError: it is fitted already, or asks for more concepts than the method can give.
        """
        rows = self._read_to_fit(activations, overwrite)
        with torch.inference_mode(False), torch.no_grad(), all_or_nothing(self.concept_model):
            self.concept_model.fit(rows, self.random_state, tqdm_bar)
        return self
