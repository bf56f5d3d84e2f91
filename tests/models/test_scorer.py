"""Full batches, each distinct copy once, memory that runs out: none of it changes a number."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from interpreto import IntegratedGradients, KernelShap, Occlusion, SmoothGrad
from interpreto.attributions.perturbations import MaskPerturbator
from interpreto.models.scorer import WINDOW, unique_rows
from tests import problems, tiny

TEXTS = list(tiny.SENTENCES)
METHODS = [Occlusion, KernelShap, IntegratedGradients, SmoothGrad]
pytestmark = pytest.mark.filterwarnings("ignore::interpreto.errors.CompletenessWarning")


class Recorder(torch.nn.Module):
    """Notes the batches that reach a model, and says that its memory is full above ``limit`` rows."""

    def __init__(self, inner, limit=10**9):
        super().__init__()
        self.inner, self.limit, self.shapes, self.refused, self.tokens = inner, limit, [], [], 0
        self.config, self.get_input_embeddings = inner.config, inner.get_input_embeddings

    def forward(self, input_ids, attention_mask, **others):
        if len(input_ids) > self.limit:
            self.refused.append(tuple(input_ids.shape))
            raise torch.OutOfMemoryError("full")
        self.shapes.append(tuple(input_ids.shape))
        self.tokens += int(attention_mask.sum())
        return self.inner(input_ids=input_ids, attention_mask=attention_mask, **others)


def bert(limit=10**9):
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    return Recorder(model, limit), tokenizer


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("batch_size", [None, 100])
def test_batches_are_halved_when_the_memory_runs_out(method, batch_size):
    wanted = method(*bert())(TEXTS, targets=[[0, 1]] * len(TEXTS))
    model, tokenizer = bert(limit=7)
    outputs = method(model, tokenizer, batch_size=batch_size)(TEXTS, targets=[[0, 1]] * len(TEXTS))
    assert model.refused and max(rows for rows, _ in model.shapes) <= 7
    assert len(model.refused) <= 8  # the budget stays halved
    for a, b in zip(wanted, outputs, strict=True):
        scale = max(1.0, float(a.attributions.abs().max()))
        torch.testing.assert_close(a.attributions, b.attributions, rtol=0, atol=1e-5 * scale)


def test_memory_that_one_row_exceeds_is_the_users_to_know():
    with pytest.raises(torch.OutOfMemoryError):
        Occlusion(*bert(limit=0))(TEXTS)


def test_memory_that_runs_out_in_a_backward_counts_no_gradient_twice():
    wanted = SmoothGrad(*bert(), n_perturbations=6)(TEXTS[1], targets=[0, 1, 2])[0]
    model, tokenizer = bert()
    explainer = SmoothGrad(model, tokenizer, n_perturbations=6)
    grad, calls = torch.autograd.grad, []

    def full_at_the_second(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("full")
        return grad(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.autograd, "grad", full_at_the_second)
        output = explainer(TEXTS[1], targets=[0, 1, 2])[0]
    torch.testing.assert_close(output.attributions, wanted.attributions, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", [Occlusion, KernelShap])
def test_copies_of_different_samples_share_batches_sorted_by_length(method):
    model, tokenizer = bert()
    method(model, tokenizer)(TEXTS)
    padded = sum(rows * length for rows, length in model.shapes)
    assert padded <= 1.3 * model.tokens
    assert len(model.shapes) <= 2 + len(TEXTS) // 2 + padded // 2048  # of which 2 measure what padding does


def test_equal_copies_are_run_once():
    model, tokenizer = bert()
    KernelShap(model, tokenizer, batch_size=4)("The film was good")
    assert sum(rows for rows, _ in model.shapes) == 2**4


def test_the_prediction_costs_no_pass_of_its_own():
    model, tokenizer = bert()
    outputs = Occlusion(model, tokenizer, batch_size=64)("The film was good")
    assert model.shapes == [(5, 6)] and len(outputs[0].elements) == 4


def test_unique_rows_are_the_rows():
    mask = (torch.rand(200, 5, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    rows, inverse = unique_rows(mask)
    assert torch.equal(rows[inverse], mask)
    assert len(rows) == len({tuple(row) for row in mask.tolist()}) < 200


def test_models_that_padding_changes_are_found_out_and_never_padded():
    model, tokenizer = tiny.CLASSIFIERS["xlnet"]()
    recorder = Recorder(model)
    Occlusion(recorder, tokenizer)(TEXTS)
    measured, rest = recorder.shapes[:1], recorder.shapes[2:]  # one padded row, then the same alone
    assert measured[0][0] == 1
    rows = {length for _, length in rest}
    assert rows <= {len(tokenizer(text)["input_ids"]) for text in TEXTS}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("method", METHODS)
def test_half_precision_models_give_float32_statistics(method, dtype):
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    wanted = method(model, tokenizer)(TEXTS[1:4], 1)
    outputs = method(model.to(dtype), tokenizer)(TEXTS[1:4], 1)
    for a, b in zip(wanted, outputs, strict=True):
        assert b.attributions.dtype is torch.float32
        error = (a.attributions - b.attributions).norm() / a.attributions.norm()
        assert float(error) < 0.25
        if b.reference_scores is not None and method is KernelShap:
            assert float(b.residual.abs()) < 1e-5  # efficiency does not depend on the model's precision


def test_a_budget_of_tokens_bounds_each_pass():
    model, tokenizer = bert()
    KernelShap(model, tokenizer, n_perturbations=400)(TEXTS)
    assert max(rows * length for rows, length in model.shapes) <= 2048


class Wrapped(torch.nn.Module):
    """What a wrapper leaves of a model: its config, and outputs in another container."""

    def __init__(self, inner, kind):
        super().__init__()
        self.inner, self.kind, self.config = inner, kind, inner.config
        self.get_input_embeddings = inner.get_input_embeddings

    def forward(self, **inputs):
        logits = self.inner(**inputs).logits
        return {"dict": {"logits": logits}, "tuple": (logits,), "tensor": logits, "object": SimpleNamespace(logits=logits)}[
            self.kind
        ]


@pytest.mark.parametrize("kind", ["dict", "tuple", "tensor", "object"])
def test_wrapped_models_are_explained_like_their_model(kind):
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    for method in METHODS:
        a, b = method(model, tokenizer)(TEXTS[1])[0], method(Wrapped(model, kind), tokenizer)(TEXTS[1])[0]
        assert torch.equal(a.attributions, b.attributions) and a.target_labels == b.target_labels


def test_peft_models_are_explained():
    peft = pytest.importorskip("peft")
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    wanted = {method: method(model, tokenizer)(TEXTS[1])[0] for method in METHODS}
    adapted = peft.get_peft_model(model, peft.LoraConfig(task_type="SEQ_CLS", target_modules=["query", "value"]))
    for method, output in wanted.items():  # a fresh adapter changes nothing
        again = method(adapted, tokenizer)(TEXTS[1])[0]
        torch.testing.assert_close(again.attributions, output.attributions, rtol=1e-5, atol=1e-5)
        assert again.target_labels == output.target_labels


def test_tasks_are_read_from_the_config():
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    with torch.no_grad():
        rows = [model(**tokenizer(text, return_tensors="pt")).logits[0] for text in TEXTS]
    text, logits = next((t, row) for t, row in zip(TEXTS, rows, strict=True) if (row > 0).any())
    model.config.problem_type = "multi_label_classification"
    output = Occlusion(model, tokenizer, inference_mode="sigmoid")(text)[0]
    assert output.targets.tolist() == (logits > 0).nonzero()[:, 0].tolist()
    torch.testing.assert_close(output.base_scores, logits[logits > 0].sigmoid(), rtol=1e-5, atol=1e-6)
    assert Occlusion(model, tokenizer, task="regression")(TEXTS[1])[0].targets.tolist() == [0, 1, 2]


def test_any_function_of_the_logits_is_a_mode():
    model, tokenizer = tiny.CLASSIFIERS["bert"]()

    def margin(logits):
        return logits - logits.mean(-1, keepdim=True)

    output = Occlusion(model, tokenizer, inference_mode=margin)(TEXTS[1])[0]
    logits = model(**tokenizer(TEXTS[1], return_tensors="pt")).logits[0]
    torch.testing.assert_close(output.base_scores[0], (logits - logits.mean()).max(), rtol=1e-5, atol=1e-5)
    assert output.inference_mode == "margin"


def test_a_progress_bar_counts_passes(capsys):
    Occlusion(*bert(), batch_size=2, tqdm_bar=True)("The film was good")
    assert "3 passes" in capsys.readouterr().err


def test_a_thousand_texts_hold_a_bounded_number_of_copies():
    """The perturbator runs just ahead of the model."""
    model = problems.Game(lambda present: present.sum(1), 8)
    explainer = KernelShap(model, problems.GameTokenizer(8), granularity="token", n_perturbations=256, batch_size=64)
    ahead, inner = [], explainer.perturbator

    class Watched(MaskPerturbator):
        def masks(self, u, generator):
            raise NotImplementedError

        def __call__(self, sample, generator):
            ahead.append(len(ahead) * 256 - model.calls)
            return inner(sample, generator)

    explainer.perturbator = Watched()
    explainer(torch.arange(8).repeat(1000, 1), 0)  # 256,000 copies
    assert len(ahead) == 1000 and max(ahead) <= WINDOW * 64 + 256


def test_rows_that_use_the_whole_vocabulary_are_never_padded():
    model, tokenizer = tiny.CLASSIFIERS["gpt2"]()
    everything = torch.arange(len(tokenizer))
    rows = [everything[:100], everything[100:220], everything[220:300], everything[300:]]
    outputs = Occlusion(model, tokenizer, granularity="token", batch_size=50)(rows, 0)
    for row, output in zip(rows, outputs, strict=True):
        alone = Occlusion(model, tokenizer, granularity="token")(row, 0)[0]
        torch.testing.assert_close(output.attributions, alone.attributions, rtol=1e-4, atol=1e-4)
