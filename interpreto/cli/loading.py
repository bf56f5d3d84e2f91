"""Load the model of a command."""

from __future__ import annotations

from typing import Any

import torch

from interpreto import demo
from interpreto.errors import ModelError, TokenizerError
from interpreto.models import devices
from interpreto.models.loading import load


def load_model(model: str | None, device: str | None = None, *, images: bool = False) -> tuple[Any, Any]:
    """Return a model in evaluation mode and its tokenizer.

    Args:
        model: A repository or a folder; None: the embedded classifier.
        device: Where to put it; None: it stays where it is.
        images: The embedded classifier is that of images.

    Raises:
        ModelError, TokenizerError: There is no such folder or repository, or it holds no model or no tokenizer.
        OptionError: There is no such device.
    """
    place = None if device is None else read_device(device)
    found: Any
    try:
        embedded = demo.load_image_classifier if images else demo.load_classifier
        found, tokenizer = embedded() if model is None else load(model)
    except (ModelError, TokenizerError) as error:
        raise type(error)(str(error).replace("`model`", "`--model`").replace("`source`", "`--model`")) from error
    return (found if place is None else found.to(place)), tokenizer


def read_device(name: str) -> torch.device:
    """Return a device that computes; ``"auto"`` is the fastest that there is, a whole number one of CUDA's.

    Raises:
        OptionError: There is no such device.
    """
    return devices.read_device(name, "--device")
