"""Small image models with random weights, processors and images, built in memory."""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn

from tests.tiny import wordpiece

SIDE = 32
COMMON = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": SIDE,
    "patch_size": 8,
    "num_labels": 3,
}
FAMILIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "vit": ("ViTForImageClassification", "ViTConfig", COMMON),
    "deit": ("DeiTForImageClassificationWithTeacher", "DeiTConfig", COMMON),
    "beit": ("BeitForImageClassification", "BeitConfig", COMMON),
    "dinov2": ("Dinov2ForImageClassification", "Dinov2Config", COMMON),
    "swin": (
        "SwinForImageClassification",
        "SwinConfig",
        {"image_size": SIDE, "patch_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4},
    ),
    "resnet": (
        "ResNetForImageClassification",
        "ResNetConfig",
        {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]},
    ),
    "convnext": (
        "ConvNextForImageClassification",
        "ConvNextConfig",
        {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "patch_size": 4},
    ),
    "mobilenet": ("MobileNetV2ForImageClassification", "MobileNetV2Config", {"depth_multiplier": 0.25}),
}
"""Class, config and its options of each family."""


@functools.cache
def image_model(family: str) -> Any:
    """Return a model of a family, the same one on every call."""
    kind, config, options = FAMILIES[family]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(transformers, kind)(getattr(transformers, config)(**{"num_labels": 3, **options}))
        for module in model.modules():
            if isinstance(module, nn.Conv2d) and family in ("resnet", "mobilenet"):
                nn.init.kaiming_normal_(module.weight)
            if isinstance(module, nn.BatchNorm2d):  # as after training, so that no layer is the identity
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2)
    return model.eval()


@functools.cache
def image_processor(side: int = SIDE, **options: Any) -> Any:
    """Return a processor that resizes and normalizes."""
    return _pil(transformers, "ViTImageProcessor")(size={"height": side, "width": side}, **options)


def _pil(module: Any, name: str) -> Any:
    """Return the class that needs no torchvision, whatever this version of transformers calls it."""
    try:
        from transformers.models.vit import image_processing_pil_vit

        return getattr(image_processing_pil_vit, f"{name}Pil")
    except ImportError:
        return getattr(module, name)


def array(h: int = 40, w: int = 50, seed: int = 0) -> Any:
    """Return a random image of bytes, smooth enough to have segments."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3))
    return np.kron(coarse, np.ones((-(-h // 5), -(-w // 5), 1)))[:h, :w].astype(np.uint8)


def as_tensor(image: Any) -> Tensor:
    """Return an image of PIL as numbers from 0 to 1, ``(c, h, w)``: a processor as plain models have."""
    values = torch.from_numpy(np.array(image)).float() / 255
    return values[None] if values.ndim == 2 else values.permute(2, 0, 1)


class LinearImages(nn.Module):
    """The weighted sum of all pixels, for some classes: every method has a closed form."""

    def __init__(self, shape: tuple[int, int, int], classes: int = 2) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.weight = nn.Parameter(torch.randn(classes, *shape, generator=generator))

    def forward(self, pixels: Tensor) -> Tensor:
        return torch.einsum("bchw,kchw->bk", pixels, self.weight)


class PooledImages(nn.Module):
    """A convolution, the mean over places, and a linear head: what class activation maps take apart."""

    def __init__(self, width: int = 6, classes: int = 3) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(2)
            self.features = nn.Sequential(nn.Conv2d(3, width, 3, stride=2, padding=1), nn.ReLU(inplace=True))
            self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.head(self.features(x).mean((2, 3))))


PAIRED = ("clip", "siglip")
"""Families of models that compare images with texts."""


@functools.cache
def paired(family: str) -> tuple[Any, Any]:
    """Return a model that compares images with texts, and its processor; the same ones on every call."""
    shared = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    words = wordpiece(False)
    text = {**shared, "vocab_size": len(words), "max_position_embeddings": 16}
    ids = {"bos_token_id": words.cls_token_id, "eos_token_id": words.sep_token_id, "pad_token_id": words.pad_token_id}
    name = {"clip": "CLIP", "siglip": "Siglip"}[family]
    if family == "clip":
        shared, text = {**shared, "projection_dim": 12}, {**text, "projection_dim": 12}
    else:
        text["projection_size"] = 16
    config = getattr(transformers, f"{name}Config")(
        text_config={**text, **ids}, vision_config={**shared, "image_size": SIDE, "patch_size": 8}, projection_dim=12
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = getattr(transformers, f"{name}Model")(config)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.2)
    return model.eval(), SimpleNamespace(image_processor=image_processor(), tokenizer=words)
