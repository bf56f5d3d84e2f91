"""Saliency and input × gradient: the gradient at the input."""

from __future__ import annotations

from typing import Any

from typing_extensions import Unpack

from interpreto.attributions.aggregations import MeanAggregator
from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.options import GradientOptions
from interpreto.attributions.perturbations import InputPerturbator


class Saliency(AttributionExplainer):
    """Compute the L2 norm of the gradient of the score in each token's embedding: a magnitude, without a sign.

    Args:
        input_x_gradient: Contract the gradient with the input instead, as `InputXGradient` does.

    Examples:
        >>> from interpreto import Saliency, demo
        >>> explanation = Saliency(*demo.load_classifier())("A gorgeous, moving film.")[0]
        >>> bool((explanation.attributions >= 0).all())
        True

    References:
        Simonyan et al., 2013, https://arxiv.org/abs/1312.6034; for text, Li et al., NAACL 2016,
        https://arxiv.org/abs/1506.01066.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        *,
        input_x_gradient: bool = False,
        **options: Unpack[GradientOptions],
    ) -> None:
        parts = {"perturbator": InputPerturbator(input_x_gradient), "aggregator": MeanAggregator()}
        super().__init__(model, tokenizer, batch_size, use_gradient=True, signed=input_x_gradient, **parts, **options)


class InputXGradient(AttributionExplainer):
    """Compute embedding × gradient, summed over the width: a first-order estimate of what a token adds to the score.

    Examples:
        >>> from interpreto import InputXGradient, demo
        >>> InputXGradient(*demo.load_classifier())("A gorgeous, moving film.")[0].signed
        True

    References:
        Shrikumar et al., 2016, https://arxiv.org/abs/1605.01713; for text, Denil et al., 2014,
        https://arxiv.org/abs/1412.6815.
    """

    def __init__(
        self, model: Any, tokenizer: Any = None, batch_size: int | None = None, **options: Unpack[GradientOptions]
    ) -> None:
        parts = {"perturbator": InputPerturbator(input_x_gradient=True), "aggregator": MeanAggregator()}
        super().__init__(model, tokenizer, batch_size, use_gradient=True, **parts, **options)
