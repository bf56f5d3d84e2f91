"""Find the task of a model."""

from __future__ import annotations

from typing import Any

from interpreto.errors import OptionError, TaskError
from interpreto.models.modes import InferenceModes, Mode
from interpreto.models.tasks.base import Task
from interpreto.models.tasks.classification import Classification
from interpreto.models.tasks.generation import Generation
from interpreto.validation import shown

NOT_COVERED = {
    "ForTokenClassification": "token classification",
    "ForMaskedLM": "masked language modeling",
    "ForQuestionAnswering": "extractive question answering",
    "ForMultipleChoice": "multiple choice",
    "ForPreTraining": "pre-training",
}
"""Ends of the names of transformers' classes whose outputs are neither a row of classes per text nor a text."""


def resolve_task(model: Any, tokenizer: Any, mode: Mode | None, task: str | Task | None, longest: int | None = None) -> Task:
    """Return the task of a model, from its config and abilities, or as the user says.

    Wrappers (PEFT, ``torch.compile``) pass their model's config and abilities on; the name of a class decides only which
    task an error names.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        mode: Transformation of the logits; None: the task's default.
        task: The task, or its name; None: the one that the config and the abilities imply.
        longest: Largest number of tokens that the model takes.

    Raises:
        OptionError: if there is no such task.
        TaskError: if the model has a head whose outputs are not covered.
    """
    if isinstance(task, Task):
        return task
    config = getattr(model, "config", None)
    if task == "generation" or (task is None and _generates(model)):
        chosen = InferenceModes.LOG_SOFTMAX if mode is None else mode
        return Generation(chosen, tokenizer, bool(getattr(config, "is_encoder_decoder", False)), config, longest)
    id2label = {int(i): str(label) for i, label in (getattr(config, "id2label", None) or {}).items()}
    if task is None or task == "classification":
        _check_covered(model)
        declared = getattr(config, "problem_type", None)
        kinds = {"multi_label_classification": "multi-label", "regression": "regression", "scores": "scores"}
        alone = declared is None and len(id2label) == 1
        task = "regression" if alone else kinds.get(str(declared), "single-label")
    if task not in Classification.KINDS:
        accepted = ", ".join(map(repr, ("classification", *Classification.KINDS, "generation")))
        raise OptionError(f"`task`: got {shown(task)}; pass {accepted} or None.")
    shared = bool(getattr(config, "shares_targets", False))
    return Classification(InferenceModes.LOGITS if mode is None else mode, task, id2label, shared)


def _check_covered(model: Any) -> None:
    """Refuse a model whose head is of a kind that is not covered.

    Raises:
        TaskError: names its task.
    """
    name = type(model).__name__
    for ending, task in NOT_COVERED.items():
        if name.endswith(ending):
            raise TaskError(
                f"`model`: {name} does {task}, which is not covered; explained are classifiers of texts "
                "(AutoModelForSequenceClassification) and language models (AutoModelForCausalLM, AutoModelForSeq2SeqLM)."
            )


def _generates(model: Any) -> bool:
    """Return True for a language model; classifiers cannot generate."""
    can_generate = getattr(model, "can_generate", None)
    return bool(callable(can_generate) and can_generate())
