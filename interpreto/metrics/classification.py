"""Quality of a classifier on labeled texts: accuracy, confusion, precision and recall, calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interpreto.errors import InputError
from interpreto.intervals import share_interval

BINS = 10
"""Bins of the calibration curve, with equally many texts each."""


@dataclass(frozen=True)
class Share:
    """A share of texts with its 95 % interval.

    Attributes:
        hits: Number of texts that count.
        n: Number of texts.
    """

    hits: int
    n: int

    def __float__(self) -> float:
        return self.hits / self.n if self.n else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Return Wilson's 95 % interval; NaN where there is no text."""
        return share_interval(self.hits, self.n)


@dataclass(frozen=True)
class ClassQuality:
    """Precision and recall of one class.

    Attributes:
        name: The class.
        precision: Share of the texts with this prediction that have this label.
        recall: Share of the texts with this label that get this prediction.
    """

    name: str
    precision: Share
    recall: Share

    @property
    def f1(self) -> float:
        """Return the harmonic mean of precision and recall; NaN for a class that is neither a label nor predicted."""
        total = self.precision.n + self.recall.n
        return 2 * self.recall.hits / total if total else math.nan


@dataclass(frozen=True)
class CalibrationBin:
    """Texts of similar confidence.

    Attributes:
        low: Least confidence.
        high: Largest confidence.
        confidence: Mean confidence.
        accuracy: Share of the predictions that are right.
    """

    low: float
    high: float
    confidence: float
    accuracy: Share


@dataclass(frozen=True, eq=False)
class ClassificationQuality:
    """Predictions compared with labels.

    Attributes:
        names: Names of the classes.
        predictions: ``(n,)`` predicted classes.
        labels: ``(n,)`` true classes.
        confidences: ``(n,)`` probabilities of the predictions; NaN where the model has none.

    Examples:
        >>> quality = ClassificationQuality.of(["a", "b"], ["a", "b", "b"], ["a", "a", "b"], [0.9, 0.6, 0.8])
        >>> quality.accuracy, quality.confusion.tolist()
        (Share(hits=2, n=3), [[1, 1], [0, 1]])
    """

    names: tuple[str, ...]
    predictions: Int[Tensor, " n"]
    labels: Int[Tensor, " n"]
    confidences: Float[Tensor, " n"]

    @staticmethod
    def of(
        names: Sequence[str], predictions: Sequence[str], labels: Sequence[str], confidences: Sequence[float | None]
    ) -> ClassificationQuality:
        """Return the quality of predictions, all given by name.

        Raises:
            InputError: The numbers of predictions, labels and confidences differ, or are 0.
        """
        if not len(predictions) == len(labels) == len(confidences) or not len(labels):
            raise InputError(f"`predictions`: got {len(predictions)} for {len(labels)} labels; pass one for each.")
        number = {name: i for i, name in enumerate(names)}
        return ClassificationQuality(
            tuple(names),
            torch.tensor([number[name] for name in predictions]),
            torch.tensor([number[name] for name in labels]),
            torch.tensor([math.nan if value is None else value for value in confidences], dtype=torch.float64),
        )

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def right(self) -> Bool[Tensor, " n"]:
        """Return where the prediction is the label."""
        return self.predictions == self.labels

    @cached_property
    def confusion(self) -> Int[Tensor, "c c"]:
        """Return the number of texts by label (rows) and prediction (columns)."""
        c = len(self.names)
        return torch.bincount(self.labels * c + self.predictions, minlength=c * c).reshape(c, c)

    @property
    def accuracy(self) -> Share:
        """Return the share of the predictions that are right."""
        return Share(int(self.right.sum()), len(self))

    @property
    def majority(self) -> tuple[str, float]:
        """Return the most frequent label and its share: the accuracy of always predicting it."""
        counts = self.confusion.sum(1)
        return self.names[int(counts.argmax())], float(counts.max()) / len(self)

    @cached_property
    def classes(self) -> tuple[ClassQuality, ...]:
        """Return precision and recall of each class."""
        hits, predicted, true = (
            self.confusion.diagonal().tolist(),
            self.confusion.sum(0).tolist(),
            self.confusion.sum(1).tolist(),
        )
        return tuple(
            ClassQuality(name, Share(hits[i], predicted[i]), Share(hits[i], true[i])) for i, name in enumerate(self.names)
        )

    @property
    def macro_f1(self) -> float:
        """Return the mean F1 over classes that are labels or predictions."""
        found = [own.f1 for own in self.classes if not math.isnan(own.f1)]
        return sum(found) / len(found)

    @cached_property
    def calibration(self) -> tuple[CalibrationBin, ...]:
        """Return bins of equally many texts by rising confidence; none where the model has no probabilities."""
        if bool(self.confidences.isnan().any()):
            return ()
        order = self.confidences.argsort(stable=True)
        bins = []
        for part in order.tensor_split(min(BINS, max(1, len(order) // BINS))):
            own, right = self.confidences[part], int(self.right[part].sum())
            bins.append(CalibrationBin(float(own.min()), float(own.max()), float(own.mean()), Share(right, len(part))))
        return tuple(bins)

    @property
    def calibration_error(self) -> float:
        """Return the mean distance of confidence and accuracy over the bins of `calibration`.

        References:
            Guo et al., ICML 2017, https://arxiv.org/abs/1706.04599 (with bins of equal width; these hold equally many texts).
        """
        gaps = [abs(own.confidence - float(own.accuracy)) * own.accuracy.n for own in self.calibration]
        return sum(gaps) / len(self) if gaps else math.nan

    @property
    def overconfidence(self) -> float:
        """Return the mean confidence less the accuracy: above 0 where the model claims more than it keeps."""
        return float(self.confidences.mean()) - float(self.accuracy)

    def above(self, confidence: float) -> Share:
        """Return the share of right predictions among those of at least this confidence."""
        sure = self.confidences >= confidence
        return Share(int((self.right & sure).sum()), int(sure.sum()))
