"""The model's own neurons as concepts."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.activations import Activations
from interpreto.concepts.base import AnyActivations, ConceptAutoEncoderExplainer
from interpreto.concepts.concept_model import FittableModel
from interpreto.concepts.splitters.base import ModelSplitter
from interpreto.errors import InterpretoError, OptionError

_PROBE = "It is so, and it was so."


class Neurons(FittableModel):
    """The identity: each dimension of the activations is a concept."""

    axes: ClassVar = {"width": ""}

    width: Tensor

    def __init__(self, nb_concepts: int | None = None) -> None:
        super().__init__(1 if nb_concepts is None else nb_concepts)
        self.register_buffer("width", torch.zeros(() if nb_concepts is not None else 0, dtype=torch.float32))

    @property
    def is_fitted(self) -> bool:
        """Return True once the width is known: there is nothing else to learn."""
        return self.width.numel() > 0

    def fit(self, activations: Activations, random_state: int, tqdm_bar: bool | None) -> None:
        """Take the width of the activations."""
        self.nb_concepts = activations.d
        self.width = torch.zeros((), dtype=activations.dtype, device=activations.device)

    def encode(self, activations: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """Return the activations."""
        return activations

    def decode(self, concepts: Float[Tensor, "n c"], activations: Float[Tensor, "n d"] | None = None) -> Float[Tensor, "n d"]:
        """Return the concepts."""
        return concepts

    def get_dictionary(self) -> Float[Tensor, "c d"]:
        """Return the identity matrix."""
        return torch.eye(self.nb_concepts, dtype=self.width.dtype, device=self.width.device)


class NeuronsAsConcepts(ConceptAutoEncoderExplainer):
    """Concepts that are the neurons themselves: nothing is learned.

    Args:
        splitter: The model and where it is split; None to work on activations alone.
        nb_concepts: The width; None: that of the splitter's activations, for which it reads one short text; without a splitter,
            of those given to `fit`.
        split_point: One of the splitter's split points, where it has several.
        device: Device of the concept model.
        random_state: Not used: nothing is drawn.

    Examples:
        >>> import torch
        >>> NeuronsAsConcepts(None, nb_concepts=2).encode_activations(torch.tensor([[1.0, -2.0]]))
        tensor([[ 1., -2.]])
    """

    concept_model: Neurons

    def __init__(
        self,
        splitter: Any,
        nb_concepts: int | None = None,
        split_point: str | None = None,
        device: torch.device | str = "cpu",
        random_state: int = 0,
    ) -> None:
        super().__init__(splitter, Neurons(nb_concepts), split_point, device, random_state=random_state)
        if nb_concepts is None and isinstance(splitter, ModelSplitter):
            with suppress(InterpretoError):  # a splitter that cannot read a text alone leaves the width to `fit`
                samples = list(splitter.iter_read([_PROBE], splitter.default_granularity))
                self.fit(splitter.activations_of(samples, split_point=self.split_point)[:1])

    def fit(self, activations: AnyActivations, overwrite: bool = False) -> NeuronsAsConcepts:
        """Take the width of the activations. Repeated fits need no ``overwrite`` if the width stays the same.

        Raises:
            OptionError: the width is known, and is another.
        """
        rows = self._read_to_fit(activations, overwrite=True)
        if self.is_fitted and rows.d != self.nb_concepts and not overwrite:
            raise OptionError(
                f"`activations`: got width {rows.d}, and the neurons are {self.nb_concepts}; pass overwrite=True."
            )
        self.concept_model.fit(rows, self.random_state, tqdm_bar=False)
        return self
