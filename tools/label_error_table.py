"""Measures how well training dynamics and influence find planted label noise in trainings of the embedded classifier."""

from __future__ import annotations

from collections.abc import Callable

import torch
from noisy_training import Planted, fine_tune, labeled, plant
from torch import Tensor
from train_detector import TEXTS as OF_DETECTOR

from interpreto.training import HeadInfluence, NearestTexts, TrainingDynamics

SHARE, EPOCHS, SEEDS, DRAWS = 0.1, 10, (0,), 1000
Score = Callable[[TrainingDynamics], Tensor]


def self_influence(record: TrainingDynamics) -> Tensor:
    """Return self-influence of a head that is fitted to the features of the first epoch."""
    return HeadInfluence(record.features[0], record.labels, l2=1e-2).self_influence()


def other_labels(record: TrainingDynamics) -> Tensor:
    """Return the share of the 10 nearest other texts, by what the head read at the first epoch, that have another label."""
    near = NearestTexts(record.features[0], record.texts)(record.features[0], k=11).indices[:, 1:]
    return (record.labels[near] != record.labels[:, None]).float().mean(1)


SCORES: dict[str, Score] = {
    "TIDY": lambda record: record.suspicion("tidy"),
    "area under the margin": lambda record: record.suspicion("aum"),
    "TracIn, self-influence at the head": lambda record: record.suspicion("tracin"),
    "confidence": lambda record: record.suspicion("confidence"),
    "correctness": lambda record: record.suspicion("correctness"),
    "BHDF's detector": lambda record: record.suspicion("bhdf"),
    "forgetting events": lambda record: record.suspicion("forgetting"),
    "influence functions, self-influence": self_influence,
    "another label among the nearest 10": other_labels,
    "loss after the last epoch": lambda record: -record.logits[-1].log_softmax(-1).gather(1, record.labels[:, None])[:, 0],
}


def average_precision(scores: Tensor, found: Tensor) -> float:
    """Return the mean precision at each positive, those of equal scores taken together.

    >>> round(average_precision(torch.tensor([3.0, 2.0, 1.0]), torch.tensor([True, False, True])), 3)
    0.833
    """
    levels, place = scores.double().clamp(max=1e12).unique(return_inverse=True)
    place = len(levels) - 1 - place  # the largest first
    hits = torch.zeros(len(levels), dtype=torch.double).index_add_(0, place, found.double())
    all_of = torch.zeros(len(levels), dtype=torch.double).index_add_(0, place, torch.ones(len(scores), dtype=torch.double))
    return float((hits * hits.cumsum(0) / all_of.cumsum(0)).sum() / found.sum())


def interval(pairs: list[tuple[Tensor, Tensor]], seed: int = 0) -> tuple[float, float, float]:
    """Return the mean average precision over trainings, and its 95 % bootstrap interval over texts."""
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for _ in range(DRAWS):
        rows = [torch.randint(len(scores), (len(scores),), generator=generator) for scores, _ in pairs]
        precisions = [average_precision(s[row], f[row]) for (s, f), row in zip(pairs, rows, strict=True)]
        drawn.append(sum(precisions) / len(pairs))
    low, high = torch.tensor(drawn).quantile(torch.tensor([0.025, 0.975])).tolist()
    return sum(average_precision(*pair) for pair in pairs) / len(pairs), low, high


def trainings() -> dict[str, list[tuple[Planted, TrainingDynamics]]]:
    """Fine-tune on sentences that the starting weights know with their true labels, and on sentences that they do not."""
    found: dict[str, list[tuple[Planted, TrainingDynamics]]] = {}
    for name, split in {"its training sentences": "train", "held-out sentences": "held-out"}.items():
        for seed in SEEDS:
            planted = plant(labeled(split), SHARE, seed)
            found.setdefault(name, []).append((planted, fine_tune(planted, epochs=EPOCHS, seed=seed)))
            print(name, seed, flush=True)
    return found


def label_errors_table() -> str:
    """Train, and return a table of average precisions with intervals, by score and sentences."""
    return table_of(trainings())


def table_of(runs: dict[str, list[tuple[Planted, TrainingDynamics]]]) -> str:
    """Return a table of average precisions with intervals, by score and sentences."""
    known, unknown = (f"{len(pairs[0][0].texts):,}" for pairs in runs.values())
    lines = [
        f"Average precision of finding flipped labels ({SHARE:.0%} of all; chance {SHARE:.2f}), with 95 % bootstrap",
        "intervals over the texts. The embedded classifier, with a new head, was fine-tuned once on the noisy labels",
        f"of each set of sentences, for {EPOCHS} epochs; all epochs are used. *Its training sentences* ({known}) are",
        f"known to the weights that it starts from, with their true labels; *held-out sentences* ({unknown}) are not,",
        "which is the harder and the usual case. The detector was trained on trainings on the first",
        f"{OF_DETECTOR:,} held-out sentences and is judged on the others.",
        "",
        "| score | " + " | ".join(runs) + " |",
        "|---|" + "---|" * len(runs),
    ]
    for score, function in SCORES.items():
        cells = []
        for name, pairs in runs.items():
            first = OF_DETECTOR if score.startswith("BHDF") and name.startswith("held-out") else 0
            found = interval([(function(record)[first:], planted.flipped[first:]) for planted, record in pairs])
            cells.append("**{:.2f}** [{:.2f}, {:.2f}]".format(*found))
        lines.append(f"| {score} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return "\n".join(lines) + "\n"
