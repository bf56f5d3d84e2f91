"""Writes tests/data/zennit_lrp.json: relevance by zennit 0.5.1 of a small network, in a grid of 4 × 4 regions.

    pip install --no-deps --target PLACE zennit==0.5.1
    PYTHONPATH=.:PLACE python -m tests.data.zennit_lrp

Zennit names classes of torchvision at its import, which are not used here; empty ones take their place.
"""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests.tiny_images import array, as_tensor

NAMES = ("epsilon", "gamma", "alpha_beta", "epsilon_plus", "epsilon_gamma", "epsilon_alpha_beta")
STORED = [(name, "same") for name in NAMES] + [
    ("epsilon_plus", "flat"),
    ("epsilon_gamma", "box"),
    ("epsilon_alpha_beta", "flat"),
]
"""A composite, and the rule of its first layer."""


def picture() -> Any:
    return array(16, 16)


class Vgg(nn.Module):
    """Convolutions, batch normalization, max pooling, linear layers; weights and biases are sines, the same anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3)),
        )
        with torch.no_grad():
            for i, values in enumerate(self.layers.parameters()):
                values.copy_((torch.arange(values.numel()) * (1.7 + i) + i).sin().view_as(values) * 0.6)
            self.layers[1].running_var.copy_(torch.linspace(0.5, 2, 6))
            self.layers[1].running_mean.copy_(torch.linspace(-0.3, 0.3, 6))
            self.layers[1].weight.add_(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def zennits(composite: str, first: str) -> list[float]:
    """Return zennit's relevance of the second logit in each region."""
    for name, classes in (
        ("", ()),
        (".models", ()),
        (".models.resnet", ("Bottleneck", "BasicBlock")),
        (".models.vgg", ("VGG",)),
    ):
        module = types.ModuleType(f"torchvision{name}")
        for each in classes:
            setattr(module, each, type(each, (), {}))
        sys.modules[module.__name__] = module
    from zennit import rules
    from zennit import types as kinds
    from zennit.attribution import Gradient
    from zennit.canonizers import SequentialMergeBatchNorm
    from zennit.composites import LayerMapComposite, SpecialFirstLayerMapComposite

    made = {
        "epsilon": lambda: rules.Epsilon(1e-6),
        "gamma": lambda: rules.Gamma(0.25),
        "alpha_beta": lambda: rules.AlphaBeta(2, 1),
        "epsilon_plus": rules.ZPlus,
    }
    convolution = made[composite] if composite in made else made[composite.removeprefix("epsilon_")]
    linear = made["epsilon"] if composite.startswith("epsilon") else convolution
    layers = [(kinds.AvgPool, rules.Norm()), (kinds.Activation, rules.Pass())]
    layers += [(kinds.Convolution, convolution()), (kinds.Linear, linear())]
    merged: dict[str, Any] = {"canonizers": [SequentialMergeBatchNorm()]}
    if first == "same":
        chosen = LayerMapComposite(layers, **merged)
    else:
        pixels = rules.Flat() if first == "flat" else rules.ZBox(0.0, 1.0)
        chosen = SpecialFirstLayerMapComposite(layers, [(kinds.Convolution, pixels)], **merged)
    model, x = Vgg().eval(), as_tensor(picture())[None].requires_grad_()
    with Gradient(model=model, composite=chosen) as attributor:
        _, relevance = attributor(x, torch.eye(3)[[1]] * model(x).detach())
    return relevance[0].sum(0).unfold(0, 4, 4).unfold(1, 4, 4).sum((2, 3)).flatten().tolist()


if __name__ == "__main__":
    found = {" ".join(case): zennits(*case) for case in STORED}
    Path(__file__).with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
