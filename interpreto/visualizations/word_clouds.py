"""Clouds of words: the words of each concept, the larger the more they are its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

from interpreto.errors import InputError
from interpreto.validation import check_count
from interpreto.visualizations.cloud_layout import Cloud, lay_out
from interpreto.visualizations.display import Renderer, check_backend, figures
from interpreto.visualizations.html.word_clouds import cloud_fragment, cloud_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["CloudRenderer", "plot_word_clouds"]


@dataclass(frozen=True, eq=False)
class CloudRenderer(Renderer):
    """Draw clouds."""

    clouds: Sequence[Cloud]

    def page(self, title: str | None = None) -> str:
        """Return a page with all clouds."""
        return cloud_page("Words of concepts" if title is None else title, self.clouds)

    def fragment(self) -> str:
        """Return the clouds as SVG."""
        return cloud_fragment(self.clouds)

    def text(self) -> str:
        """Return a line per cloud, the largest word first."""
        width = max(len(cloud.name) for cloud in self.clouds)
        return "\n".join(f"{cloud.name.ljust(width)}  {', '.join(word.text for word in cloud.words)}" for cloud in self.clouds)

    def figure(self) -> Figure:
        """Return a panel for each cloud."""
        return figures("word_clouds").draw_clouds(self.clouds)


def plot_word_clouds(
    words: Mapping[Any, Any], path: str | PathLike[str] | None = None, *, most: int = 30, backend: str = "auto"
) -> Any:
    """Draw the words of each concept as a cloud, each word's area by its weight.

    Give it weights that say what is a concept's own, such as the log-odds of `KeywordLabels`: by frequency alone, the largest
    word of every cloud is *the*. The layout is the same each time.

    Args:
        words: For each concept its words with their weights: what `KeywordLabels` and other interpretations return. Words of
            a weight of 0 or less are left out.
        path: File to write as well: a page, or matplotlib's figure in the format of the file's suffix.
        most: Largest number of words of a cloud.
        backend: ``"notebook"``, ``"terminal"`` or ``"matplotlib"``; ``"auto"`` is the notebook whose kernel runs this, else
            the terminal.

    Returns:
        The ``matplotlib.figure.Figure`` for ``"matplotlib"``, else None.

    Raises:
        InputError: no concept has a word.
        FileError: The file cannot be written.
        OptionError: The backend is unknown or its package is not installed.

    Examples:
        >>> from interpreto.visualizations import plot_word_clouds
        >>> plot_word_clouds({0: {"charming": 3.1, "lovely": 2.4}, 1: {"dull": 2.9}}, backend="terminal")
        concept 0  charming, lovely
        concept 1  dull

    References:
        Dalvi et al., ICLR 2022, https://arxiv.org/abs/2205.07237.
    """
    check_backend(backend)
    return CloudRenderer(read_clouds(words, check_count(most, "most"))).show(path, backend=backend)


def read_clouds(words: Mapping[Any, Any], most: int) -> list[Cloud]:
    """Return the clouds of concepts that have words.

    Raises:
        InputError: none has, or the words are no mapping of weights.
    """
    clouds = []
    for concept, given in words.items():
        weights = getattr(given, "keywords", given)
        if weights is None:
            continue
        if not isinstance(weights, Mapping):
            raise InputError(f"`words`: got {type(given).__name__} for {concept!r}; pass the words with their weights.")
        kept = {str(word).strip(): float(weight) for word, weight in weights.items() if weight > 0 and str(word).strip()}
        if kept:
            name = concept if isinstance(concept, str) else f"concept {concept}"
            clouds.append(lay_out(name, kept, most))
    if not clouds:
        raise InputError("`words`: no concept has a word of a weight above 0.")
    return clouds
