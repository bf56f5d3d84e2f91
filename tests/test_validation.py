"""Options are checked in one place: what is accepted, and what an error says."""

from __future__ import annotations

import numpy as np
import pytest

from interpreto.errors import OptionError
from interpreto.validation import (
    check_batch_size,
    check_choice,
    check_count,
    check_flag,
    check_not_negative,
    check_optional_seed,
    check_positive,
    check_probability,
    check_seed,
    shown,
)

NOT_WHOLE = (True, np.True_, 2.0, "2", None, [2], float("nan"))
NOT_A_NUMBER = (True, "2", None, [2.0], float("nan"), float("inf"))


@pytest.mark.parametrize("kind", [int, np.int64, np.int8, np.uint32])
def test_whole_numbers_of_every_kind_are_counts(kind):
    for check in (check_count, check_batch_size, check_seed):
        found = check(kind(3), "n") if check is not check_batch_size else check(kind(3))
        assert type(found) is int and found == 3


@pytest.mark.parametrize("value", NOT_WHOLE)
def test_nothing_else_is_a_count(value):
    with pytest.raises(OptionError, match=r"`n`: got .*; pass a whole number of at least 1\."):
        check_count(value, "n")
    if value is not None:
        with pytest.raises(OptionError, match="`batch_size`"):
            check_batch_size(value)
        with pytest.raises(OptionError, match="`random_state`"):
            check_optional_seed(value)


def test_bounds_are_named():
    assert check_count(0, "n", 0) == 0
    with pytest.raises(OptionError, match=r"`k`: got 9; pass a whole number from 1 to 8\."):
        check_count(9, "k", most=8)
    for seed in (-1, 2**32):
        with pytest.raises(OptionError):
            check_seed(seed)
    assert check_batch_size(None) is None and check_optional_seed(None) is None


@pytest.mark.parametrize("value", [*NOT_A_NUMBER, 0, -1.0])
def test_positive_numbers(value):
    assert check_positive(np.float32(0.5), "x") == 0.5 and check_positive(2, "x") == 2.0
    with pytest.raises(OptionError, match=r"`x`: got .*; pass a number above 0"):
        check_positive(value, "x")
    if value != 0 or isinstance(value, bool):
        with pytest.raises(OptionError, match="at least 0"):
            check_not_negative(value, "x")


@pytest.mark.parametrize("value", [*NOT_A_NUMBER, -0.1, 1.1])
def test_probabilities(value):
    assert [check_probability(p, "p") for p in (0, 1, 0.5, np.float64(0.25))] == [0.0, 1.0, 0.5, 0.25]
    with pytest.raises(OptionError, match=r"`p`: got .*; pass a number from 0 to 1"):
        check_probability(value, "p")


def test_probabilities_without_their_ends():
    with pytest.raises(OptionError, match="from above 0 to below 1"):
        check_probability(0, "p", zero=False, one=False)
    with pytest.raises(OptionError):
        check_probability(1.0, "p", one=False)


def test_choices_and_flags():
    assert check_choice("a", "c", ("a", "b")) == "a"
    with pytest.raises(OptionError, match=r"`c`: got 'd'; pass one of 'a', 'b'\."):
        check_choice("d", "c", ("a", "b"))
    with pytest.raises(OptionError):
        check_choice(True, "c", (1, 2))  # equal to 1, and none of the choices
    assert check_flag(False, "f") is False
    with pytest.raises(OptionError, match="pass True or False"):
        check_flag("yes", "f")


def test_an_error_repeats_no_novel():
    assert shown("x" * 1000) == f"{repr('x' * 1000)[:60]}… (str)"
