"""The only code that calls a model."""

from interpreto.inference.modes import InferenceModes

__all__ = ["InferenceModes"]
