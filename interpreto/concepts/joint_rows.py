"""Rows of several places as one: the activations of a unit at each place, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any

import torch
from torch import Generator, Tensor

from interpreto.errors import InputError

JOINT = " + "
"""Between the names of places that are read together."""


def first_place(split_point: str | None) -> str | None:
    """Return the first place of a joint split point; another one as it is."""
    return None if split_point is None else split_point.partition(JOINT)[0]


class JointRows:
    """Rows of several stores as one source: row i is the i-th row of each, one after the other.

    Args:
        parts: Stores of the same units at different places.
    """

    def __init__(self, parts: Sequence[Any]) -> None:
        self.parts = tuple(parts)

    @property
    def shape(self) -> tuple[int, int]:
        """Return the number of rows and their width."""
        return next(int(part.shape[0]) for part in self.parts), sum(int(part.shape[1]) for part in self.parts)

    @property
    def dtype(self) -> torch.dtype:
        """Return the dtype of the rows."""
        found = self.parts[0].dtype
        for part in self.parts[1:]:
            found = torch.promote_types(found, part.dtype)
        return found

    def batches(self, size: int, generator: Generator | None = None) -> Iterator[Tensor]:
        """Yield all rows, ``(b, d)`` at a time: in order, or shuffled by the generator, all parts alike."""
        if generator is None:
            draws: list[Generator | None] = [None] * len(self.parts)
        else:
            others = [Generator(generator.device) for _ in self.parts[1:]]
            for other in others:
                other.set_state(generator.get_state())
            draws = [generator, *others]
        streams = [part.batches(size, own) for part, own in zip(self.parts, draws, strict=True)]
        for rows in zip(*streams, strict=True):
            yield torch.cat([part.to(self.dtype) for part in rows], 1)

    def read(self) -> Tensor:
        """Return all rows, ``(n, d)``."""
        return torch.cat([part.read().to(self.dtype) for part in self.parts], 1)


def joint_rows(activations: Mapping[str, Any], names: Sequence[str]) -> Any:
    """Return the activations of several places as rows, one place after the other.

    Args:
        activations: By place. The last places may be missing, for whom only the first are needed.
        names: The places, in order.

    Raises:
        InputError: one of the first is missing, or they are not of the same units.
    """
    there = list(takewhile(lambda name: name in activations, names))
    if not there or any(name in activations for name in names[len(there) :]):
        missing = next(name for name in names if name not in activations)
        raise InputError(f"`activations`: has none of {missing!r}; it holds {', '.join(map(repr, activations)) or 'nothing'}.")
    parts = [activations[name] for name in there]
    shapes: list[tuple[int, ...]] = [tuple(getattr(part, "shape", ())) for part in parts]
    if any(len(shape) != 2 for shape in shapes) or len({shape[0] for shape in shapes}) > 1:
        told = ", ".join(f"{name!r} {shape}" for name, shape in zip(there, shapes, strict=True))
        raise InputError(f"`activations`: got {told}; pass (n, d) of the same n units for each place.")
    tensors = [part for part in parts if isinstance(part, Tensor)]
    if tensors and len(tensors) < len(parts):
        raise InputError("`activations`: got tensors and stores; pass tensors for all places, or stores for all.")
    if len(parts) == 1:
        return parts[0]
    return torch.cat(tensors, 1) if tensors else JointRows(parts)
