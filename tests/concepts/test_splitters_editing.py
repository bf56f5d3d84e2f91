"""The batch edit and the upper half."""

import pytest
import torch

from interpreto.concepts.splitters import BatchUnits, ModelWithSplitPoints
from interpreto.errors import ModelError, OptionError
from interpreto.inputs.units import GranularityAggregationStrategy
from interpreto.models.batching import map_batches
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
