"""VarGrad: the variance of the gradient under noise."""

from __future__ import annotations

from interpreto.attributions.aggregations import VarGradAggregator
from interpreto.attributions.methods.noise import NoiseMethod


class VarGrad(NoiseMethod):
    """Compute the unbiased variance of the gradient over noisy inputs, summed over the width; 0 for a linear model.

    A magnitude; it needs at least two noisy inputs. The options are those of `NoiseMethod`.

    Examples:
        >>> from interpreto import VarGrad, demo
        >>> explanation = VarGrad(*demo.load_classifier())("A gorgeous, moving film.")[0]
        >>> bool((explanation.attributions >= 0).all())
        True

    References:
        Adebayo et al., ICLR workshop 2018, https://arxiv.org/abs/1810.03307; Hooker et al., NeurIPS 2019,
        https://arxiv.org/abs/1806.10758.
    """

    statistic = VarGradAggregator
    least = 2
