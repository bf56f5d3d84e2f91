"""SmoothGrad: the mean gradient under noise."""

from __future__ import annotations

from interpreto.attributions.aggregations import SmoothGradAggregator
from interpreto.attributions.methods.noise import NoiseMethod


class SmoothGrad(NoiseMethod):
    """Compute the L2 norm of the mean gradient over noisy inputs: noise in the gradient cancels before the norm.

    A magnitude; with ``input_x_gradient``, the sum of the mean of noisy input × gradient, which is signed. The options are
    those of `NoiseMethod`.

    Examples:
        >>> from interpreto import SmoothGrad, demo
        >>> explanation = SmoothGrad(*demo.load_classifier())("A gorgeous, moving film.")[0]
        >>> bool((explanation.attributions >= 0).all())
        True

    References:
        Smilkov et al., 2017, https://arxiv.org/abs/1706.03825.
    """

    statistic = SmoothGradAggregator
    signed_with_input = True
