"""Tasks: what a model's output means."""

from interpreto.tasks.base import Request, Task
from interpreto.tasks.classification import Classification
from interpreto.tasks.generation import Generation
from interpreto.tasks.resolve import resolve_task

__all__ = ["Classification", "Generation", "Request", "Task", "resolve_task"]
