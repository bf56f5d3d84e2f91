"""SquareGrad: the mean squared gradient under noise."""

from __future__ import annotations

from interpreto.attributions.aggregations import SquareGradAggregator
from interpreto.attributions.methods.noise import NoiseMethod


class SquareGrad(NoiseMethod):
    """Compute the mean square of the gradient over noisy inputs, summed over the width.

    A magnitude. The options are those of `NoiseMethod`.

    Examples:
        >>> from interpreto import SquareGrad, demo
        >>> explanation = SquareGrad(*demo.load_classifier())("A gorgeous, moving film.")[0]
        >>> bool((explanation.attributions >= 0).all())
        True

    References:
        Hooker et al., NeurIPS 2019, https://arxiv.org/abs/1806.10758.
    """

    statistic = SquareGradAggregator
