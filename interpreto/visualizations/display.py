"""Display backends: notebook, terminal, HTML file and matplotlib figure."""

from __future__ import annotations

import importlib
import sys
from abc import ABC, abstractmethod
from os import PathLike
from typing import TYPE_CHECKING, Any

from interpreto.errors import OptionError
from interpreto.storage import check_writable, replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BACKENDS = ("auto", "notebook", "terminal", "matplotlib")


class Renderer(ABC):
    """One subject, drawn in any medium."""

    @abstractmethod
    def page(self, title: str | None = None) -> str:
        """Return a self-contained HTML page; None is the subject's usual title."""

    @abstractmethod
    def fragment(self) -> str:
        """Return one HTML element for a notebook."""

    @abstractmethod
    def text(self) -> str:
        """Return lines for a terminal."""

    @abstractmethod
    def figure(self) -> Figure:
        """Return a matplotlib figure."""

    def to_html(self, path: str | PathLike[str] | None = None, *, title: str | None = None) -> str:
        """Return the page, and write it to ``path`` where given.

        Raises:
            FileError: The file cannot be written.
        """
        file = None if path is None else check_writable(path)
        page = self.page(title)
        if file is not None:
            with replacing(file) as partial:
                partial.write_text(page, encoding="utf-8", newline="\n")
        return page

    def show(self, path: str | PathLike[str] | None = None, *, backend: str = "auto") -> Any:
        """Show the subject, and write it to ``path`` where given.

        Returns:
            The figure for ``"matplotlib"``, else None.

        Raises:
            FileError: The file cannot be written.
            OptionError: The backend is unknown or its package is not installed.
        """
        check_backend(backend)
        if backend == "matplotlib":
            figure = self.figure()
            if path is not None:
                save_figure(figure, path)
            return figure
        if path is not None:
            self.to_html(path)
        if goes_to_notebook(backend):
            show_html(self.fragment())
        else:
            print(self.text())
        return None


def save_figure(figure: Figure, path: str | PathLike[str]) -> None:
    """Write a figure in the format of the file's suffix.

    Raises:
        FileError: The file cannot be written.
    """
    file = check_writable(path)
    with replacing(file) as partial:
        figure.savefig(partial, format=file.suffix.removeprefix(".") or None)


def check_backend(backend: str) -> None:
    """Refuse backends that do not exist.

    Raises:
        OptionError: The backend is unknown.
    """
    if backend not in BACKENDS:
        raise OptionError(f"`backend`: got {backend!r}; pass one of {', '.join(map(repr, BACKENDS))}.")


def goes_to_notebook(backend: str) -> bool:
    """Return whether to show HTML: asked for by name, or because a notebook's kernel runs this."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return backend == "notebook" or (backend == "auto" and getattr(shell, "kernel", None) is not None)


def show_html(text: str) -> None:
    """Show HTML in the notebook.

    Raises:
        OptionError: IPython is not installed.
    """
    try:
        from IPython import display  # noqa: PLC0415  (optional)  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise OptionError("`backend`: 'notebook' needs IPython; run `pip install ipython`, or leave `backend` out.") from error
    display.display(display.HTML(text))


def figures(subject: str) -> Any:
    """Import a module of `interpreto.visualizations.figures`, which draw with matplotlib.

    Raises:
        OptionError: matplotlib is not installed.
    """
    try:
        return importlib.import_module(f"interpreto.visualizations.figures.{subject}")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "matplotlib":
            raise
        raise OptionError(
            "`backend`: 'matplotlib' is not installed; run `pip install matplotlib`, or leave `backend` out."
        ) from error
