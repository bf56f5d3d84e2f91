"""Sparse autoencoders from elsewhere, overcomplete's above all, behind the interface of interpreto's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from interpreto.concepts.activations import Activations
from interpreto.concepts.concept_model import ForeignModel
from interpreto.concepts.outliers import Spread
from interpreto.concepts.saes.base import Autoencoder, Pass
from interpreto.errors import OptionError
from interpreto.seeding import seeded

Criterion = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
"""Loss of rows, their reconstruction, pre-codes, codes and dictionary, as overcomplete has it."""


class ExternalAutoencoder(Autoencoder, ForeignModel):
    """A foreign autoencoder.

    A class is made and trained on centered and scaled rows. An instance is used as it is: its center is 0, its scale is 1,
    and its weights are frozen, so that its codes are its own. It is trained only when it is told to be: by a fit with
    ``overwrite=True``, or where ``l1`` or ``criterion``, which matter to training alone, are given.

    Args:
        model: A class, made with the width and ``nb_concepts``, or an instance. ``encode`` returns codes, or pre-codes and
            codes; ``decode`` takes codes.
        nb_concepts: Number of concepts; None: 20 of a class, its own of an instance.
        random_state: Seed of the global generators while the class makes its weights.
        options: Options of the class.
        l1: Weight of the L1 norm of the codes; None for 0.1 where nothing else makes them sparse, else for none.
        criterion: The loss, in place of the squared error and that norm.

    Raises:
        OptionError: it has no ``encode`` or ``decode``, or an instance does not tell its number of concepts.
    """

    def __init__(
        self,
        model: Any,
        nb_concepts: int | None,
        random_state: int,
        options: Mapping[str, Any],
        *,
        l1: float | None = None,
        criterion: Criterion | None = None,
    ) -> None:
        is_class = isinstance(model, type)
        super().__init__((20 if nb_concepts is None else nb_concepts) if is_class else _count(_checked(model), nb_concepts))
        self.kind = model if is_class else None
        self.random_state, self.options, self.l1, self.criterion = random_state, dict(options), l1, criterion
        self.model: Any = None if is_class else model
        if not is_class and l1 is None and criterion is None:
            self._use_as_it_is()

    def _use_as_it_is(self) -> None:
        """Take center 0 and scale 1, in the model's dtype, and freeze the weights."""
        tensors = list(self.model.state_dict().values()) if isinstance(self.model, nn.Module) else []
        like = next((tensor for tensor in tensors if tensor.is_floating_point()), torch.empty(0, dtype=torch.float32))
        self.mean, self.scale = like.new_zeros(1), like.new_ones(1)
        self.requires_grad_(False)

    def draw(self, width: int, device: torch.device, generator: Generator) -> None:
        """Draw the weights of a class; those of an instance are trained on.

        Raises:
            OptionError: it is an object that cannot be trained.
        """
        self.allocate(width, device)
        if not isinstance(self.model, nn.Module):
            raise OptionError(f"`concept_model`: {type(self.model).__name__} is no torch module, and cannot be trained.")

    def allocate(self, width: int, device: torch.device) -> None:
        """Make the model, where a class was given; its weights are float32, whatever the default dtype."""
        if self.kind is not None:
            with seeded(self.random_state), torch.enable_grad():
                try:
                    model = self.kind(width, self.nb_concepts, **self.options)
                except TypeError as error:
                    name = self.kind.__name__
                    raise OptionError(f"`concept_model`: {name} cannot be made with {self.options} ({error}).") from error
            if not isinstance(model, nn.Module):
                raise OptionError(f"`concept_model`: {self.kind.__name__} is no torch module, and cannot be trained.")
            self.model = _checked(model.float())
        self._place(device)

    def loaded(self) -> None:
        """Leave training mode without the changes that come with it: the weights are as they were written."""
        for module in self.model.modules():
            module.training = False

    def codes(self, rows: Float[Tensor, "b d"]) -> Float[Tensor, "b c"]:
        """Compute the codes of normalized rows."""
        self._settle(rows.device)
        return _last(self.model.encode(rows))

    def reconstruct(self, codes: Float[Tensor, "b c"]) -> Float[Tensor, "b d"]:
        """Reconstruct normalized rows from their codes."""
        self._settle(codes.device)
        return self.model.decode(codes)

    def get_dictionary(self) -> Float[Tensor, "c d"]:
        """Return the direction of each concept."""
        self._settle(self.mean.device)
        if callable(getattr(self.model, "get_dictionary", None)):
            return self.model.get_dictionary().detach()
        with torch.no_grad():
            one_each = torch.eye(self.nb_concepts, dtype=self.mean.dtype, device=self.mean.device)
            return self.model.decode(one_each) - self.model.decode(torch.zeros_like(one_each))

    def learn(self, rows: Float[Tensor, "b d"], sparsity: float, weights: Float[Tensor, " b"]) -> Pass:
        """Run a forward pass, with the model's own sparsity, an L1 norm, or the given criterion."""
        if not self.model.training:
            self.model.train()
        encoded = self.model.encode(rows)
        codes = _last(encoded)
        reconstruction = self.model.decode(codes)
        if self.criterion is not None:
            pre_codes = encoded[0] if isinstance(encoded, tuple) else codes
            dictionary = self.model.get_dictionary() if hasattr(self.model, "get_dictionary") else codes.new_empty(0)
            loss = self.criterion(rows, reconstruction, pre_codes, codes, dictionary)
            added = (weights * (rows - reconstruction).square().sum(1)).mean()  # by the trainer
            return Pass(codes, reconstruction, loss - added)
        chooses = any(hasattr(self.model, name) for name in ("k", "top_k"))
        weight = self.l1 if self.l1 is not None else 0.0 if chooses else 0.1
        return Pass(codes, reconstruction, sparsity * weight * (weights * codes.abs().sum(1)).mean())

    def constrain_gradients(self) -> None:
        """Do nothing: foreign models handle their own constraints."""

    def constrain(self) -> None:
        """Do nothing: foreign models handle their own constraints."""

    def revive(self, concepts: Int[Tensor, " k"], directions: Float[Tensor, "k d"]) -> None:
        """Do nothing: it is not known how, in a foreign model."""

    def calibrate(self, activations: Activations, spread: Spread, random_state: int) -> None:
        """Do nothing: the model keeps what its codes need."""

    def _settle(self, device: torch.device) -> None:
        """Leave training mode, in which overcomplete normalizes its dictionary, and keep no graph of that."""
        if not isinstance(self.model, nn.Module):
            return
        fused = [getattr(module, "_fused_dictionary", None) for module in self.model.modules()]
        if self.model.training or any(tensor is not None and tensor.device != device for tensor in fused):
            self._place(device)
            with torch.no_grad():
                self.model.train()
                self.model.eval()

    def _place(self, device: torch.device) -> None:
        if not isinstance(self.model, nn.Module):
            return
        self.model.to(device)
        for module in self.model.modules():
            if "device" in vars(module):
                vars(module)["device"] = device  # a copy of where the tensors were


def _checked(model: Any) -> Any:
    """Return a model that has ``encode`` and ``decode``."""
    missing = [name for name in ("encode", "decode") if not callable(getattr(model, name, None))]
    if missing:
        raise OptionError(
            f"`concept_model`: {type(model).__name__} has no {', '.join(missing)}; a sparse autoencoder has both."
        )
    return model


def _count(model: Any, nb_concepts: int | None) -> int:
    """Return the number of concepts of an instance: what it says, what its dictionary has, or what the user says."""
    count = getattr(model, "nb_concepts", None)
    if count is None and callable(getattr(model, "get_dictionary", None)):
        count = len(model.get_dictionary())
    count = nb_concepts if count is None else int(count)
    if count is None:
        raise OptionError(f"`nb_concepts`: {type(model).__name__} does not say how many concepts it has; pass the number.")
    if nb_concepts not in (None, count):
        raise OptionError(f"`nb_concepts`: got {nb_concepts}, and this {type(model).__name__} has {count}.")
    return count


def _last(encoded: Any) -> Tensor:
    """Return the codes: of several results, the last."""
    return encoded[-1] if isinstance(encoded, tuple) else encoded
