"""The longest input that a model takes."""

from __future__ import annotations

from typing import Any

from torch import nn

LIMITS = ("max_encoder_position_embeddings", "max_position_embeddings", "max_seq_len")
"""Names under which a config has the longest input: of LED, of most, of MPT."""


def longest_input(model: Any, tokenizer: Any) -> int | None:
    """Return the largest number of tokens that a model takes; None: there is no limit.

    The model's config and position embeddings decide. The length that a tokenizer names is advice (T5 reads longer texts),
    and is used only for a model without a config.
    """
    limits = []
    limit = getattr(tokenizer, "model_max_length", None)
    if limit and limit < 1_000_000 and getattr(model, "config", None) is None:
        limits.append(int(limit))
    modules = model.named_modules() if isinstance(model, nn.Module) else ()
    positions = [m for name, m in modules if name.endswith("position_embeddings") and isinstance(m, nn.Embedding)]
    for table in positions:  # RoBERTa keeps the first rows of its table for the padding
        limits.append(table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1))
    config = getattr(model, "config", None)
    named = (getattr(config, name, None) for name in LIMITS)
    limit = next((value for value in named if isinstance(value, int) and value > 0), None)
    relative = getattr(config, "position_biased_input", True) is False  # DeBERTa without absolute positions
    if not positions and not relative and limit is not None:
        limits.append(limit)
    return min(limits) if limits else None
