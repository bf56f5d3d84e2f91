"""Interfaces of perturbators: from a sample to its perturbed inputs."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from interpreto.errors import OptionError
from interpreto.inputs.samples import EmbeddingVariants, MaskVariants, Sample
from interpreto.models.embeddings import InputSpace
from interpreto.validation import check_count  # noqa: F401  # its old place


class Perturbator(ABC):  # noqa: B024  (its two kinds see different things)
    """Choose the perturbed inputs of a sample, without the model; all randomness comes from the given generator."""

    def of_rows(self, rows: int, u: int) -> Perturbator:
        """Return the same perturbator with about so many perturbed inputs of ``u`` units, for rounds of sampling."""
        fewer = copy.copy(self)
        fewer.n_perturbations = rows  # type: ignore[attr-defined]  # as all have it that sample until a tolerance
        return fewer


class MaskPerturbator(Perturbator):
    """Mask units; a subclass chooses which.

    The unperturbed sample is scored in any case. Asking for it again costs nothing, as equal rows are run once.

    Examples:
        >>> class FirstAndLast(MaskPerturbator):
        ...     def masks(self, u, generator):
        ...         return torch.eye(u)[[0, -1]]
    """

    @abstractmethod
    def masks(self, u: int, generator: Generator) -> Float[Tensor, "p u"]:
        """Return the masks ``(p, u)`` of ``p`` perturbed inputs: 1 where a unit is masked."""

    def __call__(self, sample: Sample, generator: Generator) -> MaskVariants:
        u = sample.players
        mask = torch.as_tensor(self.masks(u, generator), dtype=torch.float32)
        if mask.ndim != 2 or mask.shape[1] != u or not ((mask == 0) | (mask == 1)).all():
            raise OptionError(
                f"`perturbator`: {type(self).__name__}.masks returned {tuple(mask.shape)}; "
                f"it must return zeros and ones of shape (perturbed inputs, {u})."
            )
        return MaskVariants(sample, over_units(mask, sample))


def over_units(mask: Float[Tensor, "p m"], sample: Sample) -> Float[Tensor, "p u"]:
    """Extend masks of the units that some score can depend on to all units; the others are never masked."""
    return torch.nn.functional.pad(mask, (0, len(sample.units) - mask.shape[1]))


class WeightedMaskPerturbator(Perturbator):
    """Mask units, and give each perturbed input a weight."""

    @abstractmethod
    def __call__(self, sample: Sample, generator: Generator) -> MaskVariants: ...


class EmbeddingsPerturbator(Perturbator):
    """Move the embeddings; a subclass chooses where to, and the direction along which gradients are contracted.

    Tokens in no unit keep their embeddings, so that only effects of units are attributed.

    Attributes:
        stays: Every point is the input itself, so that its score is read from the pass that its gradient needs.
    """

    stays: bool = False

    @abstractmethod
    def __call__(self, sample: Sample, space: InputSpace, generator: Generator) -> EmbeddingVariants: ...


class UntouchedPerturbator(MaskPerturbator):
    """Return the input alone."""

    def masks(self, u: int, generator: Generator) -> Float[Tensor, "1 u"]:
        return torch.zeros(1, u)


class InputPerturbator(EmbeddingsPerturbator):
    """Return the input alone, for its gradient: contracted with the input, summed, or as a norm.

    Args:
        input_x_gradient: Contract the gradient with the input.
        summed: Sum the gradient: of rules that hand relevance itself to the input.
    """

    stays = True

    def __init__(self, input_x_gradient: bool = False, *, summed: bool = False) -> None:
        self.input_x_gradient, self.summed = input_x_gradient, summed

    def __call__(self, sample: Sample, space: InputSpace, generator: Generator) -> EmbeddingVariants:
        point = space.embed(sample)[None]
        along = torch.ones_like(point) if self.summed else point if self.input_x_gradient else None
        return EmbeddingVariants(sample, point, direction=along)


def on_units(values: Float[Tensor, "*p l d"], sample: Sample) -> Float[Tensor, "*p l d"]:
    """Return the values at tokens that belong to a unit, and zero at the others."""
    return values * sample.units.free.to(values)[:, None]
