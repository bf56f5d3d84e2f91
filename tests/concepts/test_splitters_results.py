"""What splitters return, and what they take: one form for all, which goes wrong loudly."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, BertForSequenceClassification

from interpreto.concepts import PCAConcepts
from interpreto.concepts.splitters import ModelWithSplitPoints, SplitterForClassification, SplitterForGeneration
from interpreto.errors import InputError, OptionError
from tests.tiny import CAUSAL_LMS, CLASSIFIERS, SENTENCES


@pytest.fixture(scope="module")
def bert():
    return CLASSIFIERS["bert"]()


def splitters(model, tokenizer):
    return [ModelWithSplitPoints(model, [0, 1][:n], tokenizer=tokenizer) for n in (1, 2)]


def test_names_are_never_taken_for_activations(bert):
    for splitter in splitters(*bert):
        found = splitter.get_activations(SENTENCES)
        with pytest.raises(InputError, match="no predictions"):
            _activations, _ = found
        assert list(found) == [*found] == [name for name in found] == splitter.split_points  # noqa: C416  # each iterates its way
        assert dict(found).keys() == found.keys() and isinstance(found, dict)
        (first, *_), pairs = found.values(), list(found.items())
        assert first is pairs[0][1] is found[splitter.split_points[0]]


def test_every_result_has_both(bert):
    model, tokenizer = bert
    both = splitters(model, tokenizer)[1]
    plain = both.get_activations(SENTENCES)
    assert plain.by_split_point is plain and plain.predictions is None
    result = both.get_activations(SENTENCES, include_predicted_classes=True)
    activations, predictions = result
    assert activations is result[0] is result.by_split_point and predictions is result[1] is result.predictions
    assert list(activations) == both.split_points and len(predictions) == len(SENTENCES)
    result = SplitterForClassification(model, tokenizer=tokenizer).get_activations(SENTENCES)
    rows, classes = result
    assert isinstance(result, tuple) and result.by_split_point["classifier"] is rows
    assert torch.equal(classes, predictions) and result.predictions is classes


def test_the_activations_of_a_result_can_be_fitted(bert):
    splitter = SplitterForClassification(bert[0], tokenizer=bert[1])
    result = splitter.get_activations(SENTENCES)
    whole, rows = PCAConcepts(splitter, 2).fit(result.by_split_point), PCAConcepts(splitter, 2).fit(result[0])
    torch.testing.assert_close(whole.get_dictionary(), rows.get_dictionary())


def test_a_class_or_a_place_that_agrees_with_a_loaded_model_is_accepted(bert):
    model, tokenizer = bert
    for automodel in (AutoModelForSequenceClassification, BertForSequenceClassification):
        ModelWithSplitPoints(model, 0, tokenizer=tokenizer, automodel=automodel)
    for place in ("cpu", torch.device("cpu"), "auto", {"": "cpu"}):
        ModelWithSplitPoints(model, 0, tokenizer=tokenizer, device_map=place)
        SplitterForClassification(model, tokenizer=tokenizer, device_map=place)
    with pytest.raises(OptionError, match="got AutoModelForCausalLM next to a loaded BertForSequenceClassification"):
        ModelWithSplitPoints(model, 0, tokenizer=tokenizer, automodel=AutoModelForCausalLM)
    for place in ("cuda", "cuda:1", {"": 0}, "nowhere"):
        with pytest.raises(OptionError, match=r"`device_map`: got .* next to a loaded model, which is on cpu"):
            ModelWithSplitPoints(model, 0, tokenizer=tokenizer, device_map=place)


def test_the_batch_size_can_be_set(bert):
    model, tokenizer = bert
    splitter, seen = ModelWithSplitPoints(model, 0, tokenizer=tokenizer), []
    assert splitter.batch_size is None
    splitter.batch_size = 3
    hook = model.register_forward_pre_hook(lambda _m, _a, given: seen.append(len(given["input_ids"])), with_kwargs=True)
    splitter.get_activations([SENTENCES[1]] * 9)
    hook.remove()
    assert splitter.batch_size == 3 and max(seen) == 3
    with pytest.raises(OptionError, match="`batch_size`"):
        splitter.batch_size = 0


def test_one_split_point_under_either_name(bert):
    model, tokenizer = bert
    splitter = ModelWithSplitPoints(model, split_point=1, tokenizer=tokenizer)
    assert splitter.split_point == "bert.encoder.layer.1" and splitter.device.type == "cpu"
    assert SplitterForClassification(model, split_points="bert.pooler", tokenizer=tokenizer).split_point == "bert.pooler"
    lm, lm_tokenizer = CAUSAL_LMS["gpt2"]()
    assert SplitterForGeneration(lm, split_points=0, tokenizer=lm_tokenizer).split_point == "transformer.h.0"
    assert splitter.to("cpu") is splitter
    with pytest.raises(OptionError, match="pass one of"):
        _ = ModelWithSplitPoints(model, [0, 1], tokenizer=tokenizer).split_point


@pytest.mark.parametrize("backend", ["hooks", "nnsight"])
@pytest.mark.parametrize("point", ["bert.embeddings.position_embeddings"])
def test_activations_that_the_batch_shares_are_each_texts(bert, backend, point):
    model, tokenizer = bert
    together = ModelWithSplitPoints(model, point, tokenizer=tokenizer, backend=backend)
    alone = ModelWithSplitPoints(model, point, tokenizer=tokenizer, batch_size=1, backend=backend)
    rows = together.get_activations(SENTENCES, "all_tokens")[point]
    assert torch.equal(rows, alone.get_activations(SENTENCES, "all_tokens")[point])
    table = model.bert.embeddings.position_embeddings.weight
    lengths = [len(sample) for sample in together.samples(SENTENCES)]
    assert torch.equal(rows, torch.cat([table[:n] for n in lengths]).detach())
    for texts in (SENTENCES[:1], SENTENCES):  # the same for every batch
        with pytest.raises(ValueError, match="one row of activations for the whole batch"):
            together.edited_outputs(texts, lambda hidden: 2 * hidden)


def test_rotary_angles_are_each_texts():
    model, tokenizer = CAUSAL_LMS["llama"]()
    point = "model.rotary_emb"
    rows = ModelWithSplitPoints(model, point, tokenizer=tokenizer).get_activations(SENTENCES, "all_tokens")[point]
    alone = ModelWithSplitPoints(model, point, tokenizer=tokenizer, batch_size=1)
    torch.testing.assert_close(rows, alone.get_activations(SENTENCES, "all_tokens")[point])


def test_both_backends_split_classifiers_and_language_models_alike(bert):
    model, tokenizer = bert
    hooks, traces = (SplitterForClassification(model, tokenizer=tokenizer, backend=b) for b in ("hooks", "nnsight"))
    for a, b in zip(hooks.get_activations(SENTENCES), traces.get_activations(SENTENCES), strict=True):
        torch.testing.assert_close(a, b)
    assert traces.nnsight_model is traces.nnsight is not hooks.nnsight_model
    lm, lm_tokenizer = CAUSAL_LMS["gpt2"]()
    for point in (0, "lm_head"):
        hooks, traces = (
            SplitterForGeneration(lm, point, lm_tokenizer, max_new_tokens=3, backend=b) for b in ("hooks", "nnsight")
        )
        (a,), (b,) = (each.get_activations(SENTENCES[:3]).values() for each in (hooks, traces))
        torch.testing.assert_close(a, b)
        samples = hooks.samples(SENTENCES[:2])
        edits = [each.edited_outputs(samples, lambda hidden: hidden * 0.5) for each in (hooks, traces)]
        torch.testing.assert_close(*edits)
