"""Rows of a store in fewer bytes: eight bits per number, and one scale per row."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from interpreto.errors import OptionError

FLOATS = {str(kind).removeprefix("torch."): kind for kind in (torch.float64, torch.float32, torch.float16, torch.bfloat16)}
INT8_STEPS = 127  # on each side of 0
FLOAT8_LARGEST = 448.0  # the largest number of float8 with four bits of exponent
ENCODINGS = {"int8": torch.int8, "float8": torch.float8_e4m3fn}
KEPT = FLOATS | {"int8": torch.int8, "float8_e4m3fn": torch.float8_e4m3fn}
"""Dtypes of the numbers in a store's files, by their names there."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows as a store's files hold them.

    Attributes:
        numbers: ``(n, d)``.
        scales: Factor of each row; None: the numbers are the activations.
    """

    numbers: Shaped[Tensor, "n d"]
    scales: Float[Tensor, " n"] | None = None

    def __len__(self) -> int:
        return len(self.numbers)

    def part(self, start: int, stop: int) -> Rows:
        """Return consecutive rows; memory is shared."""
        return Rows(self.numbers[start:stop], None if self.scales is None else self.scales[start:stop])

    def copy(self, other: Rows) -> None:
        """Write other rows, as many, over these."""
        self.numbers.copy_(other.numbers)
        if self.scales is not None and other.scales is not None:
            self.scales.copy_(other.scales)

    def chosen(self, index: Int[Tensor, " b"]) -> Rows:
        """Return some rows, in the order of their numbers, in memory of their own."""
        scales = None if self.scales is None else self.scales.index_select(0, index)
        return Rows(self.numbers.index_select(0, index), scales)

    def decoded(self, into: Float[Tensor, "n d"] | None = None) -> Float[Tensor, "n d"]:
        """Return the activations; written over ``into``, if it is given."""
        if self.scales is None:
            return self.numbers if into is None else into.copy_(self.numbers)
        found = self.numbers.to(self.scales.dtype) if into is None else into.copy_(self.numbers)
        return found.mul_(self.scales[:, None])

    def decoded_at(self, index: Int[Tensor, " b"], into: Float[Tensor, "b d"] | None = None) -> Float[Tensor, "b d"]:
        """Return the activations of some rows, in memory of their own, or in ``into``."""
        if self.scales is None and into is not None:
            return torch.index_select(self.numbers, 0, index, out=into)
        return self.chosen(index).decoded(into)


def empty_rows(n: int, width: int, dtype: torch.dtype) -> Rows:
    """Return memory for rows of which the files hold this dtype."""
    scales = None if dtype in FLOATS.values() else torch.empty(n)
    return Rows(torch.empty(n, width, dtype=dtype), scales)


def decoded_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of activations whose files hold another: float32 for encoded ones."""
    return dtype if dtype in FLOATS.values() else torch.float32


def encoded(activations: Float[Tensor, "n d"], encoding: str | None) -> Rows:
    """Return activations as a store keeps them.

    ``int8``: each row has steps of its largest magnitude divided by 127, and an error of at most half a step.
    ``float8``: each row is scaled so that its largest magnitude is the largest number of float8 (four bits of exponent, three
    of mantissa): the error of a number is at most a sixteenth of it, or 2⁻¹⁰ of the row's scale, whichever is larger. Rows with
    NaN or infinity become NaN.

    Args:
        activations: Numbers of one dtype.
        encoding: One of `ENCODINGS`; None: as they are.
    """
    if encoding is None:
        return Rows(activations.contiguous())
    largest = INT8_STEPS if encoding == "int8" else FLOAT8_LARGEST
    values = activations.float()
    scales = values.abs().amax(1) / largest if values.shape[1] else values.new_zeros(len(values))
    tiny = torch.finfo(torch.float32).tiny
    steps = (values / torch.where(scales < tiny, tiny, scales)[:, None]).nan_to_num(0.0, 0.0, 0.0).clamp(-largest, largest)
    scales = torch.where(scales.isfinite(), scales.clamp(min=tiny), torch.nan)
    return Rows((steps.round() if encoding == "int8" else steps).to(ENCODINGS[encoding]).contiguous(), scales)


def read_dtype(dtype: object) -> tuple[torch.dtype | None, str | None]:
    """Return the dtype in which activations are computed, and how they are encoded, from what a user asks for.

    Raises:
        OptionError: it is neither a dtype of floats nor the name of an encoding.
    """
    if dtype is None or (isinstance(dtype, torch.dtype) and dtype in FLOATS.values()):
        return dtype, None
    if isinstance(dtype, torch.dtype):
        dtype = {kind: name for name, kind in ENCODINGS.items()}.get(dtype, str(dtype).removeprefix("torch."))
    if isinstance(dtype, str) and dtype in FLOATS:
        return FLOATS[dtype], None
    if dtype not in ENCODINGS:
        raise OptionError(f"`dtype`: got {dtype!r}; pass a torch dtype of floats, or one of {', '.join(map(repr, ENCODINGS))}.")
    return torch.float32, str(dtype)
