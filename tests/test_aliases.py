"""Other spellings of arguments."""

import pytest

from interpreto.aliases import aliases
from interpreto.errors import OptionError


@aliases(points="n_steps")
def curve(text, n_steps=32, *, seed=0):
    """Draw a curve."""
    return text, n_steps, seed


def test_both_spellings_are_the_same_argument():
    assert curve("a", points=8, seed=2) == curve("a", n_steps=8, seed=2) == curve("a", 8, seed=2) == ("a", 8, 2)
    assert curve.__name__ == "curve" and curve.__doc__ == "Draw a curve."


def test_one_of_them():
    with pytest.raises(OptionError, match="`points`: another spelling of `n_steps`"):
        curve("a", points=8, n_steps=8)
    with pytest.raises(TypeError):
        curve("a", 8, points=8)
