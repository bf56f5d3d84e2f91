"""Concepts in any medium: a page, a fragment for notebooks, lines for a terminal, a figure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any

from interpreto.aliases import aliases
from interpreto.concepts.base import ConceptExplainer
from interpreto.concepts.given import given_concepts
from interpreto.concepts.summaries import global_concepts, local_concepts
from interpreto.concepts.views import ConceptView, GlobalConcepts, LocalConcepts
from interpreto.errors import OptionError
from interpreto.inputs.forms import is_single
from interpreto.renderable import visible
from interpreto.visualizations.display import Renderer, check_backend, figures
from interpreto.visualizations.html.concepts import page_of
from interpreto.visualizations.html.page import Page
from interpreto.visualizations.terminal.concepts import concepts_to_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class ConceptRenderer(Renderer):
    """Draw the concepts of a data set or of one text."""

    view: ConceptView

    @cached_property
    def _page(self) -> Page:
        return page_of(self.view)

    def page(self, title: str | None = None) -> str:
        """Return a page with one card."""
        return self._page.document("Concepts" if title is None else visible(title))

    def fragment(self) -> str:
        """Return the card in one element."""
        return self._page.fragment()

    def text(self) -> str:
        """Return bars per output, then texts of the most important concepts."""
        return concepts_to_text(self.view)

    def figure(self) -> Figure:
        """Return bars and heat maps."""
        return figures("concepts").draw_concepts(self.view)


def renderer(view: ConceptView) -> ConceptRenderer:
    """Return the renderer of concepts."""
    return ConceptRenderer(view)


@aliases(
    classes_names="class_names",
    save_path="path",
    concepts_importances="importances",
    concepts_labels="interpretation",
    concepts_activations="activations",
    top_k="k_concepts",
)
def plot_concepts(
    concept_explainer: ConceptExplainer | None = None,
    inputs: Any = None,
    targets: Any = None,
    *,
    interpretation: Any = None,
    latent_activations: Any = None,
    k_concepts: int = 10,
    method: str = "gradient_x_concept",
    activation_granularity: Any = None,
    class_names: Any = None,
    inference_mode: Any = None,
    importances: Any = None,
    sample: Any = None,
    activations: Any = None,
    path: str | PathLike[str] | None = None,
    backend: str = "auto",
) -> Any:
    """Show concepts and their effects: those of one text, or those of a data set when several texts are given.

    `global_concepts` and `local_concepts` compute the numbers and describe the options in full.

    Args:
        concept_explainer: Fitted concepts with a splitter.
        inputs: One text, for its own concepts; or a data set, for the concepts of all of it.
        targets: Classes or continuations; None: every class, or the model's own continuation.
        interpretation: Any `Interpretation`, such as `KeywordLabels`, or the result of its ``interpret``, that names the
            concepts. Labels are shown with their scores.
        latent_activations: Activations of the data set for the interpretation; None: computed.
        k_concepts: Number of concepts shown.
        method: Definition of the effects.
        activation_granularity: Units of the texts.
        class_names: Names of the classes, by id.
        inference_mode: Score whose change is the effect.
        importances: Importances that you computed, in place of explainer and inputs: ``(c,)``, ``(t, c)``, or dictionaries
            by output and concept; see `interpreto.concepts.given.given_concepts`.
        sample: Units of the one text that the importances are of.
        activations: Amounts ``(u, c)`` of the concepts in these units.
        path: File to write as well: the page, or matplotlib's figure in the format of the file's suffix.
        backend: ``"notebook"``, ``"terminal"`` or ``"matplotlib"`` (bars and heat maps); ``"auto"`` is the notebook whose
            kernel runs this, else the terminal.

    Returns:
        The ``matplotlib.figure.Figure`` for ``"matplotlib"``, else None.

    Raises:
        ModelError: The concepts are not fitted.
        FileError: The file cannot be written.
        OptionError, InputError, TargetError, TaskError: The request cannot be met.

    Examples:
        >>> from interpreto import ModelWithSplitPoints, demo
        >>> from interpreto.concepts import PCAConcepts
        >>> from interpreto.visualizations.concepts import plot_concepts
        >>> model, tokenizer = demo.load_classifier()
        >>> splitter = ModelWithSplitPoints(model, [1], tokenizer=tokenizer)
        >>> texts = ["A charming film.", "Dull."]
        >>> explainer = PCAConcepts(splitter, nb_concepts=2).fit(splitter.get_activations(texts, "word"))
        >>> plot_concepts(explainer, "A charming film.", backend="terminal")  # doctest: +ELLIPSIS
        positive  ... logit...
    """
    check_backend(backend)
    if importances is not None:
        if concept_explainer is not None or inputs is not None or targets is not None:
            raise OptionError("`importances`: are shown as they are; leave out the explainer, inputs and targets.")
        own = {"sample": sample, "activations": activations, "class_names": class_names, "k_concepts": k_concepts}
        return show_concepts(given_concepts(importances, interpretation, **own), path, backend=backend)
    if concept_explainer is None or inputs is None or sample is not None or activations is not None:
        raise OptionError(
            "`plot_concepts`: pass a concept explainer and inputs, or `importances` with `sample` and `activations`."
        )
    asked = {
        "interpretation": interpretation,
        "k_concepts": k_concepts,
        "method": method,
        "activation_granularity": activation_granularity,
        "class_names": class_names,
        "inference_mode": inference_mode,
    }
    view: GlobalConcepts | LocalConcepts
    if is_single(inputs):
        if latent_activations is not None:
            raise OptionError("`latent_activations`: are of a data set, and one text was given; leave them out.")
        view = local_concepts(concept_explainer, inputs, targets, **asked)
    else:
        view = global_concepts(concept_explainer, inputs, targets, latent_activations=latent_activations, **asked)
    return show_concepts(view, path, backend=backend)


def show_concepts(view: ConceptView, path: str | PathLike[str] | None = None, *, backend: str = "auto") -> Any:
    """Show concepts whose numbers are computed already; arguments and errors are those of `plot_concepts`."""
    check_backend(backend)
    return renderer(view).show(path, backend=backend)


def concepts_to_html(view: ConceptView, path: str | PathLike[str] | None = None, *, title: str | None = None) -> str:
    """Return a self-contained page.

    Args:
        view: What to show.
        path: File to write the page to as well, as UTF-8.
        title: The page's heading; None is ``"Concepts"``.

    Raises:
        FileError: The file cannot be written.
    """
    return renderer(view).to_html(path, title=title)


def concepts_to_fragment(view: ConceptView) -> str:
    """Return one element for a notebook; a page may hold any number of them."""
    return renderer(view).fragment()
