"""The weights of a coder while it is trained, on joint rows in standard units."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from interpreto.concepts.activations import Activations
from interpreto.concepts.coders.gates import Batch, Gate
from interpreto.concepts.coders.standard import Columns
from interpreto.concepts.coders.wiring import Wiring
from interpreto.concepts.outliers import Spread, measure_spread
from interpreto.concepts.saes.architectures import measured_threshold
from interpreto.concepts.saes.base import REVIVED, Autoencoder, Pass

RIDGE = 1e-6  # added to the variances of what is read, relative to their mean, in the linear map that training starts from


class CoderTraining(Autoencoder):
    """A transcoder or crosscoder in training.

    A concept starts with a random direction that it reads, and writes what the best linear map makes of it. The norms of
    what it writes sum to 1 over the places, so that a code counts as much as it writes, wherever.

    Args:
        nb_concepts: Number of concepts.
        wiring: The columns of the rows.
        gate: How pre-activations become codes.
        skip: Learn a linear map of what is read as well.

    References:
        Dunefsky, Chlenski and Nanda, NeurIPS 2024, https://arxiv.org/abs/2406.11944; skip connections, Paulo, Shabalin and
        Belrose, 2025, https://arxiv.org/abs/2501.18823; the norms' sum, Lindsey et al., 2024,
        https://transformer-circuits.pub/2024/crosscoders/index.html
    """

    axes: ClassVar = {**Autoencoder.axes}
    deciding: ClassVar = ("nb_concepts", "k", "gate", "wiring", "learned")

    def __init__(self, nb_concepts: int, wiring: Wiring, gate: Gate, skip: bool) -> None:
        super().__init__(nb_concepts)
        self.wiring, self.gate, self.k, self.first_target = wiring, gate, gate.k, wiring.first_written
        names = ["encoder_weight", "encoder_bias", "atoms", "decoder_bias"]
        names += ["log_threshold"] * (gate.start is not None) + ["skip"] * skip
        self.learned = tuple(names)
        for name in names:
            self.register_parameter(name, nn.Parameter(torch.empty(0, dtype=torch.float32)))
        self.register_buffer("threshold", torch.zeros(1, dtype=torch.float32))
        self.register_buffer("maps", torch.empty(0, dtype=torch.float32))

    encoder_weight: nn.Parameter
    encoder_bias: nn.Parameter
    atoms: nn.Parameter
    decoder_bias: nn.Parameter
    threshold: Tensor
    maps: Tensor

    def start(self, activations: Activations, random_state: int) -> Spread:
        """Measure how what is written spreads, fit the linear map that training starts from, and draw weights."""
        targets = Columns(activations, slice(self.first_target, None))
        spread = measure_spread(Activations(targets, activations.device))
        self.mean = spread.center.new_zeros(activations.d).float()
        self.scale = self.mean.new_ones(1)
        self.maps = linear_maps(activations, self.wiring)
        self.draw(activations.d, activations.device, Generator().manual_seed(random_state))
        return spread

    def draw(self, width: int, device: torch.device, generator: Generator) -> None:
        """Draw random directions that are read; what is written follows from them."""
        wiring, c = self.wiring, self.nb_concepts
        weight = first_directions(c, wiring, generator).to(device)
        atoms = torch.bmm(weight.unflatten(0, (wiring.groups, -1)), self.maps.transpose(1, 2)).flatten(0, 1)
        zero = weight.new_zeros
        values = {
            "encoder_weight": weight,
            "encoder_bias": zero(c),
            "atoms": atoms,
            "decoder_bias": zero(wiring.written_width),
            "log_threshold": zero(c) + (self.gate.start or 0.0),
        }
        if "skip" in self.learned:
            values["skip"] = self.maps[0].clone()
        for name in self.learned:
            self.register_parameter(name, nn.Parameter(values[name]))
        with torch.no_grad():
            self.constrain()

    def codes(self, rows: Float[Tensor, "b w"]) -> Float[Tensor, "b c"]:
        """Compute the pre-activations of rows in standard units, before any gate."""
        return self.wiring.preactivations(rows, self.encoder_weight, self.encoder_bias)

    def reconstruct(self, codes: Float[Tensor, "b c"]) -> Float[Tensor, "b o"]:
        """Compute what codes write, in standard units."""
        return torch.addmm(self.decoder_bias, codes, self.atoms)

    def learn(self, rows: Float[Tensor, "b w"], sparsity: float, weights: Float[Tensor, " b"]) -> Pass:
        """Run a forward pass; the penalty is the gate's."""
        threshold = self.get_parameter("log_threshold") if self.gate.start is not None else None
        read = self.wiring.read(rows)
        learned = None
        if self.wiring.groups == 1:
            encoder = (self.encoder_weight, self.encoder_bias, self.encoder_weight.new_zeros(read.shape[1]))
            batch = Batch(read, weights, self.ranks, self.memory)
            learned = self.gate.learn(batch, encoder, (self.atoms, self.decoder_bias), sparsity)
        if learned is None:
            codes, penalty = self.gate(self.codes(rows), threshold, sparsity, weights, self.ranks)
            learned = Pass(codes, self.reconstruct(codes), penalty)
        if "skip" in self.learned:
            learned = learned._replace(reconstruction=learned.reconstruction + read @ self.get_parameter("skip").T)
        return learned

    def get_dictionary(self) -> Float[Tensor, "c o"]:
        """Return what one unit of each concept writes."""
        return self.atoms.detach()

    def constrain_gradients(self) -> None:
        """Remove the part of the atoms' gradients that would only change their size."""
        if self.atoms.grad is not None:
            own = self.atoms.detach()
            share = (self.atoms.grad * own).sum(1, keepdim=True) / own.square().sum(1, keepdim=True).clamp_min(1e-12)
            self.atoms.grad -= share * own

    def constrain(self) -> None:
        """Clear what concepts may not write, and rescale the rest so that the norms at all places sum to 1."""
        reached = self.wiring.reached(self.nb_concepts, self.atoms.device)
        if reached is not None:
            self.atoms.mul_(reached)
        sizes = torch.stack([part.norm(dim=1) for part in self.wiring.written(self.atoms)]).sum(0)
        self.atoms.div_(sizes.clamp_min(1e-12)[:, None])

    def revive(self, concepts: Int[Tensor, " k"], directions: Float[Tensor, "k o"]) -> None:
        """Restart concepts that no row has: they write these directions, and read what the linear map turns into them."""
        group = concepts // (self.nb_concepts // self.wiring.groups)
        read = torch.bmm(self.maps.transpose(1, 2)[group], directions[:, :, None])[..., 0]
        self.encoder_weight[concepts] = REVIVED * read / read.norm(dim=1, keepdim=True).clamp_min(1e-12)
        self.encoder_bias[concepts] = 0.0
        if self.gate.start is not None:
            self.get_parameter("log_threshold")[concepts] = self.gate.start
        self.atoms[concepts] = directions
        self.constrain()

    def calibrate(self, activations: Activations, spread: Spread, random_state: int) -> None:
        """Set the threshold with which ordinary rows have ``k`` concepts on average, where that is measured."""
        if not self.gate.measures:
            return

        def preactivations(batch: Tensor) -> Tensor:
            return self.codes(batch[spread.ordinary(batch[:, self.first_target :])].float())

        self.threshold = measured_threshold(preactivations, activations, self.k or 1, random_state)

    def tensors(self) -> dict[str, Tensor]:
        """Return what was learned, in standard units."""
        found = {name: self.get_parameter(name).detach() for name in self.learned}
        if "log_threshold" in found:
            found["threshold"] = found.pop("log_threshold").exp()
        elif self.gate.measures:
            found["threshold"] = self.threshold.expand(self.nb_concepts).clone()
        return found


