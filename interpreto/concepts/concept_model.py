"""Interface of concept models: activations to concepts, and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from interpreto.concepts.activations import Activations
from interpreto.errors import OptionError
from interpreto.validation import check_count


class ConceptModel(nn.Module, ABC):
    """Encodes activations as amounts of concepts (``encode``) and reconstructs activations from them (``decode``).

    Everything that is learned is a buffer or a parameter, empty before `fit`: ``state_dict`` holds the whole model, and
    ``load_state_dict`` restores it into a fresh one. Encoding a row depends on that row alone and draws nothing at random.

    Args:
        nb_concepts: Number of concepts to learn.

    Attributes:
        axes: Shape of each learned tensor, as in ``{"dictionary": "c d"}``: ``c`` concepts, ``d`` the width, a number as it
            is, any other letter free. Files of concepts are checked against it.
        decodes_alone: Concepts suffice to reconstruct a row. False where the row matters too, as where each row is
            normalized by its own mean and deviation.
    """

    axes: ClassVar[Mapping[str, str]] = {}
    decodes_alone: ClassVar[bool] = True

    def __init__(self, nb_concepts: int) -> None:
        super().__init__()
        self.has_differentiable_encoder = True
        self.has_differentiable_decoder = True
        self.nb_concepts = check_count(nb_concepts, "nb_concepts")

    @abstractmethod
    def encode(self, activations: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """Compute the amount of each concept in each row."""

    @abstractmethod
    def decode(self, concepts: Float[Tensor, "n c"], activations: Float[Tensor, "n d"] | None = None) -> Float[Tensor, "n d"]:
        """Reconstruct rows from their concepts.

        Args:
            concepts: Amount of each concept in each row.
            activations: The rows that were encoded, which a model needs whose `decodes_alone` is False.
        """

    @abstractmethod
    def get_dictionary(self) -> Float[Tensor, "c d"]:
        """Return the direction of each concept: what one unit of it adds to a decoded row."""

    @property
    @abstractmethod
    def is_fitted(self) -> bool:
        """Return True once concepts have been learned or loaded."""

    @property
    def dtype(self) -> torch.dtype:
        """Return the floating dtype that it computes in."""
        tensors = (tensor.dtype for tensor in self.state_dict().values() if tensor.is_floating_point())
        return next(tensors, torch.float32)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any, **options: Any) -> None:
        fit_sizes(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *arguments, **options)


class FittableModel(ConceptModel):
    """A concept model that learns by a `fit` of its own. Sparse autoencoders are trained by the trainer instead."""

    @abstractmethod
    def fit(self, activations: Activations, random_state: int, tqdm_bar: bool | None) -> None:
        """Learn the concepts; what was learned before is replaced."""


class Dictionary(FittableModel):
    """A concept model with a linear decoder: a row is its concepts times the dictionary, plus an offset."""

    axes: ClassVar[Mapping[str, str]] = {"dictionary": "c d", "offset": "d"}

    dictionary: Tensor
    offset: Tensor

    def __init__(self, nb_concepts: int) -> None:
        super().__init__(nb_concepts)
        self.register_buffer("dictionary", torch.empty(0, dtype=torch.float32))
        self.register_buffer("offset", torch.empty(0, dtype=torch.float32))

    def decode(self, concepts: Float[Tensor, "n c"], activations: Float[Tensor, "n d"] | None = None) -> Float[Tensor, "n d"]:
        """Reconstruct rows from their concepts."""
        return concepts @ self.dictionary + self.offset

    def get_dictionary(self) -> Float[Tensor, "c d"]:
        """Return the direction of each concept."""
        return self.dictionary

    @property
    def is_fitted(self) -> bool:
        """Return True once concepts have been learned or loaded."""
        return self.dictionary.numel() > 0

    def learned(self, dictionary: Float[Tensor, "c d"], offset: Float[Tensor, " d"] | None = None) -> None:
        """Store a learned dictionary, and the offset of the rows (None: zero)."""
        self.dictionary = dictionary.contiguous()
        self.offset = dictionary.new_zeros(dictionary.shape[1]) if offset is None else offset.to(dictionary)


class ForeignModel(ABC):
    """Role of a concept model that wraps a model of another package or of the user.

    Attributes:
        model: The wrapped model.
    """

    model: Any

    @abstractmethod
    def allocate(self, width: int, device: torch.device) -> None:
        """Make the wrapped model for activations of a width, where only its class is known."""

    @abstractmethod
    def loaded(self) -> None:
        """Take note that the tensors of a file have been restored into the wrapped model."""


@contextmanager
def all_or_nothing(model: ConceptModel) -> Iterator[None]:
    """Context manager that puts a model's tensors and attributes back if an exception interrupts the block.

    Tensors that are replaced come back; those of a foreign model that are changed in place do not.
    """
    kept = [
        (module, {name: value.copy() if isinstance(value, dict) else value for name, value in vars(module).items()})
        for module in model.modules()
    ]
    try:
        yield
    except BaseException:  # KeyboardInterrupt above all
        for module, attributes in kept:
            vars(module).clear()
            vars(module).update(attributes)
        raise


def fit_sizes(module: nn.Module, state_dict: dict[str, Any], prefix: str = "") -> None:
    """Give a module's own tensors the shape and dtype of those that will be loaded: sizes are only known once fitted."""
    for tensors in (module._parameters, module._buffers):
        for name, tensor in tensors.items():
            loaded = state_dict.get(prefix + name)
            if tensor is None or loaded is None or (tensor.shape == loaded.shape and tensor.dtype == loaded.dtype):
                continue
            tensor.data = torch.empty_like(loaded, device=tensor.device)


def state_of(module: nn.Module) -> dict[str, Tensor]:
    """Return all tensors of a module by name, including those that foreign modules keep as plain attributes."""
    state = dict(module.state_dict())
    for path, child in module.named_modules():
        plain = {name: value for name, value in vars(child).items() if isinstance(value, Tensor)}
        state |= {f"{path}.{name}" if path else name: value for name, value in plain.items()}
    return {name: tensor.detach() for name, tensor in state.items()}


def restore(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put tensors where `state_of` found them: in place where there is room, else as new ones.

    New ones are copies, so that they lie in memory as those of a fit do, and products come out the same to the last bit.

    Raises:
        KeyError: a name belongs to something else than a tensor, such as a method.
    """
    for path, tensor in state.items():
        parent, _, name = path.rpartition(".")
        home = module.get_submodule(parent)
        present = getattr(home, name, None)
        if present is not None and not isinstance(present, Tensor):
            raise KeyError(f"{path} is no tensor of this model")
        alike = isinstance(present, Tensor) and present.shape == tensor.shape and present.dtype == tensor.dtype
        if isinstance(present, Tensor) and alike and present.is_contiguous():
            with torch.no_grad():
                present.copy_(tensor)
            continue
        copy = tensor.detach().clone(memory_format=torch.contiguous_format)
        if isinstance(present, nn.Parameter):
            present.data = copy
        else:
            setattr(home, name, copy)


def check_at_most(nb_concepts: int, limit: int, reason: str) -> None:
    """Raise an `OptionError` if there are more concepts than a method can give."""
    if nb_concepts > limit:
        raise OptionError(f"`nb_concepts`: got {nb_concepts}, and there are at most {limit} ({reason}); ask for fewer.")
