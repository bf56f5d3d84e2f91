"""Shapley interactions: what units contribute together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from typing_extensions import Unpack

from interpreto.aliases import aliases
from interpreto.attributions.aggregations.base import Aggregator
from interpreto.attributions.aggregations.interactions import InteractionAggregator
from interpreto.attributions.aggregations.sparse_fourier import SparseFourierAggregator
from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.games.interactions import INDICES, LARGEST_ORDER
from interpreto.attributions.interaction_output import InteractionOutput
from interpreto.attributions.options import Options
from interpreto.attributions.perturbations.base import Perturbator
from interpreto.attributions.perturbations.games import InteractionPerturbator, PairedMasksPerturbator
from interpreto.attributions.tolerance import evidence_within
from interpreto.models.alternatives import ReplacedBy
from interpreto.models.report import EngineReport
from interpreto.validation import check_choice, check_count

SURROGATES = ("polynomial", "fourier")


class ShapleyInteractions:
    """Compute what units contribute together, beyond what each contributes alone.

    Exact where all ``2^u`` coalitions of ``u`` units fit in the budget, else estimated, with standard errors that cover. The
    values of single units are in the result too, and are not Shapley values: in k-SII, STII and FSII these and the interactions
    together sum to ``f(x) − f(everything masked)``.

    - ``"k-SII"``: Shapley interactions, where lower orders take over what higher ones describe; the one to begin with.
    - ``"SII"``: the mean change of the score when units join together, as Shapley values weigh coalitions; no sum.
    - ``"STII"``: interactions of fewer than ``order`` units are those of these units alone; those of ``order`` share the rest.
    - ``"FSII"``: the best polynomial of that order, weighted as Shapley values are.
    - ``"BII"``: as SII, all coalitions weighted alike; no sum.

    Args:
        model: As in every method.
        tokenizer: As in every method.
        batch_size: As in every method.
        index: Definition of the values.
        order: Largest number of units of an interaction.
        n_perturbations: Number of coalitions: at least ``16u``, unless all fit. None: 2,048, or ``32u`` if that is more.
        tolerance: Sample in rounds until 1.96 standard errors of each interaction are at most this share of the score gap, or
            the budget ends; ``explanation.stopped`` says which. None: the whole budget.
        surrogate: How what is not scored is estimated: ``"polynomial"``, corrected by coalitions that it did not see, with
            standard errors; or ``"fourier"``, a sparse sum of parities, which needs few coalitions where few units interact,
            and scikit-learn.
        replacement: What masked units become, as in every mask method.
        **options: Shared by every method; see `Options`.

    Raises:
        OptionError: An option is not valid, or the budget is too small for a text.

    Examples:
        >>> from interpreto import ShapleyInteractions, demo
        >>> found = ShapleyInteractions(*demo.load_classifier())("Not a good film.")[0]
        >>> found.exact, found.matrix().shape, float(found.residual.abs()) < 1e-5
        (True, torch.Size([5, 5]), True)
        >>> [units for units, _ in found.top_pairs(1)]
        [('Not', 'good')]

    References:
        Grabisch & Roubens, 1999, https://doi.org/10.1007/s001820050125; Bordt & von Luxburg, AISTATS 2023,
        https://arxiv.org/abs/2209.04012.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        *,
        index: str = "k-SII",
        order: int = 2,
        n_perturbations: int | None = None,
        tolerance: float | None = None,
        surrogate: str = "polynomial",
        replacement: ReplacedBy = "auto",
        **options: Unpack[Options],
    ) -> None:
        self.index = check_choice(index, "index", INDICES)
        self.order = check_count(order, "order", most=LARGEST_ORDER)
        sparse = check_choice(surrogate, "surrogate", SURROGATES) == "fourier"
        perturbator: Perturbator = InteractionPerturbator(n_perturbations)
        aggregator: Aggregator = InteractionAggregator(index, order)
        if sparse:
            perturbator, aggregator = PairedMasksPerturbator(n_perturbations or 1000), SparseFourierAggregator(index, order)
        evidence = None if sparse else evidence_within(tolerance)
        self.explainer = AttributionExplainer(
            model, tokenizer, batch_size, perturbator, aggregator, replacement=replacement, evidence=evidence, **options
        )

    @aliases(model_inputs="inputs", texts="inputs", target="targets")
    def explain(self, inputs: Any, targets: Any = None, **call: Any) -> list[InteractionOutput]:
        """Compute the interactions of each input's units for its targets.

        Args:
            inputs: As in every method.
            targets: As in every method.
            **call: Other arguments of `AttributionExplainer.explain`, without ``labels``.

        Returns:
            One `InteractionOutput` per input, in order.
        """
        return list(self.stream(inputs, targets, **call))

    __call__ = explain

    @aliases(model_inputs="inputs", texts="inputs", target="targets")
    def stream(self, inputs: Any, targets: Any = None, **call: Any) -> Iterator[InteractionOutput]:
        """Return an iterator over the interactions of each input, in order."""
        for explanation, estimate in self.explainer.estimates(inputs, targets, **call):
            found = estimate.interactions
            assert found is not None
            yield InteractionOutput(
                explanation=replace(explanation, method=type(self).__name__, residual=None),
                coalitions=found.coalitions,
                values=found.values.float(),
                index=self.index,
                order=self.order,
                exact=found.exact,
                standard_error=None if found.standard_error is None else found.standard_error.float(),
            )

    def report(self) -> EngineReport:
        """Return which of the engine's optimizations were active in the last call, and why others were not."""
        return self.explainer.report()
