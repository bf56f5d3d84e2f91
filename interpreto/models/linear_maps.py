"""Matrices of modules, read by running them: the same for every layout of weights, for adapters and for quantized layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from interpreto.errors import ModelError, OptionError
from interpreto.inputs.split_inputs import SplitInput
from interpreto.models.activations import ActivationRecorder
from interpreto.models.hook_points import HookPoint, find_hook_points
from interpreto.models.layers import find_blocks
from interpreto.models.padding import agree

CHUNK = 256  # unit vectors that run together


@torch.no_grad()
def matrix_of(module: nn.Module, width: int) -> tuple[Float[Tensor, "m d"], Float[Tensor, " d"]]:
    """Return what a module gives for each unit vector of its input, and what it gives for zero, on the CPU in float32.

    Raises:
        ModelError: the module is not linear, or does not read vectors of this width.
    """
    like = next((p for p in module.parameters() if p.is_floating_point()), None)
    dtype, device = (torch.float32, "cpu") if like is None else (like.dtype, like.device)

    def run(rows: Tensor) -> Tensor:
        return module(rows.to(device, dtype)).float().cpu()

    name = type(module).__name__
    try:
        offset = run(torch.zeros(1, width))[0]
        rows = torch.cat([run(part) - offset for part in torch.eye(width).split(CHUNK)])
        trial = torch.randn(3, width, generator=torch.Generator().manual_seed(0)).to(dtype).float()
        fits = agree(trial @ rows + offset, run(trial), low_precision=dtype not in (torch.float32, torch.float64))
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(f"`module`: {name} does not read vectors of {width} dimensions alone ({error}).") from error
    if not fits:
        raise ModelError(f"`module`: {name} is not linear, so that it has no directions; pass a linear layer within it.")
    return rows, offset


def feed_forward_output(recorder: ActivationRecorder, block: int, row: SplitInput) -> str:
    """Return the path of the last linear layer of a block's feed-forward part: the one with the widest input.

    Args:
        recorder: Runs the model.
        block: Number of the block.
        row: A text, on which it is found.

    Raises:
        ModelError: no layer of the block reads more dimensions than the hidden states have.
        OptionError: there is no such block.
    """
    _, path, blocks = find_blocks(recorder.model)
    if not -len(blocks) <= block < len(blocks):
        raise OptionError(f"`block`: got {block}; pass {-len(blocks)} to {len(blocks) - 1}.")
    number = block % len(blocks)
    seen = _linear_layers(recorder, f"{path}.{number}", blocks[number], row)
    width = recorder_width(recorder, HookPoint(f"{path}.{number}", blocks[number], stack=_stack(recorder, path)), row)
    wide = [(size, name) for name, size, out in seen if out == width and size > width]
    if not wide:
        raise ModelError(
            f"`block`: no layer of block {number} of {type(recorder.model).__name__} leads from more dimensions to the "
            f"{width} of the hidden states; it has no feed-forward layer of one matrix (experts have several)."
        )
    return max(wide, key=lambda pair: pair[0])[1]


def recorder_width(recorder: ActivationRecorder, point: HookPoint, row: SplitInput) -> int:
    """Return the width of the activations at a point."""
    with recorder.session([row]):
        return recorder.hidden_at(point, [row]).shape[-1]


def _stack(recorder: ActivationRecorder, path: str):
    return find_hook_points(recorder.model, [path])[0].stack


def _linear_layers(
    recorder: ActivationRecorder, path: str, block: nn.Module, row: SplitInput
) -> Sequence[tuple[str, int, int]]:
    """Return path, width of the input and of the output of the block's layers without parts, as they run on a text."""
    found: list[tuple[str, int, int]] = []

    def listen(name: str):
        def hook(_module: nn.Module, args: tuple[object, ...], output: object) -> None:
            if args and isinstance(args[0], Tensor) and isinstance(output, Tensor) and args[0].ndim >= 2:
                found.append((name, args[0].shape[-1], output.shape[-1]))

        return hook

    leaves = [(f"{path}.{name}", part) for name, part in block.named_modules() if name and not list(part.children())]
    hooks = [part.register_forward_hook(listen(name)) for name, part in leaves]
    try:
        with recorder.session([row]), torch.no_grad():
            recorder.model(**recorder.inputs([row]))
    finally:
        for hook in hooks:
            hook.remove()
    return found
