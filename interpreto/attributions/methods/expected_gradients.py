"""Expected gradients: integrated gradients, averaged over a background of baselines."""

from __future__ import annotations

from typing import Any

from typing_extensions import Unpack

from interpreto.attributions.aggregations import MeanAggregator
from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.gradient_rounds import gradients_within, points_of
from interpreto.attributions.options import GradientOptions
from interpreto.attributions.perturbations import BackgroundPerturbator
from interpreto.attributions.perturbations.background import Background
from interpreto.models.wrapping import read_model


class ExpectedGradients(AttributionExplainer):
    """Average the gradient at random points between baselines of a background and the input, times their difference.

    Signed, with standard errors. In the limit of many points the values are the mean of `IntegratedGradients` over the
    background, and sum to ``f(x)`` minus the mean score of the background.

    Args:
        background: As in `DeepLiftShap`.
        n_perturbations: Number of random points, each on the line from a baseline that is drawn for it. None: 32; with a
            tolerance, at most 256.
        tolerance: Draw points in rounds until 1.96 standard errors of each unit are at most this share of the score gap (the
            score of the input less the mean score of the baselines), or the budget ends; the explanation says which
            (`AttributionOutput.stopped`). None: the whole budget.

    Examples:
        >>> from interpreto import ExpectedGradients, demo
        >>> explainer = ExpectedGradients(*demo.load_classifier(), background=["A plain film.", "It is about a man."])
        >>> explainer("A gorgeous, moving film.")[0].standard_error.shape
        torch.Size([1, 6])

    References:
        Erion et al., 2021, https://arxiv.org/abs/1906.10670.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        *,
        background: Background = None,
        n_perturbations: int | None = None,
        tolerance: float | None = None,
        **options: Unpack[GradientOptions],
    ) -> None:
        model, tokenizer = read_model(model, tokenizer)
        points = BackgroundPerturbator(background, points_of(n_perturbations, tolerance), tokenizer, between=True)
        parts = {"perturbator": points, "aggregator": MeanAggregator(), "evidence": gradients_within(tolerance)}
        super().__init__(model, tokenizer, batch_size, use_gradient=True, **parts, **options)
