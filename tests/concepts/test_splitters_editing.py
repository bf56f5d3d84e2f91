"""The batch edit and the upper half."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from interpreto.concepts.splitters import (
    BatchUnits,
    ModelWithSplitPoints,
    SplitterForClassification,
    SplitterForGeneration,
)
from interpreto.errors import ModelError, OptionError
from interpreto.inputs.units import GranularityAggregationStrategy
from interpreto.models.batching import map_batches
from tests import tiny
from tests.tiny import CAUSAL_LMS, CLASSIFIERS, SENTENCES

MODELS = {f"{kind}_{name}": zoo[name] for kind, zoo in (("classifier", CLASSIFIERS), ("lm", CAUSAL_LMS)) for name in zoo}
FEW = ["classifier_bert", "classifier_deberta_v2", "classifier_llama", "lm_gpt2", "lm_falcon"]


def by_plain_autograd(model, tokenizer, path, text, target):
    """The gradient of an output in a block's output, by a hook and the whole graph."""
    kept = []

    def keep(module, args, output):
        hidden = (output[0] if isinstance(output, tuple) else output).detach().requires_grad_()
        kept.append(hidden)
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    hook = model.get_submodule(path).register_forward_hook(keep)
    logits = model(**tokenizer(text, return_tensors="pt")).logits
    hook.remove()
    score = logits[0, target] if logits.ndim == 2 else logits[0, -1, target]
    return torch.autograd.grad(score, kept[0])[0][0]


@pytest.mark.parametrize("name", MODELS)
def test_the_model_run_on_from_its_own_activations_answers_as_it_does(name):
    model, tokenizer = MODELS[name]()
    splitter = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
    for text in SENTENCES[6:7]:
        samples = splitter.samples(text)
        with torch.no_grad():
            expected = model(**tokenizer(text, return_tensors="pt")).logits
            for outputs in (
                splitter.outputs_from(samples, splitter.batch_activations(samples)),
                splitter.edited_outputs(text, lambda hidden: hidden.clone()),
            ):
                assert outputs.shape == expected.shape
                assert (outputs - expected).abs().max() <= 1e-4 * max(1, float(expected.abs().max()))


@pytest.mark.parametrize("name", FEW)
def test_gradients_are_those_of_plain_autograd_in_a_padded_batch(name):
    model, tokenizer = MODELS[name]()
    splitter = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
    samples = splitter.samples(SENTENCES)
    hidden = splitter.batch_activations(samples).requires_grad_()
    added = torch.zeros_like(hidden, requires_grad=True)
    ends = torch.tensor([len(sample) - 1 for sample in samples])
    for outputs, variable in (
        (splitter.outputs_from(samples, hidden), hidden),
        (splitter.edited_outputs(samples, lambda given: given + added), added),
    ):
        scores = outputs[:, 1] if outputs.ndim == 2 else outputs[torch.arange(len(samples)), ends, 1]
        (gradients,) = torch.autograd.grad(scores.sum(), variable)
        for i, text in enumerate(SENTENCES):
            expected = by_plain_autograd(model, tokenizer, splitter.split_points[0], text, 1)
            assert (gradients[i, : len(expected)] - expected).abs().max() <= 1e-4 * max(1, float(expected.abs().max()))
            assert gradients[i, len(expected) :].abs().sum() <= 1e-6  # padding decides nothing
    assert all(parameter.grad is None for parameter in model.parameters())


def test_no_gradient_reaches_the_parameters_even_by_backward():
    model, tokenizer = MODELS["classifier_bert"]()
    splitter = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
    samples = splitter.samples(SENTENCES)
    hidden = splitter.batch_activations(samples).requires_grad_()
    splitter.outputs_from(samples, hidden).sum().backward()
    assert hidden.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_without_gradients_nothing_is_kept_for_them():
    model, tokenizer = MODELS["classifier_bert"]()
    splitter = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
    samples = splitter.samples(SENTENCES)
    with torch.no_grad():
        assert not splitter.edited_outputs(samples, lambda hidden: hidden).requires_grad
        assert not torch.is_grad_enabled()
    assert not splitter.outputs_from(samples, splitter.batch_activations(samples)).requires_grad
    assert torch.is_grad_enabled()


def test_blocks_below_are_not_run_where_they_are_not_needed():
    model, tokenizer = MODELS["lm_llama"]()
    splitter = ModelWithSplitPoints(model, 1, tokenizer=tokenizer)
    samples = splitter.samples(SENTENCES)
    hidden = splitter.batch_activations(samples)
    splitter.outputs_from(samples, hidden)
    hook = model.model.layers[0].self_attn.register_forward_pre_hook(lambda *_: pytest.fail("block 0 ran"))
    splitter.outputs_from(samples, hidden)
    hook.remove()


