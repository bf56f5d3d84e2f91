"""Makes the image classifier of `interpreto/demo`, and the numbers of its model card.

    python tools/train_demo_image_model.py

A vision transformer of 4 layers learns digits on textured backgrounds, which `interpreto.demo.images` draws from the digits of
scikit-learn. Random patches are replaced by the image's mean color, so that a masked patch tells nothing. About five minutes on
one core.
"""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import ViTConfig, ViTForImageClassification

from interpreto.demo.images import MEAN, PATCH, SIDE, STD, digits_of, drawn, load_image_classifier, load_images

DEMO = Path(__file__).parents[1] / "interpreto" / "demo"
FOLDER, CARD = DEMO / "image_classifier", DEMO / "IMAGE_MODEL_CARD.md"
WIDTH, LAYERS, HEADS = 96, 4, 4
BATCH, RATE = 48, 1e-3
PLAIN = 0.3
"""Share of the time in which nothing is masked yet."""
MASKED = 0.5
"""Share of the images in which patches are masked: of each, a share drawn uniformly from 0 to 0.6."""


def pixels_of(images: Any) -> Tensor:
    """Return what the model reads of images of bytes."""
    return (torch.from_numpy(np.stack(images)).float().permute(0, 3, 1, 2) / 255 - MEAN) / STD


def masked(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Return images of which some have patches in their mean color."""
    n, side = len(pixels), SIDE // PATCH
    share = torch.rand(n, 1, generator=generator) * 0.6 * (torch.rand(n, 1, generator=generator) < MASKED)
    hidden = (torch.rand(n, side * side, generator=generator) < share).view(n, 1, side, side).float()
    hidden = hidden.repeat_interleave(PATCH, 2).repeat_interleave(PATCH, 3).bool()
    return torch.where(hidden, pixels.mean((2, 3), keepdim=True), pixels)


def trained(minutes: float, seed: int = 0) -> tuple[ViTForImageClassification, int]:
    """Return a classifier that was trained for some minutes, and the number of images that it saw."""
    torch.manual_seed(seed)
    options: dict[str, Any] = dict(  # noqa: C408  # as arguments
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=2 * WIDTH,
        image_size=SIDE,
        patch_size=PATCH,
        num_labels=10,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    config = ViTConfig(**options)
    config.id2label, config.label2id = {i: str(i) for i in range(10)}, {str(i): i for i in range(10)}
    model = ViTForImageClassification(config)
    digits, labels = digits_of("train")
    numbers, generator = np.random.default_rng(seed + 1), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.05)
    start, steps = time.process_time(), 0
    while (spent := (time.process_time() - start) / 60) < minutes:
        share = spent / minutes
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, steps / 100) * (0.5 + 0.5 * np.cos(np.pi * share))
        batch = [drawn(digits, labels, numbers) for _ in range(BATCH)]
        target = torch.tensor([each.digit for each in batch])
        pixels = pixels_of([each.image for each in batch])
        logits = model(pixel_values=pixels if share < PLAIN else masked(pixels, generator)).logits
        loss = cross_entropy(logits, target, label_smoothing=0.02)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        steps += 1
        if steps % 100 == 0:
            right = float((logits.argmax(1) == target).float().mean())
            print(f"{spent:.1f} min, {steps} steps, loss {loss.item():.3f}, accuracy {right:.2f}", flush=True)
    return model.eval(), steps * BATCH


@torch.no_grad()
def accuracy(model: Any, split: str, count: int = 1000) -> float:
    """Return the share of images that a model names rightly."""
    images = load_images(count, split, seed=7)
    found = torch.cat(
        [model(pixel_values=pixels_of([each.image for each in images[i : i + 100]])).logits for i in range(0, count, 100)]
    )
    return float((found.argmax(1) == torch.tensor([each.digit for each in images])).float().mean())


def write_card(seen: int) -> None:
    """Write the measured numbers into the model card."""
    model, _ = load_image_classifier()
    size = sum(each.stat().st_size for each in FOLDER.iterdir()) / 1e6
    lines = [
        f"- Accuracy: {accuracy(model, 'held-out'):.1%} of 1,000 images of held-out digits, {accuracy(model, 'train'):.1%} of",
        "  1,000 images of digits seen in training, on new backgrounds.",
        f"- Trained on {seen:,} drawn images, each seen once.",
        f"- Size: {sum(p.numel() for p in model.parameters()):,} parameters, {size:.2f} MB in all.",
    ]
    text = CARD.read_text("utf-8")
    block = "<!-- measured -->\n" + "\n".join(lines) + "\n<!-- /measured -->"
    CARD.write_text(re.sub(r"<!-- measured -->.*<!-- /measured -->", block, text, flags=re.DOTALL), "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="of processor time")
    arguments = parser.parse_args()
    model, seen = trained(arguments.minutes)
    FOLDER.mkdir(exist_ok=True)
    weights = {name: value.detach().half().contiguous() for name, value in model.state_dict().items()}
    save_file(weights, FOLDER / "model.safetensors")
    model.config.to_json_file(FOLDER / "config.json")
    write_card(seen)
    print(CARD.read_text("utf-8"))


if __name__ == "__main__":
    main()
