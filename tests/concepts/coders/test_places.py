"""Coders in a model: places are read in one pass, effects and steering are those of hooks written by hand."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.testing import assert_close

from interpreto import Steering, steered
from interpreto.concepts import (
    ActivationPatching,
    CrosscoderConcepts,
    CrossLayerTranscoderConcepts,
    NMFConcepts,
    TopKInputs,
    TranscoderConcepts,
    load_concepts,
)
from interpreto.concepts.joint_rows import JointRows
from interpreto.concepts.splitters import ModelWithSplitPoints
from interpreto.concepts.steering.controls import Control, alike, controls_of
from interpreto.concepts.steering.measures import Continued, read_amounts
from interpreto.concepts.steering.steps import Here, Redirected
from interpreto.concepts.steering.unit import plain_rows
from interpreto.errors import InputError, OptionError
from tests.tiny import CLASSIFIERS

TEXTS = ["good film", "a very bad film .", "the film was good", "bad", "a good day for a film", "very very good ."]
LAYER = "bert.encoder.layer"
READS = [f"{LAYER}.{i}.intermediate:input" for i in (0, 1)]
WRITES = [f"{LAYER}.{i}.output.dense" for i in (0, 1)]


@pytest.fixture(scope="module")
def loaded():
    return CLASSIFIERS["bert"]()


def logits_by_hand(loaded, text, change):
    """Return the logits of a text where the output of some modules goes through functions of it and of what was seen."""
    model, tokenizer = loaded
    modules, handles = dict(model.named_modules()), []
    for path, function in change.items():
        handles.append(modules[path].register_forward_hook(lambda _, __, out, f=function: f(out)))
    try:
        with torch.no_grad():
            return model(**tokenizer(text, return_tensors="pt")).logits[0]
    finally:
        for handle in handles:
            handle.remove()


def transcoder(loaded, **options):
    model, tokenizer = loaded
    splitter = ModelWithSplitPoints(model, [READS[1], WRITES[1]], tokenizer=tokenizer)
    explainer = TranscoderConcepts(splitter, 6, activation="relu", l1=1e-3, **options)
    return explainer.fit(splitter.get_activations(TEXTS, "all_tokens"), nb_epochs=2)


def passes(model, run):
    """Return how often a model was run."""
    calls = []
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    stopped = model.bert.encoder.layer[0].register_forward_hook(lambda *_: calls.append(0))
    try:
        run()
    finally:
        handle.remove()
        stopped.remove()
    return calls.count(0)


def test_all_places_are_read_in_one_pass(loaded):
    model, tokenizer = loaded
    splitter = ModelWithSplitPoints(model, [*READS, *WRITES], tokenizer=tokenizer, batch_size=16)
    explainer = CrossLayerTranscoderConcepts(splitter, 4, READS, writes_to=WRITES, k=1)
    joint, samples = explainer.splitter, splitter.samples(TEXTS, "all_tokens")
    assert explainer.split_point == " + ".join([*READS, *WRITES])
    joint.activations_of(samples)
    assert passes(model, lambda: joint.activations_of(samples)) == 1
    wanted = splitter.get_activations(TEXTS, "all_tokens")
    assert torch.equal(joint.activations_of(samples), torch.cat([wanted[place] for place in [*READS, *WRITES]], 1))
    assert_close(joint.get_activations(TEXTS, "all_tokens"), {place: wanted[place] for place in [*READS, *WRITES]})
    hidden = joint.batch_activations(samples[:1])[0, : len(samples[0])]
    assert_close(hidden, joint.activations_of(samples[:1]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("skip", [False, True])
def test_effects_are_those_at_the_place_that_is_written(loaded, skip):
    explainer = transcoder(loaded, skip=skip)
    text, d = TEXTS[1], explainer.directions()
    codes = explainer.inputs_to_concepts(text, "all_tokens")
    effects = explainer.concept_output_attribution(text, method="ablation", activation_granularity="all_tokens")[0]
    plain = logits_by_hand(loaded, text, {})
    for t, c in [(1, int(codes[1].argmax())), (2, int(codes[2].argmax()))]:

        def without(out, t=t, c=c):
            out = out.clone()
            out[0, t] -= codes[t, c] * d[c]
            return out

        lost = plain - logits_by_hand(loaded, text, {WRITES[1]: without})
        assert float(codes[t, c]) > 0
        assert_close(effects[:, t, c], lost, atol=1e-5, rtol=1e-4)
    gradient = explainer.concept_output_attribution(text, method="gradient", activation_granularity="all_tokens")[0]

    def nudged(out):
        out = out.clone()
        out[0, 1] += 1e-2 * d[3]
        return out

    moved = (logits_by_hand(loaded, text, {WRITES[1]: nudged}) - plain) / 1e-2
    assert_close(gradient[:, 1, 3], moved, atol=1e-3, rtol=2e-2)


def test_steering_is_by_what_is_read_and_at_what_is_written(loaded):
    model, tokenizer = loaded
    explainer, text = transcoder(loaded), TEXTS[2]
    codes, d = explainer.inputs_to_concepts(text, "all_tokens"), explainer.directions()
    c = int(codes.sum(0).argmax())
    inputs = tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        plain = model(**inputs).logits[0]
        with steered(model, Steering.ablate(explainer, c)):
            ablated = model(**inputs).logits[0]
        with steered(model, Steering.add(explainer, c, strength=0.5, unit=2.0)):
            added = model(**inputs).logits[0]
        with steered(model, Steering.project_out(explainer, c)):
            projected = model(**inputs).logits[0]
        assert torch.equal(model(**inputs).logits[0], plain)
    assert_close(
        ablated, logits_by_hand(loaded, text, {WRITES[1]: lambda out: out - codes[:, c, None] * d[c]}), atol=1e-5, rtol=0
    )
    unit = d[c] / d[c].norm()
    assert_close(added, logits_by_hand(loaded, text, {WRITES[1]: lambda out: out + unit}), atol=1e-5, rtol=0)
    assert_close(
        projected,
        logits_by_hand(loaded, text, {WRITES[1]: lambda out: out - (out @ unit)[..., None] * unit}),
        atol=1e-5,
        rtol=0,
    )
    assert not torch.equal(ablated, plain)


def test_a_random_control_is_as_long_where_it_is_written(loaded):
    explainer = transcoder(loaded)
    (step,) = Steering.ablate(explainer, 2).steps
    joint = explainer.splitter.activations_of(explainer.splitter.samples(TEXTS, "all_tokens"))
    read, rows = joint.split(explainer.concept_model.widths.tolist(), 1)
    texts, here = torch.zeros(len(rows), dtype=torch.long), Here(WRITES[1], {READS[1]: read})
    moved, random = (own(rows, texts, here) - rows for own in (step, Redirected(step.split_point, step.at, step, 5)))
    assert bool(moved.any())
    assert_close(random.norm(dim=1), moved.norm(dim=1), atol=1e-5, rtol=1e-5)


def test_features_as_controls_are_those_where_it_is_written(loaded):
    explainer = transcoder(loaded)
    steering = Steering.add(explainer, 2, strength=1.0, unit=1.0)
    control = Control("feature 4", 0, 4).of(steering)
    d = explainer.directions()[4]
    (step,) = control.steps
    assert_close(step.direction, d / d.norm())
    found = [own.feature for own in controls_of(steering, "features", 3, 0)]
    splitter = explainer.own_splitter()
    codes = explainer.encode_activations(plain_rows(splitter, str(explainer.split_point)))
    assert found == alike(codes, step.weights, 3)


def test_effects_of_several_places_set_them_all(loaded):
    model, tokenizer = loaded
    splitter = ModelWithSplitPoints(model, [*READS, *WRITES], tokenizer=tokenizer)
    explainer = CrossLayerTranscoderConcepts(splitter, 6, READS, writes_to=WRITES, activation="relu", l1=1e-3)
    activations = splitter.get_activations(TEXTS, "all_tokens")
    explainer.fit(activations, nb_epochs=2)
    text = TEXTS[1]
    codes = explainer.inputs_to_concepts(text, "all_tokens")
    own = splitter.get_activations([text], "all_tokens")
    c = int(codes[1, :3].argmax())  # of the first layer, which writes to both
    assert float(codes[1, c]) > 0
    effects = explainer.concept_output_attribution(text, method="ablation", activation_granularity="all_tokens")[0]
    changes = {}
    for place in WRITES:
        rows = own[place].clone()
        rows[1] -= codes[1, c] * explainer.directions(place)[c]
        changes[place] = lambda out, rows=rows: rows[None].to(out)
    lost = logits_by_hand(loaded, text, {}) - logits_by_hand(loaded, text, changes)
    assert_close(effects[:, 1, c], lost, atol=1e-5, rtol=1e-4)
    with steered(model, Steering.add(explainer, c, strength=0.1)):
        model(**tokenizer(text, return_tensors="pt"))
    assert len(Steering.add(explainer, c).steps) == 2 and len(Steering.add(explainer, 5).steps) == 1


def test_a_crosscoder_of_two_models_compares_them(loaded):
    model, tokenizer = loaded
    tuned = copy.deepcopy(model)
    with torch.no_grad():
        tuned.bert.encoder.layer[1].output.dense.weight += 0.05
    place = f"{LAYER}.1"
    pair = [ModelWithSplitPoints(own, place, tokenizer=tokenizer) for own in (model, tuned)]
    explainer = CrosscoderConcepts(pair, 6, k=2)
    assert explainer.written == (place, f"other:{place}")
    activations = tuple(splitter.get_activations(TEXTS, "all_tokens") for splitter in pair)
    explainer.fit(activations, nb_epochs=2)
    assert_close(explainer.splitter.get_activations(TEXTS, "all_tokens")[f"other:{place}"], activations[1][place])
    joint = torch.cat([own[place] for own in activations], 1)
    codes = explainer.inputs_to_concepts(TEXTS, "all_tokens")
    assert_close(codes, explainer.encode_activations(joint), atol=1e-4, rtol=1e-4)
    assert tuple(explainer.relative_norms().shape) == (6, 2)
    effects = explainer.concept_output_attribution(TEXTS[0], method="ablation", activation_granularity="all_tokens")[0]
    first = explainer.inputs_to_concepts(TEXTS[0], "all_tokens")
    c = int(first[1].argmax())

    def without(out):
        hidden = (out[0] if isinstance(out, tuple) else out).clone()
        hidden[0, 1] -= first[1, c] * explainer.directions(0)[c]
        return (hidden, *out[1:]) if isinstance(out, tuple) else hidden

    lost = logits_by_hand(loaded, TEXTS[0], {}) - logits_by_hand(loaded, TEXTS[0], {place: without})
    assert_close(effects[:, 1, c], lost, atol=1e-5, rtol=1e-4)
    assert list(explainer.written_at()) == [place]


def test_a_file_comes_back_with_its_model_and_interpretations_take_it(loaded, tmp_path):
    explainer = transcoder(loaded)
    explainer.save(tmp_path / "file")
    model, tokenizer = loaded
    splitter = ModelWithSplitPoints(model, [READS[1], WRITES[1]], tokenizer=tokenizer)
    again = load_concepts(tmp_path / "file", splitter=splitter)
    assert (again.read, again.written, again.split_point) == (explainer.read, explainer.written, explainer.split_point)
    assert torch.equal(again.inputs_to_concepts(TEXTS), explainer.inputs_to_concepts(TEXTS))
    labels = TopKInputs(concept_explainer=again, k=2).interpret(inputs=TEXTS)
    given = TopKInputs(concept_explainer=again, k=2).interpret(
        inputs=TEXTS,
        latent_activations=splitter.get_activations(TEXTS, TopKInputs(concept_explainer=again).activation_granularity),
    )
    assert labels == given and len(labels) == 6
    codes = again.encode_activations({READS[1]: torch.zeros(2, again.concept_model.wiring.read_width)})
    assert codes.shape == (2, 6)  # what is read suffices


def test_methods_of_attribution_explain_codes(loaded):
    explainer = transcoder(loaded)
    bridge, text = explainer.get_inputs_to_concepts_model(), TEXTS[1]
    codes = explainer.inputs_to_concepts(text, "token").mean(0)
    ids = loaded[1](text, return_tensors="pt").input_ids
    with torch.no_grad():
        assert_close(bridge(ids).logits[0], codes, atol=1e-5, rtol=1e-5)
    embedded = loaded[0].get_input_embeddings()(ids).detach().requires_grad_()
    handle = loaded[0].get_input_embeddings().register_forward_hook(lambda *_: embedded)
    try:
        bridge(ids).logits[0, int(codes.argmax())].backward()
    finally:
        handle.remove()
    assert embedded.grad is not None and bool(embedded.grad.any())


def test_stores_are_read_in_step(loaded, tmp_path):
    model, tokenizer = loaded
    splitter = ModelWithSplitPoints(model, [READS[1], WRITES[1]], tokenizer=tokenizer)
    stores = {
        place: splitter.store_activations(TEXTS, tmp_path / str(i), "all_tokens", split_point=place)
        for i, place in enumerate(splitter.split_points)
    }
    joint, rows = JointRows(list(stores.values())), splitter.get_activations(TEXTS, "all_tokens")
    whole = torch.cat([rows[place] for place in splitter.split_points], 1)
    assert torch.equal(joint.read(), whole) and torch.equal(torch.cat(list(joint.batches(4))), whole)
    shuffled = torch.cat(list(joint.batches(4, torch.Generator().manual_seed(0))))
    assert not torch.equal(shuffled, whole)
    assert torch.equal(shuffled.sort(0).values, whole.sort(0).values)
    assert all(any(torch.equal(row, other) for other in whole) for row in shuffled)
    explainer = TranscoderConcepts(splitter, 6, k=2).fit(stores, nb_epochs=1)
    assert explainer.is_fitted
    with pytest.raises(InputError, match="tensors and stores"):
        TranscoderConcepts(splitter, 6, k=2).fit({READS[1]: stores[READS[1]], WRITES[1]: rows[WRITES[1]]})


def test_what_cannot_be_asked_is_refused(loaded):
    model, tokenizer = loaded
    splitter = ModelWithSplitPoints(model, [READS[1], WRITES[1]], tokenizer=tokenizer)
    with pytest.raises(OptionError, match="splitter has"):
        TranscoderConcepts(splitter, 4, READS[0], writes_to=WRITES[1])
    with pytest.raises(OptionError, match="both places"):
        TranscoderConcepts(ModelWithSplitPoints(model, 1, tokenizer=tokenizer), 4)
    with pytest.raises(OptionError, match="pass a pair of splitters"):
        CrosscoderConcepts(splitter, 4, [READS[1], f"other:{READS[1]}"])
    other, tokens = CLASSIFIERS["bert"]()
    assert TranscoderConcepts(splitter, 4).read == (READS[1],)
    explainer = transcoder(loaded)
    with pytest.raises(OptionError, match="TranscoderConcepts reads other places"):
        ActivationPatching(splitter, explainers=explainer)(TEXTS[0], TEXTS[0])
    nmf = NMFConcepts(ModelWithSplitPoints(model, 1, tokenizer=tokenizer), 2)
    assert nmf.split_point == f"{LAYER}.1" and other is not model and tokens is not None


def test_the_amount_of_a_steered_concept_is_read_where_it_is_read(loaded):
    explainer = transcoder(loaded)
    ids = loaded[1](TEXTS[1]).input_ids
    steering = Steering.add(explainer, 2, strength=1.0, unit=1.0)
    found = read_amounts(steering, [Continued(ids[:2], [tuple(ids[2:])], [0.0])])
    wanted = explainer.inputs_to_concepts([torch.tensor(ids)], "all_tokens")[2:, 2].mean()
    assert float(found) == pytest.approx(float(wanted), abs=1e-6)
