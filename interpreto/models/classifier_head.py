"""Where a classifier can be cut so that one vector a text decides its outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from interpreto.concepts.splitters.granularities import SplitInput
from interpreto.errors import ModelError
from interpreto.models.activations import ActivationRecorder, alike
from interpreto.models.forward import read_logits
from interpreto.models.hook_points import HookPoint, find_ports

Position = Literal["first", "last"]


@dataclass(frozen=True, eq=False)
class HeadInput:
    """One vector a text: a port, the token whose activations are taken there, and how the logits follow.

    Attributes:
        port: What the head reads, or what a module below it answers.
        position: The token; None where there is one vector a text.
        tokens: Whether the port has an axis of tokens.
        width: Of the vector.
    """

    port: HookPoint
    position: Position | None
    tokens: bool
    width: int

    def row(self, row: SplitInput) -> SplitInput:
        """The row with its one unit: the token that is taken, or any where there is one vector a text."""
        index = torch.full_like(row.input_ids, -1)
        index[-1 if self.position == "last" else 0] = 0
        return SplitInput(row.input_ids, index, 1, row.extras)


@dataclass(frozen=True, eq=False)
class _Seen:
    """A module that answered the logits, and what it was given."""

    name: str
    module: nn.Module
    given: Tensor


def find_cut(split: ActivationRecorder, row: SplitInput, filler: int, split_point: Any) -> HeadInput:
    """The cut before the classification head, or at a split point that the logits follow from; tried out on one text."""
    with split.session([row]), torch.no_grad():
        logits, seen = _heads(split, row)
        if split_point is None:
            candidates = [cut for head in seen[-1:] for cut in _cuts(HookPoint(head.name, head.module, "input"), head.given)]
        else:
            (port,) = find_ports(split.model, [split_point])
            reads = [head for head in seen if head.module is port.module]
            if reads:
                candidates = _cuts(HookPoint(port.name, port.module, "input"), reads[0].given)
            else:
                candidates = _cuts(port, split.hidden_at(port, [row]))
        for cut in candidates:
            if alike(_try(split, cut, row, filler), logits):
                return cut
    if split_point is None:
        raise ModelError(
            f"`split_point`: no module of {type(split.model).__name__} turns one vector a text into its logits; "
            "name one, or use ModelWithSplitPoints."
        )
    raise ModelError(
        f"`split_point`: the outputs of {type(split.model).__name__} do not follow from one vector a text at {split_point!r}; "
        "leave it out, or use ModelWithSplitPoints."
    )


def run_on(split: ActivationRecorder, cut: HeadInput, activations: Tensor, filler: int) -> Tensor:
    """Logits ``(n, c)`` of activations ``(n, d)``; within a session.

    A head is called alone. From another module, the model runs on texts of one token, where nothing but the given
    activations is left to read.
    """
    hidden = activations[:, None] if cut.tokens else activations
    if cut.port.side == "input":
        logits = read_logits(cut.port.module(hidden))
        return logits[:, 0] if logits.ndim == 3 else logits
    row = SplitInput(torch.tensor([filler]), torch.tensor([0]), 1, {})
    layout = split.layout(cut.port, [row])
    inputs = split.inputs([row] * len(activations))
    return read_logits(split.tracing.edited(cut.port, inputs, lambda _: layout.write(hidden)))


def _try(split: ActivationRecorder, cut: HeadInput, row: SplitInput, filler: int) -> Tensor:
    hidden = split.hidden_at(cut.port, [row])
    vector = hidden if cut.position is None else hidden[:, -1 if cut.position == "last" else 0]
    try:
        return run_on(split, cut, vector, filler)
    except (AttributeError, IndexError, ModelError, RuntimeError, TypeError, ValueError):
        return vector.new_empty(0)  # the module needs more than one vector


def _cuts(port: HookPoint, given: Tensor) -> list[HeadInput]:
    width = given.shape[-1]
    if given.ndim == 2:
        return [HeadInput(port, None, False, width)]
    return [HeadInput(port, position, True, width) for position in ("first", "last")] if given.ndim == 3 else []


def _heads(split: ActivationRecorder, row: SplitInput) -> tuple[Tensor, list[_Seen]]:
    """The logits of a text, and the modules that answer them from something else, the innermost first."""
    calls: list[tuple[str, nn.Module, Tensor, Tensor]] = []

    def listen(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Sequence[Any], output: Any) -> None:
            if args and isinstance(args[0], Tensor) and args[0].is_floating_point() and isinstance(output, Tensor):
                calls.append((name, module, args[0], output))

        return hook

    hooks = [module.register_forward_hook(listen(name)) for name, module in split.model.named_modules() if name]
    try:
        logits = read_logits(split.model(**split.inputs([row])))
    finally:
        for hook in hooks:
            hook.remove()
    if logits.ndim != 2:
        raise ModelError(
            f"`model_or_repo_id`: {type(split.model).__name__} answers logits of shape {tuple(logits.shape)} for one text; "
            "load it with its classification head (AutoModelForSequenceClassification)."
        )

    def answers(output: Tensor) -> bool:
        ends = (output[:, 0], output[:, -1]) if output.ndim == 3 and output.shape[1] else (output,)
        return any(alike(end, logits) for end in ends)

    seen = [_Seen(name, module, given) for name, module, given, output in calls if answers(output) and not answers(given)]
    return logits, seen
