"""Steering: exact changes at the place, the same with and without a cache, and nothing left behind."""

from __future__ import annotations

import threading

import pytest
import torch

from interpreto import ModelWithSplitPoints, Steering, demo, steered
from interpreto.concepts import Erasure, NeuronsAsConcepts, PCAConcepts, SemiNMFConcepts
from interpreto.errors import InputError, ModelError, OptionError
from tests import tiny

TEXTS = [sentence.text for sentence in demo.load_sentences()[:60]]


@pytest.fixture(scope="module")
def classifier():
    model, tokenizer = demo.load_classifier()
    splitter = ModelWithSplitPoints(model, ["bert.encoder.layer.1", "bert.pooler"], tokenizer=tokenizer)
    rows = ModelWithSplitPoints(model, 1, tokenizer=tokenizer).get_activations(TEXTS, "token")
    return model, tokenizer, splitter, rows["bert.encoder.layer.1"]


@pytest.fixture(scope="module")
def concepts(classifier):
    _, _, splitter, rows = classifier
    return SemiNMFConcepts(splitter, nb_concepts=6, split_point="bert.encoder.layer.1").fit(rows)


@pytest.fixture(scope="module")
def writer():
    model, tokenizer = tiny.CAUSAL_LMS["llama"]()
    splitter = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
    return model, tokenizer, NeuronsAsConcepts(splitter)


def logits(model, tokenizer, texts):
    with torch.no_grad():
        return model(**tokenizer(texts, return_tensors="pt", padding=True)).logits


def hidden(model, tokenizer, text, steering):
    """Return the activations after the steered block, as the model itself computes them."""
    found = {}
    block = dict(model.named_modules())["bert.encoder.layer.2"]
    hook = block.register_forward_pre_hook(lambda _module, args: found.update(x=args[0]))
    try:
        with steered(model, steering):
            logits(model, tokenizer, [text])
    finally:
        hook.remove()
    return found["x"][0]


def plain(model, tokenizer, text, explainer):
    return hidden(model, tokenizer, text, Steering.add(explainer, 0, 0.0))


def test_strength_zero_changes_no_bit(classifier, concepts, writer):
    model, tokenizer, _, _ = classifier
    before = logits(model, tokenizer, TEXTS[:3])
    for steering in (Steering.add(concepts, 1, 0.0), Steering.add(concepts, {0: 1.0, 2: -3.0}, 0.0)):
        with steered(model, steering):
            assert torch.equal(logits(model, tokenizer, TEXTS[:3]), before)
    model, tokenizer, explainer = writer
    ids = tokenizer("The film was", return_tensors="pt")
    alone = model.generate(**ids, max_new_tokens=6, do_sample=False)
    with steered(model, Steering.add(explainer, 3, 0.0)):
        assert torch.equal(model.generate(**ids, max_new_tokens=6, do_sample=False), alone)


def test_scaling_by_one_changes_nothing(classifier, concepts):
    model, tokenizer, _, _ = classifier
    with steered(model, Steering.scale(concepts, [0, 3], 1.0)):
        assert torch.allclose(logits(model, tokenizer, TEXTS[:2]), logits(model, tokenizer, TEXTS[:2]), atol=1e-5)
    assert torch.allclose(
        hidden(model, tokenizer, TEXTS[0], Steering.scale(concepts, [0, 3], 1.0)),
        plain(model, tokenizer, TEXTS[0], concepts),
        atol=1e-4,
    )


def test_a_linear_head_moves_by_strength_times_direction_times_weight(classifier):
    model, tokenizer, splitter, _ = classifier
    explainer = NeuronsAsConcepts(splitter, 128, split_point="bert.pooler")
    before = logits(model, tokenizer, TEXTS[:2])
    weight = model.classifier.weight.detach()
    for strength in (-2.0, 0.5, 3.0):
        with steered(model, Steering.add(explainer, {5: 3.0, 9: 4.0}, strength, unit=2.0)):
            moved = logits(model, tokenizer, TEXTS[:2]) - before
        wanted = strength * 2.0 * (0.6 * weight[:, 5] + 0.8 * weight[:, 9])
        assert torch.allclose(moved, wanted.expand(2, -1), atol=1e-5)


def test_adding_moves_every_token_by_one_vector(classifier, concepts):
    model, tokenizer, _, _ = classifier
    direction = concepts.get_dictionary()[2]
    moved = hidden(model, tokenizer, TEXTS[0], Steering.add(concepts, 2, 1.5, unit=4.0))
    step = moved - plain(model, tokenizer, TEXTS[0], concepts)
    assert torch.allclose(step, (6.0 * direction / direction.norm()).expand_as(step), atol=1e-5)


