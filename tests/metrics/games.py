"""Games whose metrics are known, and explanations of any values on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from interpreto import AttributionOutput, Occlusion
from tests.problems import Game, GameTokenizer


def additive(weights: Sequence[float], constant: float = 0.0, pair: float = 0.0) -> Callable[[np.ndarray], np.ndarray]:
    """The weights of the present units, and what the first two give together."""
    return lambda present: constant + present @ np.array(weights) + pair * present[:, 0] * present[:, 1]


def model_of(value: Callable[[np.ndarray], np.ndarray], u: int) -> tuple[Game, GameTokenizer]:
    return Game(value, u), GameTokenizer(u)


def explained(model: Any, tokenizer: Any, *rows: Sequence[float]) -> list[AttributionOutput]:
    """The first score of a game, with these attributions; a separate explanation for each row."""
    outputs = []
    for row in rows:
        (output,) = Occlusion(model, tokenizer)(torch.arange(tokenizer.players)[None], 0)
        outputs.append(replace(output, attributions=torch.tensor([list(row)], dtype=torch.float32)))
    return outputs
