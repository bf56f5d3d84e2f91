"""Images of every form as an upright image of three bytes per pixel: files, PIL images, arrays and tensors of bytes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from interpreto.errors import InputError
from interpreto.validation import shown

ACCEPTED = (
    "an image (PIL), its path, an array (h, w), (h, w, 3) or (h, w, 4), a tensor of pixel_values (c, h, w) or (b, c, h, w), "
    "what the processor returned, or a list of these"
)
DEEP = {"I;16": 65535, "I;16B": 65535, "I;16L": 65535, "I;16N": 65535}
"""Modes of 16 bits per pixel, which PIL itself cuts off at 255."""


def load_pil() -> Any:
    """Return the package that reads images.

    Raises:
        InputError: it is not installed.
    """
    try:
        import PIL.Image  # noqa: PLC0415  # optional
        import PIL.ImageOps  # noqa: PLC0415
    except ImportError as error:
        raise InputError("`inputs`: images need Pillow; run pip install pillow.") from error
    return PIL


def is_pil(value: object) -> bool:
    """Return True for an image of PIL; the package is not imported for it."""
    return any(kind.__module__ == "PIL.Image" and kind.__name__ == "Image" for kind in type(value).__mro__)


def opened(value: Any, name: str) -> Any:
    """Return an image as PIL has it, upright, in three bytes per pixel.

    Transparent parts are white, as on a page. Images of 16 bits per pixel are scaled, not cut off.

    Args:
        value: A path, an image of PIL, or an array.
        name: How messages call it.

    Raises:
        InputError: it is something else, or can be read in more than one way.
    """
    if isinstance(value, (str, os.PathLike)):
        return upright(_read(value, name), name)
    if is_pil(value):
        return upright(value, name)
    if isinstance(value, (np.ndarray, Tensor)):
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
        return upright(_of_array(array, name), name)
    raise InputError(f"{name}: got {shown(value)}; pass {ACCEPTED}.")


def _read(path: Any, name: str) -> Any:
    pil, place = load_pil(), Path(os.fspath(path)).expanduser()
    if not place.is_file():
        what = "a folder" if place.is_dir() else "no file"
        raise InputError(f"{name}: {shown(str(path))} is {what}; pass {ACCEPTED}.")
    try:
        with pil.Image.open(place) as image:
            image.load()
            return image
    except (OSError, ValueError, SyntaxError) as error:
        raise InputError(f"{name}: {shown(str(path))} cannot be read as an image ({error!s:.100}).") from error


def upright(image: Any, name: str) -> Any:
    """Return an image turned as its EXIF data say, without transparency, in three bytes per pixel."""
    pil = load_pil()
    if getattr(image, "is_animated", False):
        raise InputError(f"{name}: the image has {image.n_frames} frames; pass one, as image.seek(0) and image.copy() give it.")
    image = pil.ImageOps.exif_transpose(image)
    if image.mode in DEEP or image.mode in ("I", "F"):
        image = pil.Image.fromarray(_scaled(np.asarray(image), name))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        page = pil.Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = pil.Image.alpha_composite(page, image)
    return image.convert("RGB")


def _of_array(array: Any, name: str) -> Any:
    """Return an image of PIL of an array."""
    shape = array.shape
    if array.ndim == 3 and shape[0] in (1, 3, 4) and shape[2] not in (1, 3, 4):
        array = np.moveaxis(array, 0, -1)
    elif array.ndim == 3 and shape[0] in (3, 4) and shape[2] in (3, 4):
        raise InputError(
            f"{name}: an array of shape {shape} may have its channels first or last; pass an image of PIL, or a tensor of "
            "pixel_values."
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)) or not array.size:
        more = "; pass a list of images, not one array of several" if array.ndim == 4 else ""
        raise InputError(f"{name}: got an array of shape {shape}; pass (h, w), (h, w, 3) or (h, w, 4){more}.")
    return load_pil().Image.fromarray(_scaled(array, name))


def _scaled(array: Any, name: str) -> Any:
    """Return an array as bytes: whole numbers by their largest possible value, others by the range that they are in."""
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype.kind not in "uif" or not np.isfinite(array.astype(np.float64)).all():
        raise InputError(f"{name}: got {array.dtype} values, or some that are not finite; pass bytes, or numbers from 0 to 1.")
    low, high = float(array.min()), float(array.max())
    if low < 0 or high > 65535 or (array.dtype.kind == "f" and high > 255):
        raise InputError(
            f"{name}: values from {low:g} to {high:g}; an array has bytes, 16 bits, or numbers from 0 to 1. What a processor "
            "made is passed as a tensor of pixel_values."
        )
    if array.dtype.kind == "f":
        top = 1.0 if high <= 1 else 255.0
    else:
        top = 65535.0 if high > 255 or array.dtype == np.uint16 else 255.0
    return (array.astype(np.float64) * (255 / top)).round().astype(np.uint8)
