"""Accuracy, confusion, precision, recall and calibration, compared with scikit-learn and scipy."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from interpreto.errors import InputError
from interpreto.intervals import share_interval
from interpreto.metrics.classification import ClassificationQuality, Share

NAMES = ["a", "b", "c", "never"]


@pytest.fixture(scope="module")
def drawn() -> ClassificationQuality:
    generator = np.random.default_rng(0)
    labels = [NAMES[i] for i in generator.choice(3, 200, p=[0.6, 0.3, 0.1])]
    predictions = [label if generator.random() < 0.7 else NAMES[int(generator.integers(3))] for label in labels]
    return ClassificationQuality.of(NAMES, predictions, labels, generator.uniform(0.4, 1, 200).tolist())


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (5, 5), (1, 3), (90, 100), (512, 1000)])
def test_the_interval_of_a_share_is_scipys(hits, n):
    expected = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert share_interval(hits, n) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert Share(hits, n).interval == share_interval(hits, n)


def test_nothing_has_no_share():
    assert math.isnan(float(Share(0, 0))) and all(map(math.isnan, Share(0, 0).interval))


def test_confusion_precision_and_recall_are_scikit_learns(drawn):
    y, p = drawn.labels.tolist(), drawn.predictions.tolist()
    assert drawn.confusion.tolist() == sk.confusion_matrix(y, p, labels=range(4)).tolist()
    precision, recall, f1, support = sk.precision_recall_fscore_support(y, p, labels=range(3), zero_division=0)
    for i, own in enumerate(drawn.classes[:3]):
        assert (float(own.precision), float(own.recall), own.f1) == pytest.approx((precision[i], recall[i], f1[i]))
        assert own.recall.n == support[i]
    assert math.isnan(drawn.classes[3].f1)
    assert drawn.macro_f1 == pytest.approx(sk.f1_score(y, p, average="macro"))
    assert float(drawn.accuracy) == pytest.approx(sk.accuracy_score(y, p))
    assert drawn.majority == (NAMES[int(np.bincount(y).argmax())], pytest.approx(np.bincount(y).max() / 200))


def test_bins_of_the_calibration_hold_equally_many_texts(drawn):
    bins = drawn.calibration
    assert [own.accuracy.n for own in bins] == [20] * 10
    assert sum(own.accuracy.hits for own in bins) == drawn.accuracy.hits
    assert all(a.high <= b.low for a, b in pairwise(bins))
    order = drawn.confidences.argsort(stable=True)
    right = drawn.right[order].double().reshape(10, 20).mean(1)
    sure = drawn.confidences[order].reshape(10, 20).mean(1)
    assert drawn.calibration_error == pytest.approx(float((right - sure).abs().mean()))
    assert drawn.overconfidence == pytest.approx(float(drawn.confidences.mean()) - float(drawn.accuracy))
    assert drawn.above(0.4) == drawn.accuracy and drawn.above(1.1).n == 0


def test_a_calibrated_model_has_no_error():
    right = ["a"] * 8 + ["b"] * 2
    quality = ClassificationQuality.of(["a", "b"], ["a"] * 10, right, [0.8] * 10)
    assert quality.calibration_error == pytest.approx(0.0) and quality.overconfidence == pytest.approx(0.0)


def test_without_probabilities_there_is_no_calibration():
    quality = ClassificationQuality.of(["a", "b"], ["a", "b"], ["a", "a"], [0.9, None])
    assert quality.calibration == () and math.isnan(quality.calibration_error)


def test_each_prediction_needs_a_label():
    with pytest.raises(InputError, match="got 1 for 2 labels"):
        ClassificationQuality.of(["a"], ["a"], ["a", "a"], [1.0])
    with pytest.raises(InputError, match="got 0 for 0"):
        ClassificationQuality.of(["a"], [], [], [])
