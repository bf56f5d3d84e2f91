"""Edit a model at several hook points in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.errors import ModelError, OptionError
from interpreto.inputs.split_inputs import SplitInput
from interpreto.models.activations import ActivationRecorder
from interpreto.models.hook_points import HookPoint
from interpreto.models.interventions import Edit, intercepted, same_shape, watched


def outputs_through(
    recorder: ActivationRecorder, rows: Sequence[SplitInput], edits: Sequence[tuple[HookPoint, Edit]]
) -> Float[Tensor, "b ..."]:
    """Return the logits of a batch whose activations go through an edit at each of some points.

    Args:
        recorder: Runs the model.
        rows: The batch.
        edits: Hook points in the order of the model, and what each is given: activations ``(b, l, d)``, padded on the right,
            or ``(b, d)``. Those of a point are what the edits before it have made of them.

    Returns:
        Logits in float32, differentiable in what the edits add.

    Raises:
        ModelError: texts of different lengths are given together to a model that padding changes.
    """
    with recorder.session(rows):
        if not recorder.may_mix(rows):
            raise ModelError("`inputs`: this model's outputs change with padding; pass texts of one length together.")
        if not edits:
            with torch.no_grad():
                return recorder.forward.outputs(recorder.model(**recorder.inputs(rows))).float()
        for point, _ in edits:
            recorder.layouts.of(point, rows)  # before anything is edited

        def changes(point: HookPoint, edit: Edit) -> Edit:
            def change(value: Tensor) -> Tensor:
                hidden = edit(recorder.layouts.in_place(point, value, rows))
                return same_shape(recorder.layouts.as_given(point, hidden, rows), value)

            return change

        (first, begin), *later = edits
        with ExitStack() as stack:
            for point, edit in later:
                stack.enter_context(intercepted(point, changes(point, edit)))
            output = recorder.tracing.edited(first, recorder.inputs(rows), changes(first, begin))
        return recorder.forward.outputs(output).float()


@torch.no_grad()
def in_order(recorder: ActivationRecorder, row: SplitInput, points: Sequence[HookPoint]) -> list[HookPoint]:
    """Return hook points in the order in which the model reaches them.

    Raises:
        ModelError: the model does not reach one of them.
    """
    with recorder.session([row]), watched(points, [True]) as found:
        recorder.model(**recorder.inputs([row]))
    for point in points:
        if point.name not in found:
            raise ModelError(f"`split_points`: {point.name!r} does not run when the model reads a text; choose another module.")
    names = list(found)
    return sorted(points, key=lambda point: names.index(point.name))


def activations_through(
    recorder: ActivationRecorder,
    rows: Sequence[SplitInput],
    given: Sequence[tuple[HookPoint, Tensor]],
    to: Sequence[HookPoint],
) -> list[Tensor]:
    """Return activations at further points of a batch run on from those at several points; differentiable in them.

    What the model would compute at these points is replaced.

    Args:
        recorder: Runs the model.
        rows: The batch.
        given: Hook points in the order of the model, with the activations ``(b, l, d)`` there.
        to: Points that the model reaches after the first of them.

    Raises:
        ModelError: texts of different lengths are given together to a model that padding changes.
        OptionError: a point is not reached after the first of the others.
    """
    with recorder.session(rows):
        if not recorder.may_mix(rows):
            raise ModelError("`inputs`: this model's outputs change with padding; pass texts of one length together.")
        for point in (*(point for point, _ in given), *to):
            recorder.layouts.of(point, rows)  # before anything is edited
        begun: list[bool] = []

        def fixed(point: HookPoint, hidden: Tensor) -> Edit:
            def change(value: Tensor) -> Tensor:
                begun.append(True)
                return same_shape(recorder.layouts.as_given(point, hidden, rows), value)

            return change

        (first, *later), edits = [point for point, _ in given], [fixed(point, hidden) for point, hidden in given]
        with ExitStack() as stack:
            for point, edit in zip(later, edits[1:], strict=True):
                stack.enter_context(intercepted(point, edit))
            found = stack.enter_context(watched(to, begun))
            recorder.tracing.edited(first, recorder.inputs(rows), edits[0])
        for point in to:
            if point.name not in found:
                raise OptionError(f"`to`: {point.name!r} is not reached after {first.name!r}; choose a module above it.")
        return [recorder.layouts.in_place(point, found[point.name], rows) for point in to]
