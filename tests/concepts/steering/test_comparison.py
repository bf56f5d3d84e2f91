"""Steerings compared: each text as if written alone, measures as in plain loops, controls as long, and what is suggested."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from interpreto import ModelWithSplitPoints, Steering, compare_steering, concepts, steered
from interpreto.concepts import ContrastiveConcept, NeuronsAsConcepts, SteeringComparison
from interpreto.concepts.steering.controls import Control, batched, controls_of
from interpreto.errors import InputError, OptionError
from tests import tiny

PROMPTS = ["The film was", "She said that", "Open"]
STRENGTHS = (-6.0, 0.0, 3.0)


def letters(texts):
    return [float(text.count("e")) for text in texts]


@pytest.fixture(scope="module")
def writer():
    model, tokenizer = tiny.CAUSAL_LMS["llama"]()
    return model, tokenizer, NeuronsAsConcepts(ModelWithSplitPoints(model, 0, tokenizer=tokenizer))


@pytest.fixture(scope="module")
def steering(writer):
    return Steering.add(writer[2], {0: 1.0, 7: -2.0})


@pytest.fixture(scope="module")
def found(writer, steering):
    return compare_steering(writer[0], PROMPTS, steering, STRENGTHS, effect=letters, max_new_tokens=6, n_random=3)


def written(model, tokenizer, prompt, steering, tokens=6):
    ids = tokenizer(prompt, return_tensors="pt")
    with steered(model, steering):
        return model.generate(**ids, max_new_tokens=tokens, do_sample=False)[0, ids["input_ids"].shape[1] :]


def test_each_text_is_written_as_alone(writer, found):
    model, tokenizer, explainer = writer
    for i, prompt in enumerate(PROMPTS):
        for j, strength in enumerate(STRENGTHS):
            ids = written(model, tokenizer, prompt, Steering.add(explainer, {0: 1.0, 7: -2.0}, strength))
            assert found.texts[i][j] == tokenizer.decode(ids, skip_special_tokens=True)
    assert len({text for own in found.texts for text in own}) > len(PROMPTS)  # steering did something
    assert found.names == ("×-6", "×0", "×3") and found.unsteered == 1
    assert torch.equal(found.effect, torch.tensor([letters(own) for own in found.texts], dtype=torch.float64))


def test_fluency_is_that_of_the_model_as_it_is(writer, found):
    model, tokenizer, explainer = writer
    for i, prompt in enumerate(PROMPTS):
        for j, strength in enumerate(STRENGTHS):
            start = tokenizer(prompt)["input_ids"]
            ids = [*start, *written(model, tokenizer, prompt, Steering.add(explainer, {0: 1.0, 7: -2.0}, strength)).tolist()]
            text = ids[len(start) :]
            if tokenizer.eos_token_id in text:
                text = text[: text.index(tokenizer.eos_token_id)]
            with torch.no_grad():
                chances = model(torch.tensor([ids])).logits[0].log_softmax(-1)
            values = [float(chances[len(start) - 1 + k, token]) for k, token in enumerate(text)]
            assert float(found.nats[i, j]) == pytest.approx(-sum(values) / len(values), abs=1e-4)
            assert int(found.lengths[i, j]) == len(text)
            pairs = list(pairwise(text))
            assert float(found.distinct[i, j]) == len(set(pairs)) / len(pairs)


def test_divergence_is_that_of_the_first_token(writer, found, steering):
    model, tokenizer, explainer = writer
    for i, prompt in enumerate(PROMPTS):
        ids = tokenizer(prompt, return_tensors="pt")
        with torch.no_grad():
            plain = model(**ids).logits[0, -1].log_softmax(-1)
            with steered(model, Steering.add(explainer, {0: 1.0, 7: -2.0}, 3.0)):
                moved = model(**ids).logits[0, -1].log_softmax(-1)
        wanted = float((moved.exp() * (moved - plain)).sum())
        assert wanted > 1e-3 and float(found.divergence[i, 2]) == pytest.approx(wanted, rel=1e-3, abs=1e-5)
    assert not found.divergence[:, 1].any() and not found.change[1] and not found.cost[1]
    later = Steering.add(explainer, {0: 1.0, 7: -2.0}, at="generated")
    late = compare_steering(model, PROMPTS[:1], later, [3], effect=letters, max_new_tokens=2, n_random=1)
    assert float(late.divergence.abs().max()) < 1e-6  # the first token is read off the prompt alone


def test_parts_of_a_batch_change_nothing(writer, steering, found):
    parts = compare_steering(
        writer[2].splitter, PROMPTS, steering, STRENGTHS, effect=letters, max_new_tokens=6, n_random=3, batch_size=2
    )
    assert parts.texts == found.texts
    torch.testing.assert_close(parts.divergence, found.divergence, atol=1e-5, rtol=1e-3)
    assert torch.equal(parts.control_effect, found.control_effect)


def test_controls_are_as_long_and_straight_lines(steering, found):
    controls = controls_of(steering, "auto", 3, 0)
    assert tuple(control.name for control in controls) == found.control_names == ("direction 0", "direction 1", "direction 2")
    vectors = [control.of(steering).steps[0] for control in controls]
    assert all(float(step.direction.norm()) == pytest.approx(1.0, abs=1e-5) for step in vectors)
    assert all(step.unit == steering.steps[0].unit for step in vectors)
    assert torch.equal(vectors[0].direction, controls[0].of(steering).steps[0].direction)  # one line for all strengths
    assert float(vectors[0].direction @ vectors[1].direction) < 0.9
    assert torch.equal(found.control_effect[:, :, 1], found.effect[:, 1].expand(3, -1))  # at 0, the model itself


def test_a_batch_moves_each_text_by_its_own_vector(steering):
    both = steering + Steering.add(steering.steps[0].explainer, 3, 2.0, unit=1.0)
    (step,) = batched([None, steering, both], steering).steps
    rows, texts = torch.zeros(6, step.vectors.shape[1]), torch.tensor([0, 0, 1, 1, 2, 2])
    moved = step(rows, texts)
    first, second = steering.steps[0], both.steps[1]
    assert not moved[:2].any()
    torch.testing.assert_close(moved[2], first.unit * first.direction)
    torch.testing.assert_close(moved[5], first.unit * first.direction + 2.0 * second.direction)


def test_steerings_of_any_kind_are_compared_by_name(writer):
    model, tokenizer, explainer = writer
    given = {"ablated": Steering.ablate(explainer, [0, 1]), "clamped": Steering.clamp(explainer, 2, 9.0)}
    found = compare_steering(model, PROMPTS[:2], given, effect=letters, max_new_tokens=4, n_random=2)
    assert found.names == ("unsteered", "ablated", "clamped") and bool(found.strengths.isnan().all())
    for i, prompt in enumerate(PROMPTS[:2]):
        for j, steering in enumerate(given.values(), 1):
            ids = written(model, tokenizer, prompt, steering, 4)
            assert found.texts[i][j] == tokenizer.decode(ids, skip_special_tokens=True)
    rows = torch.randn(5, 32, generator=torch.Generator().manual_seed(0))
    rows = (
        torch.nn.functional.pad(rows, (0, explainer.nb_concepts - 32))
        if explainer.nb_concepts > 32
        else rows[:, : explainer.nb_concepts]
    )
    step, texts = given["clamped"].steps[0], torch.zeros(5, dtype=torch.int64)
    (other,) = Control("direction 0", 5).of(given["clamped"]).steps
    lengths = [(one(rows, texts) - rows).norm(dim=1) for one in (step, other)]
    torch.testing.assert_close(*lengths)
    assert not torch.allclose(step(rows, texts), other(rows, texts), atol=1e-2)


def test_without_an_effect_the_concept_is_read_in_what_was_written(writer):
    model, tokenizer, _ = writer
    splitter = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
    concept = ContrastiveConcept(splitter).fit(["I loved it.", "A great film."], ["The key is here.", "A bad script."])
    found = compare_steering(model, PROMPTS[:2], Steering.add(concept, 0), [2], max_new_tokens=4, n_random=1)
    prompt = tokenizer(PROMPTS[0])["input_ids"]
    ids = written(model, tokenizer, PROMPTS[0], Steering.add(concept, 0, 2.0), 4).tolist()
    rows = splitter.get_activations([torch.tensor(prompt + ids)], "all_tokens")["model.layers.0"][len(prompt) :]
    assert float(found.effect[0, 1]) == pytest.approx(float(concept.encode_activations(rows).mean()), abs=1e-4)
    assert "read in the text" in found.effect_name


def test_features_that_are_active_as_often_are_controls_too(writer):
    model, tokenizer, _ = writer
    splitter = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
    rows = splitter.get_activations(tiny.CORPUS[:12])
    sae = concepts.TopKSAEConcepts(splitter, nb_concepts=24, k=4).fit(rows, nb_epochs=2)
    codes = sae.encode_activations(rows)
    busiest = int((codes > 0).sum(0).argmax())
    steering = Steering.add(sae, busiest)
    found = controls_of(steering, "auto", 2, 0)
    assert [one.feature for one in found[:2]] == [None, None]
    assert [one.feature is not None and one.feature != busiest for one in found[2:]] == [True] * len(found[2:])
    assert len(found) > 2
    direction = sae.get_dictionary()[found[2].feature]
    step = found[2].of(steering).steps[0]
    torch.testing.assert_close(step.direction, direction / direction.norm())
    assert step.unit == steering.steps[0].unit
    with pytest.raises(OptionError, match="pass 'directions'"):
        controls_of(Steering.project_out(sae, 0), "features", 2, 0)


def by_hand(change, cost, controls):
    """A comparison of three strengths on two prompts whose mean change, cost and controls' change are these."""
    a = len(change)
    effect = torch.tensor(change, dtype=torch.float64) + torch.tensor([[0.25], [0.75]], dtype=torch.float64)
    nats = torch.tensor(cost, dtype=torch.float64) + torch.tensor([[1.0], [3.0]], dtype=torch.float64)
    shifts = torch.tensor(controls, dtype=torch.float64)
    return SteeringComparison(
        prompts=("a", "b"),
        names=tuple(f"×{i - 1}" for i in range(a)),
        strengths=torch.arange(a).double() - 1,
        unsteered=1,
        texts=(("x y",) * a, ("x z",) * a),
        effect=effect,
        effect_name="praise",
        nats=nats,
        divergence=torch.zeros(2, a).double(),
        distinct=torch.ones(2, a).double(),
        lengths=torch.full((2, a), 2),
        control_names=tuple(f"direction {i}" for i in range(len(shifts))),
        control_effect=(effect[:, 1:2] + shifts[:, None]).expand(len(shifts), 2, a).clone()
        if len(shifts)
        else torch.zeros(0, 2, a).double(),
        control_nats=nats.expand(len(shifts), 2, a).clone(),
        told="add concept 0 × 1.0",
    )


