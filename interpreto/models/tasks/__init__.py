"""Tasks: the meaning of a model's outputs."""

from interpreto.models.tasks.base import GenerationRequest, Task
from interpreto.models.tasks.classification import Classification
from interpreto.models.tasks.generation import Generation
from interpreto.models.tasks.masked_lm import MaskedLM
from interpreto.models.tasks.question_answering import QuestionAnswering
from interpreto.models.tasks.resolve import resolve_task
from interpreto.models.tasks.token_classification import TokenClassification

__all__ = [
    "Classification",
    "Generation",
    "GenerationRequest",
    "MaskedLM",
    "QuestionAnswering",
    "Task",
    "TokenClassification",
    "resolve_task",
]
