"""Inference modes: transformations of the logits into the explained scores."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.choices import Choice, read_member
from interpreto.errors import OptionError

Mode = Callable[[Tensor], Tensor]
"""A function from logits ``(b, c)`` to scores ``(b, c)``, row by row."""


class InferenceModes(Choice):
    """Named transformations of the logits. Any other function of the logits, row by row, can be passed instead.

    ``ENTROPY`` is that of the prediction, the same for all columns. ``KL_DIVERGENCE`` is how far the context moves a language
    model's prediction of each token: from what it predicts without the prompt, which takes one pass more per text.

    Examples:
        >>> import torch
        >>> InferenceModes.SOFTMAX(torch.zeros(1, 4))
        tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    """

    LOGITS = "logits"
    SOFTMAX = "softmax"
    LOG_SOFTMAX = "log_softmax"
    SIGMOID = "sigmoid"
    ENTROPY = "entropy"
    KL_DIVERGENCE = "kl_divergence"

    def __call__(self, logits: Float[Tensor, "b c"]) -> Float[Tensor, "b c"]:
        """Return the scores ``(b, c)`` of logits ``(b, c)``.

        Raises:
            OptionError: of a divergence, which logits alone do not determine.
        """
        if self is InferenceModes.KL_DIVERGENCE:
            raise OptionError(
                "`inference_mode`: 'kl_divergence' compares generations with and without a prompt; use 'entropy'."
            )
        if self is InferenceModes.ENTROPY:
            return entropy(logits)[..., None].expand_as(logits)
        if self is InferenceModes.SOFTMAX:
            return logits.softmax(-1)
        if self is InferenceModes.LOG_SOFTMAX:
            return logits.log_softmax(-1)
        return logits.sigmoid() if self is InferenceModes.SIGMOID else logits

    @property
    def unit(self) -> str:
        """Return the unit of measurement of the scores."""
        return UNITS[self.value]


UNITS = {
    "logits": "logit",
    "softmax": "probability",
    "log_softmax": "log-probability (nats)",
    "sigmoid": "probability",
    "entropy": "entropy (nats)",
    "kl_divergence": "KL divergence (nats)",
}
"""Units of measurement of the named modes."""


def entropy(logits: Float[Tensor, "*b c"]) -> Float[Tensor, "*b"]:
    """Return the entropy of the softmax of each row, in nats.

    Examples:
        >>> import torch
        >>> entropy(torch.zeros(1, 4)).exp()
        tensor([4.])
    """
    log_p = logits.log_softmax(-1)
    return -(log_p.exp() * log_p.clamp(min=torch.finfo(log_p.dtype).min)).sum(-1)


def read_mode(value: InferenceModes | str | Mode) -> Mode:
    """Return a mode, given itself, its name, or a function of the logits."""
    if callable(value):
        return value
    return read_member(InferenceModes, value, "inference_mode")


def mode_name(mode: Mode) -> str:
    """Return the name that explanations show: a mode's value, or a function's name."""
    return mode.value if isinstance(mode, InferenceModes) else getattr(mode, "__name__", type(mode).__name__)


def apply_mode(mode: Mode, logits: Float[Tensor, "b c"]) -> Float[Tensor, "b c"]:
    """Return the scores ``(b, c)`` of logits ``(b, c)``.

    Raises:
        OptionError: the mode does not keep the shape of the logits.
    """
    scores = mode(logits)
    if not isinstance(scores, torch.Tensor) or scores.shape != logits.shape:
        got = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
        raise OptionError(
            f"`inference_mode`: {mode_name(mode)} turned logits {tuple(logits.shape)} into {got}; it must keep their shape."
        )
    return scores
