"""Results that draw themselves, and text that is safe to draw. What draws is looked up by name and imported on first use."""

from __future__ import annotations

import importlib
import re
from os import PathLike
from types import ModuleType
from typing import Any, ClassVar

_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class Renderable:
    """Base of results that draw themselves.

    A subclass names a module of `interpreto.visualizations`, whose function ``renderer`` takes the result and returns a
    `interpreto.visualizations.display.Renderer`.
    """

    _subject: ClassVar[str]

    def _renderer(self) -> Any:
        return visualization(self._subject).renderer(self)

    def to_html(self, path: str | PathLike[str] | None = None) -> str:
        """Return a self-contained page.

        Args:
            path: File to write the page to as well.

        Raises:
            FileError: The file cannot be written.
        """
        return self._renderer().to_html(path)

    def plot(self, path: str | PathLike[str] | None = None, *, backend: str = "auto") -> Any:
        """Show the result.

        Args:
            path: File to write as well: the page, or matplotlib's figure in the format of the file's suffix.
            backend: ``"notebook"``, ``"terminal"`` or ``"matplotlib"``; ``"auto"`` is the notebook whose kernel runs this,
                else the terminal.

        Returns:
            The ``matplotlib.figure.Figure`` for ``"matplotlib"``, else None.

        Raises:
            FileError: The file cannot be written.
            OptionError: The backend is unknown or its package is not installed.
        """
        return self._renderer().show(path, backend=backend)

    def _repr_html_(self) -> str:
        return self._renderer().fragment()

    def __str__(self) -> str:
        return self._renderer().text()


def visualization(subject: str) -> ModuleType:
    """Import a module of `interpreto.visualizations` by its name."""
    return importlib.import_module(f"interpreto.visualizations.{subject}")


def visible(text: str) -> str:
    """Replace control characters by their pictures, so that none can act on a terminal or reorder a line.

    Examples:
        >>> visible("a\\x1b[31m\\u202eb")
        'a␛[31m⟨U+202E⟩b'
    """
    return _UNSEEN.sub(_picture, text.replace("\r\n", "\n"))


def _picture(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"⟨U+{code:04X}⟩"
