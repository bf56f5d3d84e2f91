"""The embedded image classifier, and images of digits on textured backgrounds whose place is known."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any

import numpy as np

from interpreto.errors import InputError
from interpreto.validation import check_count

if TYPE_CHECKING:
    from transformers import ViTForImageClassification

SIDE, PATCH = 64, 8
DIGIT = 24
"""Side of a drawn digit: a digit of scikit-learn has 8 pixels, each drawn three times as large."""
MEAN, STD = 0.5, 0.25
IMAGE_SPLITS = ("train", "held-out")


@dataclass(frozen=True, eq=False)
class DigitImage:
    """A digit on a textured background.

    Attributes:
        image: ``(64, 64, 3)`` bytes.
        digit: Which digit it is, 0 to 9.
        box: Where the digit is: ``(top, left, bottom, right)`` in pixels, the ends not included.
        mask: ``(64, 64)``, True where the digit has ink.
        texture: Name of the background.
    """

    image: Any = field(repr=False)
    digit: int
    box: tuple[int, int, int, int]
    mask: Any = field(repr=False)
    texture: str


def load_image_classifier() -> tuple[ViTForImageClassification, DigitProcessor]:
    """Load the embedded classifier of digits, in float32 and evaluation mode, and its processor.

    A vision transformer of 4 layers and 96 dimensions that reads 64 × 64 pixels in patches of 8, with the labels ``0`` to
    ``9``. Parts of its images were replaced by their mean color in training, so that masked patches carry no information.
    Nothing is downloaded. ``IMAGE_MODEL_CARD.md`` in this folder has its accuracy and its training.

    Returns:
        The model and the processor, as every explainer takes them.

    >>> from interpreto import Occlusion
    >>> Occlusion(*load_image_classifier())(load_images(1)[0].image)[0].target_labels
    ['2']
    """
    import torch  # noqa: PLC0415
    from safetensors.torch import load_file  # noqa: PLC0415
    from transformers import ViTConfig, ViTForImageClassification  # noqa: PLC0415

    with as_file(files("interpreto.demo") / "image_classifier") as folder:
        with torch.random.fork_rng(devices=[]):
            model = ViTForImageClassification(ViTConfig.from_json_file(folder / "config.json"))
        model.load_state_dict(load_file(folder / "model.safetensors"))  # copies float16 into the float32 parameters
    return model.eval(), DigitProcessor()


class DigitProcessor:
    """Resize an image to 64 × 64 pixels and normalize it; what the embedded image classifier reads."""

    image_mean, image_std = (MEAN,) * 3, (STD,) * 3
    do_normalize = True

    def __call__(self, image: Any) -> Any:
        """Return ``(3, 64, 64)`` numbers."""
        import torch  # noqa: PLC0415

        resized = image if image.size == (SIDE, SIDE) else image.resize((SIDE, SIDE))
        values = torch.from_numpy(np.array(resized)).float().permute(2, 0, 1) / 255
        return (values - MEAN) / STD


def load_images(count: int = 200, split: str = "held-out", seed: int = 0) -> list[DigitImage]:
    """Draw images of digits on textured backgrounds, the same ones on every call. Needs scikit-learn.

    Args:
        count: Number of images.
        split: Digits of ``"held-out"`` were not seen in training; those of ``"train"`` were.
        seed: Seed of the draws.

    Returns:
        Images with their digits, boxes and masks.

    Raises:
        InputError: there is no such split.

    >>> first = load_images(1)[0]
    >>> first.digit, first.image.shape, first.box[2] - first.box[0]
    (2, (64, 64, 3), 24)
    """
    if split not in IMAGE_SPLITS:
        raise InputError(f"`split`: got {split!r}; pass one of {', '.join(map(repr, IMAGE_SPLITS))}.")
    check_count(count, "count")
    digits, labels = digits_of(split)
    generator = np.random.default_rng([seed, IMAGE_SPLITS.index(split)])
    return [drawn(digits, labels, generator) for _ in range(count)]


def digits_of(split: str) -> tuple[Any, Any]:
    """Return the digits of scikit-learn, ``(n, 8, 8)`` from 0 to 1, and their labels: every fifth is held out."""
    from sklearn.datasets import load_digits  # noqa: PLC0415  # optional

    data: Any = load_digits()
    held = np.arange(len(data.target)) % 5 == 0
    kept = held if split == "held-out" else ~held
    return data.images[kept] / 16, data.target[kept]


def drawn(digits: Any, labels: Any, generator: Any) -> DigitImage:
    """Return a random digit in a random color, at a random place of the grid of patches, on a random background."""
    texture = str(generator.choice(list(TEXTURES)))
    i = int(generator.integers(len(digits)))
    top, left = (int(v) * PATCH for v in generator.integers(0, (SIDE - DIGIT) // PATCH + 1, 2))
    dark, light = generator.uniform(0.0, 0.35, 3), generator.uniform(0.4, 0.7, 3)
    weights = TEXTURES[texture](generator)[..., None]
    image = dark * (1 - weights) + light * weights
    ink = np.zeros((SIDE, SIDE))
    ink[top : top + DIGIT, left : left + DIGIT] = np.kron(digits[i], np.ones((3, 3)))
    color = generator.uniform(0.8, 1.0, 3)
    image = image * (1 - ink[..., None]) + color * ink[..., None]
    image = np.clip(image + generator.normal(0, 0.03, image.shape), 0, 1)
    box = top, left, top + DIGIT, left + DIGIT
    return DigitImage((image * 255).round().astype(np.uint8), int(labels[i]), box, ink > 0.25, texture)


def _stripes(generator: Any) -> Any:
    angle, width = generator.uniform(0, np.pi), generator.uniform(3, 8)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return (np.sin((np.cos(angle) * rows + np.sin(angle) * columns) * np.pi / width + generator.uniform(0, 6)) > 0).astype(
        float
    )


def _checks(generator: Any) -> Any:
    size = int(generator.integers(3, 9))
    rows, columns = np.mgrid[:SIDE, :SIDE] + int(generator.integers(size))
    return ((rows // size + columns // size) % 2).astype(float)


def _clouds(generator: Any) -> Any:
    total = np.zeros((SIDE, SIDE))
    for size in (4, 8, 16):
        coarse = generator.uniform(0, 1, (SIDE // size, SIDE // size))
        total += np.kron(coarse, np.ones((size, size))) * size
    return total / total.max()


def _dots(generator: Any) -> Any:
    step, radius = int(generator.integers(6, 12)), generator.uniform(1.5, 3)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return (((rows % step - step / 2) ** 2 + (columns % step - step / 2) ** 2) < radius**2).astype(float)


TEXTURES = {"stripes": _stripes, "checks": _checks, "clouds": _clouds, "dots": _dots}
"""Backgrounds by name: each draws ``(64, 64)`` numbers from 0 to 1."""
