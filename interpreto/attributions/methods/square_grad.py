"""SquareGrad: the mean squared gradient under noise."""

from __future__ import annotations

from typing import Any

from typing_extensions import Unpack

from interpreto.attributions.aggregations import SquareGradAggregator
from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.options import Options
from interpreto.attributions.perturbations import GaussianNoisePerturbator


class SquareGrad(AttributionExplainer):
    """Mean square of the gradient over noisy copies of the input, summed over the width.

    A magnitude, with standard errors.

    Args:
        model: See `AttributionExplainer`.
        tokenizer: See `AttributionExplainer`.
        batch_size: See `AttributionExplainer`.
        n_perturbations: Noisy copies.
        noise_std: Standard deviation of the noise, in standard deviations of the input's embeddings.
        input_x_gradient: Square noisy input × gradient instead.
        **options: Shared by every method; see `Options`.

    Examples:
        >>> from interpreto import SquareGrad, demo
        >>> explanation = SquareGrad(*demo.load_classifier())("A gorgeous, moving film.")[0]
        >>> bool((explanation.attributions >= 0).all())
        True

    References:
        Hooker et al., NeurIPS 2019, https://arxiv.org/abs/1806.10758.
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
        parts = {"perturbator": noise, "aggregator": SquareGradAggregator()}
        super().__init__(model, tokenizer, batch_size, use_gradient=True, signed=False, **parts, **options)
