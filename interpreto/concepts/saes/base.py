"""Interfaces of sparse autoencoders: what each computes. The trainer is in trainer.py."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from interpreto.concepts.activations import Activations
from interpreto.concepts.concept_model import ConceptModel
from interpreto.concepts.outliers import Spread, measure_spread
from interpreto.concepts.saes.memory import UNKEPT, Memory
from interpreto.concepts.saes.parallel import ALONE, Ranks
from interpreto.concepts.saes.sparse_codes import SparseCodes
from interpreto.errors import InputError

DECIDING = ("nb_concepts", "k", "l1", "l0", "bandwidth", "start_threshold", "beginnings", "tied")
CACHED = 1 << 18  # numbers of a matrix that a processor's cache holds, next to as many of two others
REVIVED = 0.7  # norm of a revived concept's encoder weights: smaller ones rarely fire, those of norm 1 disturb the others


class Pass(NamedTuple):
    """Forward pass of a batch in a training step.

    Attributes:
        codes: Codes of the rows; of few concepts per row, these alone.
        reconstruction: Reconstructions of the rows.
        penalty: Cost of the codes next to the squared error: a mean over the rows, a scalar.
    """

    codes: Float[Tensor, "b c"] | SparseCodes
    reconstruction: Float[Tensor, "b d"]
    penalty: Float[Tensor, ""]


class Autoencoder(ConceptModel, ABC):
    """A concept model trained by gradients, on rows that are centered and scaled to a mean squared norm of 1.

    Center and scale are part of the model: it takes and returns activations as they are, and its concepts have the unit of
    the activations, so that an offset and a scale of the data change nothing else. They are those of the ordinary rows
    (see `Spread`): outliers move neither.

    Attributes:
        first_target: Column of the rows of a training from which on they are reconstructed; 0: they are reconstructed whole.
            A model that reconstructs something else than what it reads is trained on rows that hold both, one after the
            other: `learn` gets them whole, and returns a reconstruction of the columns from here on.
        deciding: Names of the attributes that make a training what it is, where a model has them: a training is resumed with
            the same ones only.
        ranks: The processes that train it, while it is trained.
        memory: Lends the large tensors of a step, while it is trained.
    """

    axes: ClassVar = {"mean": "d", "scale": "1"}
    deciding: ClassVar[tuple[str, ...]] = DECIDING
    first_target: int = 0
    ranks: Ranks = ALONE
    memory: Memory = UNKEPT

    mean: Tensor
    scale: Tensor

    def __init__(self, nb_concepts: int) -> None:
        super().__init__(nb_concepts)
        self.register_buffer("mean", torch.empty(0, dtype=torch.float32))
        self.register_buffer("scale", torch.empty(0, dtype=torch.float32))

    @property
    def is_fitted(self) -> bool:
        """Return True once it has been trained or loaded."""
        return self.mean.numel() > 0

    def start(self, activations: Activations, random_state: int) -> Spread:
        """Measure center and scale, and draw new weights.

        Raises:
            InputError: all rows are equal.
        """
        spread = measure_spread(activations)
        if spread.variance == 0:
            raise InputError("`activations`: all rows are equal; there is nothing to learn concepts from.")
        self.mean = spread.center.float()
        self.scale = torch.tensor([spread.scale], dtype=torch.float32, device=self.mean.device)
        self.draw(activations.d, activations.device, Generator().manual_seed(random_state))
        return spread

    def forget(self) -> None:
        """Reset to the untrained state."""
        self.mean, self.scale = self.mean.new_empty(0), self.scale.new_empty(0)
        self.requires_grad_(False)

    def normalized(self, activations: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """Center and scale rows."""
        return (activations - self.mean) / self.scale

    def encode(self, activations: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """Compute the amount of each concept in each row."""
        return self.codes(self.normalized(activations)) * self.scale

    def decode(self, concepts: Float[Tensor, "n c"], activations: Float[Tensor, "n d"] | None = None) -> Float[Tensor, "n d"]:
        """Reconstruct rows from their concepts."""
        return self.reconstruct(concepts / self.scale) * self.scale + self.mean

    @abstractmethod
    def draw(self, width: int, device: torch.device, generator: Generator) -> None:
        """Draw new weights."""

    @abstractmethod
    def codes(self, rows: Float[Tensor, "b d"]) -> Float[Tensor, "b c"]:
        """Compute the codes of normalized rows."""

    @abstractmethod
    def reconstruct(self, codes: Float[Tensor, "b c"]) -> Float[Tensor, "b d"]:
        """Reconstruct normalized rows from their codes."""

    @abstractmethod
    def learn(self, rows: Float[Tensor, "b d"], sparsity: float, weights: Float[Tensor, " b"]) -> Pass:
        """Run a forward pass to learn from.

        Args:
            rows: Normalized rows.
            sparsity: Factor of the penalty, from 0 to 1, while training warms up.
            weights: Weight of each row in the loss; 1 for ordinary rows, less for outliers.
        """

    @abstractmethod
    def constrain_gradients(self) -> None:
        """Adjust the gradients before an optimizer step."""

    @abstractmethod
    def constrain(self) -> None:
        """Adjust the weights after an optimizer step."""

    @abstractmethod
    def revive(self, concepts: Int[Tensor, " k"], directions: Float[Tensor, "k d"]) -> None:
        """Restart concepts that no row has, in these directions."""

    @abstractmethod
    def calibrate(self, activations: Activations, spread: Spread, random_state: int) -> None:
        """Set what is measured on the activations once the weights are trained."""


def in_parts(matrix: Float[Tensor, "c d"]) -> Sequence[Float[Tensor, "_ d"]]:
    """Return a matrix by some rows at a time that fit into a processor's cache; on a GPU, whole."""
    return matrix.split(max(1, CACHED // matrix.shape[1])) if matrix.device.type == "cpu" else [matrix]


class SparseAutoencoder(Autoencoder, ABC):
    """An autoencoder with a linear decoder: atoms of norm 1 and a bias."""

    axes: ClassVar = {**Autoencoder.axes, "atoms": "c d", "decoder_bias": "d"}

    def __init__(self, nb_concepts: int) -> None:
        super().__init__(nb_concepts)
        self.atoms = nn.Parameter(torch.empty(0, dtype=torch.float32))
        self.decoder_bias = nn.Parameter(torch.empty(0, dtype=torch.float32))

    def draw(self, width: int, device: torch.device, generator: Generator) -> None:
        """Draw random directions; the other weights follow from them."""
        atoms = torch.randn(self.nb_concepts, width, generator=generator, dtype=torch.float32).to(device)
        self.atoms = nn.Parameter(atoms / atoms.norm(dim=1, keepdim=True))
        self.decoder_bias = nn.Parameter(atoms.new_zeros(width))
        self.allocate()
        with torch.no_grad():
            self.follow(torch.arange(self.nb_concepts, device=device), 1.0)

    @abstractmethod
    def allocate(self) -> None:
        """Allocate the other parameters."""

    @abstractmethod
    def follow(self, concepts: Int[Tensor, " k"], size: float) -> None:
        """Set the other weights of these concepts from their atoms.

        Args:
            concepts: The concepts.
            size: Norm of their encoder weights.
        """

    def reconstruct(self, codes: Float[Tensor, "b c"]) -> Float[Tensor, "b d"]:
        """Reconstruct normalized rows from their codes."""
        return torch.addmm(self.decoder_bias, codes, self.atoms)

    def get_dictionary(self) -> Float[Tensor, "c d"]:
        """Return the direction of each concept, of norm 1."""
        return self.atoms.detach()

    def constrain_gradients(self) -> None:
        """Remove the part of the atoms' gradients that would only change their norm."""
        if self.atoms.grad is not None:
            for gradient, atoms in zip(in_parts(self.atoms.grad), in_parts(self.atoms), strict=True):
                gradient.addcmul_((gradient * atoms).sum(1, keepdim=True), atoms, value=-1)

    def constrain(self) -> None:
        """Rescale the atoms to norm 1."""
        for atoms in in_parts(self.atoms):
            atoms.div_(atoms.norm(dim=1, keepdim=True))

    def revive(self, concepts: Int[Tensor, " k"], directions: Float[Tensor, "k d"]) -> None:
        """Restart concepts that no row has, in these directions, with small encoder weights."""
        self.atoms[concepts] = directions / directions.norm(dim=1, keepdim=True)
        self.follow(concepts, REVIVED)


class EncodedAutoencoder(SparseAutoencoder, ABC):
    """A sparse autoencoder with a linear encoder, whose pre-activations become the codes.

    Args:
        nb_concepts: Number of concepts.
        **per_concept: Further parameters, one number per concept, and their initial values.
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
        """Allocate the encoder."""
        self.encoder_weight = nn.Parameter(torch.empty_like(self.atoms))
        for name in self.starts:
            self.register_parameter(name, nn.Parameter(self.atoms.new_empty(self.nb_concepts)))

    def follow(self, concepts: Int[Tensor, " k"], size: float) -> None:
        """Tie the encoder weights of these concepts to their atoms, as a start."""
        self.encoder_weight[concepts] = size * self.atoms[concepts]
        for name, start in self.starts.items():
            self.get_parameter(name)[concepts] = start

    def preactivations(self, rows: Float[Tensor, "b d"]) -> Float[Tensor, "b c"]:
        """Compute the pre-activation of each concept for each row.

        The decoder's bias is subtracted from the rows by way of the encoder's: what the rows' gradient would cost, a gradient
        of the biases does not.
        """
        with torch.autocast(rows.device.type, enabled=False):
            bias = self.encoder_bias - self.encoder_weight @ self.decoder_bias
        return torch.addmm(bias, rows, self.encoder_weight.T)
