"""Keep the memory of processes that compute shards small."""

from __future__ import annotations

import ctypes
import functools
import sys
from typing import Any

ARENAS = -8  # glibc's M_ARENA_MAX


def keep_together() -> bool:
    """Let the threads of this process, a worker, share one heap, where the C library would give each its own.

    Every heap keeps room for the most that was ever in it, and a large tensor is freed into the one that it came from: the
    peak of a process grows by what the others hold. To be called before there are threads.

    Returns:
        Whether they will; False where the C library has no such function.
    """
    return bool(_of_glibc("mallopt", ARENAS, 1))


def give_back() -> bool:
    """Give what was freed back to the system, where the C library would keep it.

    Shards free thousands of tensors of many sizes. glibc keeps their pages for itself, more of them with every shard, so that
    a process grows although nothing of it is in use.

    Returns:
        Whether there was any; False where the C library has no such function.
    """
    return bool(_of_glibc("malloc_trim", 0))


def _of_glibc(name: str, *arguments: int) -> int:
    """Call a function of glibc with whole numbers; 0 elsewhere."""
    function = _function(name)
    return 0 if function is None else int(function(*arguments))


@functools.cache
def _function(name: str) -> Any:
    """Return a function of glibc; None elsewhere."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
