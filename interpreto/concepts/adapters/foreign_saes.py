"""Sparse autoencoders from elsewhere, overcomplete's above all, behind the interface of ours."""

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
    """A foreign autoencoder, on centred and scaled rows: the centre, the scale and the decoding to them are ours.

    Args:
        model: A class, made with the width and ``nb_concepts``, or an instance. ``encode`` gives codes, or pre-codes and
            codes; ``decode`` takes codes.
        nb_concepts: Number of concepts.
        random_state: Seed of the global generators while the class makes its weights.
        options: Given to the class.
        l1: Weight of the L1 norm of the codes; None for 0.1 where nothing else makes them sparse, else for none.
        criterion: The loss instead of the unexplained fraction and that norm.
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
        count = 20 if nb_concepts is None else nb_concepts
        super().__init__(count if isinstance(model, type) else getattr(model, "nb_concepts", count))
        self.kind = model if isinstance(model, type) else None
        self.random_state, self.options, self.l1, self.criterion = random_state, dict(options), l1, criterion
        self.model: Any = None
        if self.kind is None:
            self._take(model)

    def draw(self, width: int, device: torch.device, generator: Generator) -> None:
        """New weights, of a class; those of an instance are trained on."""
        self.allocate(width, device)

    def allocate(self, width: int, device: torch.device) -> None:
        """Make the model, where a class was given."""
        if self.kind is not None:
            with seeded(self.random_state), torch.enable_grad():
                try:
                    model = self.kind(width, self.nb_concepts, **self.options)
                except TypeError as error:
                    name = self.kind.__name__
                    raise OptionError(f"`concept_model`: {name} cannot be made with {self.options} ({error}).") from error
            self._take(model)
        self._place(device)

    def loaded(self) -> None:
        """The weights are what they were when they were written: nothing is to be settled."""
        for module in self.model.modules():
            module.training = False

    def codes(self, rows: Float[Tensor, "b d"]) -> Float[Tensor, "b c"]:
        """Codes of normalized rows."""
        self._settle(rows.device)
        return _last(self.model.encode(rows))

    def reconstruct(self, codes: Float[Tensor, "b c"]) -> Float[Tensor, "b d"]:
        """Normalized rows of codes."""
        self._settle(codes.device)
        return self.model.decode(codes)

    def get_dictionary(self) -> Float[Tensor, "c d"]:
        """The direction of each concept."""
        self._settle(self.mean.device)
        if callable(getattr(self.model, "get_dictionary", None)):
            return self.model.get_dictionary().detach()
        with torch.no_grad():
            one_each = torch.eye(self.nb_concepts, device=self.mean.device)
            return self.model.decode(one_each) - self.model.decode(torch.zeros_like(one_each))

    def learn(self, rows: Float[Tensor, "b d"], sparsity: float, weights: Float[Tensor, " b"]) -> Pass:
        """A forward pass, with the model's own sparsity, or an L1 norm, or the given criterion."""
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
        """The model sees to its own weights."""

    def constrain(self) -> None:
        """The model sees to its own weights."""

    def revive(self, concepts: Int[Tensor, " k"], directions: Float[Tensor, "k d"]) -> None:
        """Not known how, in a foreign model."""

    def calibrate(self, activations: Activations, spread: Spread, random_state: int) -> None:
        """Do nothing: the model keeps what its codes need."""

    def _take(self, model: Any) -> None:
        missing = [name for name in ("encode", "decode") if not callable(getattr(model, name, None))]
        if missing or not isinstance(model, nn.Module):
            lack = f"has no {', '.join(missing)}" if missing else "is no torch module"
            raise OptionError(f"`concept_model`: {type(model).__name__} {lack}; a sparse autoencoder is a module with both.")
        self.model = model

    def _settle(self, device: torch.device) -> None:
        """Leave training mode, in which overcomplete normalizes its dictionary; what it keeps from that has no gradient."""
        fused = [getattr(module, "_fused_dictionary", None) for module in self.model.modules()]
        if self.model.training or any(tensor is not None and tensor.device != device for tensor in fused):
            self._place(device)
            with torch.no_grad():
                self.model.train()
                self.model.eval()

    def _place(self, device: torch.device) -> None:
        self.model.to(device)
        for module in self.model.modules():
            if "device" in vars(module):
                vars(module)["device"] = device  # kept beside the tensors, which have moved


def _last(encoded: Any) -> Tensor:
    return encoded[-1] if isinstance(encoded, tuple) else encoded
