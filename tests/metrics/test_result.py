"""A result is its score, prints what it means, and knows how sure it is."""

from __future__ import annotations

import math

import pytest
import torch

from interpreto.errors import OptionError
from interpreto.metrics import MetricResult


def result(values, **facts):
    known = {"details": {}, "higher_is_better": True, "value_range": (0.0, None), "n_skipped": 0, "config": {}, "name": "M"}
    per_sample = None if values is None else torch.tensor(values)
    score = 0.5 if values is None else float(per_sample.nanmean())
    return MetricResult(score=score, per_sample=per_sample, n_valid=len(values or [1]), **(known | facts))


def test_the_interval_covers_the_mean_as_often_as_it_says():
    generator, hits = torch.Generator().manual_seed(0), 0
    for trial in range(200):
        low, high = result(torch.randn(60, generator=generator).tolist()).interval(0.9, 400, trial)
        hits += low <= 0 <= high
    assert 0.82 <= hits / 200 <= 0.96


def test_the_interval_is_that_of_its_seed_and_grows_with_its_level():
    found = result([*torch.randn(40, generator=torch.Generator().manual_seed(0)).tolist(), math.nan])
    assert found.interval() == found.interval() and found.interval(random_state=1) != found.interval()
    (a, b), (c, d) = found.interval(0.5), found.interval(0.99)
    assert c < a < b < d
    assert all(map(math.isnan, result([math.nan]).interval()))


def test_a_difference_is_taken_sample_by_sample():
    ours = torch.randn(50, generator=torch.Generator().manual_seed(0))
    low, high = result((ours + 0.25).tolist()).difference(result(ours.tolist()))
    assert low == pytest.approx(0.25, abs=1e-6)
    assert high == pytest.approx(0.25, abs=1e-6)
    paired = result([1.0, math.nan, 3.0]).difference(result([0.5, 7.0, 2.5]))
    assert paired == pytest.approx((0.5, 0.5))


def test_a_score_of_all_together_has_none():
    with pytest.raises(OptionError, match="M is of all samples together"):
        result(None).interval()
    with pytest.raises(OptionError, match=r"`level`: got 1\.5"):
        result([0.5]).interval(1.5)


def test_it_prints_what_it_means():
    assert repr(result([0.25, 0.75], n_skipped=1)) == "M 0.5 (2 samples, 1 skipped, higher is better, in [0, ∞])"
    assert float(result([0.25, 0.75], value_range=(None, 1.0), higher_is_better=False)) == 0.5
