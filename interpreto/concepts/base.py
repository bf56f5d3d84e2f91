"""Explainers of concepts: a splitter, which reads a model's activations, and a concept model, which learns concepts of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from os import PathLike
from typing import Any, NoReturn, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.activations import Activations, ActivationSource, read_activations
from interpreto.concepts.concept_model import ConceptModel
from interpreto.concepts.downstream import Downstream
from interpreto.concepts.effects import ConceptEffects
from interpreto.concepts.inputs_to_concepts import InputsToConcepts
from interpreto.concepts.pretrained.export import save_sae_lens
from interpreto.concepts.serialization import save_concepts
from interpreto.concepts.splitters.base import ModelSplitter
from interpreto.errors import InputError, ModelError, OptionError
from interpreto.inputs.units import GranularityAggregationStrategy
from interpreto.models.devices import read_device
from interpreto.validation import check_choice, check_seed

Explainer = TypeVar("Explainer", bound="ConceptExplainer")

AnyActivations = Tensor | Mapping[str, Any] | ActivationSource
"""``(n, d)``, a dictionary of them by split point, or an `ActivationStore`."""


class ConceptExplainer(ConceptEffects, ABC):
    """Explains a model's activations at a split point by concepts.

    A concept has an amount in each row of activations (`encode_activations`) and a direction (`get_dictionary`). Explainers
    that also reconstruct activations from concepts are `ConceptAutoEncoderExplainer`.

    Args:
        splitter: The model and where it is split; None to work on activations alone. ``model_with_split_points`` is another
            spelling, also of the attribute.
        concept_model: The model that learns the concepts.
        split_point: One of the splitter's split points, where it has several.
        device: Device of the concept model.
        random_state: Seed of everything that is drawn.
        options: Options that the concept model was made with, for `save`.

    Raises:
        OptionError: the splitter has no such split point, or has several and none is named.
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
        self.random_state = check_seed(random_state)
        self.concept_model = concept_model
        self.concept_model_options = dict(options or {})
        self.device = read_device(device)
        concept_model.to(self.device)

    @abstractmethod
    def fit(self: Explainer, activations: AnyActivations, overwrite: bool = False) -> Explainer:
        """Learn the concepts, and return the explainer."""

    @abstractmethod
    def displacement(
        self, concepts: Float[Tensor, "u c"], activations: Float[Tensor, "u d"] | None = None
    ) -> Callable[[Tensor], Tensor]:
        """Return the change of the activations as a function of changed concepts.

        Args:
            concepts: Concepts of ``u`` units, as the model has them.
            activations: The activations of these units, where they are known.

        Returns:
            A function of changed concepts ``(m·u, c)``, ``m`` times those of the units, to what they add to the units'
            activations, ``(m·u, d)``: zero where nothing changed.
        """

    @property
    @abstractmethod
    def has_differentiable_displacement(self) -> bool:
        """Return True if gradients pass from changed activations to changed concepts."""

    @property
    def nb_concepts(self) -> int:
        """Return the number of concepts."""
        return self.concept_model.nb_concepts

    @property
    def is_fitted(self) -> bool:
        """Return True once the concepts have been learned or loaded."""
        return self.concept_model.is_fitted

    @property
    def has_differentiable_concept_encoder(self) -> bool:
        """Return True if gradients pass from concepts to activations."""
        return self.concept_model.has_differentiable_encoder

    @property
    def model_with_split_points(self) -> Any:
        """Return the splitter, by its other name."""
        return self.splitter

    def encode_activations(self, activations: Float[Tensor, ...] | Mapping[str, Any]) -> Float[Tensor, "n c"]:
        """Compute the amount of each concept in each row; differentiable where the concept model is.

        Args:
            activations: ``(n, d)``, or a dictionary of them by split point.

        Returns:
            Amounts ``(n, c)``, in the concept model's dtype and on its device.

        Raises:
            ModelError: the concepts have not been learned.
            InputError: the activations are of another shape or split point.
        """
        self.check_fitted()
        rows = read_activations(activations, self.split_point, self.device).source
        if not isinstance(rows, Tensor):
            raise InputError("`activations`: encode a store a batch at a time: `for rows in store.batches(4096)`.")
        widths = getattr(self.concept_model, "row_widths", None) or (self.get_dictionary().shape[1],)
        if rows.shape[1] not in widths:
            told = " or ".join(map(str, widths))
            raise InputError(f"`activations`: got width {rows.shape[1]}, and the concepts were learned on {told}.")
        return self.concept_model.encode(rows.to(self.device, self.concept_model.dtype))

    activations_to_concepts = encode_activations

    def inputs_to_concepts(
        self,
        inputs: Any,
        activation_granularity: Any = None,
        aggregation_strategy: GranularityAggregationStrategy | str | None = None,
    ) -> Float[Tensor, "n c"]:
        """Compute the amount of each concept in each unit of inputs.

        Args:
            inputs: Texts, or any other form that the splitter reads.
            activation_granularity: The unit of a row. None: a token; the text where activations have one row per text.
            aggregation_strategy: How the activations of a unit's tokens become one row; None: the mean.

        Returns:
            Amounts ``(n, c)``, the units of all inputs in order.

        Raises:
            ModelError: the concepts have not been learned.
            OptionError: there is no splitter.
        """
        splitter = self.own_splitter()
        samples = splitter.samples(inputs, activation_granularity)
        return self.encode_activations(splitter.activations_of(samples, aggregation_strategy, self.split_point))

    def get_dictionary(self) -> Float[Tensor, "c d"]:
        """Return the direction of each concept ``(c, d)``: what one unit of it adds to the activations.

        Raises:
            ModelError: the concepts have not been learned.
        """
        self.check_fitted()
        return self.concept_model.get_dictionary()

    def residual_directions(self) -> Float[Tensor, "c r"]:
        """Return what one unit of each concept adds to the hidden states of the model ``(c, r)``.

        The dictionary, where activations are hidden states; the values, where they are the neurons of a feed-forward layer.

        Raises:
            ModelError: the concepts have not been learned.
        """
        self.check_fitted()
        written = getattr(self.concept_model, "written", None)
        return self.get_dictionary() if written is None else written

    def to(self: Explainer, device: torch.device | str) -> Explainer:
        """Move the concept model to another device, and return the explainer."""
        self.device = read_device(device)
        self.concept_model.to(self.device)
        return self

    def save(self, path: str | PathLike[str], layout: str = "interpreto") -> None:
        """Write one safetensors file, with everything that is not a tensor as JSON in its header; see `load_concepts`.

        Args:
            path: The file; of the layout of SAELens, a folder.
            layout: ``"interpreto"``, or ``"sae_lens"`` for sparse autoencoders that others will read; see `load_sae`.

        Raises:
            ModelError: the concepts have not been learned, or the concept model cannot be written as tensors, or not in this
                layout.
            FileError: the file cannot be written.
        """
        if check_choice(layout, "layout", ("interpreto", "sae_lens")) == "sae_lens":
            save_sae_lens(self, path)
        else:
            save_concepts(self, path)

    def get_inputs_to_concepts_model(self, pooling: str = "mean") -> InputsToConcepts:
        """Return a model from a text to its concepts, which attribution methods explain as they explain a classifier.

        Args:
            pooling: How the concepts of a text's tokens become the text's: ``"mean"`` or ``"max"``. Not used where
                activations have one row per text.

        Raises:
            ModelError: the concepts are not fitted.
            OptionError: there is no splitter, or no such pooling.
        """
        return InputsToConcepts(self, pooling)

    def interpret(self, *_arguments: Any, **_options: Any) -> NoReturn:
        """Raise an error that says how to interpret concepts: by an interpretation, such as `TopKInputs`."""
        raise NotImplementedError(
            "Concepts are labeled by an interpretation: "
            "TopKInputs(concept_explainer=explainer, activation_granularity=...)"
            ".interpret(inputs=..., latent_activations=...), from interpreto.concepts.interpretations."
        )

    def __repr__(self) -> str:
        state = "fitted" if self.is_fitted else "not fitted"
        return f"{type(self).__name__}(nb_concepts={self.nb_concepts}, split_point={self.split_point!r}, {state})"

    def check_fitted(self) -> None:
        """Raise a `ModelError` unless the concepts have been learned or loaded."""
        if not self.is_fitted:
            raise ModelError(
                f"This {type(self).__name__} is not fitted; call `fit(activations)` first, or use `load_concepts`."
            )

    def own_splitter(self, split_point: str | None = None) -> ModelSplitter:
        """Return the splitter of fitted concepts.

        Args:
            split_point: The one that was asked for, if any.

        Raises:
            ModelError: the concepts are not fitted.
            OptionError: there is no splitter, or the split point is not the concepts'.
        """
        self.check_fitted()
        if self.splitter is None:
            raise OptionError(
                f"`splitter`: this {type(self).__name__} has no splitter, and so no model; load the concepts with one "
                "(load_concepts(path, splitter=...)), or make the explainer with one, as in "
                "NMFConcepts(splitter, nb_concepts=20)."
            )
        if split_point is not None and split_point != self.split_point:
            raise OptionError(f"`split_point`: got {split_point!r}; these are the concepts of {self.split_point!r}.")
        return self.splitter

    def _downstream(
        self,
        split_point: str | None,
        activation_granularity: Any,
        aggregation_strategy: GranularityAggregationStrategy | str | None,
        inference_mode: Any,
    ) -> Downstream:
        return Downstream(self, activation_granularity, aggregation_strategy, inference_mode, split_point)

    def _read_to_fit(self, activations: AnyActivations, overwrite: bool) -> Activations:
        if self.is_fitted and not overwrite:
            raise OptionError("`overwrite`: this explainer is already fitted; pass overwrite=True to learn its concepts anew.")
        rows = read_activations(activations, self.split_point, self.device)
        check_model = getattr(rows.source, "check_model", None)
        if callable(check_model) and self.splitter is not None and self.split_point is not None:
            check_model(self.splitter.model, self.split_point)
        return rows


