"""Learned weights of heads: the mean of attention before a fit, and the planted head after it."""

from __future__ import annotations

import pytest
import torch

from interpreto import At2, Occlusion
from interpreto.attributions.attention.head_weights import Ablations, fitted
from interpreto.errors import FileError, OptionError
from interpreto.models.attention_maps import attention_maps
from tests import tiny

CONTEXT = "The film was great. Nothing happens. The music is beautiful. He paid for it."
ANSWER = " It was good."


def planted(head, seed=0, examples=6, sign=1.0):
    """Scores that one of 3 × 4 heads tells exactly."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(examples):
        features = torch.rand(3, 4, 10, generator=generator)
        present = (torch.rand(24, 10, generator=generator) < 0.5).float()
        found.append(Ablations(features, present, sign * present @ features[head]))
    return found


@pytest.mark.parametrize("head", [(0, 0), (2, 1)])
def test_a_planted_head_is_found(head):
    weights = fitted(planted(head), steps=1500)
    assert tuple(int(i) for i in (weights == weights.max()).nonzero()[0]) == head
    assert float(weights[head]) > 0.5 and float(weights.abs().sum()) == pytest.approx(1.0)


def test_a_head_that_speaks_against_gets_a_negative_weight_unless_none_may():
    weights = fitted(planted((1, 2), sign=-1.0), steps=1500)
    assert float(weights[1, 2]) == float(weights.min()) < -0.3
    assert float(fitted(planted((1, 2), sign=-1.0), positive=True).min()) >= 0


def test_the_fit_predicts_ablations_that_it_has_not_seen():
    weights = fitted(planted((1, 3), seed=0))
    for held_out in planted((1, 3), seed=1):
        predicted = held_out.present @ torch.einsum("mhu,mh->u", held_out.features, weights)
        alike = torch.corrcoef(torch.stack([predicted, held_out.scores]))[0, 1]
        equal = held_out.present @ held_out.features.mean((0, 1))
        assert alike > torch.corrcoef(torch.stack([equal, held_out.scores]))[0, 1]


def test_scores_that_never_change_teach_nothing():
    flat = [Ablations(torch.rand(2, 2, 3), torch.ones(4, 3), torch.zeros(4))]
    with pytest.raises(OptionError, match="nothing to learn"):
        fitted(flat)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_without_a_fit_it_is_the_mean_attention_of_the_answer(family):
    model, tokenizer = tiny.CAUSAL_LMS[family]()
    found = At2(model, tokenizer)(CONTEXT, ANSWER)[0]
    sample = found.sample
    maps = torch.stack([each.weights[0] for each in attention_maps(At2(model, tokenizer).model, sample)])
    read = maps[:, :, sample.targets.readouts[0].positions].mean((0, 1, 2))
    wanted = [float(read[sample.units.index == unit].sum()) for unit in range(len(sample.units))]
    torch.testing.assert_close(found.attributions[0], torch.tensor(wanted), rtol=1e-4, atol=1e-5)
    assert found.elements == ["The film was great.", "Nothing happens.", "The music is beautiful.", "He paid for it."]


def test_one_head_alone_is_that_head():
    model, tokenizer = tiny.CAUSAL_LMS["gpt2"]()
    heads = torch.zeros(model.config.n_layer, model.config.n_head)
    heads[1, 0] = 1.0
    found = At2(model, tokenizer, weights=heads, granularity="token")(CONTEXT, ANSWER)[0]
    own = attention_maps(At2(model, tokenizer).model, found.sample)[1].weights[0, 0]
    wanted = own[found.sample.targets.readouts[0].positions].mean(0)[: len(found.elements)]
    torch.testing.assert_close(found.attributions[0], wanted, rtol=1e-4, atol=1e-5)


def test_a_fit_is_saved_and_read_again(tmp_path):
    model, tokenizer = tiny.CAUSAL_LMS["gpt2"]()
    explainer = At2(model, tokenizer)
    with pytest.raises(OptionError, match="no weights yet"):
        explainer.save_weights(tmp_path / "heads")
    equal = explainer(CONTEXT, ANSWER)[0].attributions
    assert explainer.fit([CONTEXT, CONTEXT[20:]], [ANSWER, " No."], n_perturbations=8, replacement="mean") is explainer
    assert explainer.weights.shape == (model.config.n_layer, model.config.n_head)
    learned = explainer(CONTEXT, ANSWER)[0].attributions
    assert not torch.allclose(learned, equal)
    explainer.save_weights(tmp_path / "heads")
    again = At2(model, tokenizer, weights=tmp_path / "heads")
    assert torch.equal(again(CONTEXT, ANSWER)[0].attributions, learned)
    Occlusion(model, tokenizer)(CONTEXT, ANSWER)[0].save(tmp_path / "else")
    with pytest.raises(FileError):
        At2(model, tokenizer, weights=tmp_path / "else")


def test_what_cannot_be_weighted_is_refused():
    model, tokenizer = tiny.CAUSAL_LMS["gpt2"]()
    with pytest.raises(OptionError, match="weights"):
        At2(model, tokenizer, weights=b"x")
    for shape in ((1, model.config.n_head), (9, model.config.n_head), (model.config.n_layer, 99)):
        with pytest.raises(OptionError, match="fitted on this model"):
            At2(model, tokenizer, weights=torch.ones(shape))(CONTEXT, ANSWER)
    with pytest.raises(OptionError, match="language model"):
        At2(*tiny.CLASSIFIERS["bert"]()).fit([CONTEXT])
    with pytest.raises(OptionError, match="two stacks"):
        At2(*tiny.SEQ2SEQ["t5"]()).fit([CONTEXT], [ANSWER], replacement="mean", n_perturbations=4)
