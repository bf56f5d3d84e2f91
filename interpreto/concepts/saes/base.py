"""Sparse autoencoders: what they compute. How they are trained stands in training.py."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from interpreto.concepts.activations import Activations
from interpreto.concepts.concept_model import ConceptModel
from interpreto.errors import InputError


class Pass(NamedTuple):
    """One batch, as a training step sees it.

    Attributes:
        codes: Of each row.
        reconstruction: Of each row.
        penalty: What the codes cost beside the squared error; a scalar.
    """

    codes: Float[Tensor, "b c"]
    reconstruction: Float[Tensor, "b d"]
    penalty: Float[Tensor, ""]


class Autoencoder(ConceptModel, ABC):
    """A concept model trained by gradients, on rows that are centred and brought to a mean squared norm of 1.

    The centre and the scale are part of the model: it takes and gives activations as they are, and its concepts have the
    activations' unit. So the data's offset and scale change nothing else.
    """

    axes: ClassVar = {"mean": "d", "scale": "1"}

    mean: Tensor
    scale: Tensor

    def __init__(self, nb_concepts: int) -> None:
        super().__init__(nb_concepts)
        self.register_buffer("mean", torch.empty(0, dtype=torch.float32))
        self.register_buffer("scale", torch.empty(0, dtype=torch.float32))

    @property
    def is_fitted(self) -> bool:
        """Whether it was trained or loaded."""
        return self.mean.numel() > 0

    def fit(self, activations: Activations, random_state: int, tqdm_bar: bool) -> None:
        """Train with the default options; `SAEExplainer.fit` has them all."""
        from interpreto.concepts.saes.trainer import TrainingOptions, train  # noqa: PLC0415  (it imports this file)

        with torch.enable_grad():
            train(self, activations, TrainingOptions(), random_state, tqdm_bar)

    def start(self, activations: Activations, random_state: int) -> None:
        """Measure centre and scale, and draw the weights anew.

        Raises:
            InputError: all rows are equal.
        """
        mean = activations.mean()
        total = sum(float((rows.double() - mean).square().sum()) for rows in activations.batches())
        if total == 0:
            raise InputError("`activations`: all rows are equal; there is nothing to learn concepts from.")
        self.mean = mean.float()
        self.scale = torch.tensor([(total / activations.n) ** 0.5], dtype=torch.float32, device=mean.device)
        self.draw(activations.d, activations.device, Generator().manual_seed(random_state))

    def forget(self) -> None:
        """Be as before any training."""
        self.mean, self.scale = self.mean.new_empty(0), self.scale.new_empty(0)
        self.requires_grad_(False)

    def normalized(self, activations: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """Rows in the units of the training."""
        return (activations - self.mean) / self.scale

    def encode(self, activations: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """How much of each concept is in each row."""
        return self.codes(self.normalized(activations)) * self.scale

    def decode(self, concepts: Float[Tensor, "n c"]) -> Float[Tensor, "n d"]:
        """The rows that these concepts stand for."""
        return self.reconstruct(concepts / self.scale) * self.scale + self.mean

    @abstractmethod
    def draw(self, width: int, device: torch.device, generator: Generator) -> None:
        """New weights."""

    @abstractmethod
    def codes(self, rows: Float[Tensor, "b d"]) -> Float[Tensor, "b c"]:
        """Codes of normalized rows."""

    @abstractmethod
    def reconstruct(self, codes: Float[Tensor, "b c"]) -> Float[Tensor, "b d"]:
        """Normalized rows of codes."""

    @abstractmethod
    def learn(self, rows: Float[Tensor, "b d"], sparsity: float) -> Pass:
        """A forward pass to learn from; ``sparsity``, from 0 to 1, scales the penalty while training warms up."""

    @abstractmethod
    def constrain_gradients(self) -> None:
        """Before a step."""

    @abstractmethod
    def constrain(self) -> None:
        """After a step."""

    @abstractmethod
    def revive(self, concepts: Int[Tensor, " k"], directions: Float[Tensor, "k d"]) -> None:
        """Let concepts that no row has start anew, in these directions."""


class SparseAutoencoder(Autoencoder, ABC):
    """An autoencoder with a linear decoder: atoms of norm 1 and a bias."""

    axes: ClassVar = {**Autoencoder.axes, "atoms": "c d", "decoder_bias": "d"}

    def __init__(self, nb_concepts: int) -> None:
        super().__init__(nb_concepts)
        self.atoms = nn.Parameter(torch.empty(0, dtype=torch.float32))
        self.decoder_bias = nn.Parameter(torch.empty(0, dtype=torch.float32))

    def draw(self, width: int, device: torch.device, generator: Generator) -> None:
        """Random directions; whatever else it learns follows from them."""
        atoms = torch.randn(self.nb_concepts, width, generator=generator, dtype=torch.float32).to(device)
        self.atoms = nn.Parameter(atoms / atoms.norm(dim=1, keepdim=True))
        self.decoder_bias = nn.Parameter(atoms.new_zeros(width))
        self.allocate()
        with torch.no_grad():
            self.follow(torch.arange(self.nb_concepts, device=device))

    @abstractmethod
    def allocate(self) -> None:
        """Make room for the other parameters."""

    @abstractmethod
    def follow(self, concepts: Int[Tensor, " k"]) -> None:
        """Start what else belongs to these concepts from their atoms."""

    def reconstruct(self, codes: Float[Tensor, "b c"]) -> Float[Tensor, "b d"]:
        """Normalized rows of codes."""
        return torch.addmm(self.decoder_bias, codes, self.atoms)

    def get_dictionary(self) -> Float[Tensor, "c d"]:
        """The direction of each concept, of norm 1."""
        return self.atoms.detach()

    def constrain_gradients(self) -> None:
        """Take from the atoms' gradients what would only change their norm."""
        if self.atoms.grad is not None:
            self.atoms.grad -= (self.atoms.grad * self.atoms).sum(1, keepdim=True) * self.atoms.detach()

    def constrain(self) -> None:
        """Bring the atoms back to norm 1."""
        self.atoms.div_(self.atoms.norm(dim=1, keepdim=True))

    def revive(self, concepts: Int[Tensor, " k"], directions: Float[Tensor, "k d"]) -> None:
        """Let concepts that no row has start anew, in these directions."""
        self.atoms[concepts] = directions / directions.norm(dim=1, keepdim=True)
        self.follow(concepts)


