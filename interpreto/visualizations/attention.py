"""Attention of one text in any medium: layers × heads, and lines from token to token for the head that is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

from interpreto.attributions.attention.view import AttentionView
from interpreto.renderable import visible
from interpreto.visualizations.display import Renderer, check_backend, figures
from interpreto.visualizations.html.attention import attention_fragment, attention_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["AttentionRenderer", "plot_attention", "renderer"]


@dataclass(frozen=True, eq=False)
class AttentionRenderer(Renderer):
    """Draw the attention of one text."""

    view: AttentionView

    def page(self, title: str | None = None) -> str:
        """Return a page with layers × heads, the tokens of the chosen head, and the explanation."""
        return attention_page("Attention" if title is None else title, self.view)

    def fragment(self) -> str:
        """Return one element for a notebook."""
        return attention_fragment(self.view)

    def text(self) -> str:
        """Return a line per layer: how much each head looks at one token alone."""
        width = max(len(layer.name) for layer in self.view.layers)
        rows = [f"{layer.name:<{width}}  " + " ".join(f"{v:.2f}" for v in layer.focus.tolist()) for layer in self.view.layers]
        return "\n".join(["Largest weight of each head, mean over tokens", *rows, "", visible(str(self.view.explanation))])

    def figure(self) -> Figure:
        """Return layers × heads as a heat map."""
        return figures("attention").draw_attention([(layer.name, layer.focus.tolist()) for layer in self.view.layers])


def renderer(view: AttentionView) -> AttentionRenderer:
    """Return the renderer of an attention view."""
    return AttentionRenderer(view)


def plot_attention(view: AttentionView, path: str | PathLike[str] | None = None, *, backend: str = "auto") -> Any:
    """Draw the attention of one text: layers × heads, lines from token to token for a head, and an explanation next to it.

    Args:
        view: From `attention_view`.
        path: File to write as well: a page, or matplotlib's figure in the format of the file's suffix.
        backend: ``"notebook"``, ``"terminal"`` or ``"matplotlib"``; ``"auto"`` is the notebook whose kernel runs this, else
            the terminal.

    Returns:
        The ``matplotlib.figure.Figure`` for ``"matplotlib"``, else None.

    Raises:
        FileError: The file cannot be written.
        OptionError: The backend is unknown or its package is not installed.

    Examples:
        >>> from interpreto import GenericAttention, attention_view, demo, plot_attention
        >>> view = attention_view(GenericAttention(*demo.load_classifier()), "A gorgeous, moving film.")
        >>> plot_attention(view, backend="matplotlib").axes[0].get_xlabel()
        'head'
    """
    check_backend(backend)
    return renderer(view).show(path, backend=backend)
