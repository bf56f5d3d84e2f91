"""Writes docs/tables/images.md: how often each method points at the digit of the embedded images.

    python -W ignore tools/image_table.py [number of images]

Every method explains the predicted class of 200 held-out images by patches; the digit's box is known. About five minutes.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

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


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    torch.set_num_threads(1)
    model, processor = demo.load_image_classifier()
    images = demo.load_images(count)
    boxes = [image.box for image in images]
    rows, outputs = [], []
    for name, options in METHODS.items():
        start = time.process_time()
        try:
            outputs = list(getattr(interpreto, name)(model, processor, **options)([image.image for image in images]))
        except InterpretoError as error:
            print(name, error)
            continue
        rows.append((name, outputs, (time.process_time() - start) / count))
        print(name, float(PointGame(boxes).run(outputs)), flush=True)
    generator = torch.Generator().manual_seed(0)
    noise = [
        [replace(each, attributions=torch.rand(each.attributions.shape, generator=generator)) for each in outputs]
        for _ in range(DRAWS)
    ]
    lines = []
    for name, draws, seconds in [*((name, [found], seconds) for name, found, seconds in rows), ("random", noise, 0.0)]:
        cells = []
        for metric in (PointGame(boxes), PointGameAUC(boxes)):
            values = torch.stack([torch.as_tensor(metric.run(found).per_sample) for found in draws]).double().mean(0)
            cells.append((float(values.mean()), float(values.std() / len(values) ** 0.5)))
        shown = "".join(f" {mean:.3f} ± {error:.3f} |" for mean, error in cells)
        lines.append((-cells[0][0], f"| {'random values' if name == 'random' else f'`{name}`'} |{shown} {seconds:.3f} |"))
    budgets = ", ".join(f"`{name}` {next(iter(own.values()))}" for name, own in METHODS.items() if own)
    area = (boxes[0][2] - boxes[0][0]) * (boxes[0][3] - boxes[0][1]) / images[0].mask.size
    head = HEAD.format(count=count, draws=DRAWS, area=area, budgets=budgets)
    TABLE.write_text(head + "\n".join(line for _, line in sorted(lines)) + "\n", "utf-8")


if __name__ == "__main__":
    main()
