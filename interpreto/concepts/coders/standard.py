"""Bring each place of joint rows to one center and one size, and write what was learned there in the places' own units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from interpreto.concepts.activations import Activations
from interpreto.concepts.coders.wiring import Wiring
from interpreto.concepts.outliers import measure_spread
from interpreto.concepts.saes.parallel import Ranks
from interpreto.errors import InputError


@dataclass(frozen=True, eq=False)
class Columns:
    """Some columns of a source of rows, centered and divided.

    Attributes:
        rows: The rows.
        columns: Those that are taken.
        center: Subtracted from them; None: nothing is.
        size: Divides them.
    """

    rows: Activations
    columns: slice
    center: Float[Tensor, " w"] | None = None
    size: Float[Tensor, " w"] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Return the number of rows and their width."""
        return self.rows.n, len(range(*self.columns.indices(self.rows.d)))

    @property
    def dtype(self) -> torch.dtype:
        """Return the dtype of the rows."""
        return self.rows.dtype

    def batches(self, size: int, generator: Generator | None = None) -> Iterator[Tensor]:
        """Yield all rows, ``(b, w)`` at a time: in order, or shuffled by the generator."""
        for batch in self.rows.batches(size, generator):
            yield self._standard(batch)

    def read(self) -> Tensor:
        """Return all rows, ``(n, w)``."""
        return self._standard(self.rows.read())

    def _standard(self, rows: Tensor) -> Tensor:
        found = rows[:, self.columns]
        if self.center is not None and self.size is not None:
            found = (found - self.center.to(found)) / self.size.to(found)
        return found


@dataclass(frozen=True, eq=False)
class Standard:
    """Center and size of each place. Written places together have a mean squared norm of 1, all in equal shares.

    Attributes:
        wiring: The columns.
        center: Of each column, the mean over ordinary rows.
        size: Of each column, its place's root mean square norm; of written places, times the root of their number.
    """

    wiring: Wiring
    center: Float[Tensor, " w"]
    size: Float[Tensor, " w"]

    @staticmethod
    def measured(rows: Activations, wiring: Wiring, places: Sequence[str]) -> Standard:
        """Measure center and size of each place.

        Args:
            rows: Joint rows.
            wiring: Their columns.
            places: Names of the places, in order.

        Raises:
            InputError: all rows are equal at a place.
        """
        centers, sizes, start = [], [], 0
        widths = wiring.reads if wiring.shared else (*wiring.reads, *wiring.writes)
        for place, width in zip(places, widths, strict=True):
            view = Activations(Columns(rows, slice(start, start + width)), rows.device)
            spread = measure_spread(view)
            if spread.variance == 0:
                raise InputError(f"`activations`: all rows of {place!r} are equal; there is nothing to learn concepts from.")
            share = len(wiring.writes) ** 0.5 if start >= wiring.first_written else 1.0
            centers.append(spread.center)
            sizes.append(spread.center.new_full((width,), spread.scale * share))
            start += width
        return Standard(wiring, torch.cat(centers), torch.cat(sizes))

    def shared_by(self, ranks: Ranks) -> Standard:
        """Replace the numbers by those of the first process of a training.

        Raises:
            OptionError: the processes have other places, so that not even the numbers are as many.
        """
        ranks.check_alike(f"coders of {self.wiring}", self.center.device)
        ranks.share_first([self.center, self.size])
        return self

    def of(self, rows: Activations) -> Activations:
        """Return rows in these units."""
        return Activations(Columns(rows, slice(0, rows.d), self.center, self.size), rows.device)

    def units(self) -> Float[Tensor, " q"]:
        """Return the root mean square norm of each written place."""
        ends = torch.tensor(self.wiring.writes).cumsum(0).to(self.size.device) - 1
        return self.size[self.wiring.first_written :][ends] / len(self.wiring.writes) ** 0.5

    def folded(self, learned: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return tensors that were learned in these units as those of the activations themselves.

        One unit of a concept of a single written place then has norm 1; of several, it is their root mean square size.
        """
        wiring, found = self.wiring, {name: tensor.double() for name, tensor in learned.items()}
        reads, writes = slice(0, wiring.read_width), slice(wiring.first_written, None)
        center, size, mean, scale = self.center[reads], self.size[reads], self.center[writes], self.size[writes]
        unit = scale.square().mean().sqrt()
        own = _own_columns(size, wiring, len(found["encoder_bias"])), _own_columns(center, wiring, len(found["encoder_bias"]))
        weight = found["encoder_weight"] / own[0]
        result = {
            "encoder_weight": unit * weight,
            "encoder_bias": unit * (found["encoder_bias"] - (weight * own[1]).sum(1)),
            "atoms": scale * found["atoms"] / unit,
            "decoder_bias": mean + scale * found["decoder_bias"],
            "units": self.units(),
        }
        if "threshold" in found:
            result["threshold"] = unit * found["threshold"]
        if "skip" in found:
            result["skip"] = scale[:, None] * found["skip"] / size
            result["decoder_bias"] = result["decoder_bias"] - result["skip"] @ center
        return {name: tensor.float() for name, tensor in result.items()}


def _own_columns(values: Float[Tensor, " i"], wiring: Wiring, nb_concepts: int) -> Float[Tensor, "c j"]:
    """Return the numbers of the columns that each concept reads."""
    return values.unflatten(0, (wiring.groups, -1)).repeat_interleave(nb_concepts // wiring.groups, 0)
