"""Moments of parts merge into those of all, and give the interval that the values themselves give."""

from __future__ import annotations

import math

import pytest
import torch

from interpreto.intervals import mean_interval
from interpreto.moments import Moments, merged_moments


def samples(n: int = 200) -> torch.Tensor:
    """Return a symmetric, a skewed and a constant column, some of whose values are missing, and one far from 0."""
    draws = torch.Generator().manual_seed(0)
    normal = torch.randn(n, 4, generator=draws, dtype=torch.float64)
    found = torch.stack([normal[:, 0], normal[:, 1].exp(), torch.full((n,), 0.3, dtype=torch.float64), 1e6 + normal[:, 3]], 1)
    found[::7, 1] = torch.nan
    found[:50, 0] = torch.nan  # none in the first parts
    return found


@pytest.mark.parametrize("sizes", [[200], [1] * 200, [3, 100, 97], [50, 150]])
def test_moments_of_parts_are_those_of_all(sizes):
    values = samples()
    merged = merged_moments(4, [Moments.of(part) for part in values.split(sizes)])
    for i, column in enumerate(values.T):
        known = column[~column.isnan()]
        summary = merged.summary(i)
        assert summary.n == len(known)
        assert summary.mean == pytest.approx(float(known.mean()), rel=1e-14)
        scale = max(1.0, abs(summary.mean)) if i == 3 else 1.0
        assert summary.interval(0.9) == pytest.approx(mean_interval(known, 0.9), abs=1e-13 * scale)


def test_the_order_of_parts_does_not_matter():
    parts = [Moments.of(part) for part in samples().split(7)]
    one, other = merged_moments(4, parts), merged_moments(4, parts[::-1])
    for i in range(3):
        assert one.summary(i).interval() == pytest.approx(other.summary(i).interval(), abs=1e-13)


def test_few_values_have_no_interval():
    none, one = Moments.none(1), Moments.of(torch.tensor([[2.0], [torch.nan]]))
    assert math.isnan(none.summary(0).mean) and math.isnan(one.summary(0).interval()[0])
    assert none.merged(one).summary(0).mean == one.merged(none).summary(0).mean == 2.0
