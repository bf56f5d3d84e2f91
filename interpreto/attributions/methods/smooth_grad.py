"""SmoothGrad: the mean gradient under noise."""

from __future__ import annotations

from typing import Any

from typing_extensions import Unpack

from interpreto.attributions.aggregations import SmoothGradAggregator
from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.options import Options
from interpreto.attributions.perturbations import GaussianNoisePerturbator


class SmoothGrad(AttributionExplainer):
    """L2 norm of the mean gradient over noisy copies of the input: noise in the gradient cancels before the norm.

    A magnitude, with standard errors.

    Args:
        model: See `AttributionExplainer`.
        tokenizer: See `AttributionExplainer`.
        batch_size: See `AttributionExplainer`.
        n_perturbations: Noisy copies.
        noise_std: Standard deviation of the noise, in standard deviations of the input's embeddings.
        input_x_gradient: Sum the mean of noisy input × gradient instead: signed.
        **options: Shared by every method; see `Options`.

    Examples:
        >>> from interpreto import SmoothGrad, demo
        >>> explanation = SmoothGrad(*demo.load_classifier())("A gorgeous, moving film.")[0]
        >>> bool((explanation.attributions >= 0).all())
        True

    References:
        Smilkov et al., 2017, https://arxiv.org/abs/1706.03825.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        *,
        n_perturbations: int = 32,
        noise_std: float = 0.1,
        input_x_gradient: bool = False,
        **options: Unpack[Options],
    ) -> None:
        noise = GaussianNoisePerturbator(n_perturbations, std=noise_std, input_x_gradient=input_x_gradient)
        parts = {"perturbator": noise, "aggregator": SmoothGradAggregator()}
        super().__init__(model, tokenizer, batch_size, use_gradient=True, signed=input_x_gradient, **parts, **options)
