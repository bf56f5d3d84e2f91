"""Links: functions of the scores that a surrogate is fitted to in their place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.inputs.samples import Targets
from interpreto.models.tasks import Task

CLOSEST = 1e-7  # a log-probability is taken to be this far below 0 at least


@dataclass(frozen=True)
class Link:
    """A function of the scores.

    Attributes:
        name: What explanations call the linked score.
        function: Takes scores ``(r, t)`` to the linked ones.
        applies: Tells whether the scores of some targets have it, by the task and the targets.
    """

    name: str
    function: Callable[[Tensor], Tensor]
    applies: Callable[[Task, Targets], bool]


def linked(link: Link | None, scores: Float[Tensor, "r t"], task: Task, targets: Targets) -> tuple[Tensor, str | None]:
    """Return the scores that are explained, and their name where a link made them."""
    if link is None or not link.applies(task, targets):
        return scores, None
    return link.function(scores), link.name


def log_odds(log_probabilities: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Return ``log p − log(1 − p)``, in float64.

    Examples:
        >>> import torch
        >>> log_odds(torch.tensor([0.5, 0.75]).log()).exp()
        tensor([1.0000, 3.0000], dtype=torch.float64)
    """
    values = log_probabilities.double().clamp(max=-CLOSEST)
    return values - torch.log(-torch.expm1(values))


def are_log_probabilities(task: Task, targets: Targets) -> bool:
    """Return whether each score is the log-probability of something: of a class, or of the tokens of an answer."""
    weights = [readout.weights for readout in targets.readouts]
    whole = all(own is None or bool(((own == 0) | (own == 1)).all()) for own in weights)
    return task.mode_name == "log_softmax" and len(weights) == 1 and whole


LOG_ODDS = Link("log_odds", log_odds, are_log_probabilities)
"""The log-odds of an answer or a class."""
