"""Arrow, which the files of data sets and stores need, and nothing else does."""

from __future__ import annotations

import importlib
from typing import Any

from interpreto.errors import OptionError


def load_pyarrow(what: str, *modules: str) -> tuple[Any, ...]:
    """Return pyarrow and some of its modules.

    Args:
        what: Name of what needs it.
        modules: Names of modules, such as ``parquet``.

    Raises:
        OptionError: it is not installed.
    """
    try:
        return tuple(importlib.import_module(name) for name in ("pyarrow", *(f"pyarrow.{module}" for module in modules)))
    except ImportError as error:
        raise OptionError(f"`{what}` needs pyarrow; run `pip install pyarrow`.") from error