def test_what_is_suggested_is_the_largest_fluent_change_beyond_the_controls():
    controls = [[0.1, 0.0, -0.1, 0.05], [-0.2, 0.0, 0.1, 0.3]]
    found = by_hand([-0.3, 0.0, 0.5, 0.9], [0.1, 0.0, 0.4, 2.0], controls)
    assert torch.allclose(found.change, torch.tensor([-0.3, 0.0, 0.5, 0.9]).double())
    assert torch.allclose(found.cost, torch.tensor([0.1, 0.0, 0.4, 2.0]).double())
    assert found.beyond.tolist() == [True, False, True, True]
    assert found.suggest() == 2 and found.suggested == 1.0 and "suggested: ×1" in found.verdict
    assert found.suggest(max_cost=3) == 3 and found.suggest(max_cost=0.2) == 0
    weak = by_hand([-0.2, 0.0, 0.1, 0.3], [0.0] * 4, controls)
    assert weak.suggest() is None and weak.suggested is None and "none does: no strength moves praise" in weak.verdict
    dear = by_hand([-0.2, 0.0, 0.5, 0.3], [0.0, 0.0, 0.6, 0.0], controls)
    assert dear.suggest() is None and "costs more than 0.5" in dear.verdict
    alone = by_hand([-0.2, 0.0, 0.5, 0.3], [0.0] * 4, [])
    assert not alone.beyond.any() and "no controls" in alone.verdict
    named = replace(found, strengths=torch.full((4,), math.nan).double())
    assert named.suggested == "×1"


