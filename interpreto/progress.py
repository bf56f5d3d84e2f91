"""Progress bars: tqdm's, for notebooks and terminals."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from tqdm import TqdmWarning

with warnings.catch_warnings():
    warnings.simplefilter("ignore", TqdmWarning)  # without ipywidgets a notebook shows the bar of a terminal, which will do
    from tqdm.auto import tqdm

SECONDS = 2.0  # before a bar that nobody asked for is shown
OFTEN = 0.2  # seconds between two counts of passes


_UNASKED: ContextVar[bool] = ContextVar("_UNASKED", default=True)
"""True where bars are shown that nobody asked for."""


@contextmanager
def one_bar() -> Iterator[None]:
    """Context manager in which only bars that are asked for are shown, since one around them counts for all."""
    token = _UNASKED.set(False)
    try:
        yield
    finally:
        _UNASKED.reset(token)


def progress_bar(iterable: Any = None, *, shown: bool | None, **options: Any) -> Any:
    """Return a progress bar, which is gone when it is done.

    Args:
        iterable: What it counts; None: it is updated.
        shown: True or False; None: after two seconds, in a terminal or a notebook, unless the environment sets
            ``INTERPRETO_PROGRESS=0``.
        **options: Of tqdm, such as ``total``, which adds the time that is left.
    """
    wanted = (_UNASKED.get() and _is_watched()) if shown is None else shown
    return tqdm(iterable, disable=not wanted, delay=SECONDS if shown is None else 0, leave=False, **options)


class Passes:
    """Count of the model's passes, written behind a bar of texts.

    Args:
        bar: The bar.
    """

    def __init__(self, bar: Any) -> None:
        self.bar, self.count = bar, 0
        self._next = time.monotonic() + getattr(bar, "delay", 0.0)

    def __call__(self, passes: int = 1) -> None:
        """Count passes, and show the number now and then."""
        self.count += passes
        self._show(last=False)

    def text_done(self) -> None:
        """Count a text."""
        self.bar.update()
        self._show(last=True)

    def _show(self, last: bool) -> None:
        now = time.monotonic()
        asked_for = last and not getattr(self.bar, "delay", 0.0)
        if not self.bar.disable and (asked_for or now >= self._next):
            self._next = now + OFTEN
            self.bar.set_postfix_str(f"{self.count} passes")


def _is_watched() -> bool:
    """Return True where a person may wait for a call: in a terminal or a notebook, unless the environment says no."""
    return os.environ.get("INTERPRETO_PROGRESS", "1") != "0" and (_in_terminal() or _in_notebook())


def _in_terminal() -> bool:
    return bool(getattr(sys.stderr, "isatty", bool)())


def _in_notebook() -> bool:
    """Return True in a kernel of Jupyter, which has a kernel's shell; IPython is not imported for that."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None
