"""The options that SmoothGrad, SquareGrad and VarGrad share."""

from __future__ import annotations

from abc import ABC
from typing import Any, ClassVar

from typing_extensions import Unpack

from interpreto.attributions.aggregations.moments import MomentsAggregator
from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.gradient_rounds import gradients_within, points_of
from interpreto.attributions.options import GradientOptions
from interpreto.attributions.perturbations import GaussianNoisePerturbator
from interpreto.validation import check_count


class NoiseMethod(AttributionExplainer, ABC):
    """Compute a statistic of the gradient under Gaussian noise of the embeddings, with standard errors.

    Args:
        n_perturbations: Number of noisy inputs. None: 32; with a tolerance, at most 256.
        tolerance: Draw noise in rounds until 1.96 standard errors of each unit, and what noise adds to a norm, are at most
            this share of the largest value of the target, or the budget ends; the explanation says which
            (`AttributionOutput.stopped`). A statistic of gradients has no score gap to be measured by. None: the whole budget.
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
        n_perturbations: int | None = None,
        tolerance: float | None = None,
        noise_std: float = 0.1,
        input_x_gradient: bool = False,
        **options: Unpack[GradientOptions],
    ) -> None:
        count = check_count(points_of(n_perturbations, tolerance), "n_perturbations", self.least)
        noise = GaussianNoisePerturbator(count, std=noise_std, input_x_gradient=input_x_gradient)
        signed = input_x_gradient and self.signed_with_input
        parts = {"perturbator": noise, "aggregator": self.statistic(), "evidence": gradients_within(tolerance)}
        super().__init__(model, tokenizer, batch_size, use_gradient=True, signed=signed, **parts, **options)