def test_what_is_projected_out_is_gone_and_once_is_enough(classifier, concepts):
    model, tokenizer, _, _ = classifier
    once = Steering.project_out(concepts, [1, 4])
    rows = hidden(model, tokenizer, TEXTS[0], once)
    directions = concepts.get_dictionary()[[1, 4]]
    assert float((rows @ directions.T).abs().max()) < 1e-4 * float(rows.norm(dim=1).max() * directions.norm(dim=1).max())
    assert torch.allclose(hidden(model, tokenizer, TEXTS[0], once + once), rows, atol=1e-5)


def test_a_clamped_concept_is_read_back(classifier):
    model, tokenizer, splitter, rows = classifier
    explainer = PCAConcepts(splitter, nb_concepts=5, split_point="bert.encoder.layer.1").fit(rows)  # orthonormal
    for steering, value in ((Steering.clamp(explainer, 2, 7.5), 7.5), (Steering.ablate(explainer, 2), 0.0)):
        codes = explainer.encode_activations(hidden(model, tokenizer, TEXTS[0], steering))
        before = explainer.encode_activations(plain(model, tokenizer, TEXTS[0], explainer))
        assert torch.allclose(codes[:, 2], torch.full_like(codes[:, 2], value), atol=1e-4)
        others = [0, 1, 3, 4]
        assert torch.allclose(codes[:, others], before[:, others], atol=1e-4)


def test_clamping_keeps_what_the_concepts_do_not_explain(classifier, concepts):
    model, tokenizer, _, _ = classifier
    before = plain(model, tokenizer, TEXTS[0], concepts)
    codes = concepts.encode_activations(before)
    changed = codes.clone()
    changed[:, 3] = 2.0
    wanted = before + concepts.decode_concepts(changed) - concepts.decode_concepts(codes)
    assert torch.allclose(hidden(model, tokenizer, TEXTS[0], Steering.clamp(concepts, 3, 2.0)), wanted, atol=1e-4)


def test_an_erasure_is_applied(classifier):
    model, tokenizer, splitter, rows = classifier
    labels = (torch.arange(len(rows)) % 2).bool()
    erasure = Erasure().fit(rows, labels)
    steering = Steering.erase(splitter, erasure, "bert.encoder.layer.1")
    explainer = NeuronsAsConcepts(splitter, 128, split_point="bert.encoder.layer.1")
    before = plain(model, tokenizer, TEXTS[0], explainer)
    assert torch.allclose(hidden(model, tokenizer, TEXTS[0], steering), erasure(before), atol=1e-4)


def test_changes_follow_each_other(classifier, concepts):
    model, tokenizer, _, _ = classifier
    added, out = Steering.add(concepts, 1, 1.0, unit=3.0), Steering.project_out(concepts, 1)
    direction = concepts.get_dictionary()[1]
    rows = hidden(model, tokenizer, TEXTS[0], added + out)
    assert float((rows @ direction).abs().max()) < 1e-3
    rows = hidden(model, tokenizer, TEXTS[0], out + added)
    assert torch.allclose(rows @ (direction / direction.norm()), torch.full((len(rows),), 3.0), atol=1e-3)


@pytest.mark.parametrize("at", ["all", "prompt", "generated", "last"])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_cache_changes_nothing(family, at):
    model, tokenizer = tiny.CAUSAL_LMS[family]()
    explainer = NeuronsAsConcepts(ModelWithSplitPoints(model, 0, tokenizer=tokenizer))
    ids = tokenizer("The film was so good", return_tensors="pt")
    steering = Steering.add(explainer, {0: 1.0, 5: -1.0}, 4.0, at=at)
    written = {}
    for cache in (True, False):
        with steered(model, steering):
            written[cache] = model.generate(
                **ids, max_new_tokens=6, do_sample=False, use_cache=cache, output_scores=True, return_dict_in_generate=True
            )
    assert torch.equal(written[True].sequences, written[False].sequences)
    scores = [torch.stack(written[cache].scores) for cache in (True, False)]
    assert torch.allclose(*scores, atol=1e-3)
    with steered(model, Steering.add(explainer, 0, 0.0)):
        alone = model.generate(**ids, max_new_tokens=6, do_sample=False, output_scores=True, return_dict_in_generate=True)
    first = torch.allclose(alone.scores[0], written[True].scores[0], atol=1e-5)
    assert first is (at == "generated")  # the first token is read off the prompt alone
    assert not torch.allclose(torch.stack(alone.scores), scores[0], atol=1e-3)


