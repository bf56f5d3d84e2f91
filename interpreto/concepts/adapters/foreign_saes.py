"""Adapters of foreign sparse autoencoders, such as overcomplete's."""

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
"""Loss of rows, their reconstruction, pre-codes, codes and dictionary, as in overcomplete."""


class ExternalAutoencoder(Autoencoder, ForeignModel):
    """Adapt a foreign autoencoder.

    A class is instantiated, and trained on centered and scaled rows. An instance is used as it is, without centering or
    scaling and with frozen weights. It is trained only on request: by a fit with ``overwrite=True``, or if ``l1`` or
    ``criterion``, which matter to training alone, are given.

    Args:
        model: A class, which takes the width and ``nb_concepts``, or an instance. ``encode`` returns codes, or pre-codes and
            codes; ``decode`` takes codes.
        nb_concepts: Number of concepts; None: 20 for a class, an instance's own.
        random_state: Seed of the global generators while the class draws its weights.
        options: Options of the class.
        l1: Weight of the L1 norm of the codes; None: 0.1, or 0 for models with ``k`` or ``top_k``, which are sparse by
            themselves.
        criterion: Loss, instead of the squared error and the L1 norm.

    Raises:
        OptionError: it has no ``encode`` or ``decode``, or the number of an instance's concepts is unknown.
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
        """Set the center to 0 and the scale to 1, in the model's dtype, and freeze the weights."""
        tensors = list(self.model.state_dict().values()) if isinstance(self.model, nn.Module) else []
        like = next((tensor for tensor in tensors if tensor.is_floating_point()), torch.empty(0, dtype=torch.float32))
        self.mean, self.scale = like.new_zeros(1), like.new_ones(1)
        self.requires_grad_(False)

    def draw(self, width: int, device: torch.device, generator: Generator) -> None:
        """Draw the weights of a class; those of an instance are kept.

        Raises:
            OptionError: the model is an object that cannot be trained.
        """
        self.allocate(width, device)
        if not isinstance(self.model, nn.Module):
            raise OptionError(f"`concept_model`: {type(self.model).__name__} is no torch module, and cannot be trained.")

    def allocate(self, width: int, device: torch.device) -> None:
        """Instantiate the model, where a class was given, in float32, whatever the default dtype."""
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
        """Leave training mode without a call of ``eval``, which would change the restored weights."""
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
        """Run a forward pass, and return its codes, reconstruction and loss beyond the squared error."""
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
        """Do nothing: foreign models have no interface for it."""

    def calibrate(self, activations: Activations, spread: Spread, random_state: int) -> None:
        """Do nothing: foreign models are calibrated by themselves."""

    def _settle(self, device: torch.device) -> None:
        """Leave training mode, in which overcomplete normalizes its dictionary, without an autograd graph."""
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
    """Return the model.

    Raises:
        OptionError: it lacks ``encode`` or ``decode``.
    """
    missing = [name for name in ("encode", "decode") if not callable(getattr(model, name, None))]
    if missing:
        raise OptionError(
            f"`concept_model`: {type(model).__name__} has no {', '.join(missing)}; a sparse autoencoder has both."
        )
    return model


def _count(model: Any, nb_concepts: int | None) -> int:
    """Return the number of concepts of an instance: its attribute, the length of its dictionary, or the user's number.

    Raises:
        OptionError: there is none, or they differ.
    """
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
