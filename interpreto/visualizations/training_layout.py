"""Data maps and forgotten texts that all media share: which dots, colors and rows are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from interpreto.renderable import visible
from interpreto.training.dynamics import TrainingDynamics

COLORS = ("#b3261e", "#e07a1f", "#b39200", "#3f8f63", "#2a6fc9")
"""Colors of the share of epochs in which a text's label is predicted, from none to all; color-blind readers tell the ends."""
STEPS = ("never", "rarely", "half of the time", "mostly", "always")
DOTS, FORGOTTEN = 3000, 12
"""Dots of a data map, and rows of the table of forgotten texts, at most."""
AXES = ("variability of the label's probability over epochs", "confidence: mean probability of the label")
REGIONS = ((0.2, 0.97, "easy to learn"), (0.43, 0.7, "ambiguous"), (0.13, 0.04, "hard to learn"))
"""Names of the regions of a data map, and where they are written."""


@dataclass(frozen=True)
class Dot:
    """One text of a data map.

    Attributes:
        text: The text.
        label: Name of its label.
        x: Variability.
        y: Confidence.
        step: Number of its color.
    """

    text: str
    label: str
    x: float
    y: float
    step: int


@dataclass(frozen=True)
class Forgotten:
    """One text of the table of forgotten ones.

    Attributes:
        text: The text.
        label: Name of its label.
        events: How often it was forgotten.
        correctness: Share of epochs in which its label was predicted.
    """

    text: str
    label: str
    events: int
    correctness: float


@dataclass(frozen=True)
class DataMap:
    """All that is drawn of a record.

    Attributes:
        dots: Texts, every n-th of more than `DOTS`.
        forgotten: The most forgotten texts, most events first.
        n: Number of texts.
        epochs: Number of epochs.
        never: Texts whose label was never predicted.
        once: Texts that were forgotten at least once.
    """

    dots: Sequence[Dot]
    forgotten: Sequence[Forgotten]
    n: int
    epochs: int
    never: int
    once: int


def read_map(record: TrainingDynamics) -> DataMap:
    """Return what is drawn of a record."""
    texts = [visible(text) for text in record.texts]
    labels = [visible(record.classes[i]) for i in record.labels.tolist()]
    right, events = record.correctness.tolist(), record.forgetting_events
    x, y = record.variability.tolist(), record.confidence.tolist()
    shown = range(0, len(texts), 1 + (len(texts) - 1) // DOTS)
    finite = events.isfinite() & (events > 0)
    order = [i for i in events.nan_to_num(posinf=-1).argsort(dim=0, descending=True, stable=True).tolist() if finite[i]]
    return DataMap(
        dots=[Dot(texts[i], labels[i], x[i], y[i], step_of(right[i])) for i in shown],
        forgotten=[Forgotten(texts[i], labels[i], int(events[i]), right[i]) for i in order[:FORGOTTEN]],
        n=len(texts),
        epochs=len(record.epochs),
        never=int(events.isinf().sum()),
        once=int(finite.sum()),
    )


def step_of(correctness: float) -> int:
    """Return the number of the color of a share: 0 for none, 4 for all, thirds between.

    Examples:
        >>> [step_of(share) for share in (0.0, 0.1, 0.5, 0.9, 1.0)]
        [0, 1, 2, 3, 4]
    """
    return 0 if correctness <= 0 else 4 if correctness >= 1 else min(1 + int(3 * correctness), 3)
