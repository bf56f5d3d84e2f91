"""The only code that calls a model."""

from interpreto.models.modes import InferenceModes
from interpreto.models.options import EngineOptions

__all__ = ["EngineOptions", "InferenceModes"]
