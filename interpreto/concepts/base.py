"""A splitter and a concept model: activations to concepts and back, at one point of a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.activations import Activations, ActivationSource, read_activations
from interpreto.concepts.concept_model import ConceptModel, read_seed
from interpreto.errors import InputError, ModelError, OptionError
from interpreto.inputs.units import GranularityAggregationStrategy
from interpreto.models.forward import read_device

if TYPE_CHECKING:
    from interpreto.concepts.inputs_to_concepts import InputsToConcepts

Explainer = TypeVar("Explainer", bound="ConceptAutoEncoderExplainer")

AnyActivations = Tensor | Mapping[str, Any] | ActivationSource
"""``(n, d)``, a dictionary of them by split point, or an `ActivationStore`."""


class ConceptAutoEncoderExplainer(ABC):
    """Explains a model's activations at a split point by concepts, and gives activations back from concepts.

    Args:
        splitter: The model and where it is split; None to work on activations alone.
        concept_model: What learns the concepts.
        split_point: Which of the splitter's split points, when it has several.
        device: Where the concept model computes.
        random_state: Seed of everything that is drawn.
        options: What the concept model was made with, for `save`.
    """

    def __init__(
        self,
        splitter: Any,
        concept_model: ConceptModel,
        split_point: str | None = None,
        device: torch.device | str = "cpu",
        *,
        random_state: int = 0,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.splitter = splitter
        self.split_point = _read_split_point(splitter, split_point)
        self.random_state = read_seed(random_state)
        self.concept_model = concept_model
        self.concept_model_options = dict(options or {})
        self.device = read_device(device)
        concept_model.to(self.device)

    @abstractmethod
    def fit(self: Explainer, activations: AnyActivations, overwrite: bool = False) -> Explainer:
        """Learn the concepts."""

    @property
    def nb_concepts(self) -> int:
        """How many concepts there are."""
        return self.concept_model.nb_concepts

    @property
    def is_fitted(self) -> bool:
        """Whether the concepts have been learned or loaded."""
        return self.concept_model.is_fitted

    @property
    def has_differentiable_concept_encoder(self) -> bool:
        """Whether gradients pass from concepts to activations."""
        return self.concept_model.has_differentiable_encoder

    @property
    def has_differentiable_concept_decoder(self) -> bool:
        """Whether gradients pass from decoded activations to concepts."""
        return self.concept_model.has_differentiable_decoder

    def encode_activations(self, activations: Float[Tensor, ...] | Mapping[str, Any]) -> Float[Tensor, "n c"]:
        """How much of each concept is in each row of ``(n, d)``; differentiable where the concept model is.

        Raises:
            ModelError: the concepts have not been learned.
            InputError: the activations are of another shape or split point.
        """
        self._check_fitted()
        rows = read_activations(activations, self.split_point, self.device).source
        if not isinstance(rows, Tensor):
            raise InputError("`activations`: encode a store a batch at a time: `for rows in store.batches(4096)`.")
        width = self.get_dictionary().shape[1]
        if rows.shape[1] != width:
            raise InputError(f"`activations`: got width {rows.shape[1]}, and the concepts were learned on {width}.")
        return self.concept_model.encode(rows.to(self.device, self.concept_model.dtype))

    def decode_concepts(self, concepts: Float[Tensor, ...]) -> Float[Tensor, "n d"]:
        """The activations ``(n, d)`` that concepts ``(n, c)`` stand for; differentiable where the concept model is.

        Raises:
            ModelError: the concepts have not been learned.
            InputError: the concepts are of another number or shape.
        """
        self._check_fitted()
        if concepts.ndim != 2 or concepts.shape[1] != self.nb_concepts:
            raise InputError(f"`concepts`: got shape {tuple(concepts.shape)}; pass (n, {self.nb_concepts}).")
        return self.concept_model.decode(concepts.to(self.device, self.concept_model.dtype))

    def get_dictionary(self) -> Float[Tensor, "c d"]:
        """The direction of each concept: what a unit of it adds to the decoded activations.

        Raises:
            ModelError: the concepts have not been learned.
        """
        self._check_fitted()
        return self.concept_model.get_dictionary()

    def to(self: Explainer, device: torch.device | str) -> Explainer:
        """Compute on another device from now on."""
        self.device = read_device(device)
        self.concept_model.to(self.device)
        return self

    def save(self, path: str | PathLike[str]) -> None:
        """Write one safetensors file, with everything that is not a tensor as JSON in its header; see `load_concepts`.

        Raises:
            ModelError: the concepts have not been learned, or the concept model cannot be written as tensors.
        """
        from interpreto.concepts.serialization import save_concepts  # noqa: PLC0415  (it imports every explainer)

        save_concepts(self, path)

    def concept_output_gradient(  # noqa: PLR0917  # in the reference's order
        self,
        inputs: Any,
        targets: Any = None,
        split_point: str | None = None,
        activation_granularity: Any = None,
        aggregation_strategy: GranularityAggregationStrategy | str = GranularityAggregationStrategy.MEAN,
        concepts_x_gradients: bool = True,
        normalization: bool = True,
        tqdm_bar: bool = False,
        batch_size: int | None = None,
        *,
        inference_mode: Any = None,
    ) -> list[Float[Tensor, ...]]:
        """How each output changes with each concept of each unit: one ``(t, g, c)`` for each input, on the CPU.

        Only the model above the split point is differentiated. What the concepts do not explain of the activations stays.

        Args:
            inputs: Texts, or any other form that the splitter reads.
            targets: Of a classifier, class ids or names: one, several for all inputs, or a list of such lists, one for each
                input; None: every output. Of a language model, what follows each input, as text or ids, explained token by
                token; None: what the splitter's model writes, or, where it writes nothing, the text's own tokens from the
                second on, if a decoder reads them.
            split_point: The concepts' own, or None.
            activation_granularity: What a unit is. None: a token; the text where activations have one row a text.
            aggregation_strategy: How the activations of a unit's tokens become the row that is encoded.
            concepts_x_gradients: Multiply by the concepts.
            normalization: Divide, for each input and target, by the sum of the sizes over units and concepts: sizes then sum
                to 1, or are all 0.
            tqdm_bar: Show the texts done.
            batch_size: Texts a pass; None: as the splitter has it.
            inference_mode: The score; see `InferenceModes`. None: logits of a classifier, log-probabilities of a language
                model.

        Raises:
            ModelError: the concepts are not fitted, or no gradient passes through their decoder.
            OptionError, InputError, TargetError, TaskError: what cannot be explained as asked.

        Examples:
            >>> from interpreto import SplitterForClassification, demo
            >>> from interpreto.concepts import PCAConcepts
            >>> model, tokenizer = demo.load_classifier()
            >>> splitter = SplitterForClassification(model, tokenizer=tokenizer)
            >>> texts = ["A charming film.", "Dull.", "Not my cup of tea."]
            >>> explainer = PCAConcepts(splitter, nb_concepts=2).fit(splitter.get_activations(texts)[0])
            >>> [tuple(gradients.shape) for gradients in explainer.concept_output_gradient(texts, targets=["positive"])]
            [(1, 1, 2), (1, 1, 2), (1, 1, 2)]
        """
        from interpreto.concepts.importance import normalized  # noqa: PLC0415  (it loads the splitters)

        found = self.concept_output_attribution(
            inputs,
            targets,
            "gradient_x_concept" if concepts_x_gradients else "gradient",
            split_point,
            activation_granularity,
            aggregation_strategy=aggregation_strategy,
            tqdm_bar=tqdm_bar,
            batch_size=batch_size,
            inference_mode=inference_mode,
        )
        return normalized(found) if normalization else found

    def concept_output_attribution(
        self,
        inputs: Any,
        targets: Any = None,
        method: str = "gradient_x_concept",
        split_point: str | None = None,
        activation_granularity: Any = None,
        *,
        aggregation_strategy: GranularityAggregationStrategy | str = GranularityAggregationStrategy.MEAN,
        n_steps: int = 32,
        tqdm_bar: bool = False,
        batch_size: int | None = None,
        inference_mode: Any = None,
    ) -> list[Float[Tensor, ...]]:
        """What each concept of each unit does to each output: one ``(t, g, c)`` for each input, on the CPU.

        Args:
            inputs: See `concept_output_gradient`, as for all that is not named here.
            targets: See there.
            method: ``"gradient"``; ``"gradient_x_concept"``; ``"integrated_gradients"`` on the line from no concepts to
                those that there are, which sums to the score minus the score without concepts; ``"ablation"``: the score
                lost without one concept of one unit.
            split_point: See there.
            activation_granularity: See there.
            aggregation_strategy: See there.
            n_steps: Points of the integral.
            tqdm_bar: See there.
            batch_size: See there.
            inference_mode: See there.

        References:
            Sundararajan, Taly and Yan, ICML 2017, https://arxiv.org/abs/1703.01365; over concepts, Fel et al., 2023,
            https://arxiv.org/abs/2306.07304.
        """
        from interpreto.concepts.importance import output_attribution  # noqa: PLC0415  (it loads the splitters)

        return output_attribution(
            self,
            inputs,
            targets,
            method,
            split_point=split_point,
            activation_granularity=activation_granularity,
            aggregation_strategy=aggregation_strategy,
            n_steps=n_steps,
            inference_mode=inference_mode,
            tqdm_bar=tqdm_bar,
            batch_size=batch_size,
        )

    def get_inputs_to_concepts_model(self, pooling: str = "mean") -> InputsToConcepts:
        """A model from a text to its concepts, which attribution methods explain as they explain a classifier.

        Args:
            pooling: How the concepts of a text's tokens become the text's: ``"mean"`` or ``"max"``. Not used where
                activations have one row a text.

        Raises:
            ModelError: the concepts are not fitted.
            OptionError: there is no splitter, or no such pooling.
        """
        from interpreto.concepts.inputs_to_concepts import InputsToConcepts  # noqa: PLC0415  (it loads the splitters)

        return InputsToConcepts(self, pooling)

    def interpret(self, *_arguments: Any, **_options: Any) -> NoReturn:
        """Not here: concepts are labelled by an interpretation, such as ``TopKInputs``."""
        raise NotImplementedError(
            "Concepts are labelled by an interpretation: "
            "TopKInputs(concept_explainer=explainer, activation_granularity=...)"
            ".interpret(inputs=..., latent_activations=...), from interpreto.concepts.interpretations."
        )

    def __repr__(self) -> str:
        state = "fitted" if self.is_fitted else "not fitted"
        return f"{type(self).__name__}(nb_concepts={self.nb_concepts}, split_point={self.split_point!r}, {state})"

    def _read_to_fit(self, activations: AnyActivations, overwrite: bool) -> Activations:
        if self.is_fitted and not overwrite:
            raise OptionError("`overwrite`: this explainer is already fitted; pass overwrite=True to learn its concepts anew.")
        rows = read_activations(activations, self.split_point, self.device)
        check_model = getattr(rows.source, "check_model", None)
        if callable(check_model) and self.splitter is not None and self.split_point is not None:
            check_model(self.splitter.model, self.split_point)
        return rows

    def _check_fitted(self) -> None:
        if not self.is_fitted:
            raise ModelError(
                f"This {type(self).__name__} is not fitted; call `fit(activations)` first, or use `load_concepts`."
            )


def _read_split_point(splitter: Any, split_point: str | None) -> str | None:
    points = list(getattr(splitter, "split_points", []))
    if splitter is None or not points:
        return split_point
    if split_point is None:
        if len(points) > 1:
            raise OptionError(f"`split_point`: the splitter has {', '.join(map(repr, points))}; pass the one to explain.")
        return points[0]
    if split_point not in points:
        raise OptionError(f"`split_point`: got {split_point!r}; the splitter has {', '.join(map(repr, points))}.")
    return split_point
