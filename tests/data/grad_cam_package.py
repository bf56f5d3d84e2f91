"""Writes tests/data/grad_cam_package.json: maps by grad-cam 1.5.7 (the package ``pytorch_grad_cam``) of a small network.

    pip download --no-deps --no-binary :all: grad-cam==1.5.7, unpacked in PLACE
    PYTHONPATH=.:PLACE python -m tests.data.grad_cam_package

The package imports torchvision, OpenCV and ttach for images and pictures, which the maps of a layer do not need; empty modules
take their place, and the package's own list of methods is not run.
"""

from __future__ import annotations

import importlib
import json
import sys
import types
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import torch

from tests.data.zennit_lrp import Vgg, picture
from tests.tiny_images import as_tensor

LAYERS = (2, 5)
"""Activations of the network, whose maps have 16 × 16 and 6 × 6 places."""
STUBS = ("cv2", "ttach", "torchvision", "torchvision.transforms")


def package() -> tuple[Any, Any]:
    """Return the package's classes of Grad-CAM and Layer-CAM."""
    for name in STUBS:
        sys.modules[name] = MagicMock()
    (place,) = (Path(path) / "pytorch_grad_cam" for path in sys.path if (Path(path) / "pytorch_grad_cam").exists())
    bare = types.ModuleType("pytorch_grad_cam")
    bare.__path__ = [str(place)]
    sys.modules["pytorch_grad_cam"] = bare
    modules = [importlib.import_module(f"pytorch_grad_cam.{name}") for name in ("grad_cam", "layer_cam")]
    return modules[0].GradCAM, modules[1].LayerCAM


def maps(kind: Any, layer: int) -> list[float]:
    """Return the package's map of the second logit at a layer, before negative values are cut off and it is enlarged."""
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model = Vgg().eval()
    cam = kind(model=model, target_layers=[model.layers[layer]])
    x = as_tensor(picture())[None].requires_grad_()
    outputs = cam.activations_and_grads(x)
    model.zero_grad()
    ClassifierOutputTarget(1)(outputs[0]).backward()
    read = cam.activations_and_grads
    activations, gradients = (each[0].detach().numpy() for each in (read.activations, read.gradients))
    found = cam.get_cam_image(x, model.layers[layer], [ClassifierOutputTarget(1)], activations, gradients, False)
    return torch.from_numpy(found)[0].flatten().tolist()


if __name__ == "__main__":
    kinds = dict(zip(("GradCam", "LayerCam"), package(), strict=True))
    stored = {f"{name} {layer}": maps(kind, layer) for name, kind in kinds.items() for layer in LAYERS}
    Path(__file__).with_suffix(".json").write_text(json.dumps(stored) + "\n", "utf-8")
