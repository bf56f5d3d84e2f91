"""Wiring of coders: the columns of joint rows that are read and written, and by which concepts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Wiring:
    """Columns of joint rows: those of the places that are read, then those of the places that are written.

    Attributes:
        reads: Width of each place that is read.
        writes: Width of each place that is written.
        shared: The places that are read are those that are written, and occur once.
        layered: The concepts are in as many equal groups as there are places: the i-th group reads the i-th place alone, and
            writes the i-th place and those after it.
    """

    reads: tuple[int, ...]
    writes: tuple[int, ...]
    shared: bool = False
    layered: bool = False

    @property
    def read_width(self) -> int:
        """Return the number of columns that are read, the first ones."""
        return sum(self.reads)

    @property
    def written_width(self) -> int:
        """Return the number of columns that are written, the last ones."""
        return sum(self.writes)

    @property
    def row_width(self) -> int:
        """Return the width of a joint row."""
        return self.read_width if self.shared else self.read_width + self.written_width

    @property
    def first_written(self) -> int:
        """Return the first column that is written."""
        return self.row_width - self.written_width

    @property
    def groups(self) -> int:
        """Return the number of groups of concepts that read different places."""
        return len(self.reads) if self.layered else 1

    def read(self, rows: Float[Tensor, "b w"]) -> Float[Tensor, "b i"]:
        """Return the columns that are read."""
        return rows[:, : self.read_width]

    def written(self, values: Float[Tensor, "... o"]) -> list[Float[Tensor, "... _"]]:
        """Return what is written, of each place apart."""
        return list(values.split(self.writes, dim=-1))

    def preactivations(
        self, rows: Float[Tensor, "b w"], weight: Float[Tensor, "c j"], bias: Float[Tensor, " c"]
    ) -> Float[Tensor, "b c"]:
        """Compute the pre-activation of each concept: from all places that are read, or from its own."""
        given = self.read(rows)
        if self.groups == 1:
            return torch.addmm(bias, given, weight.T)
        apart = given.unflatten(1, (self.groups, -1)).transpose(0, 1)
        return torch.baddbmm(
            bias.view(self.groups, 1, -1), apart, weight.unflatten(0, (self.groups, -1)).transpose(1, 2)
        ).transpose(0, 1).flatten(1)  # fmt: skip

    def skipped(self, rows: Float[Tensor, "b w"], skip: Float[Tensor, "o j"]) -> Float[Tensor, "b o"]:
        """Compute what a skip connection writes: from all places that are read, or to each layer from its own."""
        given = self.read(rows)
        if self.groups == 1:
            return given @ skip.T
        apart = given.unflatten(1, (self.groups, -1)).transpose(0, 1)
        return (apart @ skip.unflatten(0, (self.groups, -1)).transpose(1, 2)).transpose(0, 1).flatten(1)

    def reached(self, nb_concepts: int, device: torch.device) -> Bool[Tensor, "c o"] | None:
        """Return which columns each concept may write; None: all."""
        if not self.layered:
            return None
        layer = torch.arange(len(self.writes), device=device)
        places = (layer[None, :] >= layer[:, None]).repeat_interleave(nb_concepts // self.groups, 0)
        return places.repeat_interleave(torch.tensor(self.writes, device=device), 1)
