"""Writes docs/tables/images.md: how often each method points at the digit of the embedded images.

    python -W ignore tools/image_table.py [--count 200] [--only METHOD ...]

Every method explains the predicted class of 200 held-out images by patches; the digit's box is known. About five minutes.
With ``--only``, the rows of these methods are measured, and those of others stay as the table has them.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import interpreto
from interpreto import demo
from interpreto.errors import InterpretoError
from interpreto.metrics import PointGame, PointGameAUC

TABLE = Path(__file__).parent.parent / "docs" / "tables" / "images.md"
METHODS: dict[str, dict[str, object]] = {
    "Occlusion": {},
    "InputXGradient": {},
    "Saliency": {},
    "AttnLrp": {},
    "DeepLift": {},
    "Lrp": {},
    "RawAttention": {},
    "AttentionRollout": {},
    "GenericAttention": {},
    "BidirectionalAttention": {},
    "GradCam": {},
    "LayerCam": {},
    "ScoreCam": {"channels": 16},
    "IntegratedGradients": {"n_perturbations": 16},
    "SmoothGrad": {"n_perturbations": 8},
    "TransitionAttention": {},
    "KernelShap": {},
    "Lime": {},
    "Rise": {},
}
"""Methods and budgets, the cheaper ones first."""
DRAWS = 20
"""Random values of an image, whose mean is the row of chance."""
HEAD = """# Pointing at the digit

Written by `tools/image_table.py`. Every method explains the predicted class of {count} images of `demo.load_images()`
(held-out digits on textured backgrounds) for the embedded image classifier, by its 64 patches.
The box of a digit is {area:.0%} of the image.
`PointGame`: the patch of largest value is in the box. `PointGameAUC`: a pixel in the box has a larger value than one
outside, with probability. Some methods have small budgets: {budgets}.
Random values are the mean of {draws} draws per image. ± is the standard error over images. Seconds are those of one core.

| method | `PointGame` | `PointGameAUC` | seconds per image |
|---|---|---|---|
"""


RANDOM = "random values"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--only", nargs="+", choices=[*METHODS], default=None)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    images = demo.load_images(asked.count)
    boxes = [image.box for image in images]
    lines = {} if asked.only is None else read_lines()
    outputs: list[Any] = []
    for name in asked.only or METHODS:
        start = time.process_time()
        try:
            outputs = explained(name, images)
        except InterpretoError as error:
            print(name, error)
            continue
        lines[f"`{name}`"] = row(f"`{name}`", boxes, [outputs], (time.process_time() - start) / asked.count)
        print(lines[f"`{name}`"][1], flush=True)
    if outputs and asked.only is None:
        generator = torch.Generator().manual_seed(0)
        noise = [
            [replace(each, attributions=torch.rand(each.attributions.shape, generator=generator)) for each in outputs]
            for _ in range(DRAWS)
        ]
        lines[RANDOM] = row(RANDOM, boxes, noise, 0.0)
    budgets = ", ".join(f"`{name}` {next(iter(own.values()))}" for name, own in METHODS.items() if own)
    area = (boxes[0][2] - boxes[0][0]) * (boxes[0][3] - boxes[0][1]) / images[0].mask.size
    head = HEAD.format(count=asked.count, draws=DRAWS, area=area, budgets=budgets)
    order = sorted(lines, key=lambda name: (-lines[name][0], name == RANDOM, name.lower()))
    TABLE.write_text(head + "\n".join(lines[name][1] for name in order) + "\n", "utf-8")


def explained(name: str, images: list[Any]) -> list[Any]:
    """Return the explanations of images by a method."""
    model, processor = demo.load_image_classifier()
    return list(getattr(interpreto, name)(model, processor, **METHODS[name])([image.image for image in images]))


def row(name: str, boxes: list[Any], draws: list[list[Any]], seconds: float) -> tuple[float, str]:
    """Return the point game's score, and a line of the table."""
    cells = []
    for metric in (PointGame(boxes), PointGameAUC(boxes)):
        values = torch.stack([torch.as_tensor(metric.run(found).per_sample) for found in draws]).double().mean(0)
        cells.append((float(values.mean()), float(values.std() / len(values) ** 0.5)))
    shown = "".join(f" {mean:.3f} ± {error:.3f} |" for mean, error in cells)
    return round(cells[0][0], 3), f"| {name} |{shown} {seconds:.3f} |"


def read_lines() -> dict[str, tuple[float, str]]:
    """Return the lines of the table that there is, by name, with the point game's scores."""
    lines = [line for line in TABLE.read_text("utf-8").splitlines() if line.startswith("| ") and " ± " in line]
    cells = [[cell.strip() for cell in line.split("|")] for line in lines]
    return {own[1]: (float(own[2].split(" ± ")[0]), line) for own, line in zip(cells, lines, strict=True)}


if __name__ == "__main__":
    main()
