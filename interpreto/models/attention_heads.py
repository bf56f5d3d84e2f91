"""Matrices of a block's attention heads, found by running it: whatever its layers are called, and however they are merged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from interpreto.errors import ModelError, OptionError
from interpreto.inputs.split_inputs import SplitInput
from interpreto.models.activations import ActivationRecorder
from interpreto.models.hook_points import HookPoint
from interpreto.models.layers import find_blocks
from interpreto.models.linear_maps import matrix_of
from interpreto.models.padding import agree

SOURCE = 3  # tokens of an encoder, where there is one


@dataclass(frozen=True, eq=False)
class HeadMatrices:
    """Matrices of the heads of one block, without biases, on the CPU in float32.

    Heads that share keys and values have equal ones here.

    Attributes:
        queries: From a hidden state to the query of each head ``(h, d, r)``.
        keys: To its key ``(h, d, r)``.
        values: To its value ``(h, d, r)``.
        outputs: From its mean value to the hidden states ``(h, r, d)``.
    """

    queries: Float[Tensor, "h d r"]
    keys: Float[Tensor, "h d r"]
    values: Float[Tensor, "h d r"]
    outputs: Float[Tensor, "h r d"]


@dataclass(frozen=True, eq=False)
class _Call:
    """A layer with a matrix as it ran: what its first token was given, and what it gave."""

    module: nn.Module
    given: Float[Tensor, " i"]
    gave: Float[Tensor, " o"]


def head_matrices(model: nn.Module, tokenizer: Any, block: int) -> HeadMatrices:
    """Return the matrices of a block's heads.

    A text of one token attends to itself alone: what it hands to the output matrix are the values of the heads. So the
    layer of the values and that of the outputs are found, and how heads share and merge them. Queries come before keys.

    Args:
        model: A language model.
        tokenizer: Its tokenizer.
        block: Number of the block.

    Raises:
        ModelError: the block's attention is no other than that of heads whose values go through one matrix.
        OptionError: there is no such block.
    """
    stack, path, blocks = find_blocks(model)
    if not -len(blocks) <= block < len(blocks):
        raise OptionError(f"`block`: got {block}; pass {-len(blocks)} to {len(blocks) - 1}.")
    number = block % len(blocks)
    point = HookPoint(f"{path}.{number}", blocks[number], stack=stack)
    calls = _calls(
        ActivationRecorder(model, tokenizer, [point], None, "hooks"), blocks[number], SOURCE if stack == "decoder" else 0
    )
    config: Any = getattr(model, "config", None)
    config = getattr(config, "get_text_config", lambda: config)()
    heads = int(getattr(config, "num_attention_heads", 0) or 0)
    for place, out in enumerate(calls):
        own = getattr(config, "head_dim", None)
        r = own if isinstance(own, int) else len(out.gave) // max(1, heads)
        if not r or len(out.given) != heads * r or not bool(out.given.any()):
            continue
        for value in calls[:place]:
            found = _parts(value, out, calls[:place], heads, r)
            if found is not None:
                return _matrices(found, out, r)
    raise ModelError(
        f"`model`: in block {number} of {type(model).__name__} no matrix reads the values of {heads} heads as another one "
        "gives them, so that it has no matrices per head (adapters must be merged first)."
    )


Part = tuple[_Call, Int[Tensor, "h r"]]
"""A layer, and the columns of each head in what it gives."""


def _parts(value: _Call, out: _Call, before: Sequence[_Call], heads: int, r: int) -> tuple[Part, Part, Part] | None:
    """Return queries, keys and values, if what one layer gives are the values that the other one reads."""
    width = len(value.gave)

    def fits(columns: Tensor) -> bool:
        return agree(value.gave[columns].flatten(), out.given)

    groups = width // r
    if width % r == 0 and 0 < groups <= heads and heads % groups == 0:
        columns = _of_heads(torch.arange(width).view(groups, r), heads)
        others = [call for call in before if call is not value and torch.equal(call.given, value.given)]
        queries = [call for call in others if len(call.gave) == heads * r]
        keys = [call for call in others if len(call.gave) == width and call is not next(iter(queries), None)]
        if fits(columns) and queries and keys:
            return (queries[0], torch.arange(heads * r).view(heads, r)), (keys[0], columns), (value, columns)
    groups = (groups - heads) // 2
    if width == (heads + 2 * groups) * r and 0 < groups <= heads and heads % groups == 0:
        for columns in _merged(heads, groups, r):
            if fits(columns[2]):
                return (value, columns[0]), (value, columns[1]), (value, columns[2])
    return None


def _merged(heads: int, groups: int, r: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return the columns of queries, keys and values in one layer: one kind after the other, or group after group."""
    every = torch.arange((heads + 2 * groups) * r).view(-1, r)
    apart = (every[:heads], _of_heads(every[heads : heads + groups], heads), _of_heads(every[heads + groups :], heads))
    grouped = every.view(groups, heads // groups + 2, r)
    together = (grouped[:, :-2].reshape(heads, r), _of_heads(grouped[:, -2], heads), _of_heads(grouped[:, -1], heads))
    return [apart, together]


def _of_heads(columns: Int[Tensor, "g r"], heads: int) -> Int[Tensor, "h r"]:
    """Return the columns of each head from those of each group of heads."""
    return columns.repeat_interleave(heads // len(columns), 0)


def _matrices(parts: tuple[Part, Part, Part], out: _Call, r: int) -> HeadMatrices:
    read = [matrix_of(call.module, len(call.given))[0][:, columns].transpose(0, 1) for call, columns in parts]
    queries, keys, values = (part.contiguous() for part in read)
    return HeadMatrices(queries, keys, values, matrix_of(out.module, len(out.given))[0].unflatten(0, (-1, r)))


@torch.no_grad()
def _calls(recorder: ActivationRecorder, block: nn.Module, source: int) -> list[_Call]:
    """Return the layers of a block that have a matrix, in the order in which they run on a text of one token."""
    found: list[_Call] = []

    def hook(module: nn.Module, args: tuple[object, ...], output: object) -> None:
        if args and isinstance(args[0], Tensor) and isinstance(output, Tensor) and args[0].ndim == output.ndim == 3:
            found.append(_Call(module, args[0][0, 0].detach().float().cpu(), output[0, 0].detach().float().cpu()))

    leaves = [part for part in block.modules() if not list(part.children()) and any(p.ndim == 2 for p in part.parameters())]
    hooks = [leaf.register_forward_hook(hook) for leaf in leaves]
    ids = torch.ones(1 + source, dtype=torch.long)
    row = SplitInput(ids, torch.full_like(ids, -1), 0, {}, source)
    try:
        with recorder.session([row]):
            recorder.model(**recorder.inputs([row]))
    finally:
        for handle in hooks:
            handle.remove()
    return found
