"""Find the task of a model."""

from __future__ import annotations

from typing import Any

from interpreto.errors import OptionError, TaskError
from interpreto.models.modes import InferenceModes, Mode
from interpreto.models.tasks.base import Task
from interpreto.models.tasks.classification import Classification
from interpreto.models.tasks.generation import Generation
from interpreto.models.tasks.token_classification import TokenClassification
from interpreto.validation import shown

TOKEN_CLASSIFICATION = "token-classification"
BY_CLASS = {
    "ForTokenClassification": TOKEN_CLASSIFICATION,
}
"""Ends of the names of transformers' classes, and the tasks of their heads."""
NOT_COVERED = {
    "ForMaskedLM": "masked language modeling",
    "ForQuestionAnswering": "extractive question answering",
    "ForMultipleChoice": "multiple choice",
    "ForPreTraining": "pre-training",
}
"""Ends of the names of transformers' classes whose outputs are not covered."""
NAMES = ("classification", *Classification.KINDS, "generation", *BY_CLASS.values())
"""Names under which a user asks for a task."""


def resolve_task(model: Any, tokenizer: Any, mode: Mode | None, task: str | Task | None, longest: int | None = None) -> Task:
    """Return the task of a model, from its class, config and abilities, or as the user says.

    Wrappers (PEFT, ``torch.compile``) pass their model's config and abilities on.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        mode: Transformation of the logits; None: the task's default.
        task: The task, or its name; None: the one that the class, the config and the abilities imply.
        longest: Largest number of tokens that the model takes.

    Raises:
        OptionError: if there is no such task.
        TaskError: if the model has a head whose outputs are not covered.
    """
    if isinstance(task, Task):
        return task
    if task is not None and task not in NAMES:
        raise OptionError(f"`task`: got {shown(task)}; pass {', '.join(map(repr, NAMES))} or None.")
    config = getattr(model, "config", None)
    if task is None:
        task = _declared(model)
    if task == "generation":
        chosen = InferenceModes.LOG_SOFTMAX if mode is None else mode
        return Generation(chosen, tokenizer, bool(getattr(config, "is_encoder_decoder", False)), config, longest)
    id2label = {int(i): str(label) for i, label in (getattr(config, "id2label", None) or {}).items()}
    if task == TOKEN_CLASSIFICATION:
        return TokenClassification(InferenceModes.LOGITS if mode is None else mode, id2label)
    if task == "classification":
        task = _kind(config, len(id2label))
    shared = bool(getattr(config, "shares_targets", False))
    return Classification(InferenceModes.LOGITS if mode is None else mode, task, id2label, shared)


def _declared(model: Any) -> str:
    """Return the name of the task that a model is made for.

    Raises:
        TaskError: names a task that is not covered.
    """
    names = class_names(model)
    for ending, task in BY_CLASS.items():
        if any(name.endswith(ending) for name in names):
            return task
    if _generates(model):
        return "generation"
    for ending, task in NOT_COVERED.items():
        if type(model).__name__.endswith(ending):
            raise TaskError(
                f"`model`: {type(model).__name__} does {task}, which is not covered; explained are classifiers of texts "
                "(AutoModelForSequenceClassification) and of tokens (AutoModelForTokenClassification), and language models "
                "(AutoModelForCausalLM, AutoModelForSeq2SeqLM)."
            )
    return "classification"


def class_names(model: Any) -> list[str]:
    """Return the names of a model's class and of those that it is derived from; of an adapter, its model's too."""
    inner = getattr(model, "get_base_model", lambda: model)()
    return [kind.__name__ for part in (model, inner) for kind in type(part).__mro__]


def _kind(config: Any, labels: int) -> str:
    """Return the kind of a classifier's outputs."""
    declared = getattr(config, "problem_type", None)
    kinds = {"multi_label_classification": "multi-label", "regression": "regression", "scores": "scores"}
    return "regression" if declared is None and labels == 1 else kinds.get(str(declared), "single-label")


def _generates(model: Any) -> bool:
    """Return True for a language model; classifiers cannot generate."""
    can_generate = getattr(model, "can_generate", None)
    return bool(callable(can_generate) and can_generate())
