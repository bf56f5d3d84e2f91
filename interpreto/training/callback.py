"""A callback of ``transformers.Trainer`` that records at the end of each epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from transformers import TrainerCallback


class DynamicsCallback(TrainerCallback):
    """Call a recorder with the number of each finished epoch, from 0, and the model.

    `TrainingDynamics.callback` makes one. The training goes on as without it: no random number is drawn.

    Args:
        record: Takes the number of the epoch and the model.
    """

    def __init__(self, record: Callable[[int, nn.Module], object]) -> None:
        self._record = record

    def on_epoch_end(self, args: Any, state: Any, control: Any, model: nn.Module | None = None, **others: Any) -> None:
        """Record the model at the end of an epoch."""
        if model is not None and state.is_world_process_zero:
            self._record(max(round(state.epoch) - 1, 0), model)
