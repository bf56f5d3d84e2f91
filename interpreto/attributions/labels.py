"""True labels of inputs, next to their explanations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from interpreto.attributions.output import AttributionOutput
from interpreto.errors import OptionError, TargetError
from interpreto.inputs.chat import is_chat
from interpreto.inputs.documents import Documents
from interpreto.inputs.forms import is_pair, is_single
from interpreto.inputs.targets import as_lists
from interpreto.models.tasks import Classification, Task
from interpreto.models.tasks.classification import LABELS
from interpreto.validation import shown


def check_labels(labels: Any, inputs: Any, task: Task) -> Classification:
    """Return the task, whose classes the labels are; refuse labels that cannot be those of the inputs.

    Raises:
        OptionError: the model has no classes.
        TargetError: there is not one label for each input.
    """
    if not isinstance(task, Classification) or task.kind == "regression":
        raise OptionError(
            f"`labels`: got {shown(labels)}; only a classifier has true classes, and the task of this model is {task.name}."
        )
    if isinstance(labels, Iterator):
        return task
    found = as_lists(labels, "labels", LABELS)
    n = 1 if is_one(inputs) else len(inputs) if hasattr(inputs, "__len__") and not is_single(inputs) else None
    if isinstance(found, list) and n is not None and len(found) != n and not (n == 1 and task.kind == "multi-label"):
        raise TargetError(f"`labels`: got {len(found)} for {n} inputs; pass one per input.")
    return task


def is_one(inputs: Any) -> bool:
    """Return True for one input that cannot be a batch: a text, a pair of texts or a chat."""
    return isinstance(inputs, str) or is_pair(inputs) or is_chat(inputs) or isinstance(inputs, Documents)


def labeled(
    outputs: Iterable[AttributionOutput], labels: Any, single: bool, task: Classification
) -> Iterator[AttributionOutput]:
    """Yield explanations with the true labels of their inputs.

    Args:
        outputs: Explanations.
        labels: One label, of all inputs; or an iterable with one for each.
        single: The input was not in a list.
        task: Names the classes.

    Raises:
        TargetError: there is no such class, or not one label for each input.
    """
    if not isinstance(labels, Iterator):
        labels = as_lists(labels, "labels", LABELS)
        if single and isinstance(labels, list) and len(labels) != 1:
            labels = [labels]  # all classes of the one input
    if isinstance(labels, (str, int)):
        name = task.true_label(labels, "`labels`")
        yield from (replace(output, label=name) for output in outputs)
        return
    names = (task.true_label(label, f"`labels[{i}]`") for i, label in enumerate(labels))
    i = -1
    for i, output in enumerate(outputs):
        name = next(names, None)
        if name is None:
            raise TargetError(f"`labels`: got {i} for more inputs; pass one per input.")
        yield replace(output, label=name)
    if next(names, None) is not None:
        raise TargetError(f"`labels`: got more than {i + 1}, for {i + 1} inputs; pass one per input.")
