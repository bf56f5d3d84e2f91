"""Mask methods on images next to the bare forward passes of the same rows: one run, one table.

    python -m benchmarks.attributions_images [--rounds 5]

The rows are recorded while a method explains an image; ``bare`` runs the model on them again, in the same batches, and does
nothing else; ``fresh`` runs it on a new copy of each batch, as memory that was just taken slows the model itself. Rounds are
interleaved; each cell is the best of them, in seconds of the processor of one thread, which other
programs of the machine move little.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from transformers import ViTConfig, ViTForImageClassification

from benchmarks.attributions_classification import Run, measure
from interpreto import KernelShap, Occlusion, demo


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print(
        f"# Images\n\nBest of {rounds} interleaved rounds, processor time of one thread; {platform.machine()}, torch "
        f"{torch.__version__}.\n`bare` is the model on the same rows of pixels, in the same batches; `fresh` on a new copy of "
        "each batch.\n\n| model | method | rows | batches | bare | fresh | explanation | over bare | over fresh |\n"
        "|---|---|---|---|---|---|---|---|---|"
    )
    for name, (model, image, options) in models().items():
        for method, own in options.items():
            explainer = method(model, **own)
            batches = recorded(model, lambda explainer=explainer, image=image: explainer(image, 0))
            runs: dict[str, Run] = {
                "bare": lambda model=model, batches=batches: bare(model, batches),
                "fresh": lambda model=model, batches=batches: bare(model, (batch.clone() for batch in batches)),
                "explanation": lambda explainer=explainer, image=image: explainer(image, 0),
            }
            best = measure(runs, rounds, time.process_time)
            print(
                f"| {name} | `{method.__name__}` | {sum(map(len, batches))} | {len(batches)} | {best['bare'] * 1000:.0f} ms | "
                f"{best['fresh'] * 1000:.0f} ms | {best['explanation'] * 1000:.0f} ms | "
                f"{best['explanation'] / best['bare']:.2f} | {best['explanation'] / best['fresh']:.2f} |",
                flush=True,
            )


def models() -> dict[str, tuple[Any, Tensor, dict[Any, dict[str, Any]]]]:
    """Return models with pixels that they read, and the options of methods, by name."""
    small, processor = demo.load_image_classifier()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = {"hidden_size": 192, "num_hidden_layers": 12, "num_attention_heads": 3, "intermediate_size": 768}
        middle = ViTForImageClassification(ViTConfig(num_labels=10, **sizes)).eval()
        pixels = torch.randn(3, 224, 224)
    from PIL import Image  # optional

    digit = processor(Image.fromarray(demo.load_images(1)[0].image))
    shapley = {"granularity": "grid", "n_perturbations": 128}
    return {
        "embedded, 64 × 64 pixels": (small, digit, {Occlusion: {}, KernelShap: {}}),
        "12 layers of width 192, 224 × 224 pixels": (middle, pixels, {Occlusion: {"granularity": "grid"}, KernelShap: shapley}),
    }


def recorded(model: Any, run: Run) -> list[Tensor]:
    """Return the batches of pixels that a model is given."""
    found: list[Tensor] = []
    handle = model.register_forward_pre_hook(
        lambda _, args, given: found.append(given["pixel_values"].clone()), with_kwargs=True
    )
    try:
        run()
    finally:
        handle.remove()
    return found


@torch.no_grad()
def bare(model: Any, batches: Iterable[Tensor]) -> None:
    for batch in batches:
        model(pixel_values=batch)


if __name__ == "__main__":
    main()
