"""Trains the detector of label errors that comes with the library, and writes its weights.

    python tools/train_detector.py

Trainings of the embedded classifier on the first 1,000 held-out sentences, with planted noise of several shares, learning
rates and seeds; beginnings of them too, so that the detector knows short trainings. Takes some minutes on two
cores. The weights that are stored were made with another shuffling of the batches.
"""

from __future__ import annotations

from pathlib import Path

import torch
from noisy_training import fine_tune, labeled, plant
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from interpreto.statistics import auc
from interpreto.training import LabelErrorDetector
from interpreto.training.scores import probabilities

TEXTS = 1000
RUNS = ((1e-4, 0.1), (2e-4, 0.2), (5e-5, 0.1), (3e-4, 0.3), (1e-4, 0.3), (2e-4, 0.05))
"""Learning rate and share of flipped labels."""
SHORTEST, STEPS, BATCH = 3, 1500, 256
TARGET = Path(__file__).parents[1] / "interpreto" / "training" / "detector.safetensors"


def record() -> list[tuple[Tensor, Tensor]]:
    """Return the probabilities of the assigned labels, ``(n, e)``, and which labels are wrong, of each training."""
    found = []
    for seed, (rate, share) in enumerate(RUNS):
        planted = plant(labeled("held-out")[:TEXTS], share, seed=100 + seed)
        dynamics = fine_tune(planted, rate=rate, seed=100 + seed, features=False)
        found.append((probabilities(dynamics.logits, dynamics.labels).T.contiguous(), planted.flipped))
        print(
            f"rate {rate}, {share:.0%} flipped: AUM finds them with AUC {auc(-dynamics.area_under_margin, planted.flipped):.3f}"
        )
    return found


def main() -> None:
    torch.set_num_threads(1)
    trainings = record()
    torch.manual_seed(0)
    detector = LabelErrorDetector()
    optimizer = torch.optim.AdamW(detector.parameters(), lr=3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for step in range(STEPS):
        chances, wrong = trainings[step % len(trainings)]
        rows = torch.randint(len(chances), (BATCH,))
        length = int(torch.randint(SHORTEST, chances.shape[1] + 1, ()))
        loss = binary_cross_entropy_with_logits(detector(chances[rows, :length]), wrong[rows].float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 300 == 299:
            print(f"step {step + 1}: loss {loss:.3f}", flush=True)
    save_file({name: value.detach().contiguous() for name, value in detector.state_dict().items()}, TARGET)
    TARGET.chmod(0o644)


if __name__ == "__main__":
    main()
