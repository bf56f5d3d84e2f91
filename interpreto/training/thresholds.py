"""Threshold samples: texts that are given a class of their own, and show which margins wrong labels have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interpreto.errors import InputError
from interpreto.training.recording import read_labels
from interpreto.validation import check_count, check_probability, check_seed


@dataclass(frozen=True, eq=False)
class ThresholdSamples:
    """Labels to train on, in which some texts have a class that does not exist, and the threshold that follows.

    Attributes:
        indices: Numbers of the threshold samples, ``(t,)``.
        labels: Labels to train on, ``(n,)``: class ``n_classes`` for the threshold samples, as given for all others.
        n_classes: Number of the real classes; the model to train has one class more.
    """

    indices: Int[Tensor, " t"]
    labels: Int[Tensor, " n"]
    n_classes: int

    def threshold(self, area_under_margin: Float[Tensor, " n"], percentile: float | int = 99) -> float:
        """Return the margin below which a label is suspected: a percentile of the threshold samples' margins.

        Args:
            area_under_margin: Of all texts, from the training on `labels`.
            percentile: In [0, 100].

        Raises:
            InputError: There is not one margin per text.
        """
        if len(area_under_margin) != len(self.labels):
            raise InputError(
                f"`area_under_margin`: got {len(area_under_margin)}; pass one for each of {len(self.labels)} texts."
            )
        share = check_probability(float(percentile) / 100, "percentile")
        return float(area_under_margin[self.indices].double().quantile(share))

    def suspected(self, area_under_margin: Float[Tensor, " n"], percentile: float | int = 99) -> Bool[Tensor, " n"]:
        """Return which texts lie below the threshold, ``(n,)``; the threshold samples themselves are never suspected."""
        found = area_under_margin <= self.threshold(area_under_margin, percentile)
        found[self.indices] = False
        return found


def threshold_samples(
    labels: Sequence[int] | Tensor, n_classes: int, *, n: int | None = None, random_state: int = 0
) -> ThresholdSamples:
    """Return labels in which randomly drawn texts have a class of their own.

    A model can only memorize that class, as it can only memorize wrong labels, so that margins of these texts are margins of
    wrong labels. To judge all texts, train twice with different ``random_state``.

    Args:
        labels: The assigned labels.
        n_classes: Number of classes.
        n: How many threshold samples; None: as many as the other classes have on average, texts / (classes + 1).
        random_state: Seed of the draw.

    References:
        Pleiss et al., NeurIPS 2020, https://arxiv.org/abs/2001.10528.

    Examples:
        >>> drawn = threshold_samples([0, 1, 0, 1, 0, 1], 2)
        >>> len(drawn.indices), drawn.labels[drawn.indices].tolist()
        (2, [2, 2])
    """
    classes = check_count(n_classes, "n_classes", 2)
    found = read_labels(labels, len(labels), classes).clone()
    count = max(len(found) // (classes + 1), 1) if n is None else check_count(n, "n", 1, len(found))
    generator = torch.Generator().manual_seed(check_seed(random_state))
    indices = torch.randperm(len(found), generator=generator)[:count].sort().values
    found[indices] = classes
    return ThresholdSamples(indices, found, classes)
