"""Supervised concepts: probes, and concept activation vectors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.activations import Activations, read_activations
from interpreto.concepts.base import AnyActivations, ConceptExplainer
from interpreto.concepts.probes.fits import FITS, LinearScores, class_means
from interpreto.concepts.probes.labeled_rows import LabeledRows, read_labeled, split_texts
from interpreto.concepts.probes.probe import Probe
from interpreto.concepts.probes.recipe import Penalty, Recipe, report_of
from interpreto.concepts.probes.report import ProbeReport
from interpreto.errors import InputError, ModelError, OptionError
from interpreto.validation import check_choice, check_count, check_flag, check_not_negative

Fitted = TypeVar("Fitted", bound="LabeledConcepts")


class LabeledConcepts(ConceptExplainer):
    """Base of explainers whose concepts are given by labels: they read activations, and do not reconstruct them.

    Attributes:
        data: The rows that the concepts were learned of; None where they were loaded from a file.
    """

    concept_model: Probe
    default_fit: ClassVar[str]

    def __init__(  # noqa: PLR0917  # those of every explainer, in their order
        self,
        splitter: Any,
        fit: str | None = None,
        names: Sequence[str] | None = None,
        split_point: str | None = None,
        device: torch.device | str = "cpu",
        random_state: int = 0,
        *,
        l2: Penalty = "cv",
        standardize: bool = True,
        cv: int = 5,
        n_controls: int = 5,
        nb_concepts: int | None = None,
    ) -> None:
        """Make an explainer.

        Args:
            splitter: The model and where it is split; None to work on activations alone.
            fit: ``"logistic"``, ``"ridge"``, ``"lda"``, ``"mean_difference"`` or ``"centroids"``.
            names: Of the concepts; None: those in the labels.
            split_point: One of the splitter's split points, where it has several.
            device: Device of the probes.
            random_state: Seed of folds and shuffled labels.
            l2: Penalty of ``"logistic"`` (mean loss + ½ l2 |w|²), ``"ridge"`` (mean squared error + l2 |w|²) and ``"lda"``
                (a share of the mean variance that is added to each); ``"cv"``: the best on texts that are in no fold that
                is fitted or scored.
            standardize: Center and scale columns before ``"logistic"`` and ``"ridge"``; scores are of the rows as they are.
            cv: Number of folds of the report; 0 for none.
            n_controls: Number of times that labels are shuffled for the control task.
            nb_concepts: Not needed: the labels say it.
        """
        count = nb_concepts if nb_concepts is not None else 1 if names is None else len(names)
        options = {"fit": fit, "names": names, "l2": l2, "standardize": standardize, "cv": cv, "n_controls": n_controls}
        super().__init__(splitter, Probe(count), split_point, device, random_state=random_state, options=options)
        self.recipe = Recipe(
            check_choice(self.default_fit if fit is None else fit, "fit", FITS),
            "cv" if isinstance(l2, str) and l2 == "cv" else check_not_negative(l2, "l2"),
            check_flag(standardize, "standardize"),
            self.random_state,
        )
        self.cv, self.n_controls = check_count(cv, "cv", 0), check_count(n_controls, "n_controls", 0)
        if self.cv == 1:
            raise OptionError("`cv`: got 1; pass at least 2 folds, or 0 for no report.")
        self._given_names, self.names = names, tuple(names or ())
        self.data: LabeledRows | None = None
        self._report: ProbeReport | None = None

    @property
    def report(self) -> ProbeReport:
        """Return how well the concepts are read on held-out texts.

        Raises:
            ModelError: there is none: not fitted, loaded from a file, or fitted with ``cv=0``.
        """
        if self._report is None:
            raise ModelError("This explainer has no report; it is made by `fit(activations, labels)`, unless cv=0.")
        return self._report

    @property
    def has_report(self) -> bool:
        """Return True if there is a `report`."""
        return self._report is not None

    def read(self, activations: AnyActivations) -> Activations:
        """Return activations of the explainer's split point."""
        return read_activations(activations, self.split_point, self.device)

    @property
    def has_differentiable_displacement(self) -> bool:
        """Return True: activations are moved along directions."""
        return True

    def displacement(
        self, concepts: Float[Tensor, "u c"], activations: Float[Tensor, "u d"] | None = None
    ) -> Callable[[Tensor], Tensor]:
        """Return ``changed -> (changed − concepts) · dictionary``."""
        before, directions = concepts.detach(), self.get_dictionary()
        return lambda changed: (changed - before.repeat(len(changed) // max(1, len(before)), 1)) @ directions

    def fit(  # pyright: ignore[reportIncompatibleMethodOverride]  # labels come first
        self: Fitted, activations: Any, labels: Any = None, groups: Any = None, overwrite: bool = False
    ) -> Fitted:
        """Learn the concepts that labels name, and return the explainer.

        Args:
            activations: ``(n, d)``, a dictionary of them by split point, an `ActivationStore`, or a list with a tensor
                ``(g, d)`` for each text (``flatten_activations=False``). The last two know which rows are of one text.
            labels: ``(n,)`` of 0 and 1: one concept; ``(n,)`` of names: a concept for each; ``(n, c)`` of 0 and 1: several.
                Where there are several rows for a text, also one label for each text.
            groups: The text of each row, by number or name: no text is in two folds. None: each row is a text, unless the
                activations know better.
            overwrite: Learn anew what has been learned.

        Raises:
            InputError: labels and rows do not belong together, a concept is in all rows or in none, or activations hold NaN.
            OptionError: it is fitted already.
        """
        if labels is None:
            raise InputError("`labels`: there is none; pass one for each row: 0 and 1, or names.")
        activations, known = split_texts(activations, self.split_point)
        source = self._read_to_fit(activations, overwrite)
        data = read_labeled(source.read(), labels, known if groups is None else groups, self._given_names)
        with torch.inference_mode(False), torch.no_grad():
            scores = self.recipe.scores(data.rows, data.labels, self.recipe.penalty(data))
            self._report = report_of(self.recipe, data, self.cv, self.n_controls) if self.cv else None
            self.concept_model.learned(*self._directed(scores, data), source.dtype)
        self.names, self.data = data.names, data
        self.concept_model_options["names"] = list(data.names)
        return self

    @abstractmethod
    def _directed(self, scores: LinearScores, data: LabeledRows) -> tuple[LinearScores, Float[Tensor, "c d"]]:
        """Return the scores as the concepts' amounts, and what one unit of each adds to the activations."""


class ProbeConcepts(LabeledConcepts):
    """Read concepts that labels name from activations, by linear probes.

    A concept's amount is the probe's score, above 0 where the probe says that a row has it. Its direction is the shortest
    step that raises the score by 1. `report` has the performance on held-out texts, next to that on shuffled labels and to
    the more frequent answer: without these a high accuracy says little.

    What a probe reads need not be what the model uses: `tcav` and `Erasure` test that.

    Examples:
        >>> import torch
        >>> rows = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
        >>> probes = ProbeConcepts(None, "lda").fit(rows, ["up" if row[2] > 0 else "down" for row in rows])
        >>> probes.names, probes.get_dictionary().abs().argmax(1).tolist()
        (('down', 'up'), [2, 2])
        >>> bool((probes.report.auc > 0.9).all())
        True

    References:
        Alain and Bengio, 2016, https://arxiv.org/abs/1610.01644; control tasks: Hewitt and Liang, EMNLP 2019,
        https://arxiv.org/abs/1909.03368.
    """

    default_fit = "logistic"

    def _directed(self, scores: LinearScores, data: LabeledRows) -> tuple[LinearScores, Float[Tensor, "c d"]]:
        return scores, scores.weights / scores.weights.square().sum(1, keepdim=True).clamp(min=torch.finfo().tiny)


class CAVConcepts(LabeledConcepts):
    """Represent concepts by concept activation vectors: steps from the rows without a concept to the rows with it.

    A concept's direction is as long as the distance between the two means along it, so an amount is 0 midway between them,
    −½ at the mean of the rows without and ½ at that of the rows with it, and an effect is that of one whole step. By default
    the direction is the difference of the means: weights of a classifier are bent away from a concept's direction by
    whatever else tells the rows apart.

    Examples:
        >>> import torch
        >>> cavs = CAVConcepts(None, cv=0).fit(torch.tensor([[0.0, 0.0], [0.0, 2.0], [4.0, 0.0], [4.0, 2.0]]), [0, 0, 1, 1])
        >>> cavs.get_dictionary()
        tensor([[4., 0.]])
        >>> cavs.encode_activations(torch.tensor([[4.0, 9.0], [2.0, 0.0]])).tolist()
        [[0.5], [0.0]]

    References:
        Kim et al., ICML 2018, https://arxiv.org/abs/1711.11279; the difference of means: Pahde et al., 2022,
        https://arxiv.org/abs/2202.03482.
    """

    default_fit = "mean_difference"

    def _directed(self, scores: LinearScores, data: LabeledRows) -> tuple[LinearScores, Float[Tensor, "c d"]]:
        positive, negative = class_means(data.rows, data.labels)
        directions = along(scores.weights, positive - negative)
        weights = directions / directions.square().sum(1, keepdim=True).clamp(min=torch.finfo().tiny)
        return LinearScores(weights, -(weights * (positive + negative)).sum(1) / 2), directions


def along(weights: Float[Tensor, "c d"], gaps: Float[Tensor, "c d"]) -> Float[Tensor, "c d"]:
    """Return the part of each gap that lies along a concept's weights."""
    sizes = weights.square().sum(1, keepdim=True).clamp(min=torch.finfo().tiny)
    return (weights * gaps).sum(1, keepdim=True) / sizes * weights
