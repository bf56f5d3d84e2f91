"""Tokens of rows by position: the encoder's and the decoder's part of a row, and the head where logits are wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

HALF = (torch.float16, torch.bfloat16)

Part = Callable[[Tensor, Any], Tensor]
"""Takes values ``(b, l, ...)`` of rows to other columns: those of a part of the tokens, padded on the right with the second
argument, or back."""


def streams(sources: Int[Tensor, " b"], lengths: Int[Tensor, " b"]) -> tuple[Part, Part]:
    """Return how rows are cut into what an encoder reads and what a decoder reads."""
    zero = torch.zeros_like(sources)
    return taken(zero, sources), taken(sources, lengths)


def taken(start: Int[Tensor, " b"], end: Int[Tensor, " b"]) -> Part:
    """Return how values of whole rows are cut to the tokens from ``start`` to ``end``."""
    columns = start[:, None] + torch.arange(int((end - start).max()))
    return _chosen(columns, columns < end[:, None])


def put_back(start: Int[Tensor, " b"], end: Int[Tensor, " b"], length: int) -> Part:
    """Return how values of the tokens from ``start`` to ``end`` come to their places in whole rows."""
    places = torch.arange(length).expand(len(start), -1)
    return _chosen(places - start[:, None], (places >= start[:, None]) & (places < end[:, None]))


def _chosen(columns: Int[Tensor, "b m"], inside: Bool[Tensor, "b m"]) -> Part:
    """Return how values are cut to some columns of each row, with a filler where they are not ``inside``."""

    def cut(values: Shaped[Tensor, "b l *rest"], filler: Any) -> Shaped[Tensor, "b m *rest"]:
        where = columns.clamp(0, values.shape[1] - 1).to(values.device)
        found = values[torch.arange(len(where), device=values.device)[:, None], where]
        kept = inside.to(values.device).reshape(*inside.shape, *(1,) * (values.ndim - 2))
        return torch.where(kept, found, torch.as_tensor(filler, dtype=values.dtype, device=values.device))

    return cut


def selected(values: Float[Tensor, "b l v"], positions: Int[Tensor, "b k"]) -> Float[Tensor, "b k v"]:
    """Return the values at some tokens of each row."""
    return values.gather(1, positions.to(values.device)[..., None].expand(-1, -1, values.shape[-1]))


@contextmanager
def heard_at(head: nn.Module, positions: Int[Tensor, "b k"], length: int) -> Iterator[list[bool]]:
    """Context manager in which a head reads the hidden states at some tokens alone.

    Args:
        head: The model's last layer.
        positions: Tokens of each row.
        length: Of the rows. Hidden states of more are of rows with virtual tokens before the text.

    Yields:
        A list that is empty as long as the head was not called with hidden states of these rows.
    """
    used: list[bool] = []

    def pick(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        hidden = inputs[0] if inputs else None
        if not isinstance(hidden, Tensor) or hidden.ndim != 3 or len(hidden) != len(positions) or hidden.shape[1] < length:
            return None
        used.append(True)
        return (selected(hidden, positions + (hidden.shape[1] - length)), *inputs[1:])

    handle = head.register_forward_pre_hook(pick)
    try:
        yield used
    finally:
        handle.remove()


class PaddingCheck:
    """Measure once whether padding on the right leaves what a model computes for a row as it is.

    Models that mix padding in, or read the last position whatever the mask says (XLNet), get batches of one length.
    """

    def __init__(self) -> None:
        self._passed: bool | None = None

    def __call__(self, compared: Callable[[], Iterable[tuple[Tensor, Tensor]]], low_precision: bool = False) -> bool:
        """Return True if rows of unequal lengths may share a batch.

        Args:
            compared: Run the model on a padded row and on the same row alone; pairs of what it computed for the row's own
                tokens. Called the first time only.
            low_precision: The model computes in half precision.
        """
        if self._passed is None:
            with torch.no_grad():
                self._passed = all(agree(padded, alone, low_precision) for padded, alone in compared())
        return self._passed


def agree(first: Tensor, second: Tensor, low_precision: bool = False) -> bool:
    """Return True if two ways to compute something give the same, up to rounding."""
    if first.shape != second.shape:
        return False
    low = low_precision or first.dtype in HALF or second.dtype in HALF
    scale = float(second.abs().max().clamp(min=1.0)) if second.numel() else 1.0
    return not second.numel() or bool((first.float() - second.float()).abs().max() <= (5e-2 if low else 1e-4) * scale)
