"""Find where each block's heads, and its feed-forward layer, hand on what they computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from interpreto.errors import ModelError
from interpreto.inputs.split_inputs import SplitInput
from interpreto.models.activations import ActivationRecorder
from interpreto.models.hook_points import INPUT, HookPoint, block_list


@dataclass(frozen=True, eq=False)
class SublayerPoints:
    """Places of one block.

    Attributes:
        heads: Input of the attention's output layer: the heads' outputs, side by side. None: the block has no attention.
        feed_forward: Output of the feed-forward layer; None: there is none.
    """

    heads: HookPoint | None
    feed_forward: HookPoint | None


@torch.no_grad()
def sublayer_points(recorder: ActivationRecorder, row: SplitInput) -> list[SublayerPoints]:
    """Return the places of each block of a model with one stack.

    The output layer of the attention is the last linear layer that runs within a module whose name has "att" in it; that of
    the feed-forward layer is the last one that runs elsewhere in the block.

    Args:
        recorder: Runs the model.
        row: A text.

    Raises:
        ModelError: the model is an encoder-decoder, or no block has such layers.
    """
    model = recorder.model
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        raise ModelError(f"`parts`: {type(model).__name__} has two stacks; heads are found in models with one.")
    path, blocks = block_list(model)
    ran: list[list[str]] = [[] for _ in blocks]

    def listen(block: int, name: str) -> Any:
        return lambda *_: ran[block].append(name)

    hooks = [
        module.register_forward_hook(listen(i, name))
        for i, block in enumerate(blocks)
        for name, module in block.named_modules()
        if _is_linear(module)
    ]
    try:
        with recorder.session([row]):
            recorder.model(**recorder.inputs([row]))
    finally:
        for hook in hooks:
            hook.remove()
    found = [_points(f"{path}.{i}", block, names) for i, (block, names) in enumerate(zip(blocks, ran, strict=True))]
    if not any(points.heads or points.feed_forward for points in found):
        raise ModelError(f"`parts`: no linear layers run in the blocks {path!r} of {type(model).__name__}.")
    return found


def _points(path: str, block: nn.Module, names: list[str]) -> SublayerPoints:
    modules = dict(block.named_modules())
    attention = [name for name in names if _in_attention(name)]
    others = [name for name in names if not _in_attention(name)]
    heads = HookPoint(f"{path}.{attention[-1]}{INPUT}", modules[attention[-1]], "input") if attention else None
    feed_forward = HookPoint(f"{path}.{others[-1]}", modules[others[-1]]) if others else None
    return SublayerPoints(heads, feed_forward)


def _in_attention(name: str) -> bool:
    return "att" in name.casefold()


def _is_linear(module: nn.Module) -> bool:
    """Return True for layers with a matrix that are no table: torch's Linear, transformers' Conv1D, and quantized ones."""
    weight = getattr(module, "weight", None)
    leaf = not list(module.children()) and not isinstance(module, nn.Embedding)
    return leaf and weight is not None and weight.ndim == 2
