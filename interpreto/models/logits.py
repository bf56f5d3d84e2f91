"""The logits of a model: taken from its outputs, checked, and cut to some tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpreto.errors import ModelError, TaskError
from interpreto.models.padding import selected


def read_logits(output: Any) -> Tensor:
    """Return the logits from the outputs of a model.

    Raises:
        ModelError: there are none.
    """
    logits = output["logits"] if isinstance(output, Mapping) and "logits" in output else getattr(output, "logits", output)
    if isinstance(logits, (tuple, list)) and logits:
        logits = logits[0]
    if not isinstance(logits, Tensor):
        raise ModelError(f"`model`: answered {type(output).__name__} without logits; interpreto explains models with a head.")
    return logits


def per_token(logits: Tensor) -> Float[Tensor, "b l v"]:
    """Return the logits if they have a row per token.

    Raises:
        TaskError: they have not.
    """
    if logits.ndim != 3:
        raise TaskError(
            f"`model`: returned logits of shape {tuple(logits.shape)}; a model that is read at tokens returns "
            "(batch, tokens, outputs). Load a language model with its head (AutoModelForCausalLM or AutoModelForSeq2SeqLM)."
        )
    return logits


def selected_of(logits: Float[Tensor, "b l v"], positions: Int[Tensor, "b k"], length: int) -> Float[Tensor, "b k v"]:
    """Return the logits at some tokens of rows of this length, shifted by virtual tokens before the text."""
    shift = logits.shape[1] - length
    if shift < 0:
        raise ModelError(f"`model`: returned logits of {logits.shape[1]} tokens for rows of {length}; it must return one each.")
    return selected(logits, positions + shift)


def promoted(values: Tensor) -> Tensor:
    """Return values in float32 at least, as differences of scores need the digits."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