def test_intervals_are_over_prompts():
    found = by_hand([-0.3, 0.0, 0.5, 0.9], [0.0] * 4, [[0.0] * 4])
    assert torch.allclose(found.change_interval[:, 0], found.change)  # prompts move alike
    assert bool((found.interval[:, 0] < found.mean_effect).all()) and bool((found.interval[:, 1] > found.mean_effect).all())
    rows = found.to_dataframe()
    assert len(rows) == 8 and rows[rows.prompt == "b"].effect.tolist()[3] == pytest.approx(1.65)


def test_a_text_of_nothing_has_no_effect(writer, steering):
    model = writer[0]
    asked = []

    def effect(texts):
        asked.extend(texts)
        return torch.zeros(len(texts))

    found = compare_steering(model, PROMPTS[:1], steering, [1], effect=effect, max_new_tokens=1, n_random=1)
    assert all(text.strip() for text in asked) and len(asked) == len(set(asked))
    assert found.distinct.isnan().all()  # one token has no pairs


def test_wrong_calls_say_what_to_pass(writer, steering):
    model, _, explainer = writer
    other = tiny.CAUSAL_LMS["gpt2"]()[0]
    several = Steering.add(explainer, 0, [1.0, 2.0])
    for call, error, message in (
        (lambda: compare_steering(model, "The", steering), InputError, "`prompts`"),
        (lambda: compare_steering(model, [], steering), InputError, "`prompts`"),
        (lambda: compare_steering(other, PROMPTS, steering), OptionError, "another model"),
        (lambda: compare_steering(model, PROMPTS, steering, [0]), OptionError, "one that is not 0"),
        (lambda: compare_steering(model, PROMPTS, steering, ["a"]), OptionError, "`strengths`"),
        (lambda: compare_steering(model, PROMPTS, [steering], [1]), OptionError, "`strengths`: they are of one"),
        (lambda: compare_steering(model, PROMPTS, several, [1]), OptionError, "what adds concepts once"),
        (lambda: compare_steering(model, PROMPTS, Steering.ablate(explainer, 0), [1]), OptionError, "what adds concepts once"),
        (lambda: compare_steering(model, PROMPTS, {}), OptionError, "`steering`"),
        (lambda: compare_steering(model, PROMPTS, steering, controls="none"), OptionError, "`controls`"),
        (
            lambda: compare_steering(model, PROMPTS[:1], steering, [1], effect=lambda _: [1.0], max_new_tokens=2),
            InputError,
            "`effect`: returned",
        ),
        (
            lambda: compare_steering(model, PROMPTS[:1], steering, [1], effect=lambda _: "no", max_new_tokens=2),
            InputError,
            "`effect`: returned 'no'",
        ),
    ):
        with pytest.raises(error, match=message):
            call()
    assert concepts.compare is compare_steering
