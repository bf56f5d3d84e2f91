"""What the engine saves, by name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EngineOptions:
    """The engine's shortcuts. None of them changes a number; each can be switched off, to check that or to measure it.

    Attributes:
        one_pass: All targets of a generation are read off one teacher-forced pass; else each takes a pass of its own.
        kept_logits: The head runs on the tokens whose logits are wanted; else on every token.
        prefix: What altered copies of a prompt begin with is run once, and its keys and values are shared.
        distinct: Equal copies of a sample are run once.
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
