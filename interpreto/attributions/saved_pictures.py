"""Images of explanations as files hold them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from interpreto.inputs.pictures import Feed, Picture

PICTURE = ("picture.pixels", "picture.regions", "picture.shown")
"""Tensors of the image that an explanation is about."""
FEED = ("feed.shape", "feed.regions", "feed.most")
"""Tensors of an image whose numbers lie in another order than its pixels."""
OTHERS, INPUTS = "feed.others.", "feed.inputs."
"""Beginnings of the names of numbers of replacements, and of other inputs of the model."""


class MisfitError(Exception):
    """Parts of an image do not fit each other; the message says which."""


def packed_picture(picture: Picture) -> dict[str, Tensor]:
    """Return the tensors of an image."""
    found = {"picture.pixels": picture.pixels, "picture.regions": picture.regions, "picture.shown": picture.shown}
    if (feed := picture.feed) is not None:
        found |= {"feed.shape": torch.tensor(feed.shape), "feed.regions": feed.regions, "feed.most": torch.tensor(feed.most)}
        found |= {f"{OTHERS}{name}": value.contiguous() for name, value in feed.others.items()}
        found |= {f"{INPUTS}{name}": value.contiguous() for name, value in feed.inputs.items()}
    return found


def unpacked_picture(tensors: Mapping[str, Tensor], name: str, units: int) -> Picture | None:
    """Return the image that an explanation is about; None: it is about a text.

    Args:
        tensors: All tensors of the explanation.
        name: Of the image's file.
        units: Number of the explanation's units.

    Raises:
        MisfitError: its parts do not fit each other.
    """
    if not any(key.startswith("picture.") for key in tensors):
        return None
    if missing := [key for key in PICTURE if key not in tensors]:
        raise MisfitError(f"it lacks `{missing[0]}`")
    pixels, regions, seen = (tensors[key] for key in PICTURE)
    if pixels.ndim != 3 or not pixels.is_floating_point() or not bool(pixels.isfinite().all()):
        raise MisfitError(f"`picture.pixels` has shape {tuple(pixels.shape)}, or holds no finite numbers")
    feed = _feed(tensors, pixels, units)
    shape = tuple(pixels.shape[1:]) if feed is None else tuple(seen.shape[:2])
    for key, value, wanted in (("picture.regions", regions, shape), ("picture.shown", seen, (*shape, 3))):
        if tuple(value.shape) != wanted:
            raise MisfitError(f"`{key}` has shape {tuple(value.shape)} for each pixel")
    if regions.is_floating_point() or seen.dtype is not torch.uint8 or int(regions.max()) + 1 > units:
        raise MisfitError(f"`picture.regions` has {int(regions.max()) + 1} regions for {units} units")
    return Picture(pixels, regions.numpy(), seen.numpy(), name, feed)


def _feed(tensors: Mapping[str, Tensor], pixels: Tensor, units: int) -> Feed | None:
    if not any(key.startswith("feed.") for key in tensors):
        return None
    if missing := [key for key in FEED if key not in tensors]:
        raise MisfitError(f"it lacks `{missing[0]}`")
    shape, regions, most = (tensors[key] for key in FEED)
    others = {key.removeprefix(OTHERS): value for key, value in tensors.items() if key.startswith(OTHERS)}
    if any(tuple(value.shape) != tuple(pixels.shape) for value in others.values()):
        raise MisfitError(f"numbers of replacements are not of shape {tuple(pixels.shape)}")
    fits = tuple(regions.shape) == tuple(pixels.shape[1:]) and not regions.is_floating_point() and int(regions.max()) < units
    if not fits or int(shape.prod()) != pixels.numel() or most.numel() != 1 or int(most) < 1:
        raise MisfitError("`feed.regions` or `feed.shape` do not fit `picture.pixels`")
    inputs = {key.removeprefix(INPUTS): value for key, value in tensors.items() if key.startswith(INPUTS)}
    return Feed(tuple(shape.tolist()), regions, others, inputs, int(most))