class ConceptAutoEncoderExplainer(ConceptExplainer):
    """Explains activations by concepts, and reconstructs activations from concepts."""

    @property
    def has_differentiable_concept_decoder(self) -> bool:
        """Return True if gradients pass from decoded activations to concepts."""
        return self.concept_model.has_differentiable_decoder

    @property
    def has_differentiable_displacement(self) -> bool:
        """Return True if gradients pass through the decoder."""
        return self.has_differentiable_concept_decoder

    def decode_concepts(
        self, concepts: Float[Tensor, ...], activations: Float[Tensor, ...] | None = None
    ) -> Float[Tensor, "n d"]:
        """Reconstruct activations ``(n, d)`` from concepts ``(n, c)``; differentiable where the concept model is.

        Args:
            concepts: Amount of each concept in each row.
            activations: The rows ``(n, d)`` whose concepts these are, or were before they were changed. Only concept models
                that normalize each row by itself need them.

        Raises:
            ModelError: the concepts have not been learned, or do not suffice without the activations.
            InputError: the concepts, or the activations, are of another number or shape.
        """
        self.check_fitted()
        model = self.concept_model
        if concepts.ndim != 2 or concepts.shape[1] != self.nb_concepts:
            raise InputError(f"`concepts`: got shape {tuple(concepts.shape)}; pass (n, {self.nb_concepts}).")
        given = concepts.to(self.device, model.dtype)
        if model.decodes_alone:
            return model.decode(given)
        if activations is None:
            raise ModelError(
                f"`activations`: {type(model).__name__} normalizes each row by itself, so that concepts alone do not say how "
                "large it was; pass the rows too, as in decode_concepts(concepts, activations)."
            )
        if activations.ndim != 2 or len(activations) != len(concepts):
            raise InputError(f"`activations`: got shape {tuple(activations.shape)}; pass ({len(concepts)}, d), one per row.")
        return model.decode(given, activations.to(self.device, model.dtype))

    concepts_to_activations = decode_concepts

    def displacement(
        self, concepts: Float[Tensor, "u c"], activations: Float[Tensor, "u d"] | None = None
    ) -> Callable[[Tensor], Tensor]:
        """Return ``changed -> decode(changed) − decode(concepts)``."""
        with torch.no_grad():
            decoded = self.decode_concepts(concepts, activations)

        def by(changed: Tensor) -> Tensor:
            m = len(changed) // max(1, len(decoded))
            return self.decode_concepts(changed, repeated(activations, m)) - decoded.repeat(m, 1)

        return by


def repeated(rows: Tensor | None, m: int) -> Tensor | None:
    """Return rows ``m`` times, one after the other; None of none."""
    return None if rows is None else rows.repeat(m, 1)


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
