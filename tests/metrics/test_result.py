"""A result is its score, prints what it means, and knows how sure it is."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch

from interpreto.errors import EstimateWarning, OptionError
from interpreto.intervals import mean_interval, student_quantile
from interpreto.metrics import MetricResult
from interpreto.metrics.attributions.plausibility import harmonic_mean

DRAWN = {  # samples by number, and their expectation
    "normal": (lambda rng, size: rng.normal(size=size), 0.0, (None, None)),
    "log-normal": (lambda rng, size: rng.lognormal(size=size), math.exp(0.5), (0.0, None)),
    "beta": (lambda rng, size: rng.beta(0.3, 2, size=size), 0.3 / 2.3, (0.0, 1.0)),
}


def result(values, **facts):
    known = {"details": {}, "higher_is_better": True, "value_range": (0.0, None), "n_skipped": 0, "config": {}, "name": "M"}
    per_sample = None if values is None else torch.tensor(values)
    score = 0.5 if values is None else float(per_sample.nanmean())
    return MetricResult(score=score, per_sample=per_sample, n_valid=len(values or [1]), **(known | facts))


class TestIntervals:
    @pytest.mark.parametrize("n", [2, 3, 5, 20])
    @pytest.mark.parametrize("name", DRAWN)
    def test_the_nominal_95_percent_cover_90_to_99(self, name, n):
        """400 draws: two standard errors of a coverage are 0.03 at 0.90 and 0.01 at 0.99; ``make tables`` has more."""
        draw, mean, bounds = DRAWN[name]
        samples = torch.from_numpy(draw(np.random.default_rng(n), (400, n)))
        ends = [result(row.tolist(), value_range=bounds).interval() for row in samples]
        covered = sum(low <= mean <= high for low, high in ends) / len(ends)
        assert 0.87 <= covered <= 0.9975

    def test_of_many_samples_it_is_students(self):
        values = torch.randn(20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        half = 1.96 * float(values.std()) / math.sqrt(20_000)
        assert result(values.tolist(), value_range=(None, None)).interval() == pytest.approx(
            (float(values.mean()) - half, float(values.mean()) + half), abs=1e-4
        )

    @pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 10, 99, 100, 1000, 1001, 10**6])
    def test_quantiles_are_scipys(self, freedom):
        for level in (0.5, 0.9, 0.95, 0.99, 0.9999):
            assert student_quantile(level, freedom) == pytest.approx(scipy.stats.t.ppf((1 + level) / 2, freedom), rel=1e-6)

    def test_scale_place_and_sign_go_with_the_samples(self):
        values = torch.tensor([0.1, 0.2, 0.25, 0.9, 3.0], dtype=torch.float64)
        low, high = mean_interval(values, 0.95)
        assert mean_interval(7 * values - 2, 0.95) == pytest.approx((7 * low - 2, 7 * high - 2))
        assert mean_interval(-values, 0.95) == pytest.approx((-high, -low))
        assert high - values.mean() > values.mean() - low  # the long tail's side is the longer one

    def test_it_grows_with_its_level_and_draws_nothing(self):
        found = result(
            [*torch.randn(40, generator=torch.Generator().manual_seed(0)).tolist(), math.nan], value_range=(None, None)
        )
        state = torch.get_rng_state()
        assert found.interval() == found.interval(random_state=1) == found.interval(draws=10)
        assert torch.equal(state, torch.get_rng_state())
        (a, b), (c, d) = found.interval(0.5), found.interval(0.99)
        assert c < a < b < d

    def test_one_sample_is_no_interval_and_says_so(self):
        for values in ([0.7], [0.7, math.nan]):
            with pytest.warns(EstimateWarning, match="M was scored on one sample, which has no interval"):
                assert all(map(math.isnan, result(values).interval()))
            with pytest.warns(EstimateWarning, match="one sample"):
                assert all(map(math.isnan, result(values).difference(result(values))))
        assert all(map(math.isnan, result([math.nan]).interval()))

    def test_it_stays_in_the_range_of_the_metric(self):
        found = result([0.1, 0.9], value_range=(0.0, 1.0))
        assert found.interval() == (0.0, 1.0)
        assert found.difference(result([0.9, 0.1], value_range=(0.0, 1.0))) == (-1.0, 1.0)
        assert result([0.1, 0.9]).interval()[0] == 0.0
        assert result([0.5, 0.5, 0.5]).interval() == (0.5, 0.5)

    def test_of_a_function_of_means_it_covers_too(self):
        rng, hits = np.random.default_rng(0), 0
        truth = float(harmonic_mean(torch.tensor([0.6, 0.3], dtype=torch.float64)))
        for _ in range(400):
            parts = torch.from_numpy(np.stack([rng.beta(3, 2, size=12), rng.beta(1.5, 3.5, size=12)], 1))
            of = {"parts": parts, "combined": harmonic_mean, "value_range": (0.0, 1.0)}
            low, high = result(harmonic_mean(parts).tolist(), **of).interval()
            hits += low <= truth <= high
        assert 0.9 <= hits / 400 <= 0.99

    def test_a_difference_is_taken_sample_by_sample(self):
        ours = torch.randn(50, generator=torch.Generator().manual_seed(0))
        low, high = result((ours + 0.25).tolist()).difference(result(ours.tolist()))
        assert low == pytest.approx(0.25, abs=1e-6)
        assert high == pytest.approx(0.25, abs=1e-6)
        paired = result([1.0, math.nan, 3.0]).difference(result([0.5, 7.0, 2.5]))
        assert paired == pytest.approx((0.5, 0.5))

    def test_a_score_of_all_together_has_none(self):
        with pytest.raises(OptionError, match="M is of all samples together"):
            result(None).interval()
        for level in (1.5, 0, -0.5):
            with pytest.raises(OptionError, match=f"`level`: got {level!r}"):
                result([0.5, 0.7]).interval(level)


def test_it_prints_what_it_means():
    assert repr(result([0.25, 0.75], n_skipped=1)) == "M 0.5 (2 samples, 1 skipped, higher is better, in [0, ∞])"
    assert float(result([0.25, 0.75], value_range=(None, 1.0), higher_is_better=False)) == 0.5
