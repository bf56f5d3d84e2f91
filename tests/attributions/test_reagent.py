"""Recursive importance: uniform where nothing matters, and the unit that matters first where one does."""

from __future__ import annotations

import math

import pytest
import torch

from interpreto import BlackBox, ReAGent
from interpreto.attributions.perturbations.recursive import RecursivePerturbator, updates
from interpreto.errors import OptionError
from tests import tiny

TEXT = "the film was good and the music was bad"


def test_a_constant_model_has_no_order():
    found = ReAGent(BlackBox(lambda texts: [0.5 if " " in text else 0.1 for text in texts]), enough=0.99, n_perturbations=60)
    assert found(TEXT, 0)[0].attributions[0].tolist() == pytest.approx([1 / 9] * 9)


def test_the_unit_that_matters_is_first():
    asked = []

    def rule(texts):
        asked.extend(texts)
        return [0.9 if "music" in text else 0.1 for text in texts]

    found = ReAGent(BlackBox(rule))(TEXT, 0)[0]
    assert found.top(1)[0][0] == "music" and not found.signed
    assert float(found.attributions.sum()) == pytest.approx(1.0)
    assert len(asked) < 60  # it ends where the top of the order is enough


def test_a_budget_ends_what_would_go_on():
    asked = []
    rule = BlackBox(lambda texts: [asked.append(text) or 0.0 for text in texts])  # nothing keeps a share of nothing
    ReAGent(rule, n_perturbations=40)(TEXT, 0)
    assert 20 < len(asked) <= 40


def test_a_drop_moves_the_masked_up_and_the_others_down():
    masks = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
    moved = torch.tensor([[0.5], [-0.2]]).double()
    up, down = math.log(0.75 / 0.25), math.log(0.4 / 0.6)
    torch.testing.assert_close(updates(masks, moved), torch.tensor([[up - down, -up + down, -up + down]]).double())


def test_classes_have_orders_of_their_own():
    def rule(texts):
        return [[0.9 if "good" in t else 0.1, 0.8 if "bad" in t else 0.2] for t in texts]

    found = ReAGent(BlackBox(rule, labels=["for", "against"]))(TEXT, [["for", "against"]])[0]
    assert [found.top(1, target=i)[0][0] for i in (0, 1)] == ["good", "bad"]


def test_tokens_of_a_generation_are_explained_by_what_is_before_them():
    model, tokenizer = tiny.CAUSAL_LMS["gpt2"]()
    explainer = ReAGent(model, tokenizer, n_perturbations=40)
    found = explainer("The film was", " very good")[0]
    assert found.inference_mode == "softmax"
    sums = found.attributions.nansum(1)
    torch.testing.assert_close(sums, torch.ones_like(sums))
    assert found.attributions[0].isnan().any() and torch.equal(
        found.attributions.nan_to_num(), explainer("The film was", " very good")[0].attributions.nan_to_num()
    )


@pytest.mark.parametrize("options", [{"replaced": 0.0}, {"kept": 1.0}, {"enough": 2.0}, {"n_perturbations": 1}])
def test_an_option_out_of_range_is_refused(options):
    with pytest.raises(OptionError, match=next(iter(options))):
        RecursivePerturbator(**options)
