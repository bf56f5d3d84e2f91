"""The terminal that a command writes to."""

from __future__ import annotations

from rich.console import Console


def screen() -> Console:
    """Return a console on standard output: as wide as the terminal, 80 cells where there is none, text taken as it is."""
    return Console(highlight=False, emoji=False, force_jupyter=False, soft_wrap=False)
