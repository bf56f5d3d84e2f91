"""The options that SmoothGrad, SquareGrad and VarGrad share."""

from __future__ import annotations

from abc import ABC
from typing import Any, ClassVar

from typing_extensions import Unpack

from interpreto.attributions.aggregations.moments import MomentsAggregator
from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.options import GradientOptions
from interpreto.attributions.perturbations import GaussianNoisePerturbator
from interpreto.validation import check_count


class NoiseMethod(AttributionExplainer, ABC):
    """Compute a statistic of the gradient under Gaussian noise of the embeddings, with standard errors.

    Args:
        n_perturbations: Number of noisy inputs.
        noise_std: Standard deviation of the noise, in standard deviations of the input's embeddings.
        input_x_gradient: Compute the statistic of noisy input × gradient instead of the gradient.

    Attributes:
        statistic: The aggregator of the gradients.
        least: Number of noisy inputs that the statistic needs.
        signed_with_input: The statistic of noisy input × gradient has a sign.
    """

    statistic: ClassVar[type[MomentsAggregator]]
    least: ClassVar[int] = 1
    signed_with_input: ClassVar[bool] = False

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        *,
        n_perturbations: int = 32,
        noise_std: float = 0.1,
        input_x_gradient: bool = False,
        **options: Unpack[GradientOptions],
    ) -> None:
        count = check_count(n_perturbations, "n_perturbations", self.least)
        noise = GaussianNoisePerturbator(count, std=noise_std, input_x_gradient=input_x_gradient)
        signed = input_x_gradient and self.signed_with_input
        parts = {"perturbator": noise, "aggregator": self.statistic()}
        super().__init__(model, tokenizer, batch_size, use_gradient=True, signed=signed, **parts, **options)
