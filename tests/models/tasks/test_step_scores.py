"""Explained scores of generations by name: each against a loop over the model, by gradients and by masks."""

from __future__ import annotations

import gc

import pytest
import torch

from interpreto import Contrast, GenericAttention, InferenceModes, InputXGradient, Occlusion
from interpreto.errors import OptionError, TargetError
from interpreto.models.tasks import divergence
from tests import tiny

PROMPT, TARGET = "The film was", " not good"
FAMILIES = {name: {**tiny.CAUSAL_LMS, **tiny.SEQ2SEQ}[name] for name in ("llama", "gpt2", "t5")}
MODES = ["softmax", "log_softmax", "logits", "entropy", "kl_divergence"]


def logits_of(model, ids, source, given=None):
    """Logits at each token of one row, with other embeddings where they are given."""
    if source:
        return model(input_ids=ids[None, :source], decoder_input_ids=ids[None, source:]).logits[0]
    return model(input_ids=ids[None]).logits[0] if given is None else model(inputs_embeds=given[None]).logits[0]


def at_targets(model, sample, t, given=None, ids=None):
    ids = sample.input_ids if ids is None else ids
    return logits_of(model, ids, sample.source, given)[-t - 1 : -1]


def without_context(model, tokenizer, sample, t):
    """Logits of the target's tokens after the prompt's special tokens alone, or after one that begins or ends texts."""
    ids, target = sample.input_ids, sample.input_ids[-t:]
    special = torch.isin(ids, torch.tensor(tokenizer.all_special_ids))
    first = torch.tensor([next(i for i in (tokenizer.bos_token_id, tokenizer.eos_token_id) if i is not None)])
    if sample.source:
        start = ids[sample.source : -t]  # the decoder's first token
        return logits_of(model, torch.cat([ids[: sample.source][special[: sample.source]], start, target]), 1)[-t - 1 : -1]
    kept = ids[:-t][special[:-t]]
    return logits_of(model, torch.cat([kept if len(kept) else first, target]), 0)[-t - 1 : -1]


def scores(mode, logits, targets, reference):
    log_p = logits.log_softmax(-1)
    if mode == "kl_divergence":
        return (log_p.exp() * (log_p - reference.log_softmax(-1))).sum(-1)
    if mode == "entropy":
        return -(log_p.exp() * log_p).sum(-1)
    each = {"softmax": log_p.exp(), "log_softmax": log_p, "logits": logits}[mode]
    return each[torch.arange(len(targets)), targets]


@torch.no_grad()
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("family", FAMILIES)
def test_scores_and_masks_are_a_loops(family, mode):
    model, tokenizer = FAMILIES[family]()
    found = Occlusion(model, tokenizer, granularity="token", inference_mode=mode, replacement="unk" if family != "gpt2" else 7)(
        PROMPT, TARGET
    )[0]
    sample, t = found.sample, len(found.target_labels)
    targets, absent = sample.input_ids[-t:], tokenizer.unk_token_id if family != "gpt2" else 7
    reference = without_context(model, tokenizer, sample, t)
    whole = scores(mode, at_targets(model, sample, t), targets, reference)
    torch.testing.assert_close(found.base_scores, whole, rtol=1e-4, atol=1e-5)
    for unit in range(len(found.elements)):
        ids = torch.where(sample.units.index == unit, absent, sample.input_ids)
        lost = whole - scores(mode, at_targets(model, sample, t, ids=ids), targets, reference)
        seen = ~found.attributions[:, unit].isnan()
        torch.testing.assert_close(found.attributions[seen, unit], lost[seen], rtol=1e-4, atol=1e-4)
    assert found.inference_mode == mode and found.base_scores.isfinite().all()


