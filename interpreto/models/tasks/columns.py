"""Scores of columns of the outputs at some tokens, as generation, token classification and masked language models have them."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpreto.models.logits import promoted
from interpreto.models.modes import InferenceModes, Mode, apply_mode

CHUNK = 2**22  # logits whose softmax is taken at once


def read_columns(mode: Mode, logits: Float[Tensor, "b k v"], ids: Int[Tensor, "b k"]) -> Float[Tensor, "b k"]:
    """Return the score of one column per token, computed in chunks, so that memory never holds a softmax of all rows."""
    flat, wanted = logits.flatten(0, 1), ids.to(logits.device).flatten()[:, None]
    size = max(1, CHUNK // flat.shape[1])
    chunks = zip(flat.split(size), wanted.split(size), strict=True)
    parts = [_scores(mode, promoted(part), columns) for part, columns in chunks]
    return torch.cat(parts).reshape(ids.shape)


def _scores(mode: Mode, logits: Float[Tensor, "r v"], ids: Int[Tensor, "r 1"]) -> Float[Tensor, " r"]:
    if mode in (InferenceModes.LOG_SOFTMAX, InferenceModes.SOFTMAX):
        log_probability = logits.gather(1, ids)[:, 0] - logits.logsumexp(1)
        return log_probability if mode is InferenceModes.LOG_SOFTMAX else log_probability.exp()
    if isinstance(mode, InferenceModes) and mode is not InferenceModes.ENTROPY:
        return mode(logits.gather(1, ids))[:, 0]
    return apply_mode(mode, logits).gather(1, ids)[:, 0]
