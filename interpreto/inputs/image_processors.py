"""Processors of images as users pass them: those of transformers, functions from an image to a tensor, or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from interpreto.errors import InputError, TokenizerError
from interpreto.inputs.pictures import as_bytes
from interpreto.validation import shown


def is_image_processor(value: object) -> bool:
    """Return True for an image processor of transformers, or for a processor that holds one."""
    inner = getattr(value, "image_processor", value)
    return hasattr(inner, "preprocess") and hasattr(inner, "model_input_names") and "pixel_values" in _names(inner)


def _names(processor: Any) -> tuple[str, ...]:
    return tuple(processor.model_input_names)


class Normalization:
    """Turn an image into numbers from 0 to 1, less a mean and divided by a standard deviation.

    Args:
        mean: A number, or one per channel.
        std: The same.
    """

    do_normalize = True

    def __init__(self, mean: Any, std: Any) -> None:
        self.image_mean, self.image_std = mean, std

    def __call__(self, image: Any) -> Float[Tensor, "c h w"]:
        values = torch.from_numpy(np.array(image)).float() / 255
        pixels = values[None] if values.ndim == 2 else values.permute(2, 0, 1)
        return (pixels - _per_channel(self.image_mean)) / _per_channel(self.image_std)


def read_normalization(value: object) -> object:
    """Return a pair of a mean and a standard deviation as the function that it describes; anything else as it is.

    Raises:
        TokenizerError: The pair is none of numbers, or a deviation is not positive.
    """
    if not isinstance(value, tuple) or len(value) != 2:
        return value
    try:
        mean, std = (torch.as_tensor(part, dtype=torch.float32).flatten() for part in value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TokenizerError(
            f"`tokenizer`: got {shown(value)}; a pair is the mean and the standard deviation of pixels."
        ) from error
    if not bool((std > 0).all()) or len({1, len(mean), len(std)}) > 2:
        raise TokenizerError(
            f"`tokenizer`: got {shown(value)}; pass the mean and the positive standard deviation of pixels from 0 to 1, "
            "numbers or one per channel."
        )
    return Normalization(mean, std)


class ImageProcessor:
    """Make the pixels that a model reads, once per image; takes the tokenizer's place.

    Args:
        processor: An image processor of transformers, a function from an image of PIL to a tensor ``(c, h, w)`` (such as a
            transform of torchvision), a pair of the mean and standard deviation of pixels from 0 to 1, or None: only
            ``pixel_values`` can be explained.
        patch: Side of the model's patches in pixels; None: it has none.
        channels: Channels that the model reads; None: not known.

    Attributes:
        mask_token_id: None, as images have no tokens; so are the others of its kind.
    """

    mask_token_id = unk_token_id = pad_token_id = None

    def __init__(self, processor: Any, patch: int | None = None, channels: int | None = None) -> None:
        self.processor, self.patch, self.channels = processor, patch, channels

    def __call__(self, image: Any, name: str) -> Float[Tensor, "c h w"]:
        """Return what the model reads of an image.

        Args:
            image: An image of PIL, in three bytes per pixel.
            name: How messages call it.

        Raises:
            TokenizerError: there is no processor.
            InputError: it makes something else than one tensor of pixels.
        """
        if self.processor is None:
            raise TokenizerError(
                f"{name}: got an image, and there is no processor; pass the model's one "
                "(AutoImageProcessor.from_pretrained(...)) after the model, or pass pixel_values."
            )
        if self.channels == 1:
            image = image.convert("L")
        if not is_image_processor(self.processor):
            return self.checked(self.processor(image), name)
        inner = getattr(self.processor, "image_processor", self.processor)
        found = (
            inner(images=np.asarray(image)[..., None], input_data_format="channels_last", return_tensors="pt")
            if self.channels == 1
            else inner(images=image, return_tensors="pt")
        )
        return self.checked(found["pixel_values"], name)

    def checked(self, pixels: Any, name: str) -> Float[Tensor, "c h w"]:
        """Return pixels that are one image."""
        if isinstance(pixels, Mapping):
            pixels = pixels.get("pixel_values")
        if not isinstance(pixels, Tensor):
            raise InputError(f"{name}: the processor returned {shown(pixels)}; it must return a tensor (c, h, w).")
        if pixels.ndim == 4 and len(pixels) == 1:
            pixels = pixels[0]
        if pixels.ndim != 3:
            raise InputError(
                f"{name}: the processor returned pixels of shape {tuple(pixels.shape)}; explained are models that read an "
                "image as one tensor (c, h, w), not as tiles or rows of patches."
            )
        return check_pixels(pixels, self.channels, name)

    def shown(self, pixels: Float[Tensor, "c h w"]) -> Tensor:
        """Return the image ``(h, w, 3)`` of bytes that pixels were made of, after resizing and cropping."""
        inner = getattr(self.processor, "image_processor", self.processor)
        mean, std = getattr(inner, "image_mean", None), getattr(inner, "image_std", None)
        x = pixels.detach().float().cpu()
        if getattr(inner, "do_normalize", False) and mean is not None and std is not None:
            x = x * _per_channel(std) + _per_channel(mean)
        if float(x.min()) < -0.01 or float(x.max()) > 1.01:
            return as_bytes(x)  # an unknown range
        x = (x if len(x) == 3 else x.mean(0, keepdim=True).expand(3, -1, -1)).clamp(0, 1)
        return (x * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous()

    def bounds(self) -> tuple[Float[Tensor, "c 1 1"], Float[Tensor, "c 1 1"]] | None:
        """Return what black and white pixels become, by channel; None: the processor does not tell."""
        inner = getattr(self.processor, "image_processor", self.processor)
        mean, std = getattr(inner, "image_mean", None), getattr(inner, "image_std", None)
        if mean is None or std is None or not getattr(inner, "do_normalize", False):
            return None
        return -_per_channel(mean) / _per_channel(std), (1 - _per_channel(mean)) / _per_channel(std)


def _per_channel(values: Any) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float32).reshape(-1, 1, 1)


def check_pixels(pixels: Tensor, channels: int | None, name: str) -> Float[Tensor, "c h w"]:
    """Return pixels that a model can read.

    Raises:
        InputError: they are no finite numbers, or have another number of channels.
    """
    if not pixels.is_floating_point():
        raise InputError(
            f"{name}: got pixel_values of {pixels.dtype}; pass what the processor returned, or the image itself as an array or "
            "an image of PIL."
        )
    if channels is not None and len(pixels) != channels:
        raise InputError(f"{name}: got {len(pixels)} channels ({tuple(pixels.shape)}), and the model reads {channels}.")
    if not pixels.numel() or not bool(pixels.isfinite().all()):
        raise InputError(f"{name}: pixels of shape {tuple(pixels.shape)} are empty or not finite; nothing can be explained.")
    return pixels.detach().float().cpu()


def read_image_processor(processor: Any, model: nn.Module) -> ImageProcessor:
    """Return the processor of an image model.

    Args:
        processor: As a user passes it.
        model: The model, whose config tells patches and channels.

    Raises:
        TokenizerError: it is a tokenizer, or nothing that can be called.
    """
    if isinstance(processor, ImageProcessor):
        return processor
    config = getattr(model, "config", None)
    config = getattr(config, "vision_config", config)
    patch, channels = getattr(config, "patch_size", None), getattr(config, "num_channels", None)
    patch = patch[0] if isinstance(patch, (list, tuple)) else patch
    if processor is None or is_image_processor(processor) or _is_function(processor):
        return ImageProcessor(processor, patch, channels)
    raise TokenizerError(
        f"`tokenizer`: got {type(processor).__name__}, and {type(model).__name__} reads images; pass its image processor "
        "(AutoImageProcessor.from_pretrained(...)), or a function from an image of PIL to a tensor (c, h, w)."
    )


def _is_function(value: Any) -> bool:
    return isinstance(value, Callable) and not isinstance(value, type) and not hasattr(value, "convert_ids_to_tokens")  # type: ignore[arg-type]
