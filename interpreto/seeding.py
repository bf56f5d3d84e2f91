"""Seed the global random generators, for code that draws from them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(random_state: int, device: torch.device | None = None) -> Iterator[None]:
    """Context manager that seeds the global generators of Python, NumPy and torch, and restores them.

    Examples:
        >>> with seeded(0):
        ...     first = torch.rand(())
        >>> with seeded(0):
        ...     bool(torch.rand(()) == first)
        True
    """
    python, numpy = random.getstate(), np.random.get_state()
    on_gpu = device is not None and device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        random.seed(int(random_state))
        np.random.seed(random_state)
        torch.default_generator.manual_seed(random_state)
        if on_gpu:
            torch.cuda.manual_seed(random_state)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
