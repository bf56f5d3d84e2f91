"""Compute what a transcoder or a crosscoder computes: codes of joint rows, and what they write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpreto.concepts.coders.wiring import Wiring
from interpreto.concepts.concept_model import ConceptModel
from interpreto.errors import OptionError
from interpreto.validation import check_choice, check_count, check_flag

Activation = Literal["relu", "topk", "jumprelu"]


class Coder(ConceptModel):
    """A linear encoder of some places and a linear decoder into some, possibly others.

    A joint row holds the places that are read, then those that are written. The codes are ``relu(W x + b)``, the ``k``
    largest of them (``topk``), or those above a threshold each (``jumprelu``). What is written is ``z D + c``, and ``S x``
    where there is a skip connection.

    Args:
        nb_concepts: Number of concepts.
        reads: Number of places that are read.
        writes: Number of places that are written; 0: those that are read.
        activation: How pre-activations become codes.
        k: Concepts of a row, for ``topk``.
        layered: The concepts are in as many groups as there are places; each reads its own place, and writes this and the
            later ones.
        skip: A linear map of what is read is written too; with layers, to each from its own place.
    """

    axes: ClassVar = {
        "encoder_weight": "c j",
        "encoder_bias": "c",
        "atoms": "c o",
        "decoder_bias": "o",
        "threshold": "c",
        "skip": "o i",
        "widths": "p",
        "units": "q",
    }

    encoder_weight: Tensor
    encoder_bias: Tensor
    atoms: Tensor
    decoder_bias: Tensor
    threshold: Tensor
    skip: Tensor
    widths: Tensor
    units: Tensor

    def __init__(
        self,
        nb_concepts: int,
        *,
        reads: int = 1,
        writes: int = 1,
        activation: str = "relu",
        k: int | None = None,
        layered: bool = False,
        skip: bool = False,
    ) -> None:
        super().__init__(nb_concepts)
        self.reads, self.writes = check_count(reads, "reads"), check_count(writes, "writes", 0)
        self.activation = check_choice(activation, "activation", get_args(Activation))
        if (self.activation == "topk") != (k is not None):
            raise OptionError(f"`k`: got {k!r} with {self.activation!r}; topk has a k, and no other has one.")
        self.k = None if k is None else check_count(k, "k", 1, nb_concepts)
        self.layered, self.has_skip = check_flag(layered, "layered"), check_flag(skip, "skip")
        if self.layered and (self.reads != self.writes or nb_concepts % self.reads):
            raise OptionError(
                f"`nb_concepts`: got {nb_concepts}, with {self.reads} places read and {self.writes} written; pass as many of "
                "both, and a multiple of them."
            )
        names = ["encoder_weight", "encoder_bias", "atoms", "decoder_bias", "units"]
        names += ["threshold"] * (self.activation == "jumprelu") + ["skip"] * self.has_skip
        for name in names:
            self.register_buffer(name, torch.empty(0, dtype=torch.float32))
        self.register_buffer("widths", torch.empty(0, dtype=torch.int64))

    @property
    def is_fitted(self) -> bool:
        """Return True once the tensors are learned or loaded."""
        return self.atoms.numel() > 0

    @property
    def wiring(self) -> Wiring:
        """Return the columns that are read and written."""
        widths: list[int] = self.widths.tolist()
        read = tuple(widths[: self.reads])
        return Wiring(read, tuple(widths[self.reads :]) or read, self.writes == 0, self.layered)

    @property
    def row_widths(self) -> tuple[int, int]:
        """Return the width of what is read, and of joint rows: either has codes."""
        return self.wiring.read_width, self.wiring.row_width

    @property
    def written(self) -> Float[Tensor, "c d"]:
        """Return what one unit of each concept writes at the last place."""
        return self.wiring.written(self.atoms)[-1]

    def forget(self) -> None:
        """Reset to the untrained state."""
        self.take({name: tensor.new_empty(0) for name, tensor in self.named_buffers()}, self.widths.new_empty(0))

    def take(self, tensors: Mapping[str, Tensor], widths: Int[Tensor, " p"]) -> None:
        """Take tensors that were learned or read."""
        self.widths = widths
        for name, tensor in tensors.items():
            setattr(self, name, tensor.detach().contiguous())

    def encode(self, activations: Float[Tensor, "n w"]) -> Float[Tensor, "n c"]:
        """Compute the codes of rows: joint ones, or the part that is read."""
        values = self.wiring.preactivations(activations, self.encoder_weight, self.encoder_bias)
        if self.k is None:
            return self._alone(values, slice(None))
        largest, concepts = values.topk(self.k, dim=1)
        return torch.zeros_like(values).scatter(1, concepts, largest.relu())

    def codes_of(self, concepts: list[int], rows: Float[Tensor, "n i"]) -> Float[Tensor, "n k"]:
        """Compute the codes of some concepts from what they read: of layers, the place of theirs alone."""
        if self.k is not None:
            return self.encode(rows)[:, concepts]
        return self._alone(torch.addmm(self.encoder_bias[concepts], rows, self.encoder_weight[concepts].T), concepts)

    def _alone(self, values: Float[Tensor, "n k"], concepts: list[int] | slice) -> Float[Tensor, "n k"]:
        """Return the codes of pre-activations that do not compete with each other."""
        if self.activation == "jumprelu":
            return torch.where(values > self.threshold[concepts], values.relu(), 0.0)
        return values.relu()

    def decode(self, concepts: Float[Tensor, "n c"], activations: Float[Tensor, "n w"] | None = None) -> Float[Tensor, "n o"]:
        """Compute what is written, from the codes and, where there is a skip connection, from what is read."""
        found = torch.addmm(self.decoder_bias, concepts, self.atoms)
        if not self.has_skip:
            return found
        if activations is None:
            raise OptionError("`activations`: this transcoder has a skip connection; pass the rows that were encoded as well.")
        return found + self.wiring.skipped(activations, self.skip)

    def get_dictionary(self) -> Float[Tensor, "c w"]:
        """Return what one unit of each concept adds to a joint row: nothing, where it is only read."""
        return torch.nn.functional.pad(self.atoms, (self.wiring.first_written, 0))
