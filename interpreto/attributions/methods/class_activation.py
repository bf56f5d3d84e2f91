"""Class activation maps: sums of a layer's feature maps, weighted by what each means for a score."""

from __future__ import annotations

from typing import Any

from torch import nn
from typing_extensions import Unpack

from interpreto.attributions.activation_maps import (
    ActivationMaps,
    MaskedScores,
    MeanGradients,
    PooledShares,
    PositiveGradients,
)
from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.options import Options
from interpreto.errors import ModelError
from interpreto.models.feature_maps import find_layer
from interpreto.models.images import reads_images
from interpreto.models.wrappers import model_name


class ActivationMapping(AttributionExplainer):
    """Sum the feature maps of a layer, weighted by what each means for the score; image models alone have such maps.

    Args:
        layer: Name of a layer, or the module; it returns ``(b, c, h, w)``, or tokens with class tokens first. None: the last
            layer with such maps that the scores depend on (of a vision transformer whose head reads the class token, the last
            block but one).
        upsampling: How maps become pixels, whose mean a unit has: ``"nearest"``, or ``"bilinear"``, as others draw them.
        signed: Keep negative values too, which speak against the target.

    Raises:
        ModelError: The model reads no images.
        OptionError: It has no such layer.
    """

    def __init__(
        self, model: Any, processor: Any, batch_size: int | None, maps: ActivationMaps, *, signed: bool = False, **options: Any
    ) -> None:
        super().__init__(model, processor, batch_size, evidence=maps, signed=signed, **options)
        inner = self.model.forward.model
        if not reads_images(inner):
            raise ModelError(
                f"`model`: {type(self).__name__} reads maps of images, and {model_name(inner)} reads texts; of a model that "
                "compares images with texts, make a ZeroShotClassifier."
            )
        if maps.layer is not None:
            find_layer(inner.explained, maps.layer)


class GradCam(ActivationMapping):
    """Weight the maps of a layer by the mean of the score's gradient in each, and keep what is positive.

    Examples:
        >>> from interpreto import GradCam, demo
        >>> explanation = GradCam(*demo.load_image_classifier())(demo.load_images(1)[0].image)[0]
        >>> explanation.attributions.shape
        torch.Size([1, 64])

    References:
        Selvaraju et al., ICCV 2017, https://arxiv.org/abs/1610.02391.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        *,
        layer: str | nn.Module | None = None,
        signed: bool = False,
        upsampling: str = "nearest",
        **options: Unpack[Options],
    ) -> None:
        maps = MeanGradients(layer, upsampling, signed)
        super().__init__(model, tokenizer, batch_size, maps, signed=signed, **options)


class LayerCam(ActivationMapping):
    """Weight each place of each map of a layer by the positive part of the score's gradient there, and keep what is positive.

    Examples:
        >>> from interpreto import LayerCam, demo
        >>> explanation = LayerCam(*demo.load_image_classifier())(demo.load_images(1)[0].image)[0]
        >>> bool((explanation.attributions >= 0).all())
        True

    References:
        Jiang et al., IEEE TIP 2021, https://doi.org/10.1109/TIP.2021.3089943.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        *,
        layer: str | nn.Module | None = None,
        upsampling: str = "nearest",
        **options: Unpack[Options],
    ) -> None:
        super().__init__(model, tokenizer, batch_size, PositiveGradients(layer, upsampling), **options)


class Cam(ActivationMapping):
    """Take a score apart by the places of the maps whose mean a linear layer reads: the values and its bias sum to the score.

    Args:
        layer: The layer that is pooled; None: the last one with maps.

    Raises:
        ModelError: The scores are not linear in the mean of the maps.

    References:
        Zhou et al., CVPR 2016, https://arxiv.org/abs/1512.04150.
    """

    exact = True

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        *,
        layer: str | nn.Module | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(model, tokenizer, batch_size, PooledShares(layer, "nearest"), signed=True, **options)


class ScoreCam(ActivationMapping):
    """Weight the maps of a layer by the scores of the image seen through each, and keep what is positive; no gradients.

    The image is multiplied by each map, scaled to lie from 0 to 1; the weights are the softmax over the channels of the scores,
    less that of an image of zeros. Maps without variation have no weight.

    Args:
        channels: Number of maps, those of largest norm.
        upsampling: As of `GradCam`; masks are always bilinear.

    Examples:
        >>> from interpreto import ScoreCam, demo
        >>> explanation = ScoreCam(*demo.load_image_classifier(), channels=8)(demo.load_images(1)[0].image)[0]
        >>> explanation.signed
        False

    References:
        Wang et al., CVPR Workshops 2020, https://arxiv.org/abs/1910.01279.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        *,
        layer: str | nn.Module | None = None,
        channels: int = 64,
        upsampling: str = "nearest",
        **options: Unpack[Options],
    ) -> None:
        super().__init__(model, tokenizer, batch_size, MaskedScores(layer, upsampling, channels), **options)
