"""Numbers of training dynamics are their closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from interpreto.training import (
    area_under_margin,
    confidence,
    correctness,
    forgetting_events,
    threshold_samples,
    tidy_scores,
    variability,
)
from interpreto.training.scores import learned, margins, probabilities

NAN = torch.nan


def logits_of(chances: list[list[float]]) -> torch.Tensor:
    """Return logits ``(e, n, 2)`` at which class 1 has these probabilities."""
    p = torch.tensor(chances)
    return torch.stack([torch.zeros_like(p), p.logit()], -1)


class TestDataMap:
    chances = torch.tensor([[0.2, 0.9], [0.4, 0.8], [0.9, 0.7]])
    labels = torch.tensor([1, 0])

    def test_confidence_is_the_mean_and_variability_the_population_deviation(self):
        logits = logits_of(self.chances.tolist())
        own = np.array([[0.2, 0.1], [0.4, 0.2], [0.9, 0.3]])
        assert np.allclose(confidence(logits, self.labels), own.mean(0), atol=1e-6)
        assert np.allclose(variability(logits, self.labels), own.std(0), atol=1e-6)
        assert correctness(logits, self.labels).tolist() == [pytest.approx(1 / 3), 0.0]

    def test_an_epoch_without_a_text_is_left_out(self):
        logits = logits_of(self.chances.tolist())
        logits[1, 0] = NAN
        assert confidence(logits, self.labels)[0] == pytest.approx(0.55)
        assert variability(logits, self.labels)[0] == pytest.approx(0.35)
        assert correctness(logits, self.labels)[0] == 0.5
        assert area_under_margin(logits, self.labels)[0] == pytest.approx((math.log(0.25) + math.log(9)) / 2, abs=1e-5)

    def test_a_shift_of_all_logits_changes_nothing(self):
        logits = torch.randn(4, 5, 3)
        labels = torch.tensor([0, 1, 2, 1, 0])
        for number in (confidence, variability, correctness, area_under_margin):
            assert torch.allclose(number(logits, labels), number(logits + torch.randn(4, 5, 1), labels), atol=1e-5)


@pytest.mark.parametrize(
    ("right", "events", "tidy"),
    [
        ([0, 1, 0, 1, 1, 0], 2, 8 / 3),
        ([1, 1, 1, 1, 1, 1], 0, 2.5),
        ([0, 0, 0, 0, 0, 0], math.inf, 6),  # never learned
        ([0, 0, 0, 0, 0, 1], 0, 5),
        ([1, 0, 0, 0, 0, 0], 1, 0),
        ([1, NAN, 0, NAN, NAN, 1], 1, 2.5),  # forgotten between two records of it
        ([1, NAN, 1, NAN, NAN, 1], 0, 7 / 3),
    ],
)
def test_forgetting_events_and_tidy_by_hand(right, events, tidy):
    given = torch.tensor(right, dtype=torch.float32)[:, None]
    assert forgetting_events(given).tolist() == [events]
    assert tidy_scores(given).tolist() == [pytest.approx(tidy)]


def test_a_label_is_learned_where_its_margin_is_positive_and_a_tie_is_not():
    logits = torch.tensor([[[1.0, 2.0, 0.5]], [[2.0, 2.0, 0.0]], [[NAN, NAN, NAN]], [[0.0, 0.1, 3.0]]])
    labels = torch.tensor([1])
    assert margins(logits, labels)[:, 0].tolist()[:2] == [1.0, 0.0] and margins(logits, labels)[3, 0] == pytest.approx(-2.9)
    assert learned(logits, labels)[[0, 1, 3], 0].tolist() == [1.0, 0.0, 0.0] and learned(logits, labels)[2].isnan().all()
    assert probabilities(logits, labels)[0, 0] == pytest.approx(math.exp(2) / (math.e + math.exp(2) + math.exp(0.5)), abs=1e-6)


class TestThresholdSamples:
    def test_they_have_a_class_of_their_own_and_others_keep_theirs(self):
        labels = torch.arange(30) % 2
        drawn = threshold_samples(labels, 2)
        assert len(drawn.indices) == 10 and set(drawn.labels[drawn.indices].tolist()) == {2}
        kept = torch.ones(30, dtype=torch.bool)
        kept[drawn.indices] = False
        assert torch.equal(drawn.labels[kept], labels[kept]) and labels.max() == 1
        assert not torch.equal(drawn.indices, threshold_samples(labels, 2, random_state=1).indices)

    def test_the_threshold_is_a_percentile_of_their_margins(self):
        drawn = threshold_samples(torch.arange(30) % 2, 2, n=5)
        margin = torch.arange(30.0)
        margin[drawn.indices] = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0])
        assert drawn.threshold(margin, 50) == 2.0 and drawn.threshold(margin, 100) == 4.0
        suspected = drawn.suspected(margin, 100)
        others = [i for i in range(5) if i not in drawn.indices.tolist()]
        assert suspected.nonzero()[:, 0].tolist() == others
        with pytest.raises(ValueError, match="one for each of 30 texts"):
            drawn.threshold(margin[:3])
