"""Concepts by dictionary learning, whichever model learns the dictionary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import torch

from interpreto.aliases import aliases
from interpreto.concepts.adapters.foreign_models import build_model
from interpreto.concepts.base import AnyActivations, ConceptAutoEncoderExplainer
from interpreto.concepts.concept_model import ConceptModel, all_or_nothing
from interpreto.concepts.declared import check_options, declare
from interpreto.errors import OptionError

Learner = TypeVar("Learner", bound="DictionaryLearningExplainer")


class DictionaryLearningExplainer(ConceptAutoEncoderExplainer):
    """Explain activations by any model with ``fit``, ``encode`` and ``decode``: of interpreto, of overcomplete, or your own.

    Args:
        splitter: The model and where it is split; None to work on activations alone.
        concept_model: A class, made with ``nb_concepts`` and the options below, or an instance. Rows go in as ``(n, d)``
            and codes come out as ``(n, c)``.
        nb_concepts: Number of concepts; of an instance, its own.
        split_point: One of the splitter's split points, where it has several.
        device: Device of the concept model.
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

    concept_model: Any

    @aliases(model_with_split_points="splitter")
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
        self._made_of = concept_model

    def fit(
        self: Learner,
        activations: AnyActivations,
        overwrite: bool = False,
        tqdm_bar: bool | None = None,
        **concept_model_options: Any,
    ) -> Learner:
        """Learn the concepts, and return the explainer.

        Args:
            activations: ``(n, d)``, a dictionary of them by split point, or an `ActivationStore`.
            overwrite: Learn anew what has been learned.
            tqdm_bar: Show the progress; None: after two seconds, in terminals and notebooks.
            **concept_model_options: Options of the concept model, in place of those that the explainer was made with.

        Raises:
            InputError: the activations hold NaN, or do not suit the method.
            OptionError: it is fitted already, or asks for more concepts than the method can give.
        """
        rows = self._read_to_fit(activations, overwrite)
        options = {**self.concept_model_options, **concept_model_options}
        model: Any = self._remade(options) if concept_model_options else self.concept_model
        with torch.inference_mode(False), torch.no_grad(), all_or_nothing(model):
            model.fit(rows, self.random_state, tqdm_bar)
        self.concept_model, self.concept_model_options = model, options
        return self

    def _remade(self, options: dict[str, Any]) -> ConceptModel:
        """Return the concept model made again, with other options."""
        if not isinstance(self._made_of, (type, str)):
            raise OptionError(
                f"`fit`: got {', '.join(options)}, and {type(self._made_of).__name__} is an instance, which has its options."
            )
        return build_model(self._made_of, self.nb_concepts, self.random_state, options).to(self.device)


class DictionaryConcepts(DictionaryLearningExplainer):
    """Base of the explainers that declare their concept model.

    ``class NMFConcepts(DictionaryConcepts): model_class = NMF`` is a whole explainer. Its options are those of the model's
    constructor, and are documented there.
    """

    model_class: ClassVar[Callable[..., ConceptModel]]

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if "model_class" in vars(cls):
            declare(cls, cls.model_class)

    @aliases(model_with_split_points="splitter")
    def __init__(
        self,
        splitter: Any,
        nb_concepts: int = 20,
        split_point: str | None = None,
        device: torch.device | str = "cpu",
        random_state: int = 0,
        **options: Any,
    ) -> None:
        """Make an explainer.

        Args:
            splitter: The model and where it is split; None to work on activations alone.
            nb_concepts: Number of concepts.
            split_point: One of the splitter's split points, where it has several.
            device: Device of the concept model.
            random_state: Seed of everything that is drawn.
            **options: Options of the concept model.
        """
        check_options(type(self).__name__, self.model_class, options)
        super().__init__(splitter, self.model_class, nb_concepts, split_point, device, random_state=random_state, **options)
