"""Which task a model has."""

from __future__ import annotations

from typing import Any

from interpreto.errors import OptionError
from interpreto.models.modes import InferenceModes, Mode
from interpreto.models.tasks.base import Task
from interpreto.models.tasks.classification import Classification
from interpreto.models.tasks.generation import Generation


def resolve_task(model: Any, tokenizer: Any, mode: Mode | None, task: str | Task | None, longest: int | None = None) -> Task:
    """The task of a model, from its config and from what it can do, or as the user says.

    Wrappers (PEFT, ``torch.compile``) hand their model's config and abilities on, so a class's name never decides.
    """
    if isinstance(task, Task):
        return task
    config = getattr(model, "config", None)
    if task == "generation" or (task is None and _generates(model)):
        chosen = InferenceModes.LOG_SOFTMAX if mode is None else mode
        return Generation(chosen, tokenizer, bool(getattr(config, "is_encoder_decoder", False)), config, longest)
    id2label = {int(i): str(label) for i, label in (getattr(config, "id2label", None) or {}).items()}
    if task is None or task == "classification":
        declared = getattr(config, "problem_type", None)
        kinds = {"multi_label_classification": "multi-label", "regression": "regression", "scores": "scores"}
        alone = declared is None and len(id2label) == 1
        task = "regression" if alone else kinds.get(str(declared), "single-label")
    if task not in Classification.KINDS:
        accepted = ", ".join(map(repr, ("classification", *Classification.KINDS, "generation")))
        raise OptionError(f"`task`: got {task!r}; pass {accepted} or None.")
    shared = bool(getattr(config, "shares_targets", False))
    return Classification(InferenceModes.LOGITS if mode is None else mode, task, id2label, shared)


def _generates(model: Any) -> bool:
    """Whether a model is a language model; classifiers cannot generate."""
    can_generate = getattr(model, "can_generate", None)
    return bool(callable(can_generate) and can_generate())
