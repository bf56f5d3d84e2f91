"""Cost of a call: rows that go through the model, and seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from interpreto.models.text_model import TextModel


@dataclass
class Cost:
    """Rows that went through the model, and seconds."""

    rows: int = 0
    seconds: float = 0.0

    @property
    def copies(self) -> int:
        """Return the rows, by their old name."""
        return self.rows


@contextmanager
def counted(model: Any) -> Iterator[Cost]:
    """Context manager that counts the rows that go through a model, or the texts that a black box scores, and the seconds."""
    spent, start = Cost(), time.perf_counter()
    if isinstance(model, TextModel):
        before = model.asked
        try:
            yield spent
        finally:
            spent.rows, spent.seconds = model.asked - before, time.perf_counter() - start
        return

    def count(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = [*args, *kwargs.values()]
        spent.rows += next((len(value) for value in given if isinstance(value, Tensor)), 0)

    module = model if isinstance(model, nn.Module) else model.forward.model
    handle = module.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield spent
    finally:
        handle.remove()
        spent.seconds = time.perf_counter() - start