def first_directions(nb_concepts: int, wiring: Wiring, generator: Generator) -> Float[Tensor, "c j"]:
    """Draw directions of norm 1 that concepts read: of places that are read together, the same at all of one width."""
    if wiring.groups > 1:
        drawn = torch.randn(nb_concepts, wiring.read_width // wiring.groups, generator=generator, dtype=torch.float32)
        return drawn / drawn.norm(dim=1, keepdim=True)
    by_width: dict[int, Tensor] = {}
    for width in wiring.reads:
        if width not in by_width:
            drawn = torch.randn(nb_concepts, width, generator=generator, dtype=torch.float32)
            by_width[width] = drawn / drawn.norm(dim=1, keepdim=True)
    return torch.cat([by_width[width] for width in wiring.reads], 1) / len(wiring.reads) ** 0.5


def linear_maps(activations: Activations, wiring: Wiring) -> Float[Tensor, "g o j"]:
    """Return the linear map that best gives what is written from what each group of concepts reads, by least squares.

    The identity, where the same places are read and written.
    """
    if wiring.shared:
        return torch.eye(wiring.read_width, dtype=torch.float32, device=activations.device)[None]
    own = wiring.read_width // wiring.groups
    device = activations.device
    gram = torch.zeros(wiring.groups, own, own, dtype=torch.float64, device=device)
    cross = torch.zeros(wiring.groups, own, wiring.written_width, dtype=torch.float64, device=device)
    for batch in activations.batches():
        rows = batch.double()
        read = wiring.read(rows).unflatten(1, (wiring.groups, -1)).transpose(0, 1)
        gram += read.transpose(1, 2) @ read
        cross += read.transpose(1, 2) @ rows[:, wiring.first_written :]
    size = gram.diagonal(dim1=1, dim2=2).mean(1).clamp_min(torch.finfo(torch.float64).tiny)
    ridge = (RIDGE * size)[:, None, None] * torch.eye(own, dtype=torch.float64, device=device)
    found: Tensor = torch.linalg.solve(gram + ridge, cross)
    return found.transpose(1, 2).float().contiguous()
