"""The only code that calls a model."""

from interpreto.inference.modes import InferenceModes
from interpreto.inference.shortcuts import Shortcuts

__all__ = ["InferenceModes", "Shortcuts"]
