"""Metrics of patching: one number of a model's outputs, such as how much likelier one answer is than another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.circuits.pairs import Read
from interpreto.concepts.output_names import Names
from interpreto.concepts.outputs import NO_INPUT, task_of
from interpreto.concepts.splitters.base import ModelSplitter
from interpreto.errors import OptionError, TargetError, TaskError
from interpreto.inputs.samples import Readout
from interpreto.inputs.targets import Contrast
from interpreto.models.activations import ActivationRecorder
from interpreto.models.scorer import mixed
from interpreto.models.several_edits import outputs_through
from interpreto.models.tasks import Classification, Generation, Task
from interpreto.models.tasks.generation import Rival

Reads = Callable[[Float[Tensor, "m ..."]], Float[Tensor, " m"]]


@dataclass(frozen=True, eq=False)
class Metric:
    """One number of the logits of a text.

    Attributes:
        name: What it is.
        reads: Takes logits ``(m, c)``, or ``(m, l, v)``, of copies of one text without padding.
    """

    name: str
    reads: Reads

    def __call__(self, logits: Float[Tensor, "m ..."]) -> Float[Tensor, " m"]:
        """Return the metric of each copy.

        Raises:
            OptionError: a function of the user's returned something else.
        """
        found = self.reads(logits)
        if not isinstance(found, Tensor) or found.shape != logits.shape[:1]:
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise OptionError(
                f"`metric`: returned {shape} for logits of {len(logits)} texts; return ({len(logits)},), one each."
            )
        return found


def read_metrics(metric: Any, splitter: ModelSplitter, count: int) -> list[Metric]:
    """Return the metric of each of some texts.

    Args:
        metric: A `Contrast`, a target, or a list of these, one per text: scores of classes, or of the token after the text.
            Or a function of logits.
        splitter: The model.
        count: Number of texts.

    Raises:
        TargetError: the targets are not one output of the model, or two.
        TaskError: the model is no classifier and no language model, and the metric no function.
    """
    if callable(metric):
        function: Any = metric
        return [Metric(getattr(function, "__name__", type(function).__name__), function)] * count
    if isinstance(metric, (list, tuple)) and len(metric) == count and all(callable(one) for one in metric):
        return [read_metrics(one, splitter, 1)[0] for one in metric]
    task = task_of(splitter)
    shared = isinstance(metric, (str, int, Contrast))
    given = [metric] * count if shared else metric
    if isinstance(task, Classification):
        return _of_classes(given, task, count)
    if isinstance(task, Generation) and not task.encodes:
        return _of_tokens(given, task, count)
    raise TaskError(
        f"`metric`: for {task.name}, pass a function of the logits; targets are read of classifiers and causal LMs."
    )


def _of_classes(given: Any, task: Classification, count: int) -> list[Metric]:
    each = Classification(task.mode, task.kind, task.id2label)
    read = each.read_targets(given, [NO_INPUT] * count, False)
    assert read is not None
    metrics = []
    for i, targets in enumerate(read):
        if len(targets) != 1:
            raise TargetError(f"`metric[{i}]`: got {len(targets)} targets; pass one, or a Contrast of two.")
        (readout,) = targets.readouts

        def reads(logits: Tensor, readout: Readout = readout) -> Tensor:
            return mixed(task.read(logits, readout.ids.expand(len(logits), -1)), readout)[:, 0]

        metrics.append(Metric(targets.labels[0], reads))
    return metrics


def _of_tokens(given: Any, task: Generation, count: int) -> list[Metric]:
    read = task.read_targets(given, [NO_INPUT] * count, False)
    assert read is not None
    names = Names(task.tokenizer, task)
    metrics = []
    for i, target in enumerate(read):
        sides = [target.a, target.b] if isinstance(target, Rival) else [target]
        ids: list[int] = []
        for side in sides:
            if len(side.ids) != 1:
                raise TargetError(
                    f"`metric[{i}]`: {side.tokens.text!r} is {len(side.ids)} tokens; a metric reads one token after the text, "
                    "such as its first."
                )
            ids.append(int(side.ids[0]))
        metrics.append(Metric(" − ".join(repr(names.of_token(j)) for j in ids), _next_token(task, ids)))
    return metrics


def _next_token(task: Task, ids: Sequence[int]) -> Reads:
    signs = torch.tensor([1.0, -1.0][: len(ids)])

    def reads(logits: Float[Tensor, "m l v"]) -> Float[Tensor, " m"]:
        scores = task.read(
            logits[:, -1:].expand(-1, len(ids), -1), torch.tensor(ids, device=logits.device).expand(len(logits), -1)
        )
        return scores @ signs.to(scores)

    return reads


def metrics_of(
    splitter: ModelSplitter, recorder: ActivationRecorder, reads: Sequence[Read], corrupt: Sequence[Read] | None, metric: Any
) -> tuple[list[Metric], int]:
    """Return the metric of each text, and the number of logits per token.

    Args:
        splitter: The model.
        recorder: Runs it.
        reads: The texts.
        corrupt: Their counterparts, if there are any.
        metric: See `read_metrics`; None: what is predicted for each text against its counterpart.

    Raises:
        TargetError: there is no metric and no counterpart.
    """
    logits = outputs_through(recorder, [reads[0].row], [])
    width = logits.shape[-1] if logits.ndim > 2 else 1
    if metric is not None:
        return read_metrics(metric, splitter, len(reads)), width
    if corrupt is None:
        raise TargetError("`metric`: pass a target, a Contrast of two, or a function of the logits.")
    names = Names(splitter.tokenizer, task_of(splitter))
    found = []
    for i, (a, b) in enumerate(zip(reads, corrupt, strict=True)):
        clean, other = (outputs_through(recorder, [read.row], [])[0] for read in (a, b))
        found.append(predicted(clean, other, names, i))
    return found, width


def predicted(clean: Tensor, corrupt: Tensor, names: Names, pair: int) -> Metric:
    """Return the metric of what the model predicts for one text against what it predicts for another.

    Args:
        clean: Logits of one text, ``(c,)`` or ``(l, v)``.
        corrupt: Logits of the other.
        names: Of the model's outputs.
        pair: Number of the pair, for the message.

    Raises:
        TargetError: both predictions are the same.
    """
    a, b = (int((logits if logits.ndim == 1 else logits[-1]).argmax()) for logits in (clean, corrupt))
    name = names.of_class if clean.ndim == 1 else lambda i: repr(names.of_token(i))
    if a == b:
        raise TargetError(
            f"`metric`: the model predicts {name(a)} for both texts of pair {pair}; pass a Contrast of two outputs to compare."
        )
    if clean.ndim == 1:
        return Metric(f"{name(a)} − {name(b)}", lambda logits: logits[:, a] - logits[:, b])
    return Metric(f"{name(a)} − {name(b)}", lambda logits: logits[:, -1, a] - logits[:, -1, b])
