"""Explanations as text for a terminal."""

from interpreto.visualizations.terminal.attributions import to_text

__all__ = ["to_text"]
