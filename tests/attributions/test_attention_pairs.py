"""Methods that read attention, and the attention view, explain two texts that are read together: loops over the eager model."""

from __future__ import annotations

import pytest
import torch

from interpreto import (
    AttentionRollout,
    GenericAttention,
    Granularity,
    Occlusion,
    RawAttention,
    TransitionAttention,
    attention_view,
)
from interpreto.errors import ModelError
from interpreto.models.attention import AttentionReader
from interpreto.models.watching import watching
from tests import tiny, tiny_tasks

PAIR = ("The old man walks", "Paris is the capital of France.")
START, END = 13, 20  # characters of the answer, "capital", in the second text
TASKS = {
    "pair": tiny.CLASSIFIERS["bert"],
    "next_sentence": tiny_tasks.NEXT_SENTENCE["bert"],
    "question_answering": tiny_tasks.QUESTION_ANSWERERS["bert"],
}


def leaf(weights):
    return weights if weights.requires_grad else weights.requires_grad_()


def prepared(task):
    """Return the model, its tokenizer, both texts as the tokenizer joins them, the target, and the queries that are read."""
    model, tokenizer = TASKS[task]()
    given = tokenizer(*PAIR, return_tensors="pt")
    if task != "question_answering":
        return model, tokenizer, given, 1, [0]
    first, last = given.char_to_token(0, START, 1), given.char_to_token(0, END - 1, 1)
    return model, tokenizer, given, (START, END), [first, last]


def score(output, task, read):
    """Return what is explained, off the output of the model."""
    if task != "question_answering":
        return output.logits[0, 1]
    return output.start_logits[0].log_softmax(-1)[read[0]] + output.end_logits[0].log_softmax(-1)[read[1]]


def maps_of(model, given, task, read, **options):
    """Return the attention of each layer, its gradient, and the score."""
    reader = AttentionReader(model, 1, lambda _n, weights, values: (leaf(weights), values))
    with torch.enable_grad(), watching(model, reader):
        value = score(model(**given, **options), task, read)
    maps = [each.weights for each in reader.maps]
    return [each[0].detach() for each in maps], [each[0] for each in torch.autograd.grad(value, maps)]


@pytest.mark.parametrize("task", TASKS)
def test_raw_attention_and_rollout_of_a_pair_are_rows_of_the_eager_maps(task):
    model, tokenizer, given, target, read = prepared(task)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        maps = [each[0] for each in model(**given, output_attentions=True).attentions]
    found = RawAttention(model, tokenizer, granularity=Granularity.ALL_TOKENS)(PAIR, target)[0].attributions[0]
    torch.testing.assert_close(found, maps[-1].mean(0)[read].mean(0), rtol=1e-5, atol=1e-6)
    mixed = torch.eye(len(found))
    for each in maps:
        mixed = (each.mean(0) / 2 + torch.eye(len(found)) / 2) @ mixed
    found = AttentionRollout(model, tokenizer, granularity=Granularity.ALL_TOKENS)(PAIR, target)[0].attributions[0]
    torch.testing.assert_close(found, mixed[read].mean(0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_generic_attention_of_a_pair_is_the_row_of_the_whole_matrix(task):
    model, tokenizer, given, target, read = prepared(task)
    total = torch.eye(given["input_ids"].shape[1])
    for weights, gradient in zip(*maps_of(model, given, task, read), strict=True):
        total = total + (weights * gradient).clamp(min=0).mean(0) @ total
    found = GenericAttention(model, tokenizer, granularity=Granularity.ALL_TOKENS)(PAIR, target)[0].attributions[0]
    torch.testing.assert_close(found, (total - torch.eye(len(total)))[read].mean(0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_transition_attention_of_a_pair_is_its_definition(task):
    model, tokenizer, given, target, read = prepared(task)
    embeddings = model.get_input_embeddings()(given["input_ids"]).detach()
    rest = {name: value for name, value in given.items() if name != "input_ids"}
    steps, mean = 3, 0
    for step in range(1, steps + 1):
        _, gradients = maps_of(model, rest, task, read, inputs_embeds=embeddings * step / steps)
        mean = mean + gradients[-1][:, read] / steps
    (below, last), _ = maps_of(model, given, task, read)
    row = (last.mean(0) @ below.mean(0) + last.mean(0))[read].mean(0)
    explainer = TransitionAttention(model, tokenizer, granularity=Granularity.ALL_TOKENS, n_perturbations=steps)
    wanted = row * mean.clamp(min=0).mean(0).mean(0)
    torch.testing.assert_close(explainer(PAIR, target)[0].attributions[0], wanted, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("task", TASKS)
def test_the_view_of_a_pair_has_the_maps_of_both_texts(task):
    model, tokenizer, given, target, _ = prepared(task)
    view = attention_view(Occlusion(model, tokenizer), PAIR, target)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        maps = model(**given, output_attentions=True).attentions
    names = tuple(tokenizer.convert_ids_to_tokens(given["input_ids"][0].tolist()))
    for layer, weights in zip(view.layers, maps, strict=True):
        torch.testing.assert_close(layer.weights, weights[0], rtol=1e-5, atol=1e-6)
        assert layer.queries == layer.keys == names
    assert "Paris" in view.to_html()


def test_the_view_of_texts_that_are_encoded_apart_is_refused_by_name():
    model, tokenizer = tiny_tasks.SIMILARITIES["bert"]()
    with pytest.raises(ModelError, match="no attention joins them"):
        attention_view(Occlusion(model, tokenizer), PAIR)
