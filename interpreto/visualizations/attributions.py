"""Attributions in any medium: a page, a fragment for notebooks, lines for a terminal, a figure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any

from interpreto.aliases import aliases
from interpreto.attributions.output import AttributionOutput
from interpreto.errors import InputError, OptionError
from interpreto.validation import shown
from interpreto.visualizations.display import Renderer, check_backend, figures, save_figure
from interpreto.visualizations.html.attributions import page_of
from interpreto.visualizations.html.images import group_by_image
from interpreto.visualizations.html.images import page_of as image_page
from interpreto.visualizations.html.page import Page
from interpreto.visualizations.html.table import page_of as table_page
from interpreto.visualizations.table_layout import MANY
from interpreto.visualizations.terminal.attributions import to_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class AttributionRenderer(Renderer):
    """Draw explanations; those of one text are next to each other."""

    explanations: Sequence[AttributionOutput]

    def renamed(self, class_names: Any) -> AttributionRenderer:
        """Return the renderer of the same explanations, with other names of the classes.

        Raises:
            OptionError: A class has no name.
        """
        return AttributionRenderer([_renamed(explanation, class_names) for explanation in self.explanations])

    @property
    def _of_images(self) -> bool:
        return all(explanation.sample.picture is not None for explanation in self.explanations)

    @cached_property
    def _page(self) -> Page:
        if self._of_images:
            return image_page(group_by_image(self.explanations))
        many = len({explanation.text for explanation in self.explanations}) > MANY
        return table_page(self.explanations) if many else page_of(self.explanations)

    def page(self, title: str | None = None) -> str:
        """Return a page with a card per text; of many texts, a table whose rows open the cards."""
        return self._page.document("Attributions" if title is None else title)

    def fragment(self) -> str:
        """Return the cards in one element."""
        return self._page.fragment()

    def text(self) -> str:
        """Return the explanations below each other."""
        return "\n\n".join(to_text(explanation) for explanation in self.explanations)

    def figure(self) -> Figure:
        """Return bars of the largest units per class, heat maps of generations; of images, heat maps over them."""
        if self._of_images:
            return figures("images").draw(group_by_image(self.explanations))
        return figures("attributions").draw(self.explanations)


def _renamed(explanation: AttributionOutput, class_names: Any) -> AttributionOutput:
    """Return an explanation whose classes have other names; rows that are no class of the model keep theirs."""
    labels = list(explanation.target_labels)
    for i, (target, span) in enumerate(zip(explanation.targets.tolist(), explanation.target_spans, strict=True)):
        if target >= 0 and span is None:
            try:
                labels[i] = str(class_names[target])
            except (KeyError, IndexError):
                raise OptionError(f"`class_names`: got {shown(class_names)}, without a name for class {target}.") from None
    return replace(explanation, target_labels=labels)


def renderer(explanations: AttributionOutput | Iterable[AttributionOutput]) -> AttributionRenderer:
    """Return the renderer of explanations.

    Raises:
        InputError: There is nothing to show, or something other than explanations.
    """
    shown: list[Any] = [explanations] if isinstance(explanations, AttributionOutput) else list(explanations)
    if not shown:
        raise InputError("`explanations`: got none; pass at least one AttributionOutput.")
    for i, explanation in enumerate(shown):
        if not isinstance(explanation, AttributionOutput):
            raise InputError(f"`explanations[{i}]`: got {type(explanation).__name__}; pass a list of AttributionOutput.")
    return AttributionRenderer(shown)


def to_html(
    explanations: AttributionOutput | Sequence[AttributionOutput],
    path: str | PathLike[str] | None = None,
    *,
    title: str | None = None,
) -> str:
    """Return a self-contained page with a card per text; explanations of one text share a card.

    More than twelve texts are a table that can be searched, filtered and sorted, and whose rows open the cards.

    Args:
        explanations: What to show, in order.
        path: File to write the page to as well, as UTF-8.
        title: The page's heading; None is ``"Attributions"``.

    Returns:
        The HTML of the page.

    Raises:
        FileError: The file cannot be written.
        InputError: There is nothing to show, or something other than explanations.
    """
    return renderer(explanations).to_html(path, title=title)


def to_fragment(explanations: AttributionOutput | Sequence[AttributionOutput]) -> str:
    """Return the cards of `to_html` in one element for a notebook; a page may hold any number of them.

    Raises:
        InputError: There is nothing to show, or something other than explanations.
    """
    return renderer(explanations).fragment()


@aliases(classes_names="class_names", save_path="path")
def plot_attributions(
    explanations: AttributionOutput | Sequence[AttributionOutput],
    path: str | PathLike[str] | None = None,
    *,
    class_names: Any = None,
    backend: str = "auto",
    kind: str = "auto",
) -> Any:
    """Show explanations: as HTML in a notebook, as text in a terminal, or as a figure for print.

    Args:
        explanations: What to show; explanations of one text are next to each other.
        path: File to write as well: the page, or matplotlib's figure in the format of the file's suffix.
        class_names: Names of the classes, by id, in place of the model's own.
        backend: ``"notebook"``, ``"terminal"`` or ``"matplotlib"`` (bars of the largest units, or a heat map of a
            generation); ``"auto"`` is the notebook whose kernel runs this, else the terminal.
        kind: ``"waterfall"`` draws matplotlib's figure as steps from the reference to the score; ``"auto"`` as above.

    Returns:
        The ``matplotlib.figure.Figure`` for ``"matplotlib"``, else None.

    Raises:
        FileError: The file cannot be written.
        InputError: There is nothing to show, or something other than explanations.
        OptionError: The backend is unknown or its package is not installed.

    Examples:
        >>> from interpreto import Occlusion, demo, plot_attributions
        >>> explanations = Occlusion(*demo.load_classifier())("A gorgeous, moving film.")
        >>> plot_attributions(explanations)  # doctest: +ELLIPSIS
        positive ...
    """
    check_backend(backend)
    if kind not in ("auto", "waterfall"):
        raise OptionError(f"`kind`: got {kind!r}; pass one of 'auto', 'waterfall'.")
    shown = renderer(explanations)
    if kind == "waterfall":
        if backend != "matplotlib":
            raise OptionError(f"`kind`: 'waterfall' is a figure; pass backend='matplotlib', not {backend!r}.")
        named = shown if class_names is None else shown.renamed(class_names)
        figure = figures("attributions").draw_waterfalls(named.explanations)
        if path is not None:
            save_figure(figure, path)
        return figure
    return (shown if class_names is None else shown.renamed(class_names)).show(path, backend=backend)
