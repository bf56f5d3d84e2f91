"""The detector that comes with the library reads curves of any length, and ranks late and never learned texts first."""

from __future__ import annotations

import pytest
import torch

from interpreto.training import LabelErrorDetector, label_error_probability
from interpreto.training.detector import filled, trained_detector

NAN = torch.nan


def logits_of(chances: torch.Tensor) -> torch.Tensor:
    """Return logits ``(e, n, 2)`` at which class 1 has these probabilities ``(e, n)``."""
    return torch.stack([torch.zeros_like(chances), chances.logit()], -1)


@pytest.mark.parametrize("epochs", [3, 6, 10])
def test_never_learned_is_more_suspicious_than_late_than_at_once(epochs):
    late = torch.full((epochs,), 0.1)
    late[-1] = 0.9
    curves = torch.stack([torch.full((epochs,), 0.03), late, torch.full((epochs,), 0.97)], 1)
    found = label_error_probability(logits_of(curves), torch.ones(3, dtype=torch.long))
    assert found[0] > found[1] > found[2] and found[0] > 0.5 > found[2]
    swapped = label_error_probability(logits_of(curves).flip(-1), torch.zeros(3, dtype=torch.long))
    assert torch.allclose(swapped, found, atol=1e-6)  # which class it is does not matter


def test_loading_it_draws_nothing_and_it_is_the_same_each_time():
    before = torch.get_rng_state()
    trained_detector.cache_clear()
    one = trained_detector()
    assert torch.equal(torch.get_rng_state(), before) and not one.training
    trained_detector.cache_clear()
    two = trained_detector()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_a_detector_of_ones_own_is_used():
    torch.manual_seed(0)
    own = LabelErrorDetector()
    curves = torch.rand(4, 5)
    wanted = own(curves.T).sigmoid()
    assert torch.allclose(label_error_probability(logits_of(curves), torch.ones(5, dtype=torch.long), own), wanted, atol=1e-5)


def test_missing_epochs_are_filled_in_text_by_text():
    given = torch.tensor([[0.2, NAN, 0.1], [NAN, NAN, 0.2], [0.6, 0.4, NAN], [NAN, NAN, NAN], [NAN, 1.0, 0.5]])
    wanted = torch.tensor([[0.2, 0.4, 0.1], [0.4, 0.4, 0.2], [0.6, 0.4, 0.3], [0.6, 0.7, 0.4], [0.6, 1.0, 0.5]])
    assert torch.allclose(filled(given), wanted)
    assert torch.equal(filled(wanted), wanted) and filled(torch.full((3, 1), NAN)).isnan().all()
