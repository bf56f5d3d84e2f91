"""Give memory back to the system between shards."""

from __future__ import annotations

import ctypes
import functools
import sys
from typing import Any


def give_back() -> bool:
    """Give what was freed back to the system, where the C library would keep it.

    Shards free thousands of tensors of many sizes. glibc keeps their pages for itself, more of them with every shard, so that
    a process grows although nothing of it is in use.

    Returns:
        Whether there was any; False where the C library has no such function.
    """
    trim = _trim()
    return trim is not None and bool(trim(0))


@functools.cache
def _trim() -> Any:
    """Return glibc's ``malloc_trim``; None elsewhere."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
