"""How pictures reach people: in a notebook, in the terminal, as a page or a figure.

What comes from the user or the model reaches a page as JSON alone, which the page's script turns into text nodes. The page
lets only that script run (by its hash) and loads nothing.
"""

from __future__ import annotations

import base64
import hashlib
import html
import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from os import PathLike
from pathlib import Path
from string import Template
from typing import Any

from interpreto.errors import OptionError

BACKENDS = ("auto", "notebook", "terminal", "matplotlib")


@dataclass(frozen=True)
class Look:
    """The script and the styles of one kind of page, files of ``html/``; what all kinds share stands in front of them."""

    scripts: Sequence[str]
    styles: Sequence[str] = ()
    name: str = ""

    @property
    def script(self) -> str:
        own = "\n".join(_asset(name) for name in ("common.js", *self.scripts))
        return f'(() => {{\n"use strict";\n{own}}})();'

    @property
    def style(self) -> str:
        return "".join(_asset(name) for name in ("style.css", *self.styles))


def write_page(look: Look, data: str, title: str, path: str | PathLike[str] | None) -> str:
    """A self-contained page, written to ``path`` too, when given, as UTF-8.

    Args:
        look: How it is drawn.
        data: JSON, in which no character has a meaning for HTML.
        title: Its heading, any text.
        path: Where to write it.
    """
    script = look.script
    page = Template(_asset("page.html")).substitute(
        title=_escaped(title),
        style=look.style,
        data=data,
        script=script,
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    if path is not None:
        Path(path).write_text(page, encoding="utf-8", newline="\n")
    return page


def fragment(look: Look, data: str) -> str:
    """The same in one element, for a notebook; it may stand any number of times in one page."""
    return (
        f'<div class="{" ".join(["interpreto", *look.name.split()])}"><style>{look.style}</style>'
        f'<script type="application/json">{data}</script><script>{look.script}</script></div>'
    )


def check_backend(backend: str) -> None:
    if backend not in BACKENDS:
        raise OptionError(f"`backend`: got {backend!r}; pass one of {', '.join(map(repr, BACKENDS))}.")


def goes_to_notebook(backend: str) -> bool:
    """Whether a backend, or the kernel that runs this, asks for HTML."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return backend == "notebook" or (backend == "auto" and getattr(shell, "kernel", None) is not None)


def show_html(text: str) -> None:
    """Show HTML in the notebook.

    Raises:
        OptionError: when IPython is not installed.
    """
    try:
        from IPython import display  # noqa: PLC0415  (optional)  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise OptionError(
            '`backend`: "notebook" needs IPython; run `pip install "interpreto[notebook]"`, or leave `backend` out.'
        ) from error
    display.display(display.HTML(text))


def drawing(module: str) -> Any:
    """A module of this package that draws with matplotlib.

    Raises:
        OptionError: when matplotlib is not installed.
    """
    try:
        return importlib.import_module(f"interpreto.visualizations.{module}")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "matplotlib":
            raise
        raise OptionError(
            '`backend`: "matplotlib" is not installed; run `pip install "interpreto[notebook]"`, or leave `backend` out.'
        ) from error


def _escaped(text: str) -> str:
    """Text for an element's content, whatever characters it has."""
    return html.escape(text.replace("\0", "\ufffd")).encode("utf-8", "replace").decode("utf-8")


def _asset(name: str) -> str:
    return (files("interpreto.visualizations") / "html" / name).read_text(encoding="utf-8")
