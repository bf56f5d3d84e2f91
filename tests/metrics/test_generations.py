"""Metrics of generations: the explained tokens are never removed, and each token is judged by what stands in front of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from interpreto import Contrast, Occlusion
from interpreto.metrics import (
    ABPC,
    AOPCSufficiency,
    DecisionFlip,
    Deletion,
    Infidelity,
    Insertion,
    LeaveOneOutCorrelation,
    LogOdds,
    SoftComprehensiveness,
)
from interpreto.metrics.attributions.cases import Case
from tests import tiny

PROMPT, ANSWER = "The film was great, and", "the actors were wonderful"
FAMILIES = ["gpt2", "llama", "mamba", "t5", "bart"]


def explained(family, **options):
    model, tokenizer = (tiny.CAUSAL_LMS | tiny.SEQ2SEQ)[family]()
    (output,) = Occlusion(model, tokenizer)([PROMPT], [ANSWER], **options)
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(output.attributions.shape, generator=generator).masked_fill(output.attributions.isnan(), torch.nan)
    return model, tokenizer, replace(output, attributions=values)


def logits_of(model, sample, gone, vector):
    """Logits of every token, with the embeddings of some replaced: no batch, no cache, no hook of ours."""
    if sample.source:
        encoder, decoder = model.get_encoder().get_input_embeddings(), model.get_decoder().get_input_embeddings()
        parts = [(encoder, slice(0, sample.source)), (decoder, slice(sample.source, None))]
        read, written = (torch.where(gone[p, None], vector, layer(sample.input_ids[p]))[None] for layer, p in parts)
        out = model(inputs_embeds=read, decoder_inputs_embeds=written).logits[0]
        return torch.cat([out.new_zeros(sample.source, out.shape[1]), out])
    embeddings = torch.where(gone[:, None], vector, model.get_input_embeddings()(sample.input_ids))
    return model(inputs_embeds=embeddings[None]).logits[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_each_token_is_judged_by_a_loop(family):
    model, tokenizer, output = explained(family)
    sample = output.sample
    vector = Deletion(model, tokenizer).game.model.space.vector("mean")
    deletion, insertion, odds = (
        metric(model, tokenizer, replacement="mean", **more).run(output)
        for metric, more in ((Deletion, {}), (Insertion, {}), (LogOdds, {"bins": "all"}))
    )
    readout = sample.targets.readouts[0]
    ends = [int((sample.units.index == j).nonzero().max()) for j in range(len(sample.units))]
    for t in range(len(output.target_labels)):
        place, token = int(readout.positions[t]), int(readout.ids[t])
        values = output.attributions[t]
        units = [j for j in range(len(values)) if not values[j].isnan() and ends[j] <= place]
        order = sorted(units, key=lambda j: -float(values[j]))
        removed, kept = [], []
        for k in range(len(order) + 1):
            for chosen, curve in ((order[:k], removed), (order[k:], kept)):
                gone = torch.isin(sample.units.index, torch.tensor(chosen, dtype=torch.long))
                with torch.no_grad():
                    curve.append(logits_of(model, sample, gone, vector)[place].log_softmax(-1)[token].double())
        removed, kept = torch.stack(removed), torch.stack(kept)
        u = len(order)
        assert float(deletion.details["per_target"][0][t]) == pytest.approx(float(torch.trapezoid(removed.exp()) / u), abs=1e-5)
        assert float(insertion.details["per_target"][0][t]) == pytest.approx(float(torch.trapezoid(kept.exp()) / u), abs=1e-5)
        expected = float((removed[1:] - removed[0]).mean())
        assert float(odds.details["per_target"][0][t]) == pytest.approx(expected, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("family", ["gpt2", "bart"])
@pytest.mark.parametrize("aggregate", ["token", "unit", "sequence"])
def test_the_explained_tokens_and_those_behind_are_never_removed(family, aggregate):
    model, tokenizer, output = explained(family, aggregate=aggregate)
    sample = output.sample
    for t in range(len(output.target_labels)):
        row = Case.of(output, t)
        readout = row.sample.targets.readouts[0]
        first = int(readout.positions.min()) + 1
        assert len(row) > 0
        for unit in row.units:
            assert int((sample.units.index == unit).nonzero().max()) < first
        if aggregate == "sequence":
            assert first == sample.prompt
    one = Deletion(model, tokenizer).run(output)
    assert one.n_skipped == 0


def test_a_word_of_several_tokens_does_not_leak_its_second_one():
    """The word is a unit that begins in front of its second token, and has an attribution for it; it stays all the same."""
    model, tokenizer = tiny.CAUSAL_LMS["gpt2"]()
    (output,) = Occlusion(model, tokenizer)(["The film was"], [" unbelievably great"])
    sample = output.sample
    split = [t for t in range(1, len(output.target_labels)) if _unit_of(output, t) == _unit_of(output, t - 1)]
    assert split  # the word is of several tokens
    for t in split:
        own = _unit_of(output, t)
        assert not output.attributions[t, own].isnan()
        assert own not in Case.of(output, t).units.tolist()
    assert Deletion(model, tokenizer).run(output).n_valid == 1
    assert sample.units.texts[_unit_of(output, split[0])].strip() == "unbelievably"


def _unit_of(output, t):
    return int(output.sample.units.index[int(output.sample.targets.readouts[0].positions[t]) + 1])


def test_a_target_of_one_token_has_no_step_that_changes_nothing():
    model, tokenizer = tiny.CAUSAL_LMS["gpt2"]()
    (output,) = Occlusion(model, tokenizer)(["The film was great, and"], [" the"])
    assert output.attributions.shape[0] == 1
    curve = Deletion(model, tokenizer).run(output).details["curves"][0][0]
    assert len(curve) == int((~output.attributions[0].isnan()).sum()) + 1
    assert int((curve.diff().abs() < 1e-9).sum()) == 0


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_batches_prefixes_and_company_change_nothing(family):
    model, tokenizer = (tiny.CAUSAL_LMS | tiny.SEQ2SEQ)[family]()
    prompts, answers = [PROMPT, "What a", "It's not a bad film, it's"], [ANSWER, " wonderful story", " just too long."]
    outputs = Occlusion(model, tokenizer)(prompts, answers)
    together = ABPC(model, tokenizer).run(outputs).per_sample
    for size in (1, 3, 64):
        torch.testing.assert_close(ABPC(model, tokenizer, size).run(outputs).per_sample, together, atol=1e-5, rtol=0)
    alone = torch.cat([ABPC(model, tokenizer).run(output).per_sample for output in outputs])
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=0)


def test_a_whole_answer_counts_the_mean_probability_of_its_tokens():
    model, tokenizer, tokens = explained("gpt2")
    _, _, whole = explained("gpt2", aggregate="sequence")
    first = [float(curve[0]) for curve in Deletion(model, tokenizer).run(tokens).details["curves"][0]]
    assert float(Deletion(model, tokenizer).run(whole).details["curves"][0][0][0]) == pytest.approx(sum(first) / len(first))


def test_a_decision_is_the_most_probable_token_and_flips_when_it_is_another():
    model, tokenizer = tiny.CAUSAL_LMS["gpt2"]()
    outputs = Occlusion(model, tokenizer)([PROMPT])  # what the model writes: each token is its decision
    result = DecisionFlip(model, tokenizer).run(outputs)
    assert not bool(result.details["per_target"][0].isnan().any())
    given = Occlusion(model, tokenizer)([PROMPT], [ANSWER])
    skipped = DecisionFlip(model, tokenizer).run(given).details["per_target"][0]
    assert bool(skipped.isnan().any())


def test_contrasts_of_texts_and_of_classes():
    model, tokenizer = tiny.CAUSAL_LMS["gpt2"]()
    for pair in (Contrast(" great", " bad"), Contrast(" the actors were", " a mess")):
        (output,) = Occlusion(model, tokenizer)([PROMPT], [pair])
        result = Deletion(model, tokenizer, measure="score").run(output)
        assert float(result.details["curves"][0][0][0]) == pytest.approx(float(output.base_scores[0]), abs=1e-4)
        assert -1 <= float(Deletion(model, tokenizer).run(output)) <= 1
        assert float(LeaveOneOutCorrelation(model, tokenizer).run(output)) == pytest.approx(1.0)


@pytest.mark.parametrize("metric", [AOPCSufficiency, Infidelity, SoftComprehensiveness, LeaveOneOutCorrelation])
@pytest.mark.parametrize("family", ["qwen3", "t5"])
def test_every_kind_of_metric_takes_generations(metric, family):
    model, tokenizer = (tiny.CAUSAL_LMS | tiny.SEQ2SEQ)[family]()
    outputs = Occlusion(model, tokenizer)([PROMPT, "What a"], [ANSWER, " wonderful story"])
    result = metric(model, tokenizer).run(outputs)
    assert len(result.per_sample) == 2
    if metric is LeaveOneOutCorrelation:
        assert float(result) == pytest.approx(1.0, abs=1e-6)
