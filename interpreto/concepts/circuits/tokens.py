"""Names of tokens and of places in a model, as results show them."""

from __future__ import annotations

import re
from typing import Any

from jaxtyping import Int
from torch import Tensor

from interpreto.concepts.output_names import name_of_token


def token_names(tokenizer: Any, ids: Int[Tensor, " l"]) -> tuple[str, ...]:
    """Return the tokens as texts."""
    return tuple(name_of_token(tokenizer, int(i)) for i in ids)


def place_name(split_point: str) -> str:
    """Return a short name of a place: its layer, and what comes behind it in the path.

    Examples:
        >>> place_name("model.layers.3"), place_name("transformer.h.0.mlp")
        ('layer 3', 'layer 0 mlp')
        >>> place_name("bert.pooler")
        'bert.pooler'
    """
    found = re.search(r"(?:^|\.)(\d+)(?=[.:]|$)", split_point)
    if found is None:
        return split_point
    rest = split_point[found.end() :].lstrip(".")
    return f"layer {found.group(1)} {rest.replace(':', ' ')}".strip()
