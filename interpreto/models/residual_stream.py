"""Parts of the residual stream: what each block's attention and feed-forward layer add to it, found by what sums to what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from interpreto.errors import ModelError
from interpreto.inputs.split_inputs import SplitInput
from interpreto.models.layers import Layers

MOST = 3  # parts of a block: self-attention, cross-attention, feed-forward
TOLERANCE = 1e-4
SAMPLED = 64  # numbers of an output by which parts are told apart


@dataclass(frozen=True, eq=False)
class Addition:
    """One part of the residual stream after the last block.

    Attributes:
        name: ``"embedding"``, or the block and the part, such as ``"3 attention"``.
        values: What it adds at each token ``(l, d)``.
        module: The module that gives it; None for the embedding.
    """

    name: str
    values: Float[Tensor, "l d"]
    module: nn.Module | None = None


@torch.no_grad()
def additions(layers: Layers, row: SplitInput) -> list[Addition]:
    """Return what sums to the hidden states after the last block, for one text, in the order of the model.

    Parts are found within each block as the fewest outputs of modules that sum to what the block adds; so branches that are
    normalized before they are added (Gemma) and parallel ones (GPT-NeoX) are what is really added.

    Raises:
        ModelError: a block adds no sum of outputs, as where it normalizes the sum (BERT).
    """
    recorder = layers.recorder
    blocks = [point.module for point in recorder.hook_points if point.side == "output"]
    with recorder.session([row]), _listening(blocks) as heard:
        hidden, _ = recorder.hidden([row], with_output=True)
    states = [h[0, row.source :].float().cpu() for h in hidden]
    found = [Addition("embedding", states[0])]
    for number, (before, after, calls) in enumerate(zip(states[:-1], states[1:], heard, strict=True)):
        parts = _parts(after - before, calls)
        if parts is None:
            raise ModelError(
                f"`model`: block {number} of {type(recorder.model).__name__} does not add a sum of its parts to the hidden "
                "states, as where it normalizes them after each part; its logits are no sum of components."
            )
        names = _names(len(parts))
        found += [Addition(f"{number} {name}", values, module) for name, (module, values) in zip(names, parts, strict=True)]
    return found


def _names(count: int) -> tuple[str, ...]:
    return {1: ("block",), 2: ("attention", "feed-forward")}.get(count, ("attention", "cross-attention", "feed-forward"))


Call = tuple[nn.Module, Tensor]


@contextmanager
def _listening(blocks: Sequence[nn.Module]) -> Iterator[list[list[Call]]]:
    """Context manager that yields, for each block, its modules with what they gave, in the order in which they ended."""
    heard: list[list[Call]] = [[] for _ in blocks]

    def listen(into: list[Call]) -> Any:
        def hook(module: nn.Module, _args: Any, output: Any) -> None:
            value = output[0] if isinstance(output, (tuple, list)) and output else output
            if isinstance(value, Tensor) and value.is_floating_point():
                into.append((module, value.detach().float().cpu().clone()))  # Falcon adds into it

        return hook

    hooks = [
        part.register_forward_hook(listen(into))
        for block, into in zip(blocks, heard, strict=True)
        for part in block.modules()
        if part is not block
    ]
    try:
        yield heard
    finally:
        for hook in hooks:
            hook.remove()


def _parts(total: Float[Tensor, "l d"], calls: Sequence[Call]) -> list[tuple[nn.Module, Tensor]] | None:
    """Return the fewest outputs that sum to a total, the outermost of equal ones; None where none do."""
    distinct: list[tuple[nn.Module, Tensor]] = []
    for module, value in calls:
        if value.numel() != total.numel():
            continue
        rows = value.reshape(total.shape)
        same = next((i for i, (_, known) in enumerate(distinct) if torch.equal(known, rows)), None)
        if same is None:
            distinct.append((module, rows))
        elif any(part is distinct[same][0] for part in module.modules()):
            distinct[same] = (module, rows)
    scale = max(1e-6, float(total.abs().max()))
    picked = torch.randperm(total.numel(), generator=torch.Generator().manual_seed(0))[:SAMPLED]
    wanted, few = total.flatten()[picked], [rows.flatten()[picked] for _, rows in distinct]
    for size in range(1, MOST + 1):
        for chosen in combinations(range(len(distinct)), size):
            largest = max(scale, *(float(few[i].abs().max()) for i in chosen))
            if float((sum((few[i] for i in chosen), torch.zeros_like(wanted)) - wanted).abs().max()) > TOLERANCE * largest:
                continue
            whole = sum((distinct[i][1] for i in chosen), torch.zeros_like(total))
            if float((whole - total).abs().max()) <= TOLERANCE * largest:
                return [distinct[i] for i in chosen]
    return None


@torch.no_grad()
def heads_of(layers: Layers, row: SplitInput, addition: Addition, count: int) -> list[Addition]:
    """Return what each head of an attention adds, and what its output layer adds by itself (its bias).

    Raises:
        ModelError: what the attention adds is not a linear layer of its heads, as where it is normalized.
    """
    assert addition.module is not None
    seen: list[tuple[nn.Module, Tensor, Tensor]] = []

    def hook(module: nn.Module, args: Any, output: Any) -> None:
        if args and isinstance(args[0], Tensor) and isinstance(output, Tensor):
            seen.append((module, args[0].detach(), output.detach()))

    leaves = [part for part in addition.module.modules() if not list(part.children())]
    hooks = [part.register_forward_hook(hook) for part in leaves]
    try:
        with layers.recorder.session([row]):
            layers.recorder.hidden([row], with_output=True)
            for module, given, output in reversed(seen):
                if output.numel() != addition.values.numel() or given.shape[-1] % count or isinstance(module, nn.Dropout):
                    continue
                if not _alike(output, addition.values):
                    continue
                rows = given.reshape(-1, given.shape[-1])
                parts = _per_head(module, rows, count)
                total = sum((values for _, values in parts), torch.zeros_like(addition.values))
                if torch.allclose(total, addition.values, atol=1e-3 * float(addition.values.abs().max()), rtol=1e-3):
                    return [Addition(f"{addition.name} {name}", values) for name, values in parts]
    finally:
        for each in hooks:
            each.remove()
    raise ModelError(
        f"`heads`: what {addition.name!r} of {type(layers.recorder.model).__name__} adds is not a linear layer of its heads, "
        "as where it is normalized before it is added; leave `heads` out."
    )


def _alike(output: Tensor, values: Tensor) -> bool:
    return torch.allclose(output.float().cpu().reshape(values.shape), values, atol=1e-4, rtol=1e-4)


def _per_head(module: nn.Module, rows: Tensor, count: int) -> list[tuple[str, Tensor]]:
    """Return what a linear layer makes of the part of its input that belongs to each head, and its bias."""
    zero = module(torch.zeros_like(rows[:1])).float().cpu()
    size, parts = rows.shape[-1] // count, []
    for head in range(count):
        alone = torch.zeros_like(rows)
        alone[:, head * size : (head + 1) * size] = rows[:, head * size : (head + 1) * size]
        parts.append((f"head {head}", module(alone).float().cpu() - zero))
    return [*parts, ("bias", zero.expand(len(rows), -1))]
