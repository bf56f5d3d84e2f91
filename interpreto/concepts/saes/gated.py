"""Gated sparse autoencoders: whether a concept is there, and how much of it, are told apart."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from interpreto.concepts.activations import Activations
from interpreto.concepts.outliers import Spread
from interpreto.concepts.saes.base import EncodedAutoencoder, Pass
from interpreto.validation import check_positive


class GatedSAE(EncodedAutoencoder):
    """Codes are positive parts of pre-activations where a gate is open; the penalty is on the gates alone, and shrinks no code.

    With u = W (x − b): the gate g = u + γ is open where it is positive, the amount is relu(u · exp(r) + β). The loss is
    ‖x − x̂‖² + l1 Σ relu(g) + ‖x − x̂(relu(g))‖², the last with the decoder held fixed, so that gates learn to be where they are
    needed.

    Args:
        nb_concepts: Number of concepts.
        l1: Weight of the penalty against the unexplained fraction of the variance.
    """

    axes: ClassVar = {**EncodedAutoencoder.axes, "gate_bias": "c", "log_gain": "c"}

    gate_bias: nn.Parameter
    log_gain: nn.Parameter

    def __init__(self, nb_concepts: int, l1: float = 0.1) -> None:
        super().__init__(nb_concepts, gate_bias=0.0, log_gain=0.0)
        self.l1 = check_positive(l1, "l1")

    def gates(self, rows: Float[Tensor, "b d"]) -> tuple[Float[Tensor, "b c"], Float[Tensor, "b c"]]:
        """Return the gates of normalized rows, open where they are positive, and the codes."""
        with torch.autocast(rows.device.type, enabled=False):
            center = self.encoder_weight @ self.decoder_bias
        shared = torch.addmm(-center, rows, self.encoder_weight.T)
        gates = shared + self.gate_bias
        amounts = (shared * self.log_gain.exp() + self.encoder_bias).relu()
        return gates, torch.where(gates > 0, amounts, 0.0)

    def codes(self, rows: Float[Tensor, "b d"]) -> Float[Tensor, "b c"]:
        """Return the amounts where gates are open."""
        return self.gates(rows)[1]

    def learn(self, rows: Float[Tensor, "b d"], sparsity: float, weights: Float[Tensor, " b"]) -> Pass:
        """Run a forward pass; the penalty holds the L1 norm of the open gates, and the error that they alone would leave."""
        gates, codes = self.gates(rows)
        open_gates = gates.relu()
        by_gates = torch.addmm(self.decoder_bias.detach(), open_gates, self.atoms.detach())
        left = (weights * (rows - by_gates.float()).square().sum(1)).mean()
        return Pass(codes, self.reconstruct(codes), sparsity * self.l1 * (weights * open_gates.sum(1)).mean() + left)

    def calibrate(self, activations: Activations, spread: Spread, random_state: int) -> None:
        """Do nothing: the codes need no threshold of the data."""
