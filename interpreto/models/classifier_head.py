"""Find where a classifier can be cut so that one vector per text decides its outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from interpreto.errors import ModelError
from interpreto.inputs.split_inputs import SplitInput
from interpreto.models.activations import ActivationRecorder
from interpreto.models.hook_points import HookPoint, find_hook_points
from interpreto.models.logits import read_logits
from interpreto.models.padding import agree

Position = Literal["first", "last"]


@dataclass(frozen=True, eq=False)
class HeadInput:
    """One vector per text from which the logits follow: a hook point, and the token whose activations are taken there.

    Attributes:
        point: The input of the head, or the output of a module below it.
        position: The token; None where there is one vector per text.
        tokens: The hook point has an axis of tokens.
        width: Length of the vector.
    """

    point: HookPoint
    position: Position | None
    tokens: bool
    width: int

    def row(self, row: SplitInput) -> SplitInput:
        """Return the row with its one unit: the token that is taken, or any where there is one vector per text."""
        index = torch.full_like(row.input_ids, -1)
        index[-1 if self.position == "last" else 0] = 0
        return SplitInput(row.input_ids, index, 1, row.extras)


@dataclass(frozen=True, eq=False)
class _Seen:
    """A module that returned the logits, and what it was given."""

    name: str
    module: nn.Module
    given: Tensor


def find_head_input(recorder: ActivationRecorder, row: SplitInput, filler: int, split_point: Any) -> HeadInput:
    """Return the input of the classification head, or a split point that the logits follow from; tried on one text.

    Raises:
        ModelError: there is none, or the logits do not follow from the one named.
    """
    with recorder.session([row]), torch.no_grad():
        logits, seen = _heads(recorder, row)
        if split_point is None:
            candidates = [
                found for head in seen[-1:] for found in _candidates(HookPoint(head.name, head.module, "input"), head.given)
            ]
        else:
            (point,) = find_hook_points(recorder.model, [split_point])
            reads = [head for head in seen if head.module is point.module]
            if reads:
                candidates = _candidates(HookPoint(point.name, point.module, "input"), reads[0].given)
            else:
                candidates = _candidates(point, recorder.hidden_at(point, [row]))
        for candidate in candidates:
            if agree(_try(recorder, candidate, row, filler), logits):
                return candidate
    if split_point is None:
        raise ModelError(
            f"`split_point`: no module of {type(recorder.model).__name__} turns one vector per text into its logits; "
            "name one, or use ModelWithSplitPoints."
        )
    raise ModelError(
        f"`split_point`: the outputs of {type(recorder.model).__name__} do not follow from one vector per text at "
        f"{split_point!r}; leave it out, or use ModelWithSplitPoints."
    )


def find_linear_head(recorder: ActivationRecorder, row: SplitInput, filler: int) -> HeadInput:
    """Return the input of the linear layer whose outputs are the logits; tried on one text.

    Raises:
        ModelError: there is none, or it reads more than one vector per text.
    """
    with recorder.session([row]), torch.no_grad():
        _, seen = _heads(recorder, row)
    names = [head.name for head in seen if isinstance(head.module, nn.Linear)]
    if not names:
        raise ModelError(f"`model`: no linear layer of {type(recorder.model).__name__} returns its logits.")
    return find_head_input(recorder, row, filler, names[0])


def run_on(recorder: ActivationRecorder, head: HeadInput, activations: Tensor, filler: int) -> Tensor:
    """Return logits ``(n, c)`` of activations ``(n, d)``; to be called within a session.

    A head is called alone. From another module, the model runs on texts of one token, where nothing but the given
    activations is left to read.
    """
    hidden = activations[:, None] if head.tokens else activations
    if head.point.side == "input":
        logits = read_logits(head.point.module(hidden))
        return logits[:, 0] if logits.ndim == 3 else logits
    row = SplitInput(torch.tensor([filler]), torch.tensor([0]), 1, {})
    layout = recorder.layouts.of(head.point, [row])
    inputs = recorder.inputs([row] * len(activations))
    return read_logits(recorder.tracing.edited(head.point, inputs, lambda _: layout.write(hidden)))


def _try(recorder: ActivationRecorder, head: HeadInput, row: SplitInput, filler: int) -> Tensor:
    hidden = recorder.hidden_at(head.point, [row])
    vector = hidden if head.position is None else hidden[:, -1 if head.position == "last" else 0]
    try:
        return run_on(recorder, head, vector, filler)
    except (AttributeError, IndexError, ModelError, RuntimeError, TypeError, ValueError):
        return vector.new_empty(0)  # the module needs more than one vector


def _candidates(point: HookPoint, given: Tensor) -> list[HeadInput]:
    width = given.shape[-1]
    if given.ndim == 2:
        return [HeadInput(point, None, False, width)]
    return [HeadInput(point, position, True, width) for position in ("first", "last")] if given.ndim == 3 else []


def _heads(recorder: ActivationRecorder, row: SplitInput) -> tuple[Tensor, list[_Seen]]:
    """Return the logits of a text, and the modules that return them for something else, the innermost first."""
    calls: list[tuple[str, nn.Module, Tensor, Tensor]] = []

    def listen(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Sequence[Any], output: Any) -> None:
            if args and isinstance(args[0], Tensor) and args[0].is_floating_point() and isinstance(output, Tensor):
                calls.append((name, module, args[0], output))

        return hook

    hooks = [module.register_forward_hook(listen(name)) for name, module in recorder.model.named_modules() if name]
    try:
        logits = read_logits(recorder.model(**recorder.inputs([row])))
    finally:
        for hook in hooks:
            hook.remove()
    if logits.ndim != 2:
        raise ModelError(
            f"`model_or_repo_id`: {type(recorder.model).__name__} returns logits of shape {tuple(logits.shape)} for one text; "
            "load it with its classification head (AutoModelForSequenceClassification)."
        )

    def has_logits(output: Tensor) -> bool:
        ends = (output[:, 0], output[:, -1]) if output.ndim == 3 and output.shape[1] else (output,)
        return any(agree(end, logits) for end in ends)

    seen = [_Seen(name, module, given) for name, module, given, output in calls if has_logits(output) and not has_logits(given)]
    return logits, seen
