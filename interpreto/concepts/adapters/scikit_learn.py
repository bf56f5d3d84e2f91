"""Load solvers of scikit-learn, when a concept model that needs one is fitted."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Literal

from interpreto.errors import EstimateWarning
from interpreto.seeding import seeded


def load_scikit_learn(part: Literal["cluster", "decomposition"]) -> ModuleType:
    """Import a part of scikit-learn.

    Raises:
        ImportError: scikit-learn is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(f"sklearn.{part}")
    except ImportError as error:
        raise ImportError("scikit-learn is missing, which fits this concept model. Type: pip install scikit-learn") from error


@contextmanager
def solving(name: str, random_state: int, advice: str) -> Iterator[None]:
    """Context manager that seeds the global random generators for scikit-learn, and restores them.

    A `ConvergenceWarning` becomes an `EstimateWarning` with advice.
    """
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415  (optional)

    with seeded(random_state), warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        yield
    for warning in seen:
        if not issubclass(warning.category, ConvergenceWarning):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    if any(issubclass(warning.category, ConvergenceWarning) for warning in seen):
        warnings.warn(f"{name} stopped before it converged; {advice}.", EstimateWarning, stacklevel=2)
