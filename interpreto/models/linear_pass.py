"""Run a model that is linear between edits: attention patterns and scales of normalizations are constants."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from interpreto.inputs.split_inputs import SplitInput
from interpreto.models.activations import ActivationRecorder
from interpreto.models.hook_points import HookPoint
from interpreto.models.interventions import Edit
from interpreto.models.relevance_rules import LrpRules
from interpreto.models.several_edits import outputs_through
from interpreto.models.watching import watching


def linear_outputs(
    recorder: ActivationRecorder, rows: Sequence[SplitInput], edits: Sequence[tuple[HookPoint, Edit]]
) -> Float[Tensor, "b ..."]:
    """Return the logits of a batch as `outputs_through` does, with the derivatives of a model with constant attention.

    Values are the model's own. Behind the first edit, gradients are those of the rules of CP-LRP: attention patterns and
    the scales of normalizations are constants, so that gradients pass through values and output layers alone, and
    elementwise activations are multiples of their inputs. Edits have derivatives of their own.

    Args:
        recorder: Runs the model.
        rows: The batch.
        edits: Hook points in the order of the model, and what each is given.

    References:
        Ali et al., ICML 2022, https://arxiv.org/abs/2202.07304
    """
    rules = LrpRules("frozen")

    def unwatched(edit: Edit) -> Edit:
        def change(hidden: Tensor) -> Tensor:
            with rules.paused():
                return edit(hidden)

        return change

    with recorder.session(rows):
        for point, _ in edits:
            recorder.layouts.of(point, rows)  # before anything is watched
        with watching(recorder.model, rules):
            logits = outputs_through(recorder, rows, [(point, unwatched(edit)) for point, edit in edits])
    rules.warn_of_missed()
    return logits