def test_blocks_below_run_where_what_they_add_is_needed():
    """What an attention or an MLP answers is added to the stream of the blocks below."""
    model, tokenizer = MODELS["lm_llama"]()
    for path in ("model.layers.1.mlp", "model.layers.1.self_attn", "model.layers.0.mlp", "model.norm", "model.layers.1"):
        splitter = ModelWithSplitPoints(model, path, tokenizer=tokenizer)
        samples = splitter.samples(SENTENCES)
        hidden = splitter.batch_activations(samples)
        changed = splitter.outputs_from(samples, 2 * hidden)
        expected = splitter.edited_outputs(samples, lambda given: 2 * given)
        assert (changed - expected).abs().max() <= 1e-4 * float(expected.abs().max())


def test_edits_at_an_early_point_move_the_outputs_at_a_late_one():
    model, tokenizer = MODELS["lm_gpt2"]()
    splitter = ModelWithSplitPoints(model, [0, 1], tokenizer=tokenizer)
    first, second = splitter.split_points
    samples = splitter.samples(SENTENCES)
    steered = splitter.edited_outputs(samples, lambda hidden: hidden.flip(-1), first)
    other = splitter.edited_outputs(samples, lambda hidden: hidden.flip(-1), second)
    plain = splitter.edited_outputs(samples, lambda hidden: hidden, second)
    assert (steered - plain).abs().max() > 1e-3
    assert (steered - other).abs().max() > 1e-3


def test_pool_then_spread_is_the_mean_of_each_unit_and_nothing_else():
    model, tokenizer = MODELS["classifier_bert"]()
    splitter = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
    samples = splitter.samples(SENTENCES, "word")
    units, hidden = BatchUnits.of_samples(samples), splitter.batch_activations(samples)
    spread = units.spread(units.pool(hidden, GranularityAggregationStrategy.MEAN), hidden)
    for i, sample in enumerate(samples):
        for unit in range(len(sample.units)):
            inside = (sample.units.index == unit).nonzero()[:, 0]
            assert torch.allclose(spread[i, inside], hidden[i, inside].mean(0).expand(len(inside), -1), atol=1e-6)
        outside = (sample.units.index < 0).nonzero()[:, 0]
        assert torch.equal(spread[i, outside], hidden[i, outside])
        assert torch.equal(spread[i, len(sample) :], hidden[i, len(sample) :])


def test_batches_hold_every_sample_once_in_batches_of_like_length():
    model, tokenizer = MODELS["classifier_bert"]()
    splitter = ModelWithSplitPoints(model, 0, tokenizer=tokenizer, batch_size=3)
    samples, batches = splitter.samples(SENTENCES * 3), []
    with splitter.session(samples) as mixed:
        map_batches([len(sample) for sample in samples], batches.append, splitter.budget(), mixed)
    assert sorted(i for batch in batches for i in batch) == list(range(len(samples)))
    lengths = [len(samples[i]) for batch in batches for i in batch]
    assert lengths == sorted(lengths)
    assert max(map(len, batches)) == 3


def test_an_edit_that_changes_the_shape_is_refused():
    model, tokenizer = MODELS["classifier_bert"]()
    splitter = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
    with pytest.raises(OptionError, match="keeps the shape"):
        splitter.edited_outputs(SENTENCES, lambda hidden: hidden[:, :1])
    samples = splitter.samples(SENTENCES)
    with pytest.raises(OptionError, match="got shape"):
        splitter.outputs_from(samples, splitter.batch_activations(samples)[..., :5])


def test_a_model_that_padding_changes_takes_texts_of_one_length():
    model, tokenizer = MODELS["classifier_xlnet"]()
    splitter = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
    with pytest.raises(ModelError, match="change with padding"):
        splitter.edited_outputs(SENTENCES, lambda hidden: hidden)
    batches = []
    samples = splitter.samples(SENTENCES)
    with splitter.session(samples) as mixed:
        map_batches([len(sample) for sample in samples], batches.append, splitter.budget(), mixed)
    for batch in batches:
        assert len({len(samples[i]) for i in batch}) == 1


LASTING = ["lm_gpt2", "lm_llama"]


