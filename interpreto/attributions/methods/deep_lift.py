"""DeepLift: the difference to a baseline, handed back through the model operation by operation."""

from __future__ import annotations

from typing import Any

from typing_extensions import Unpack

from interpreto.attributions.aggregations import MeanAggregator
from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.evidence import Gradients
from interpreto.attributions.gradient_rounds import MOST_POINTS, gradients_within
from interpreto.attributions.options import GradientOptions
from interpreto.attributions.perturbations import BackgroundPerturbator, BaselinePerturbator
from interpreto.attributions.perturbations.background import Background
from interpreto.models.deep_lift_rules import DeepLiftRules
from interpreto.models.embeddings import Baseline, read_baseline
from interpreto.models.wrapping import read_model


class DeepLift(AttributionExplainer):
    """Divide the difference of the scores of the input and a baseline among the tokens, in one backward pass.

    Each operation of the model is replaced by its secant between the two, so that values sum to ``f(x) − f(baseline)``
    exactly, biases included. The ``residual`` is rounding; where the model has an operation without a rule it is not, and a
    `CompletenessWarning` says so.

    Args:
        baseline: As in `IntegratedGradients`.

    Examples:
        >>> from interpreto import DeepLift, demo
        >>> explanation = DeepLift(*demo.load_classifier())("A gorgeous, moving film.")[0]
        >>> bool(explanation.residual.abs() < 1e-4)
        True

    References:
        Shrikumar et al., ICML 2017, https://arxiv.org/abs/1704.02685; its rules for products, softmax and normalizations are
        this library's.
    """

    exact = True

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        *,
        baseline: Baseline | None = "auto",
        **options: Unpack[GradientOptions],
    ) -> None:
        model, tokenizer = read_model(model, tokenizer)
        pair = BaselinePerturbator(read_baseline(baseline, tokenizer))
        parts = {"perturbator": pair, "aggregator": MeanAggregator(), "evidence": Gradients(DeepLiftRules)}
        super().__init__(model, tokenizer, batch_size, use_gradient=True, **parts, **options)


class DeepLiftShap(AttributionExplainer):
    """Average `DeepLift` over a background of baselines, with standard errors over them.

    The values sum to ``f(x)`` minus the mean score of the baselines: an estimate of Shapley values of a model whose absent
    tokens are those of the background.

    Args:
        background: Texts, which are cut or repeated to the length of the input; a tensor of baselines ``(k, d)`` or
            ``(k, l, d)``; None: random tokens of the vocabulary.
        n_baselines: Number of baselines that are drawn for each input; None: the whole background, or 8 random ones; with a
            tolerance, at most 256 random ones.
        tolerance: Draw baselines in rounds until 1.96 standard errors of each unit are at most this share of the score gap (the
            score of the input less the mean score of the baselines), or the budget ends; the explanation says which
            (`AttributionOutput.stopped`). None: the whole budget.

    Examples:
        >>> from interpreto import DeepLiftShap, demo
        >>> explainer = DeepLiftShap(*demo.load_classifier(), background=["A plain film.", "It is a story about a man."])
        >>> explainer("A gorgeous, moving film.")[0].standard_error.shape
        torch.Size([1, 6])

    References:
        Lundberg and Lee, NeurIPS 2017, https://arxiv.org/abs/1705.07874; Shrikumar et al., ICML 2017,
        https://arxiv.org/abs/1704.02685.
    """

    exact = True

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        *,
        background: Background = None,
        n_baselines: int | None = None,
        tolerance: float | None = None,
        **options: Unpack[GradientOptions],
    ) -> None:
        model, tokenizer = read_model(model, tokenizer)
        random = 8 if tolerance is None else MOST_POINTS
        count = (random if background is None else max(1, len(background))) if n_baselines is None else n_baselines
        pairs = BackgroundPerturbator(background, count, tokenizer, between=False)
        parts = {"perturbator": pairs, "aggregator": MeanAggregator(), "evidence": gradients_within(tolerance, DeepLiftRules)}
        super().__init__(model, tokenizer, batch_size, use_gradient=True, **parts, **options)
