"""Find the task of a model."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from jaxtyping import Float
from torch import Tensor

from interpreto.errors import OptionError, TaskError
from interpreto.inputs.pictured_chats import ImageChatProcessor
from interpreto.inputs.separate_texts import SeparateTexts
from interpreto.models.modes import InferenceModes, Mode
from interpreto.models.pictured_models import ImageTextSimilarity
from interpreto.models.served import ServedModel
from interpreto.models.similarity import SimilarityModel
from interpreto.models.tasks.base import Task
from interpreto.models.tasks.classification import Classification
from interpreto.models.tasks.divergence import Divergence
from interpreto.models.tasks.generation import Generation
from interpreto.models.tasks.masked_lm import MaskedLM
from interpreto.models.tasks.question_answering import QuestionAnswering
from interpreto.models.tasks.served import ServedGeneration
from interpreto.models.tasks.token_classification import TokenClassification
from interpreto.validation import shown

Build = Callable[[Any, Any, Mode | None], Task]
"""Makes the task of a model and its tokenizer, with a transformation of the logits; None: the task's default."""


def _token_classification(model: Any, tokenizer: Any, mode: Mode | None) -> Task:
    return TokenClassification(InferenceModes.LOGITS if mode is None else mode, _names_of(model))


def _masked_lm(model: Any, tokenizer: Any, mode: Mode | None) -> Task:
    return MaskedLM(InferenceModes.LOG_SOFTMAX if mode is None else mode, tokenizer, _pretraining(model))


def _question_answering(model: Any, tokenizer: Any, mode: Mode | None) -> Task:
    return QuestionAnswering(InferenceModes.LOG_SOFTMAX if mode is None else mode)


def _next_sentence(model: Any, tokenizer: Any, mode: Mode | None) -> Task:
    read = relationship_logits if _pretraining(model) else None
    chosen, name = InferenceModes.LOGITS if mode is None else mode, "next sentence prediction"
    return Classification(chosen, id2label={0: "is next", 1: "is random"}, name=name, pairs=True, outputs=read)


def _similarity(model: Any, tokenizer: Any, mode: Mode | None) -> Task:
    reads = None
    if isinstance(model, SimilarityModel):
        reads = partial(SeparateTexts, reference=model.reference, alone=model.compares_alone)
    chosen = InferenceModes.LOGITS if mode is None else mode
    return Classification(chosen, "regression", {0: "similarity"}, name="similarity", reads=reads)


HEADS: dict[str, tuple[str, Build]] = {
    "token-classification": ("ForTokenClassification", _token_classification),
    "fill-mask": ("ForMaskedLM", _masked_lm),
    "question-answering": ("ForQuestionAnswering", _question_answering),
    "next-sentence-prediction": ("ForNextSentencePrediction", _next_sentence),
}
"""Names of tasks (pipelines have the same ones), the ends of the names of transformers' classes for them, and their makers."""
NOT_COVERED = {"ForMultipleChoice": "multiple choice", "ForPreTraining": "pre-training"}
"""Ends of the names of transformers' classes whose outputs are not covered."""
NAMES = ("classification", *Classification.KINDS, "generation", *HEADS)
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
    if isinstance(model, ServedModel):
        return ServedGeneration(InferenceModes.LOG_SOFTMAX if mode is None else mode, model)
    if isinstance(model, SimilarityModel | ImageTextSimilarity):
        return _similarity(model, tokenizer, mode)
    if isinstance(tokenizer, ImageChatProcessor):
        if mode is InferenceModes.KL_DIVERGENCE:
            raise OptionError("`inference_mode`: 'kl_divergence' is a score of texts alone; use another one with images.")
        tokenizer = tokenizer.tokenizer
    config, named = getattr(model, "config", None), _declared(model) if task is None else task
    if named == "generation":
        chosen = InferenceModes.LOG_SOFTMAX if mode is None else mode
        divergence = Divergence(model, tokenizer) if mode is InferenceModes.KL_DIVERGENCE else None
        encodes = bool(getattr(config, "is_encoder_decoder", False))
        return Generation(chosen, tokenizer, encodes, config, longest, divergence)
    if mode is InferenceModes.KL_DIVERGENCE:
        raise OptionError(f"`inference_mode`: 'kl_divergence' is a score of generations, and this model does {named}.")
    if named in HEADS:
        return HEADS[named][1](model, tokenizer, mode)
    id2label = _names_of(model)
    kind = _kind(config, len(id2label)) if named == "classification" else named
    shared = bool(getattr(config, "shares_targets", False))
    return Classification(InferenceModes.LOGITS if mode is None else mode, kind, id2label, shared)


def _declared(model: Any) -> str:
    """Return the name of the task that a model is made for.

    Raises:
        TaskError: names a task that is not covered.
    """
    names = class_names(model)
    for task, (ending, _) in HEADS.items():
        if any(name.endswith(ending) for name in names):
            return task
    if _generates(model):
        return "generation"
    for ending, task in NOT_COVERED.items():
        if type(model).__name__.endswith(ending):
            raise TaskError(
                f"`model`: {type(model).__name__} does {task}, which is not covered; explained are classifiers of texts "
                "(AutoModelForSequenceClassification), language models (AutoModelForCausalLM, AutoModelForSeq2SeqLM), and the "
                f"heads of {', '.join(map(repr, HEADS))}, which `task` can name."
            )
    return "classification"


def relationship_logits(output: Any) -> Float[Tensor, "b c"]:
    """Return the logits of whether a text follows from what a model for pre-training returns."""
    return output.seq_relationship_logits


def _pretraining(model: Any) -> bool:
    """Return True for a model that has two heads, of masked tokens and of pairs."""
    return any(name.endswith("ForPreTraining") for name in class_names(model))


def _names_of(model: Any) -> dict[int, str]:
    """Return the names of the outputs of a model, as its config has them."""
    named = getattr(getattr(model, "config", None), "id2label", None) or {}
    return {int(i): str(label) for i, label in named.items()}


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