@pytest.mark.parametrize("name", LASTING)
def test_an_edit_lasts_through_generate_and_a_cache_changes_nothing(name):
    model, tokenizer = MODELS[name]()
    splitter = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
    inputs = tokenizer("The film was", return_tensors="pt")
    direction = torch.randn(splitter.batch_activations(splitter.samples("The film")).shape[-1], generator=seeded(1))
    seen = []

    def edit(hidden):
        seen.append(hidden.shape[1])
        return hidden + 4 * direction

    options = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    plain = model.generate(**inputs, **options)
    with splitter.editing(edit):
        cached = model.generate(**inputs, **options)
    assert seen == [inputs["input_ids"].shape[1], 1, 1, 1, 1, 1]
    with splitter.editing(edit):
        whole = model.generate(**inputs, **options, use_cache=False)
    assert torch.equal(cached, whole) and not torch.equal(cached, plain)
    assert torch.equal(model.generate(**inputs, **options), plain)  # nothing is left behind
    by_hand = inputs["input_ids"]
    for _ in range(6):
        samples = splitter.samples([by_hand[0]])
        logits = splitter.edited_outputs(samples, lambda hidden: hidden + 4 * direction)
        by_hand = torch.cat([by_hand, logits[:, -1].argmax(-1, keepdim=True)], 1)
    assert torch.equal(by_hand, cached)


def test_lasting_edits_of_both_stacks_of_an_encoder_decoder():
    model, tokenizer = tiny.SEQ2SEQ["t5"]()
    inputs, options = tokenizer("The film was", return_tensors="pt"), {"max_new_tokens": 4, "do_sample": False}
    for path, passes in (("encoder.block.0", 1), ("decoder.block.0", 4)):
        splitter, seen = SplitterForGeneration(model, path, tokenizer, max_new_tokens=2), []
        for _ in range(2):
            with splitter.editing(lambda hidden: seen.append(1) or hidden):  # noqa: B023
                model.generate(**inputs, **options, min_new_tokens=4)
        assert len(seen) == 2 * passes


def test_a_layer_that_runs_several_times_is_edited_once_in_each_pass():
    model, tokenizer = tiny.CLASSIFIERS["albert"]()
    splitter, seen = ModelWithSplitPoints(model, "albert.encoder.albert_layer_groups.0", tokenizer=tokenizer), []
    inputs = tokenizer("The film", return_tensors="pt")
    with splitter.editing(lambda hidden: seen.append(1) or 2 * hidden), torch.no_grad():
        found = [model(**inputs).logits for _ in range(2)]
    assert len(seen) == 2 and torch.equal(*found)
    torch.testing.assert_close(splitter.edited_outputs("The film", lambda hidden: 2 * hidden), found[0])


def test_lasting_edits_of_the_input_of_a_head():
    for name in ("classifier_bert", "classifier_gpt2"):
        model, tokenizer = MODELS[name]()
        splitter = SplitterForClassification(model, tokenizer=tokenizer)
        text = SENTENCES[1]
        with splitter.editing(lambda hidden: 2 * hidden), torch.no_grad():
            found = model(**tokenizer(text, return_tensors="pt")).logits
        torch.testing.assert_close(found, splitter.edited_outputs(text, lambda hidden: 2 * hidden))


def test_a_lasting_edit_is_over_after_an_error_and_is_of_its_thread_alone():
    model, tokenizer = MODELS["lm_gpt2"]()
    splitter = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
    inputs = tokenizer("The film was", return_tensors="pt")
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    with torch.no_grad(), ThreadPoolExecutor(1) as other:
        plain = model(**inputs).logits
        with splitter.editing(lambda hidden: 0 * hidden):
            elsewhere = other.submit(lambda: torch.no_grad()(model)(**inputs).logits).result()
            assert torch.equal(elsewhere, plain) and not torch.equal(model(**inputs).logits, plain)
        with pytest.raises(OptionError, match="keeps the shape"), splitter.editing(lambda hidden: hidden[:, :1]):
            model(**inputs)
        assert torch.equal(model(**inputs).logits, plain)
    assert hooks == [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("name", ["classifier_bert", "lm_llama"])
def test_activations_between_two_places_are_those_of_a_whole_pass(name):
    model, tokenizer = MODELS[name]()
    splitter = ModelWithSplitPoints(model, [0, 1], tokenizer=tokenizer)
    first, second = splitter.split_points
    samples = splitter.samples(SENTENCES)
    hidden = splitter.batch_activations(samples, first).requires_grad_()
    found = splitter.activations_from(samples, hidden, first, [1])
    torch.testing.assert_close(found[second], splitter.batch_activations(samples, second))
    (gradient,) = torch.autograd.grad(found[second].sum(), hidden)
    assert bool(gradient.abs().amax(-1)[:, 0].gt(0).all())
    with pytest.raises(OptionError, match="not reached after"):
        splitter.activations_from(samples, hidden, second, [0])


def seeded(seed):
    return torch.Generator().manual_seed(seed)
