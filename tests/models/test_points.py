"""Gradients: of many targets in few backward passes, in blocks, equal to autograd; models without any are told."""

from __future__ import annotations

import pytest
import torch
import transformers

from interpreto import (
    AttnLrp,
    Contrast,
    DeepLift,
    DeepLiftShap,
    InputXGradient,
    IntegratedGradients,
    Saliency,
    SmoothGrad,
)
from interpreto.attributions import evidence
from interpreto.errors import CompletenessWarning, ModelError
from interpreto.inputs.samples import Readout
from interpreto.models.options import EngineOptions
from interpreto.models.point_rows import padded_points, runs_of
from interpreto.models.scorer import columns, mixed_rows
from tests import tiny

TEXT = "The film was not good"
pytestmark = pytest.mark.filterwarnings("ignore::interpreto.errors.CompletenessWarning")


def classifier(classes=40):
    tokenizer = tiny.wordpiece()
    config = transformers.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        num_labels=classes,
        initializer_range=0.2,
    )
    torch.manual_seed(0)
    return transformers.BertForSequenceClassification(config).eval(), tokenizer


@pytest.fixture
def backwards(monkeypatch):
    """Counts calls of autograd, and whether several gradients were asked for at once."""
    calls, grad = [], torch.autograd.grad

    def counted(*arguments, **options):
        calls.append(bool(options.get("is_grads_batched")))
        return grad(*arguments, **options)

    monkeypatch.setattr(torch.autograd, "grad", counted)
    return calls


@pytest.mark.parametrize("method", [InputXGradient, Saliency, IntegratedGradients, SmoothGrad], ids=lambda m: m.__name__)
def test_many_targets_share_backward_passes(method, backwards):
    model, tokenizer = classifier()
    targets = [list(range(40))]
    explainer = method(model, tokenizer)
    together = explainer([TEXT], targets)[0]
    assert any(backwards) and explainer.forward.batches_gradients and len(backwards) < 40
    explainer = method(model, tokenizer)
    explainer.forward.batches_gradients = False
    backwards.clear()
    alone = explainer([TEXT], targets)[0]
    assert not any(backwards) and len(backwards) >= 40
    scale = float(alone.attributions.abs().max())
    torch.testing.assert_close(together.attributions, alone.attributions, rtol=0, atol=1e-5 * scale)


