"""Places where circuits are read: split points, heads and feed-forward layers of blocks, split points of concepts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from interpreto.concepts.base import ConceptExplainer
from interpreto.concepts.circuits.parts import Heads, Parts, Whole
from interpreto.concepts.coders.base import CoderConcepts
from interpreto.concepts.splitters.base import TokenSplitter
from interpreto.errors import ModelError, OptionError
from interpreto.inputs.split_inputs import SplitInput
from interpreto.models.activations import ActivationRecorder
from interpreto.models.hook_points import INPUT, find_hook_points
from interpreto.models.sublayer_points import sublayer_points


def static_parts(splitter: TokenSplitter, parts: str, row: SplitInput) -> list[Parts]:
    """Return the parts at each place that do not depend on the text: layers, heads, heads and feed-forward layers.

    Args:
        splitter: The model and its split points.
        parts: ``"layers"``, ``"heads"`` or ``"sublayers"``.
        row: A text, by which the layers of a block are found.

    Raises:
        ModelError: the model has no heads that could be found.
    """
    if parts == "layers":
        return [Whole(point) for point in splitter.recorder.hook_points]
    heads = _number_of_heads(splitter.model)
    given = [point for point in splitter.recorder.hook_points if point.name.endswith(INPUT)]
    if given and parts == "heads":
        return [Heads(point, heads) for point in given]
    found: list[Parts] = []
    for number, points in enumerate(sublayer_points(splitter.recorder, row)):
        if points.heads is not None:
            found.append(Heads(points.heads, heads))
        if parts == "sublayers" and points.feed_forward is not None:
            found.append(Whole(points.feed_forward, f"layer {number} feed-forward"))
    if not any(isinstance(part, Heads) for part in found):
        raise ModelError(f"`parts`: no attention was found in the blocks of {type(splitter.model).__name__}; use 'layers'.")
    return found


def _number_of_heads(model: Any) -> int:
    config = getattr(model, "config", None)
    text_config = getattr(config, "get_text_config", lambda: config)()
    count = getattr(text_config, "num_attention_heads", None)
    if not isinstance(count, int):
        raise ModelError(f"`parts`: the config of {type(model).__name__} names no number of heads; use 'layers'.")
    return count


def recorder_of(
    splitter: TokenSplitter, parts: Sequence[Parts] | None, explainers: Sequence[ConceptExplainer]
) -> ActivationRecorder:
    """Return what runs the model and reads it at all places."""
    if parts is None:
        points = find_hook_points(splitter.model, [explainer.split_point for explainer in explainers])
    else:
        points = [part.point for part in parts]
    backend = "hooks"  # edits at several places in one pass
    return ActivationRecorder(splitter.model, splitter.tokenizer, points, splitter.recorder.budget.rows, backend)


def check_explainers(splitter: TokenSplitter, explainers: Sequence[ConceptExplainer]) -> None:
    """Refuse concepts of another model, or two explainers at one split point.

    Raises:
        OptionError: it is so.
    """
    names: list[str | None] = []
    for i, explainer in enumerate(explainers):
        if explainer.own_splitter().model is not splitter.model:
            raise OptionError(f"`explainers[{i}]`: its concepts are of another model than the splitter's.")
        if isinstance(explainer, CoderConcepts):
            raise OptionError(
                f"`explainers[{i}]`: a {type(explainer).__name__} reads other places than it writes, or several; patching "
                "takes concepts of one place each, such as those of a sparse autoencoder. See find_circuit for transcoders."
            )
        if explainer.split_point in names:
            raise OptionError(
                f"`explainers[{i}]`: two of them are at {explainer.split_point!r}; pass one for each split point."
            )
        names.append(explainer.split_point)
