"""Edit a model at several hook points in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.errors import ModelError
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
