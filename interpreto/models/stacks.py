"""The stacks of a model: the tokens of a row that each reads (an encoder the first, a decoder the others), and its blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Int
from torch import Tensor, nn

from interpreto.errors import ModelError
from interpreto.inputs.split_inputs import SplitInput
from interpreto.models.hook_points import TOLD_APART, HookPoint, block_list


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


def blocks_below(model: nn.Module, point: HookPoint, run: Callable[[], object]) -> list[nn.Module]:
    """Return the blocks of its stack that have run when the point is reached, the point's own among them.

    Args:
        model: The model.
        point: Where a pass stops.
        run: Runs the model until it reaches the point.
    """
    done: list[nn.Module] = []
    stack = model if point.stack is None else getattr(model, f"get_{point.stack}")()
    blocks = block_list(stack)[1]
    hooks = [block.register_forward_hook(lambda module, *_: done.append(module)) for block in blocks]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    if point.side == "output" and point.module in set(blocks):
        done.append(point.module)  # it is left by the stop before its hook above has run, or is in already
    return list(dict.fromkeys(done))
