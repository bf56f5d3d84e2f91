"""Alias of `interpreto.metrics.concepts`, where these metrics live; loaded on first use."""

from __future__ import annotations

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    home = None if name.startswith("__") and name != "__all__" else importlib.import_module("interpreto.metrics.concepts")
    if home is None or name not in ("__all__", *home.__all__):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(home, name)


def __dir__() -> list[str]:
    return __getattr__("__all__")