def test_the_last_token_of_each_prompt_is_meant_also_where_they_are_padded(writer):
    model, tokenizer, explainer = writer
    texts = ["The film was so good", "Dull"]
    read = {}

    def look(_module, args, output):
        read["x"] = output[0] if isinstance(output, tuple) else output

    hook = dict(model.named_modules())["model.layers.0"].register_forward_hook(look, prepend=True)
    found = {}
    inner = dict(model.named_modules())["model.layers.1"].register_forward_pre_hook(lambda _m, args: found.update(x=args[0]))
    rows = [tokenizer(text).input_ids for text in texts]
    ids = torch.tensor([row + [0] * (len(rows[0]) - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (len(rows[0]) - len(row)) for row in rows])
    batch = {"input_ids": ids, "attention_mask": mask}
    with steered(model, Steering.add(explainer, 1, 1.0, at="last", unit=5.0)), torch.no_grad():
        model(**batch)
    hook.remove()
    inner.remove()
    moved = (found["x"] - read["x"]).abs().amax(-1) > 1e-3
    last = batch["attention_mask"].cumsum(1).argmax(1)
    assert moved.sum(1).tolist() == [1, 1] and moved.float().argmax(1).tolist() == last.tolist()


def test_many_strengths_in_one_batch_are_each_alone(writer):
    model, tokenizer, explainer = writer
    strengths = [-4.0, 0.0, 4.0]
    ids = tokenizer(["The film was"] * 3, return_tensors="pt")
    with steered(model, Steering.add(explainer, {0: 1.0, 7: 2.0}, strengths)), torch.no_grad():
        together = model(**ids).logits
    for row, strength in enumerate(strengths):
        one = tokenizer(["The film was"], return_tensors="pt")
        with steered(model, Steering.add(explainer, {0: 1.0, 7: 2.0}, strength)), torch.no_grad():
            assert torch.allclose(model(**one).logits[0], together[row], atol=1e-5)
    with pytest.raises(InputError, match="3 strengths for a batch of 1"), steered(model, Steering.add(explainer, 0, strengths)):
        model(**tokenizer(["The film was"], return_tensors="pt"))


def test_several_places_at_once(classifier):
    model, tokenizer, splitter, _ = classifier
    first = NeuronsAsConcepts(splitter, 128, split_point="bert.encoder.layer.1")
    second = NeuronsAsConcepts(splitter, 128, split_point="bert.pooler")
    added = Steering.add(second, 3, 1.0, unit=2.0)
    weight = model.classifier.weight.detach()[:, 3]
    with steered(model, Steering.add(first, 0, 2.0)):
        before = logits(model, tokenizer, TEXTS[:1])
    with steered(model, Steering.add(first, 0, 2.0) + added):
        assert torch.allclose(logits(model, tokenizer, TEXTS[:1]) - before, 2.0 * weight[None], atol=1e-5)


def test_nothing_is_left_behind(classifier, concepts):
    model, tokenizer, _, _ = classifier
    before, hooks = (
        logits(model, tokenizer, TEXTS[:2]),
        [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()],
    )
    flags = [parameter.requires_grad for parameter in model.parameters()]
    with pytest.raises(ZeroDivisionError), steered(model, Steering.add(concepts, 1, 5.0)):
        raise ZeroDivisionError
    assert torch.equal(logits(model, tokenizer, TEXTS[:2]), before)
    assert hooks == [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    assert flags == [parameter.requires_grad for parameter in model.parameters()]


def test_another_thread_is_not_steered(classifier, concepts):
    model, tokenizer, _, _ = classifier
    before, found = logits(model, tokenizer, TEXTS[:2]), []
    with steered(model, Steering.add(concepts, 1, 5.0)):
        thread = threading.Thread(target=lambda: found.append(logits(model, tokenizer, TEXTS[:2])))
        thread.start()
        thread.join()
        assert not torch.allclose(logits(model, tokenizer, TEXTS[:2]), before, atol=1e-2)
    assert torch.equal(found[0], before)


def test_wrong_calls_say_what_to_pass(classifier, concepts, writer):
    model, _, splitter, _ = classifier
    for call, error, message in (
        (lambda: Steering.add(concepts, 6), OptionError, "`concept`: got 6; pass a number from 0 to 5"),
        (lambda: Steering.add(concepts, []), OptionError, "`concept`"),
        (lambda: Steering.add(concepts, {0: "x"}), OptionError, "the shares are numbers"),
        (lambda: Steering.add(concepts, 0, "strong"), OptionError, "`strength`"),
        (lambda: Steering.add(concepts, 0, at="first"), OptionError, "`at`"),
        (lambda: Steering.clamp(concepts, 0, "x"), OptionError, "`value`"),
        (lambda: Steering.add(PCAConcepts(splitter, split_point="bert.pooler"), 0), ModelError, "not fitted"),
        (lambda: Steering.erase(splitter, Erasure()), OptionError, "`erasure`: it is not fitted"),
        (lambda: Steering.add(concepts, 0) + Steering.add(writer[2], 0), OptionError, "different models"),
    ):
        with pytest.raises(error, match=message):
            call()
    with pytest.raises(OptionError, match="`steering`"), steered(model, Steering.add(writer[2], 0)):
        pass


def test_a_steering_says_what_it_does(concepts):
    both = Steering.add(concepts, {0: 1.0, 2: 1.0}, [1, 2]) + Steering.clamp(concepts, 3, 2.0)
    assert repr(both) == "Steering(add concept 0, 2 × 1.0, 2.0 + clamp concept 3 to 2.0, at 'bert.encoder.layer.1')"
