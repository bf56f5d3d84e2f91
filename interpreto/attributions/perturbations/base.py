"""From a sample to its variants."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from interpreto.errors import OptionError
from interpreto.inputs.samples import EmbeddingVariants, MaskVariants, Sample
from interpreto.models.embeddings import EmbeddingSpace
from interpreto.validation import check_count  # noqa: F401  # its old place


class Perturbator(ABC):  # noqa: B024  (its two kinds see different things)
    """Says which variants of a sample are scored. Never calls the model; all chance comes from the given generator."""


class MaskPerturbator(Perturbator):
    """Removes units. Subclasses say which, in which copy.

    The untouched sample is scored in any case; asking for it again costs nothing, as equal copies are run once.

    Examples:
        >>> class FirstAndLast(MaskPerturbator):
        ...     def masks(self, u, generator):
        ...         return torch.eye(u)[[0, -1]]
    """

    @abstractmethod
    def masks(self, u: int, generator: Generator) -> Float[Tensor, "p u"]:
        """1 where a unit is removed."""

    def __call__(self, sample: Sample, generator: Generator) -> MaskVariants:
        u = sample.players
        mask = torch.as_tensor(self.masks(u, generator), dtype=torch.float32)
        if mask.ndim != 2 or mask.shape[1] != u or not ((mask == 0) | (mask == 1)).all():
            raise OptionError(
                f"`perturbator`: {type(self).__name__}.masks answered {tuple(mask.shape)}; "
                f"it must answer zeros and ones of shape (copies, {u})."
            )
        return MaskVariants(sample, over_units(mask, sample))


def over_units(mask: Float[Tensor, "p m"], sample: Sample) -> Float[Tensor, "p u"]:
    """Masks of the units that some score can depend on, as masks of all units; the others stay."""
    return torch.nn.functional.pad(mask, (0, len(sample.units) - mask.shape[1]))


class WeightedMaskPerturbator(Perturbator):
    """Removes units, and says what each copy counts for."""

    @abstractmethod
    def __call__(self, sample: Sample, generator: Generator) -> MaskVariants: ...


class EmbeddingsPerturbator(Perturbator):
    """Moves the embeddings. Subclasses say where to, and along which direction gradients count.

    Tokens in no unit keep their embedding, so that what is attributed is what the units do.
    """

    @abstractmethod
    def __call__(self, sample: Sample, space: EmbeddingSpace, generator: Generator) -> EmbeddingVariants: ...


class UntouchedPerturbator(MaskPerturbator):
    """The input alone."""

    def masks(self, u: int, generator: Generator) -> Float[Tensor, "1 u"]:
        return torch.zeros(1, u)


class InputPerturbator(EmbeddingsPerturbator):
    """The input alone, for its gradient: along the input, or as a norm."""

    def __init__(self, input_x_gradient: bool = False) -> None:
        self.input_x_gradient = input_x_gradient

    def __call__(self, sample: Sample, space: EmbeddingSpace, generator: Generator) -> EmbeddingVariants:
        point = space.embed(sample)[None]
        return EmbeddingVariants(sample, point, direction=point if self.input_x_gradient else None)


def on_units(values: Float[Tensor, "*p l d"], sample: Sample) -> Float[Tensor, "*p l d"]:
    """The values at tokens that belong to a unit, zero at the others."""
    return values * sample.units.free.to(values)[:, None]
