"""ContextCite: which sources of a context an answer rests on."""

from __future__ import annotations

from typing import Any

from typing_extensions import Unpack

from interpreto.attributions.aggregations.lasso import LassoAggregator
from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.evidence import Scores
from interpreto.attributions.links import LOG_ODDS
from interpreto.attributions.options import Options
from interpreto.attributions.perturbations import RandomMaskedTokenPerturbator
from interpreto.errors import OptionError
from interpreto.inputs.units import Granularity
from interpreto.validation import is_number, shown


class ContextCite(AttributionExplainer):
    """Fit a sparse linear surrogate of an answer's log-odds on the presence of the sources of its context.

    Sources are sentences by default; pass ``granularity="document"`` for the documents of `Documents`, or ``spans``. The
    score is the log-odds of the whole answer (with ``aggregate="unit"``, of each of its sentences), and sources are dropped
    at random. The number of passes does not grow with the number of sources: most of them get exactly 0. The answer's own
    beginning is no source, unless a call passes ``attribute_targets=True``. Scores that are no log-probabilities, such as the
    logits of a classifier, are explained as they are.

    The lasso has no standard errors. Where these matter, pass ``l1=0``, which is least squares, with four perturbed inputs
    for each source.

    Args:
        n_perturbations: Number of perturbed inputs, the unperturbed one included.
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
        n_perturbations: int = 64,
        keep_probability: float = 0.5,
        l1: float = 0.01,
        replacement: str | int = "drop",
        **options: Unpack[Options],
    ) -> None:
        if not is_number(keep_probability) or not 0 < keep_probability < 1:
            raise OptionError(f"`keep_probability`: got {shown(keep_probability)}; pass a probability between 0 and 1.")
        options.setdefault("granularity", Granularity.SENTENCE)
        parts = {
            "perturbator": RandomMaskedTokenPerturbator(n_perturbations, 1 - keep_probability),
            "aggregator": LassoAggregator(l1),
            "evidence": Scores(LOG_ODDS),
        }
        super().__init__(model, tokenizer, batch_size, replacement=replacement, **parts, **options)