class EncodedAutoencoder(SparseAutoencoder, ABC):
    """A sparse autoencoder with a linear encoder: a row's pre-activations, of which the codes are made.

    Args:
        nb_concepts: Number of concepts.
        **per_concept: Further parameters, one number a concept, and where they start.
    """

    axes: ClassVar = {**SparseAutoencoder.axes, "encoder_weight": "c d", "encoder_bias": "c"}

    encoder_weight: nn.Parameter
    encoder_bias: nn.Parameter

    def __init__(self, nb_concepts: int, **per_concept: float) -> None:
        super().__init__(nb_concepts)
        self.starts = {"encoder_bias": 0.0, **per_concept}
        for name in ("encoder_weight", *self.starts):
            self.register_parameter(name, nn.Parameter(torch.empty(0, dtype=torch.float32)))

    def allocate(self) -> None:
        """Make room for the encoder."""
        self.encoder_weight = nn.Parameter(torch.empty_like(self.atoms))
        for name in self.starts:
            self.register_parameter(name, nn.Parameter(self.atoms.new_empty(self.nb_concepts)))

    def follow(self, concepts: Int[Tensor, " k"]) -> None:
        """Read a concept, at first, along the direction that writes it."""
        self.encoder_weight[concepts] = self.atoms[concepts]
        for name, start in self.starts.items():
            self.get_parameter(name)[concepts] = start

    def preactivations(self, rows: Float[Tensor, "b d"]) -> Float[Tensor, "b c"]:
        """How well each concept fits each row, before any of them is chosen."""
        return torch.addmm(self.encoder_bias, rows - self.decoder_bias, self.encoder_weight.T)
