"""Gradient SHAP: expected gradients between a baseline and the noisy input."""

from __future__ import annotations

from typing import Any

from typing_extensions import Unpack

from interpreto.attributions.aggregations import MeanAggregator
from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.gradient_rounds import gradients_within, points_of
from interpreto.attributions.options import GradientOptions
from interpreto.attributions.perturbations import GradientShapPerturbator
from interpreto.models.embeddings import Baseline, read_baseline
from interpreto.models.wrapping import read_model


class GradientShap(AttributionExplainer):
    """Average the gradient at random points between a baseline and the noisy input, times their difference.

    Signed, with standard errors. The residual shrinks with the noise, and with ``1 / sqrt(n_perturbations)``.

    Args:
        n_perturbations: Number of random points. None: 32; with a tolerance, at most 256.
        tolerance: Draw points in rounds until 1.96 standard errors of each unit are at most this share of the score gap (the
            score of the input less that of the baseline), or the budget ends; the explanation says which
            (`AttributionOutput.stopped`). None: the whole budget.
        baseline: As in `IntegratedGradients`.
        noise_std: Standard deviation of the noise, in standard deviations of the input's embeddings.

    Examples:
        >>> from interpreto import GradientShap, demo
        >>> GradientShap(*demo.load_classifier())("A gorgeous, moving film.")[0].standard_error.shape
        torch.Size([1, 6])

    References:
        Lundberg and Lee, NeurIPS 2017, https://arxiv.org/abs/1705.07874; Erion et al., 2021,
        https://arxiv.org/abs/1906.10670.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        *,
        n_perturbations: int | None = None,
        tolerance: float | None = None,
        baseline: Baseline | None = "auto",
        noise_std: float = 0.1,
        **options: Unpack[GradientOptions],
    ) -> None:
        model, tokenizer = read_model(model, tokenizer)
        count = points_of(n_perturbations, tolerance)
        points = GradientShapPerturbator(read_baseline(baseline, tokenizer), count, std=noise_std)
        parts = {"perturbator": points, "aggregator": MeanAggregator(), "evidence": gradients_within(tolerance)}
        super().__init__(model, tokenizer, batch_size, use_gradient=True, **parts, **options)
