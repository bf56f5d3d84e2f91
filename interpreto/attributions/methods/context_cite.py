"""ContextCite: which sources of a context an answer rests on."""

from __future__ import annotations

from typing import Any

from typing_extensions import Unpack

from interpreto.attributions.aggregations.lasso import LassoAggregator
from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.links import LOG_ODDS
from interpreto.attributions.options import Options
from interpreto.attributions.perturbations import RandomMaskedTokenPerturbator
from interpreto.attributions.tolerance import evidence_within
from interpreto.errors import OptionError
from interpreto.inputs.units import Granularity
from interpreto.validation import is_number, shown

ROWS, MOST_ROWS = 64, 1024  # that are drawn unless told otherwise, without a tolerance and with one


class ContextCite(AttributionExplainer):
    """Fit a sparse linear surrogate of an answer's log-odds on the presence of the sources of its context.

    Sources are sentences by default; pass ``granularity="document"`` for the documents of `Documents`, or ``spans``. The
    score is the log-odds of the whole answer (with ``aggregate="unit"``, of each of its sentences), and sources are dropped
    at random. The number of passes does not grow with the number of sources: most of them get exactly 0. The answer's own
    beginning is no source, unless a call passes ``attribute_targets=True``. Scores that are no log-probabilities, such as the
    logits of a classifier, are explained as they are.

    Standard errors tell how far the coefficients of the drawn masks may be from those of all masks, with the same penalty. A
    coefficient of 0 has an error of 0 where no more masks would change it. With ``l1=0`` the surrogate is least squares, and
    needs some four perturbed inputs for each source.

    Args:
        n_perturbations: Number of perturbed inputs, the unperturbed one included. None: 64; with a tolerance, at most 1024.
        tolerance: Sample in rounds until 1.96 standard errors of each source are at most this share of the score gap, or the
            budget ends; the explanation says which (`AttributionOutput.stopped`). None: the whole budget.
        keep_probability: Probability that a source is kept, in (0, 1).
        l1: Weight of the penalty, on the scale of a token's score; larger: fewer sources.

    Raises:
        OptionError: A number is out of range.

    Examples:
        >>> from interpreto import ContextCite, demo
        >>> text = "It rained all day. The film was wonderful. We went home by bus."
        >>> explanation = ContextCite(*demo.load_classifier(), granularity="sentence")(text, "positive")[0]
        >>> explanation.top(1)[0][0]
        'The film was wonderful.'

    References:
        Cohen-Wang et al., NeurIPS 2024, https://arxiv.org/abs/2409.00729.
    """

    explains_answers = True

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        *,
        n_perturbations: int | None = None,
        tolerance: float | None = None,
        keep_probability: float = 0.5,
        l1: float = 0.01,
        replacement: str | int = "drop",
        **options: Unpack[Options],
    ) -> None:
        if not is_number(keep_probability) or not 0 < keep_probability < 1:
            raise OptionError(f"`keep_probability`: got {shown(keep_probability)}; pass a probability between 0 and 1.")
        options.setdefault("granularity", Granularity.SENTENCE)
        if n_perturbations is None:
            n_perturbations = ROWS if tolerance is None else MOST_ROWS
        masks = RandomMaskedTokenPerturbator(n_perturbations, 1 - keep_probability)
        masks.rows_a_unit = 0 if l1 else masks.rows_a_unit  # few sources matter, however many there are
        parts = {"perturbator": masks, "aggregator": LassoAggregator(l1), "evidence": evidence_within(tolerance, LOG_ODDS)}
        super().__init__(model, tokenizer, batch_size, replacement=replacement, **parts, **options)
