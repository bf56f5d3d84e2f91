"""Activations as concept models read them: from a tensor, or from a store that streams them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from interpreto.concepts.joint_rows import JOINT, joint_rows
from interpreto.errors import InputError

ROWS = 8192  # per batch, where only memory asks for batches


@runtime_checkable
class ActivationSource(Protocol):
    """Rows of activations that need not be in memory all at once; an `ActivationStore` is one."""

    @property
    def shape(self) -> tuple[int, int]:
        """Return the number of rows and their width."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Return the dtype of the rows."""
        ...

    def batches(self, size: int, generator: Generator | None = None) -> Iterator[Tensor]:
        """Yield all rows, ``(b, d)`` at a time: in order, or shuffled by the generator."""
        ...

    def read(self) -> Tensor:
        """Return all rows, ``(n, d)``."""
        ...


@dataclass(frozen=True, eq=False)
class Activations:
    """Activations as the concept models read them: finite, two-dimensional, on their device, in float32 or float64.

    Attributes:
        source: A tensor or a store with the rows.
        device: Device of the rows that are read.

    Examples:
        >>> import torch
        >>> activations = Activations(torch.eye(4, dtype=torch.bfloat16), torch.device("cpu"))
        >>> activations.n, activations.d, activations.read().dtype
        (4, 4, torch.float32)
    """

    source: Tensor | ActivationSource
    device: torch.device

    @property
    def n(self) -> int:
        """Return the number of rows."""
        return int(self.source.shape[0])

    @property
    def d(self) -> int:
        """Return the width of a row."""
        return int(self.source.shape[1])

    @property
    def dtype(self) -> torch.dtype:
        """Return the dtype that models compute in: float64 for float64 activations, else float32."""
        return torch.float64 if self.source.dtype == torch.float64 else torch.float32

    def read(self) -> Float[Tensor, "n d"]:
        """Return all rows; a store is read whole."""
        rows = self.source if isinstance(self.source, Tensor) else self.source.read()
        return check_finite(rows).detach().to(self.device, self.dtype)

    def batches(self, size: int = ROWS, generator: Generator | None = None) -> Iterator[Float[Tensor, "_ d"]]:
        """Yield all rows, ``size`` at a time: in order, or shuffled by the generator."""
        for rows in self._raw_batches(size, generator):
            yield check_finite(rows).detach().to(self.device, self.dtype)

    def _raw_batches(self, size: int, generator: Generator | None) -> Iterator[Tensor]:
        if not isinstance(self.source, Tensor):
            yield from self.source.batches(size, generator)
        elif generator is None:
            yield from self.source.split(size)
        else:
            order = torch.randperm(self.n, generator=generator).to(self.source.device)
            for rows in order.split(size):
                yield self.source.index_select(0, rows)

    def moments(self) -> tuple[Float[Tensor, " d"], Float[Tensor, "d d"]]:
        """Compute mean and covariance (divided by n) of the rows, in float64, in two passes, a batch in memory at a time."""
        mean = self.mean()
        covariance = mean.new_zeros(self.d, self.d)
        for rows in self.batches():
            centered = rows.double() - mean
            covariance += centered.T @ centered
        return mean, covariance / self.n

    def mean(self) -> Float[Tensor, " d"]:
        """Compute the mean of the rows, in float64."""
        total = torch.zeros(self.d, dtype=torch.float64, device=self.device)
        for rows in self.batches():
            total += rows.double().sum(0)
        return total / self.n


def read_activations(activations: Any, split_point: str | None, device: torch.device) -> Activations:
    """Return the activations of one split point, from whatever holds them.

    Raises:
        InputError: it is no tensor, mapping or store, has no row, or is not of ``(n, d)`` floats.
    """
    if isinstance(activations, Mapping):
        activations = _of_split_point(activations, split_point)
    if isinstance(activations, tuple):
        raise InputError(
            f"`activations`: got a tuple of {len(activations)}; a splitter that also returns predictions gives "
            "(activations, predictions): pass the first."
        )
    if not isinstance(activations, (Tensor, ActivationSource)):
        raise InputError(
            f"`activations`: got {type(activations).__name__}; pass a tensor (n, d), a dictionary of them by split point, or "
            "an ActivationStore."
        )
    if isinstance(activations, Tensor) and activations.layout is not torch.strided:
        raise InputError(
            f"`activations`: got a tensor of layout {activations.layout}; pass a dense one: `activations.to_dense()`."
        )
    shape = tuple(activations.shape)
    if len(shape) != 2 or 0 in shape:
        raise InputError(
            f"`activations`: got shape {shape}; pass (n, d), a row for each unit (tokens, words, …), at least one."
        )
    if not activations.dtype.is_floating_point:
        raise InputError(f"`activations`: got {activations.dtype}; pass floats, as the model gives them.")
    _check_origin(activations, split_point)
    return Activations(activations, device)


def holds_activations(inputs: Any) -> bool:
    """Return True for activations: a tensor of floats, a dictionary of such tensors, or a store."""
    tensors = inputs.values() if isinstance(inputs, Mapping) else [inputs]
    return isinstance(inputs, ActivationSource) or any(isinstance(t, Tensor) and t.is_floating_point() for t in tensors)


def _of_split_point(activations: Mapping[str, Any], split_point: str | None) -> Any:
    names = ", ".join(map(repr, activations))
    if split_point is None:
        if len(activations) != 1:
            raise InputError(f"`activations`: holds {names or 'nothing'}; say which one by the explainer's `split_point`.")
        return next(iter(activations.values()))
    if split_point not in activations and JOINT in split_point:
        return joint_rows(activations, split_point.split(JOINT))
    if split_point not in activations:
        raise InputError(f"`activations`: has none of the split point {split_point!r}; it holds {names or 'nothing'}.")
    return activations[split_point]


def _check_origin(activations: Tensor | ActivationSource, split_point: str | None) -> None:
    origin = getattr(getattr(activations, "config", None), "split_point", None)
    if isinstance(origin, str) and split_point is not None and origin != split_point:
        raise InputError(
            f"`activations`: this store was read at {origin!r}, and the explainer is of {split_point!r}; pass the store of "
            "that split point."
        )


def check_finite(rows: Tensor) -> Tensor:
    """Return the rows if all their numbers are finite.

    Raises:
        InputError: some are not; says how many rows.
    """
    if rows.numel() and not bool(torch.stack(torch.aminmax(rows)).isfinite().all()):  # NaN is least and largest
        broken = (~torch.isfinite(rows)).any(-1)
        raise InputError(
            f"`activations`: {int(broken.sum())} of {len(rows)} rows hold NaN or infinity, the first is row "
            f"{int(broken.nonzero()[0])}; drop them, or run the model in a wider dtype."
        )
    return rows
