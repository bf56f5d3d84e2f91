"""Integrated gradients: the gradient, integrated along a path."""

from __future__ import annotations

from typing import Any

from typing_extensions import Unpack

from interpreto.attributions.aggregations import WeightedMeanAggregator
from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.options import GradientOptions
from interpreto.attributions.perturbations import (
    DiscretizedPathPerturbator,
    LinearInterpolationPerturbator,
    SequentialPathPerturbator,
)
from interpreto.errors import OptionError
from interpreto.models.embeddings import Baseline, read_baseline
from interpreto.models.wrapping import read_model
from interpreto.validation import check_choice


class IntegratedGradients(AttributionExplainer):
    """Integrate the gradient from a baseline to the input, times their difference; the sum is ``f(x) − f(baseline)``.

    The integral is computed by the Gauss-Legendre rule. The ``residual`` of an explanation is its error; above 5 % of the
    score gap, a `CompletenessWarning` says how many steps are enough. Tokens in no unit (special ones) are not moved.

    Args:
        n_perturbations: Number of nodes of the rule; of a sequential path, per token.
        baseline: ``"zero"``, ``"pad"``, ``"mask"``, ``"unk"`` or ``"mean"`` embedding, a number for every coordinate,
            or a tensor ``(d,)`` or ``(l, d)``.
        path: ``"straight"``: the line from the baseline to the input. ``"sequential"``: a line for each token, while the others
            keep their embeddings; values are then scores lost by replacing single tokens, which sum to no gap.
            ``"discretized"``: near the embeddings of other words.
        strategy: How a discretized path chooses its next word: ``"greedy"`` or ``"maxcount"``.

    Examples:
        >>> from interpreto import IntegratedGradients, demo
        >>> explanation = IntegratedGradients(*demo.load_classifier())("A gorgeous, moving film.")[0]
        >>> explanation.baseline, bool(explanation.residual.abs() < 0.05)
        ('mask', True)

    References:
        Sundararajan et al., ICML 2017, https://arxiv.org/abs/1703.01365; sequential paths: Enguehard, Findings of ACL 2023,
        https://arxiv.org/abs/2305.15853; discretized paths: Sanyal and Ren, EMNLP 2021, https://arxiv.org/abs/2108.13654.
    """

    exact_in_the_limit = True

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        *,
        n_perturbations: int = 32,
        baseline: Baseline | None = "auto",
        path: str = "straight",
        strategy: str = "greedy",
        **options: Unpack[GradientOptions],
    ) -> None:
        model, tokenizer = read_model(model, tokenizer)
        if path == "discretized" and options.get("at") is not None:
            raise OptionError("`path`: 'discretized' leads through embeddings of words; with `at`, use 'straight'.")
        start, count = read_baseline(baseline, tokenizer), n_perturbations
        makers = {
            "straight": lambda: LinearInterpolationPerturbator(start, count),
            "sequential": lambda: SequentialPathPerturbator(start, count),
            "discretized": lambda: DiscretizedPathPerturbator(start, count, strategy=strategy),
        }
        parts = {"perturbator": makers[check_choice(path, "path", makers)](), "aggregator": WeightedMeanAggregator()}
        super().__init__(model, tokenizer, batch_size, use_gradient=True, **parts, **options)