def test_the_graph_is_kept_only_where_another_backward_follows(monkeypatch):
    model, tokenizer = classifier(3)
    kept, grad = [], torch.autograd.grad

    def noted(*arguments, **options):
        kept.append(options["retain_graph"])
        return grad(*arguments, **options)

    monkeypatch.setattr(torch.autograd, "grad", noted)
    one = IntegratedGradients(model, tokenizer)([TEXT], [0])[0]
    assert kept and not any(kept)
    kept.clear()
    every = IntegratedGradients(model, tokenizer)([TEXT], [[0, 1, 2]])[0]
    assert kept and all(kept)
    torch.testing.assert_close(one.attributions[0], every.attributions[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", [InputXGradient, SmoothGrad, IntegratedGradients], ids=lambda m: m.__name__)
def test_targets_are_explained_in_blocks_where_memory_asks_for_it(method, monkeypatch):
    model, tokenizer = classifier()
    texts, targets = [TEXT, "A good film"], [list(range(40))] * 2
    wanted = method(model, tokenizer)(texts, targets)
    monkeypatch.setattr(evidence, "NUMBERS_HELD", 5000)
    for a, b in zip(wanted, method(model, tokenizer)(texts, targets), strict=True):
        torch.testing.assert_close(a.attributions, b.attributions, rtol=1e-4, atol=1e-5 * float(a.attributions.abs().max()))
        assert a.target_labels == b.target_labels
        if a.standard_error is not None:
            torch.testing.assert_close(a.standard_error, b.standard_error, rtol=1e-3, atol=1e-5)


def test_rows_with_unequal_numbers_of_targets_share_batches():
    model, tokenizer = classifier()
    texts, targets = [TEXT, "A good film", "A bad film that is not good"], [[3], list(range(40)), [7, 1]]
    together = InputXGradient(model, tokenizer)(texts, targets)
    for text, own, output in zip(texts, targets, together, strict=True):
        alone = InputXGradient(model, tokenizer, shortcuts=EngineOptions(shared_backward=False))([text], [own])[0]
        torch.testing.assert_close(output.attributions, alone.attributions, rtol=1e-3, atol=1e-4)


def test_models_whose_operators_cannot_be_batched_are_run_one_by_one():
    class Odd(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, gradient):
            assert float(gradient.sum()) < torch.inf  # a number of a tensor, which a batched backward has not
            return gradient * 2

    model, tokenizer = classifier()
    forward = model.forward
    plain = InputXGradient(model, tokenizer)([TEXT], [[0, 1, 2]])[0]

    def doubled(input_ids=None, attention_mask=None, token_type_ids=None):
        output = forward(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
        output.logits = Odd.apply(output.logits)
        return output

    model.forward = doubled
    explainer = InputXGradient(model, tokenizer)
    found = explainer([TEXT], [[0, 1, 2]])[0]
    assert explainer.forward.batches_gradients is False
    torch.testing.assert_close(found.attributions, 2 * plain.attributions, rtol=1e-4, atol=1e-5)


def test_models_without_gradients_are_told():
    model, tokenizer = tiny.CLASSIFIERS["bert"]()

    class Detached(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.config, self.get_input_embeddings = model, model.config, model.get_input_embeddings

        def forward(self, **inputs):
            return self.inner(**inputs).logits.detach()

    with pytest.raises(ModelError, match="`model`: Detached gives no gradients at its embeddings"):
        IntegratedGradients(Detached(), tokenizer)(TEXT, 0)


class Normalized(torch.nn.Module):
    """A model that normalizes its embeddings first: blind to their scale."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.config, self.table = inner, inner.config, inner.get_input_embeddings()

    def get_input_embeddings(self):
        return self.table

    def forward(self, input_ids, attention_mask):
        hidden = torch.nn.functional.layer_norm(self.table(input_ids), (32,), eps=1e-12)
        hidden = hidden - hidden.mean(-1, keepdim=True)
        return (hidden.relu() * attention_mask[..., None]).sum(1)[:, :3]


def test_rounding_is_told():
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    with torch.no_grad():
        model.get_input_embeddings().weight.sub_(model.get_input_embeddings().weight.mean(1, keepdim=True))
    with pytest.warns(CompletenessWarning, match="gradient × input of 'The film was not good' is rounding"):
        InputXGradient(Normalized(model), tokenizer)(TEXT, 0)


AT_INPUTS = {Saliency: {}, InputXGradient: {}, AttnLrp: {}, DeepLift: {}, DeepLiftShap: {"n_baselines": 2}}
SHARED = {
    "predicted": ("bert", tiny.CLASSIFIERS, (["The film was not good", "A good film"], None)),
    "classes": ("bert", tiny.CLASSIFIERS, (["The film was not good", "A good film"], [[0, 2], [1]])),
    "texts": ("gpt2", tiny.CAUSAL_LMS, (["The film was", "A"], [" not good", " film"])),
    "contrast": ("gpt2", tiny.CAUSAL_LMS, (["The film was"], Contrast(" not good", " dull"))),
    "two stacks": ("t5", tiny.SEQ2SEQ, (["The film was not good"], ["a good film"])),
}
OF_A_CLASSIFIER = ("predicted", "classes")


@pytest.mark.parametrize("method", AT_INPUTS, ids=lambda method: method.__name__)
@pytest.mark.parametrize(
    "case", [*OF_A_CLASSIFIER, *(pytest.param(name, marks=pytest.mark.slow) for name in SHARED if name not in OF_A_CLASSIFIER)]
)
def test_scores_of_the_gradients_pass_are_those_of_a_pass_of_their_own(method, case):
    family, models, call = SHARED[case]
    model, tokenizer = models[family]()
    explainer = method(model, tokenizer, **AT_INPUTS[method])
    explainer(*call)  # what is measured of a model once
    rows = []
    counting = model.register_forward_hook(lambda _, __, output: rows.append(len(output.logits)))
    together = explainer(*call)
    shared, explainer.perturbator.stays = sum(rows), False
    rows.clear()
    apart = explainer(*call)
    counting.remove()
    assert shared < sum(rows)
    for one, other in zip(together, apart, strict=True):
        assert one.target_labels == other.target_labels and one.prediction == other.prediction
        scale = float(other.base_scores.abs().max())
        torch.testing.assert_close(one.base_scores, other.base_scores, rtol=0, atol=1e-5 * scale)
        largest = float(other.attributions.nan_to_num().abs().max())
        torch.testing.assert_close(one.attributions, other.attributions, rtol=0, atol=1e-5 * largest, equal_nan=True)
        if other.reference_scores is not None:
            torch.testing.assert_close(one.reference_scores, other.reference_scores, rtol=0, atol=1e-5 * scale)


def test_inputs_whose_batch_does_not_fit_are_aimed_once(monkeypatch):
    """The memory runs out in a backward pass, after targets were found: the same targets are explained by half batches."""
    model, tokenizer = classifier()
    texts = [TEXT, "A good film was bad", "The film was bad too", "A film is not good"]
    wanted, grad, failed = InputXGradient(model, tokenizer)(texts), torch.autograd.grad, []

    def full(outputs, inputs, *arguments, **options):
        if len(inputs) > 2:
            failed.append(len(inputs))
            raise torch.OutOfMemoryError("out of memory")
        return grad(outputs, inputs, *arguments, **options)

    monkeypatch.setattr(torch.autograd, "grad", full)
    found = InputXGradient(model, tokenizer)(texts)
    assert failed
    for one, other in zip(found, wanted, strict=True):
        assert one.target_labels == other.target_labels
        torch.testing.assert_close(one.attributions, other.attributions, rtol=1e-4, atol=1e-5)


def test_half_precision_keeps_a_pass_of_its_own_for_scores_under_rules():
    """Rules write normalizations out, which round more in half precision than the model's own kernels."""
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    explanation = AttnLrp(model.bfloat16(), tokenizer)(TEXT, 0)[0]
    with torch.no_grad():
        logits = model(**tokenizer(TEXT, return_tensors="pt")).logits
    assert float(explanation.base_scores[0]) == float(logits[0, 0])


def test_points_are_gathered_by_runs():
    tables = [torch.arange(24.0).reshape(4, 3, 2), 100 + torch.arange(20.0).reshape(5, 2, 2)]
    places = [(0, 1), (0, 2), (1, 0), (1, 1), (0, 3), (1, 4)]
    runs = list(runs_of(places))
    assert runs == [(0, slice(1, 3)), (1, slice(0, 2)), (0, slice(3, 4)), (1, slice(4, 5))]
    found = padded_points([tables[j][some] for j, some in runs])
    assert found.shape == (6, 3, 2) and list(runs_of([])) == []
    for row, (j, i) in zip(found, places, strict=True):
        own = tables[j][i]
        assert torch.equal(row[: len(own)], own) and not row[len(own) :].any()
    alike = padded_points([tables[0][:2], tables[0][3:]])
    alike.zero_()  # a tensor of its own: what a model changes in place is not the points
    assert tables[0][1:].all()


def test_readouts_of_unequal_widths_share_a_table():
    narrow, wide = Readout(torch.tensor([2])), Readout(torch.tensor([0, 1, 3]), weights=torch.tensor([[1.0, -1.0, 0.0]]))
    readouts = [narrow, wide, wide, narrow]
    ids = columns(readouts)
    assert ids is not None and ids.tolist() == [[2, 2, 2], [0, 1, 3], [0, 1, 3], [2, 2, 2]]
    outputs = torch.arange(16.0).reshape(4, 4).square().gather(1, ids)
    assert mixed_rows(outputs, readouts).tolist() == [[4.0], [16.0 - 25.0], [64.0 - 81.0], [14.0**2]]


def test_gradients_that_overflow_are_told_and_not_returned():
    tokenizer = tiny.wordpiece()
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=8,
        num_hidden_layers=12,
        num_attention_heads=2,
        intermediate_size=8,
        num_labels=2,
        pad_token_id=0,
        initializer_range=0.5,
        rms_norm_eps=1e-9,
    )
    model = transformers.LlamaForSequenceClassification(config).eval()
    explainer = DeepLift(model, tokenizer, baseline="zero", granularity="all_tokens")  # nothing is left but zeros, which
    with pytest.raises(ModelError, match=r"its gradients for 'The film was not good' are not finite .* Another `baseline`"):
        explainer(TEXT)  # each of 25 normalizations divides by 3e-5
    assert DeepLift(model, tokenizer, baseline="mean")(TEXT)[0].attributions.isfinite().all()


def test_a_function_without_a_slope_is_told():
    model, tokenizer = classifier(classes=2)
    forward = model.forward

    def rooted(input_ids=None, attention_mask=None, token_type_ids=None):
        output = forward(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
        output.logits = output.logits + (output.logits * 0).sqrt()  # infinite slope, times zero
        return output

    model.forward = rooted
    for method in (Saliency, InputXGradient, IntegratedGradients, SmoothGrad):
        with pytest.raises(ModelError, match="are not finite"):
            method(model, tokenizer)(TEXT)
