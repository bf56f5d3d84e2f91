"""Feature maps as evidence: sums of a layer's maps, weighted by what each means for a score."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from interpreto.attributions.aggregations.base import Estimate
from interpreto.attributions.evidence import Evidence, Explained, Parts
from interpreto.errors import ModelError
from interpreto.inputs.pictures import Picture
from interpreto.inputs.samples import Sample
from interpreto.models.feature_maps import FeatureMaps, FeatureReader
from interpreto.models.protocol import Need
from interpreto.models.wrappers import model_name
from interpreto.validation import check_choice, check_count

UPSAMPLING = ("nearest", "bilinear")
FLAT = 1e-3  # of the largest gradient: a spread over places that counts as none


class ActivationMaps(Evidence):
    """Feature maps of a layer, reduced to one map per score.

    Args:
        layer: The layer; None: the last one with maps.
        upsampling: How maps become pixels.
    """

    needs: ClassVar[Need] = "gradients"
    pools: ClassVar[bool] = True
    sums: ClassVar[bool] = False  # True: the values divide what the maps add to the score

    def __init__(self, layer: str | nn.Module | None, upsampling: str) -> None:
        self.layer, self.upsampling = layer, check_choice(upsampling, "upsampling", UPSAMPLING)

    def estimates(self, model: Any, samples: Sequence[Sample], parts: Parts) -> Iterator[Explained]:
        reader = FeatureReader(model.runner, self.layer, parts.with_targets, without=self.sums)
        for sample in samples:
            found = reader.read(sample, parts.asked(sample))
            picture, own = found.sample.picture, self.reduced(found, model)
            assert picture is not None
            values = self.of_cells(picture, own)
            estimate = Estimate(found.sample.units.pool(values, parts.strategy), reference=found.without)
            yield Explained(found.sample, estimate, found.scores)

    @abstractmethod
    def reduced(self, found: FeatureMaps, model: Any) -> Float[Tensor, "t h w"]:
        """Return one map per score."""

    def of_cells(self, picture: Picture, maps: Float[Tensor, "t h w"]) -> Float[Tensor, "t l"]:
        """Return the mean of the maps over the pixels of each cell."""
        return picture.pooled(upsampled(maps, picture, self.upsampling))


class MeanGradients(ActivationMaps):
    """Grad-CAM: channels weighted by the mean of the score's gradient over the map."""

    def __init__(self, layer: str | nn.Module | None, upsampling: str, signed: bool) -> None:
        super().__init__(layer, upsampling)
        self.signed = signed

    def reduced(self, found: FeatureMaps, model: Any) -> Float[Tensor, "t h w"]:
        maps = torch.einsum("tc,cyx->tyx", found.gradients.mean((2, 3)), found.maps)
        return maps if self.signed else maps.relu()


class PositiveGradients(ActivationMaps):
    """Layer-CAM: each place of each channel weighted by the positive part of its own gradient."""

    def reduced(self, found: FeatureMaps, model: Any) -> Float[Tensor, "t h w"]:
        return torch.einsum("tcyx,cyx->tyx", found.gradients.relu(), found.maps).relu()


class PooledShares(ActivationMaps):
    """CAM: what each place adds to a score that is linear in the mean of the maps."""

    sums = True

    def reduced(self, found: FeatureMaps, model: Any) -> Float[Tensor, "t h w"]:
        assert found.without is not None
        weights, maps = found.gradients, found.maps
        shares = torch.einsum("tcyx,cyx->tyx", weights, maps)
        spread = (weights.amax((2, 3)) - weights.amin((2, 3))).abs().max() if maps[0].numel() > 1 else torch.zeros(())
        missing = (found.scores - found.without - shares.sum((1, 2))).abs().max()
        if spread > FLAT * weights.abs().max() or missing > FLAT * (found.scores.abs().max() + shares.abs().sum((1, 2)).max()):
            raise ModelError(
                f"`model`: the scores of {model_name(model.forward.model)} are not linear in the mean of the layer's maps, "
                "as Cam takes for granted; use GradCam or LayerCam, or pass the `layer` that is pooled."
            )
        return shares

    def of_cells(self, picture: Picture, maps: Float[Tensor, "t h w"]) -> Float[Tensor, "t l"]:
        """Return what the pixels of each cell add, in the shares that they have of the places of the maps."""
        pixels = upsampled(maps, picture, "nearest")
        places = upsampled(torch.arange(maps[0].numel()).view(1, *maps.shape[1:]).float(), picture, "nearest").long()
        sizes = torch.bincount(places.flatten(), minlength=maps[0].numel())
        return picture.summed(pixels / sizes[places])


class MaskedScores(ActivationMaps):
    """Score-CAM: channels weighted by the softmax of the scores of the image seen through them."""

    def __init__(self, layer: str | nn.Module | None, upsampling: str, channels: int) -> None:
        super().__init__(layer, upsampling)
        self.channels = check_count(channels, "channels")

    def reduced(self, found: FeatureMaps, model: Any) -> Float[Tensor, "t h w"]:
        picture = found.sample.picture
        assert picture is not None
        kept = found.maps.square().sum((1, 2)).argsort(descending=True, stable=True)[: self.channels]
        maps = upsampled(found.maps[kept], picture, "bilinear")
        low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
        varies = (high > low)[:, 0, 0]
        if not bool(varies.any()):
            return torch.zeros(len(found.scores), *found.maps.shape[1:])
        masks = ((maps - low) / (high - low).clamp(min=torch.finfo(maps.dtype).tiny))[varies]
        points = torch.stack([picture.to_cells(picture.pixels * mask) for mask in [*masks, torch.zeros_like(masks[0])]])
        scores = model.scores_at([(found.sample, points.to(model.forward.device))])[0].cpu()
        weights = (scores[:-1] - scores[-1:]).softmax(0)
        return torch.einsum("ct,cyx->tyx", weights, found.maps[kept][varies]).relu()


def upsampled(maps: Float[Tensor, "t h w"], picture: Picture, how: str) -> Float[Tensor, "t h2 w2"]:
    """Return maps of an image's pixels."""
    size = (int(picture.pixels.shape[1]), int(picture.pixels.shape[2]))
    if how == "nearest":
        return F.interpolate(maps[None], size=size, mode="nearest-exact")[0]
    return F.interpolate(maps[None], size=size, mode="bilinear", align_corners=False)[0]
