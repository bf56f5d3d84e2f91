"""The embedded image classifier and its images: small, true to their model card, with boxes that hold the digit."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from interpreto import demo
from interpreto.demo.images import SIDE, TEXTURES
from interpreto.errors import InputError

FOLDER = Path(str(files("interpreto.demo")))


def test_the_folder_is_small():
    assert sum(each.stat().st_size for each in (FOLDER / "image_classifier").iterdir()) < 1e6


def test_images_are_the_same_on_every_call_and_their_boxes_hold_the_digit():
    first, again = demo.load_images(40), demo.load_images(40)
    assert all((a.image == b.image).all() and a.box == b.box for a, b in zip(first, again, strict=True))
    for each in first:
        top, left, bottom, right = each.box
        assert each.image.shape == (SIDE, SIDE, 3) and each.image.dtype == np.uint8
        assert each.mask[top:bottom, left:right].sum() == each.mask.sum() > 0
    assert {each.texture for each in first} == set(TEXTURES)


def test_splits_differ_and_others_are_refused():
    assert not (demo.load_images(1, "train")[0].image == demo.load_images(1)[0].image).all()
    with pytest.raises(InputError, match="'held-out'"):
        demo.load_images(1, "test")


@torch.no_grad()
def test_the_classifier_is_as_good_as_its_card_says():
    model, processor = demo.load_image_classifier()
    claimed = re.search(r"Accuracy: ([\d.]+)% of 1,000 images of held-out", (FOLDER / "IMAGE_MODEL_CARD.md").read_text("utf-8"))
    assert claimed is not None
    images = demo.load_images(200)

    pixels = torch.stack([processor(Image.fromarray(each.image)) for each in images])
    right = model(pixel_values=pixels).logits.argmax(1) == torch.tensor([each.digit for each in images])
    assert float(right.float().mean()) == pytest.approx(float(claimed.group(1)) / 100, abs=0.04)


@torch.no_grad()
def test_an_image_without_a_digit_has_no_certain_class():
    model, _ = demo.load_image_classifier()
    gray = torch.zeros(1, 3, SIDE, SIDE)
    assert float(model(pixel_values=gray).logits.softmax(1).max()) < 0.6
