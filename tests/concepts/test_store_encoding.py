"""Rows of eight bits: the error of each number has a bound, and what has none is told from numbers."""

from __future__ import annotations

import pytest
import torch

from interpreto.concepts.store_encoding import encoded, read_dtype
from interpreto.errors import OptionError

ROUNDING = 1 + 1e-5  # of the scale and of the product, in float32


def rows():
    """Return rows of very different sizes, some of whose numbers are far larger than the others."""
    draws = torch.Generator().manual_seed(0)
    found = torch.randn(200, 64, generator=draws) * 10 ** torch.empty(200, 1).uniform_(-6, 6, generator=draws)
    found[::5, 3] *= 1000
    found[7] = 0
    return found


def test_int8_is_at_most_half_a_step_away():
    found = encoded(rows(), "int8")
    assert found.numbers.dtype is torch.int8 and found.numbers.abs().max() == 127
    step = rows().abs().amax(1, keepdim=True) / 127
    error = (found.decoded().double() - rows().double()).abs()
    assert bool((error <= step.double() / 2 * ROUNDING).all())
    assert float((error / step.clamp(min=1e-30)).max()) > 0.49  # the bound is reached


def test_float8_is_at_most_a_sixteenth_away():
    found = encoded(rows(), "float8")
    assert found.numbers.dtype is torch.float8_e4m3fn
    scale = rows().abs().amax(1, keepdim=True).double() / 448
    error = (found.decoded().double() - rows().double()).abs()
    bound = torch.maximum(rows().double().abs() / 16, scale / 1024)
    assert bool((error <= bound * ROUNDING).all())
    assert float((error / bound.clamp(min=1e-30)).max()) > 0.9


@pytest.mark.parametrize("encoding", ["int8", "float8"])
def test_the_largest_number_and_zeros_are_kept(encoding):
    found = encoded(rows(), encoding).decoded()
    where = rows().abs().argmax(1, keepdim=True)
    assert torch.allclose(found.gather(1, where), rows().gather(1, where), rtol=1e-6, atol=0)
    assert not found[7].any()


@pytest.mark.parametrize("encoding", ["int8", "float8"])
@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf")])
def test_a_row_that_is_not_finite_stays_so(encoding, odd):
    given = torch.ones(3, 4)
    given[1, 2] = odd
    found = encoded(given, encoding).decoded()
    assert found[1].isnan().all() and torch.allclose(found[[0, 2]], given[[0, 2]])


def test_no_number_is_too_small_or_of_no_width():
    for encoding in ("int8", "float8"):
        assert torch.allclose(encoded(torch.full((2, 3), 1e-42), encoding).decoded(), torch.zeros(2, 3), atol=1e-38)
        assert encoded(torch.empty(3, 0), encoding).decoded().shape == (3, 0)
        assert encoded(torch.empty(0, 3), encoding).decoded().shape == (0, 3)


def test_dtypes_by_name():
    assert read_dtype(None) == (None, None)
    assert read_dtype(torch.bfloat16) == read_dtype("bfloat16") == (torch.bfloat16, None)
    assert read_dtype("int8") == read_dtype(torch.int8) == (torch.float32, "int8")
    assert read_dtype("float8") == read_dtype(torch.float8_e4m3fn) == (torch.float32, "float8")
    for odd in ("int4", torch.int64, torch.complex64, 8):
        with pytest.raises(OptionError, match="`dtype`: got"):
            read_dtype(odd)
