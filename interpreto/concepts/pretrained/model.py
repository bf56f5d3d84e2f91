"""Compute what a published sparse autoencoder computes: codes of rows, and rows of codes."""

from __future__ import annotations

import math
from typing import ClassVar, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.concept_model import ConceptModel
from interpreto.errors import OptionError
from interpreto.validation import check_choice, check_count

Activation = Literal["relu", "topk", "jumprelu", "gated", "groupmax"]
Normalization = Literal["none", "layer_norm", "constant_norm"]
EPSILON = 1e-5
"""Added to the deviation of a row by the layouts that divide by it."""
OF_ACTIVATION: dict[str, tuple[str, ...]] = {
    "jumprelu": ("threshold",),
    "gated": ("gate_bias", "log_gain"),
}
"""Tensors, one number per concept, that an activation has next to those of all."""


class PublishedSAE(ConceptModel):
    """A sparse autoencoder as its publisher computes it, so that its codes are those of the publisher's own pages.

    A row x becomes the pre-activations p = W(x − b) + e, and these the codes: ``relu``; the ``k`` largest, where positive
    (``topk``); those above a threshold each (``jumprelu``); the largest of each of ``k`` groups (``groupmax``); or, where
    W(x − b) plus a bias of its own is positive, p with each concept's gain (``gated``).

    Args:
        nb_concepts: Number of concepts.
        activation: How pre-activations become codes.
        k: Concepts of a row, for ``topk`` and ``groupmax``.
        subtracts_bias: b is the decoder's bias; else it is zero.
        by_decoder_norm: Pre-activations are multiplied by the norms of the atoms, and the codes are of atoms of norm 1.

    References:
        Rajamanoharan et al., 2024, https://arxiv.org/abs/2404.16014 (gated).
    """

    axes: ClassVar = {
        "encoder_weight": "c d",
        "encoder_bias": "c",
        "atoms": "c d",
        "decoder_bias": "d",
        "threshold": "c",
        "gate_bias": "c",
        "log_gain": "c",
    }

    encoder_weight: Tensor
    encoder_bias: Tensor
    atoms: Tensor
    decoder_bias: Tensor
    threshold: Tensor
    gate_bias: Tensor
    log_gain: Tensor

    def __init__(
        self,
        nb_concepts: int,
        *,
        activation: str = "relu",
        k: int | None = None,
        subtracts_bias: bool = False,
        by_decoder_norm: bool = False,
    ) -> None:
        super().__init__(nb_concepts)
        self.activation = check_choice(activation, "activation", get_args(Activation))
        counted = self.activation in ("topk", "groupmax")
        if counted != (k is not None):
            raise OptionError(f"`k`: got {k!r} with {self.activation!r}; topk and groupmax have a k, and no other has one.")
        self.k = None if k is None else check_count(k, "k", 1, nb_concepts)
        if self.activation == "groupmax" and nb_concepts % (self.k or 1):
            raise OptionError(f"`k`: got {k}, and {nb_concepts} concepts are not that many groups of one size.")
        self.subtracts_bias, self.by_decoder_norm = bool(subtracts_bias), bool(by_decoder_norm)
        for name in ("encoder_weight", "encoder_bias", "atoms", "decoder_bias", *OF_ACTIVATION.get(self.activation, ())):
            self.register_buffer(name, torch.empty(0, dtype=torch.float32))

    @property
    def is_fitted(self) -> bool:
        """Return True once the tensors are loaded."""
        return self.atoms.numel() > 0

    def encode(self, activations: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """Compute the codes of rows, in the publisher's units."""
        rows = self.read(activations)
        rows = rows - self.decoder_bias if self.subtracts_bias else rows
        if self.activation == "gated":
            scores = rows @ self.encoder_weight.T
            values = (scores * self.log_gain.exp() + self.encoder_bias).relu()
            return torch.where(scores + self.gate_bias > 0, values, 0.0)
        values = torch.addmm(self.encoder_bias, rows, self.encoder_weight.T)
        return self._active(values * self.atoms.norm(dim=1) if self.by_decoder_norm else values)

    def _active(self, values: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
        """Return the codes of pre-activations."""
        if self.activation == "jumprelu":
            return torch.where(values > self.threshold, values.relu(), 0.0)
        if self.k is None:
            return values.relu()
        if self.activation == "topk":
            largest, concepts = values.topk(self.k, dim=1)
        else:
            groups = values.unflatten(1, (self.k, -1))
            largest, within = groups.max(dim=2)
            concepts = within + groups.shape[2] * torch.arange(self.k, device=values.device)
        return torch.zeros_like(values).scatter(1, concepts, largest.relu())

    def decode(self, concepts: Float[Tensor, "n c"], activations: Float[Tensor, "n d"] | None = None) -> Float[Tensor, "n d"]:
        """Reconstruct rows from their codes."""
        return self.write(torch.addmm(self.decoder_bias, concepts, self.get_dictionary()), activations)

    def get_dictionary(self) -> Float[Tensor, "c d"]:
        """Return what one unit of each concept adds to a row, as published; of a row that is normalized, before it is."""
        return self.atoms / self.atoms.norm(dim=1, keepdim=True) if self.by_decoder_norm else self.atoms

    def read(self, activations: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return rows as the autoencoder was trained on them."""
        return activations

    def write(self, rows: Float[Tensor, "n d"], activations: Float[Tensor, "n d"] | None) -> Float[Tensor, "n d"]:
        """Return rows as the model has them."""
        return rows


class RowNormalizedSAE(PublishedSAE):
    """A published autoencoder of rows that are centered, or brought to one size, each by itself.

    Codes alone do not tell how large a row was: `decode` needs the rows.

    Args:
        nb_concepts: Number of concepts.
        activation: How pre-activations become codes.
        k: Concepts of a row, for ``topk`` and ``groupmax``.
        subtracts_bias: b is the decoder's bias; else it is zero.
        by_decoder_norm: Pre-activations are multiplied by the norms of the atoms.
        normalization: ``"layer_norm"`` divides the centered row by its deviation (n − 1), ``"constant_norm"`` brings its norm
            to √d, ``"none"`` does neither.
        centers_rows: Subtract each row's own mean first, as libraries do that center what writes to the residual stream.
    """

    decodes_alone: ClassVar[bool] = False

    def __init__(
        self,
        nb_concepts: int,
        *,
        activation: str = "relu",
        k: int | None = None,
        subtracts_bias: bool = False,
        by_decoder_norm: bool = False,
        normalization: str = "none",
        centers_rows: bool = False,
    ) -> None:
        super().__init__(
            nb_concepts, activation=activation, k=k, subtracts_bias=subtracts_bias, by_decoder_norm=by_decoder_norm
        )
        self.normalization = check_choice(normalization, "normalization", get_args(Normalization))
        self.centers_rows = bool(centers_rows)

    def read(self, activations: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return rows as the autoencoder was trained on them."""
        centers = self.centers_rows or self.normalization == "layer_norm"
        rows = activations - activations.mean(1, keepdim=True) if centers else activations
        if self.normalization == "layer_norm":
            return rows / (rows.std(1, keepdim=True) + EPSILON)
        return rows / self._size(rows) if self.normalization == "constant_norm" else rows

    def write(self, rows: Float[Tensor, "n d"], activations: Float[Tensor, "n d"] | None) -> Float[Tensor, "n d"]:
        """Return rows as the model has them, with the mean and the size of the rows that were encoded."""
        if activations is None:
            raise OptionError("`activations`: this autoencoder normalizes each row; pass the rows that were encoded as well.")
        given = activations.to(rows)
        mean = given.mean(1, keepdim=True)
        if self.normalization == "layer_norm":
            return rows * given.std(1, keepdim=True) + mean
        if self.normalization == "constant_norm":
            rows = rows * self._size(given - mean if self.centers_rows else given)
        return rows + mean if self.centers_rows else rows

    @staticmethod
    def _size(rows: Float[Tensor, "n d"]) -> Float[Tensor, "n 1"]:
        """Return the factor by which rows of norm √d are smaller."""
        return rows.norm(dim=1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny) / math.sqrt(rows.shape[1])


def model_class(normalization: str | None = None, centers_rows: bool = False) -> type[PublishedSAE]:
    """Return the class of an autoencoder with these options."""
    return RowNormalizedSAE if centers_rows or normalization not in (None, "none") else PublishedSAE
