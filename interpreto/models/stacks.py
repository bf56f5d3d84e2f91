"""The tokens of a row that each stack of a model reads: an encoder the first, the decoder next to it the others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from interpreto.errors import ModelError
from interpreto.inputs.split_inputs import SplitInput
from interpreto.models.hook_points import TOLD_APART, HookPoint


def stretch(point: HookPoint, rows: Sequence[SplitInput]) -> tuple[Int[Tensor, " b"], Int[Tensor, " b"]]:
    """Return where the tokens begin and end, in each row, that a point's stack reads.

    Raises:
        ModelError: its decoder is given nothing to read.
    """
    lengths, sources = torch.tensor([len(row) for row in rows]), torch.tensor([row.source for row in rows])
    if not rows[0].source:
        check_written(point)
        return torch.zeros_like(lengths), lengths
    return (torch.zeros_like(lengths), sources) if point.stack == "encoder" else (sources, lengths)


def check_written(point: HookPoint) -> None:
    """Raise a `ModelError` for a point in a decoder that is given nothing to read."""
    if point.stack == "decoder":
        raise ModelError(
            f"`split_points`: {point.name!r} is in a decoder, and these inputs are read by the encoder alone; choose a module "
            "of the encoder."
        )


def told_apart(row: SplitInput) -> SplitInput:
    """Return a row, or a part of it, that shows where a module has its tokens: several, and unequally many in two stacks."""
    _, fewest = TOLD_APART
    if row.source:
        parts = ((row.input_ids[: row.source], fewest), (row.input_ids[row.source :], fewest + 1))
        ids = torch.cat([part.repeat(n)[:n] for part, n in parts])
        return SplitInput(ids, torch.full_like(ids, -1), 0, {}, fewest)
    if len(row) >= fewest:
        return row
    extras = {name: value.repeat(fewest) for name, value in row.extras.items()}
    return SplitInput(row.input_ids.repeat(fewest), row.index.repeat(fewest), row.u, extras)
