"""The optimizations of the engine, by name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EngineOptions:
    """The engine's optimizations. None of them changes a number; each can be switched off, to check that or to measure it.

    Attributes:
        one_pass: All targets of a generation are scored in one teacher-forced pass; else each takes a pass of its own.
        kept_logits: The head is run on the tokens whose logits are needed alone; else on every token.
        prefix: The prefix that the perturbed inputs of a prompt have in common is run once, and its keys and values are
            shared.
        distinct: Equal perturbed inputs of a sample are run once.
        shared_backward: The rows of a batch share each backward pass; else each row has its own.

    Examples:
        >>> from interpreto import Occlusion, demo
        >>> from interpreto.models import EngineOptions
        >>> explainer = Occlusion(*demo.load_classifier(), shortcuts=EngineOptions(distinct=False))
    """

    one_pass: bool = True
    kept_logits: bool = True
    prefix: bool = True
    distinct: bool = True
    shared_backward: bool = True