@pytest.mark.parametrize("mode", MODES)
def test_gradients_are_a_loops(mode):
    model, tokenizer = FAMILIES["gpt2"]()
    found = InputXGradient(model, tokenizer, granularity="token", inference_mode=mode)(PROMPT, TARGET)[0]
    sample, t = found.sample, len(found.target_labels)
    given = model.get_input_embeddings()(sample.input_ids).detach().requires_grad_()
    reference = without_context(model, tokenizer, sample, t).detach()
    values = scores(mode, at_targets(model, sample, t, given=given), sample.input_ids[-t:], reference)
    for row, value in enumerate(values):
        (gradient,) = torch.autograd.grad(value, given, retain_graph=True)
        wanted = (gradient * given).sum(-1).detach()
        seen = ~found.attributions[row].isnan()
        torch.testing.assert_close(found.attributions[row][seen], wanted[seen], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("mode", ["entropy", "kl_divergence"])
def test_rows_of_a_sequence_add_up_and_batches_change_nothing(mode):
    model, tokenizer = FAMILIES["llama"]()
    explainer = Occlusion(model, tokenizer, inference_mode=mode)
    rows = explainer([PROMPT, "A dull"], [TARGET, " story"])
    one = Occlusion(model, tokenizer, inference_mode=mode, batch_size=1)
    torch.testing.assert_close(
        rows[1].attributions, one("A dull", " story")[0].attributions, equal_nan=True, rtol=1e-4, atol=1e-4
    )
    whole = explainer(PROMPT, TARGET, aggregate="sequence")[0]
    torch.testing.assert_close(whole.base_scores[0], rows[0].base_scores.sum(), rtol=1e-4, atol=1e-4)


def test_the_prediction_without_the_context_has_no_divergence_from_itself():
    model, tokenizer = FAMILIES["llama"]()
    explainer = Occlusion(model, tokenizer, inference_mode="kl_divergence", replacement="drop")
    found = explainer(PROMPT, TARGET)[0]
    assert bool((found.base_scores > 0).all())
    numbers = [prediction.number for prediction in found.sample.targets.readouts[0].predictions]
    assert all(number in divergence._known for number in numbers)
    del found
    gc.collect()
    assert not any(number in divergence._known for number in numbers)  # nothing outlives the explanation


def test_attention_methods_explain_entropies_too():
    model, tokenizer = FAMILIES["llama"]()
    found = GenericAttention(model, tokenizer, inference_mode="entropy")(PROMPT, TARGET)[0]
    assert bool((found.attributions.nan_to_num() >= 0).all()) and bool(found.attributions.nansum() > 0)


def test_an_entropy_of_a_classifier_is_that_of_its_prediction():
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    found = Occlusion(model, tokenizer, inference_mode=InferenceModes.ENTROPY)("The film was not good", [0, 2])[0]
    with torch.no_grad():
        log_p = model(**tokenizer("The film was not good", return_tensors="pt")).logits.log_softmax(-1)
    torch.testing.assert_close(found.base_scores, -(log_p.exp() * log_p).sum(-1).expand(2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["logits", "log_softmax", "softmax"])
def test_a_contrast_is_a_difference_in_every_mode(mode):
    model, tokenizer = FAMILIES["llama"]()
    explainer = Occlusion(model, tokenizer, inference_mode=mode)
    found = explainer(PROMPT, Contrast(" good", " bad"))[0]
    a, b = (explainer(PROMPT, text, aggregate="sequence")[0].base_scores for text in (" good", " bad"))
    torch.testing.assert_close(found.base_scores, a - b, rtol=1e-4, atol=1e-5)


def test_what_has_no_meaning_is_refused():
    model, tokenizer = FAMILIES["llama"]()
    with pytest.raises(TargetError, match="contrast of divergences"):
        Occlusion(model, tokenizer, inference_mode="kl_divergence")(PROMPT, Contrast(" good", " bad"))
    with pytest.raises(OptionError, match="score of generations"):
        Occlusion(*tiny.CLASSIFIERS["bert"](), inference_mode="kl_divergence")
    with pytest.raises(OptionError, match="with and without a prompt"):
        InferenceModes.KL_DIVERGENCE(torch.zeros(1, 2))


def crossentropy(logits):
    return -logits.log_softmax(-1)


def perplexity(logits):
    return crossentropy(logits).exp()


def top_p_size(logits, p=0.9):
    """How many tokens hold a share of the probability, the same for all columns."""
    sorted_p = logits.softmax(-1).sort(-1, descending=True).values
    return (sorted_p.cumsum(-1) - sorted_p < p).sum(-1, keepdim=True).to(logits).expand_as(logits)


@torch.no_grad()
@pytest.mark.parametrize("mode", [crossentropy, perplexity, top_p_size])
def test_a_step_function_without_a_name_is_a_function_of_the_logits(mode):
    model, tokenizer = FAMILIES["llama"]()
    found = Occlusion(model, tokenizer, inference_mode=mode, granularity="token", replacement="unk")(PROMPT, TARGET)[0]
    sample, t = found.sample, len(found.target_labels)

    def by_loop(ids):
        wanted = []
        for row, token in zip(at_targets(model, sample, t, ids=ids), ids[-t:].tolist(), strict=True):
            p = row.softmax(-1)
            if mode is top_p_size:
                held, size = 0.0, 0
                for share in p.sort(descending=True).values.tolist():
                    if held >= 0.9:
                        break
                    held, size = held + share, size + 1
                wanted.append(float(size))
            else:
                wanted.append(float(-p[token].log() if mode is crossentropy else 1 / p[token]))
        return torch.tensor(wanted)

    whole = by_loop(sample.input_ids)
    torch.testing.assert_close(found.base_scores, whole, rtol=1e-4, atol=1e-4)
    masked = torch.where(sample.units.index == 1, tokenizer.unk_token_id, sample.input_ids)  # a token of the prompt
    torch.testing.assert_close(found.attributions[:, 1], whole - by_loop(masked), rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_information_of_a_context_has_the_attributions_of_the_log_probability():
    """Pointwise mutual information is log p(y | context) − log p(y), and masks of the context move the first term alone."""
    model, tokenizer = FAMILIES["llama"]()
    explainer = Occlusion(model, tokenizer, granularity="token", replacement="unk")
    explanation = explainer(PROMPT, TARGET, attribute_targets=False)[0]
    sample, t = explanation.sample, len(explanation.target_labels)
    targets = sample.input_ids[-t:]
    reference = without_context(model, tokenizer, sample, t).log_softmax(-1)[torch.arange(t), targets]

    def information(ids):
        return at_targets(model, sample, t, ids=ids).log_softmax(-1)[torch.arange(t), targets] - reference

    for unit in range(len(explanation.elements)):
        ids = torch.where(sample.units.index == unit, tokenizer.unk_token_id, sample.input_ids)
        lost = information(sample.input_ids) - information(ids)
        torch.testing.assert_close(explanation.attributions[:, unit], lost, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", ["logits", "softmax"])
def test_the_score_of_an_alternative_is_that_of_its_text(mode):
    """``contrast_logits`` and ``contrast_prob``: the target is the alternative; their differences are a `Contrast`."""
    model, tokenizer = FAMILIES["llama"]()
    explainer = Occlusion(model, tokenizer, inference_mode=mode)
    given, other = (explainer(PROMPT, text, aggregate="sequence", attribute_targets=False)[0] for text in (" good", " bad"))
    both = explainer(PROMPT, Contrast(" good", " bad"), attribute_targets=False)[0]
    assert both.elements == other.elements
    torch.testing.assert_close(both.attributions, given.attributions - other.attributions, rtol=1e-3, atol=1e-4)
