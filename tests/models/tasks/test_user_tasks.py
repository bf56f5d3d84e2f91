"""Tasks that users define: outputs of every token of models that see the whole text, by their own names."""

from __future__ import annotations

import pytest
import torch
import transformers

from interpreto import InputXGradient, IntegratedGradients, KernelShap, Occlusion
from interpreto.attributions.output import AttributionOutput
from interpreto.inputs.samples import Readout, Targets
from interpreto.metrics import Deletion
from interpreto.models.options import EngineOptions
from interpreto.models.tasks.base import GenerationRequest, Task
from tests import tiny

TEXT = "The film was not good at all"
pytestmark = pytest.mark.filterwarnings("ignore::interpreto.errors.CompletenessWarning")


class TokenTask(Task):
    """Targets are (word, label): the label's output at the word's token."""

    name, mode_name = "token classification", "logits"

    def request(self, **asked):
        return GenerationRequest()

    def read_targets(self, targets, encodings, single):
        return [targets] * len(encodings)

    def own_targets(self, forward, encodings, request):
        return None

    def joined(self, encoding, target, request):
        return encoding

    def targets(self, encoding, target, request, cut):
        words, labels = zip(*target, strict=True)
        positions = torch.tensor([encoding.tokens.names.index(word) for word in words])
        spans = tuple(encoding.tokens.offsets[int(i)] for i in positions)
        return Targets((Readout(torch.tensor(labels), positions, causal=False),), words, spans)

    def predicted(self, logits):
        raise NotImplementedError

    def read(self, logits, ids):
        return logits.gather(2, ids.to(logits.device)[..., None])[..., 0]


class SpanTask(TokenTask):
    """Targets are (token, end): the logit that the answer begins (0) or ends (1) at the token."""

    name = "question answering"

    @staticmethod
    def outputs(output):
        return torch.stack([output.start_logits, output.end_logits], -1)


def small(kind):
    tokenizer = tiny.wordpiece()
    config = transformers.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        num_labels=2 if kind is transformers.BertForQuestionAnswering else 4,
        initializer_range=0.3,
    )
    torch.manual_seed(0)
    return kind(config).eval(), tokenizer


CASES = {
    "tokens": (transformers.BertForTokenClassification, TokenTask, lambda o: o.logits, [("film", 2), ("not", 0), ("good", 3)]),
    "spans": (
        transformers.BertForQuestionAnswering,
        SpanTask,
        lambda o: torch.stack([o.start_logits, o.end_logits], -1),
        [("not", 0), ("good", 1)],
    ),
}


@pytest.fixture(params=CASES)
def case(request):
    kind, task, read, targets = CASES[request.param]
    model, tokenizer = small(kind)
    encoding = tokenizer(TEXT, return_tensors="pt")
    names = tokenizer.convert_ids_to_tokens(encoding["input_ids"][0].tolist())
    places = [(names.index(word), column) for word, column in targets]

    def scores(ids, visible=None):
        with torch.no_grad():
            visible = torch.ones_like(ids) if visible is None else visible
            outputs = read(model(ids, attention_mask=visible, token_type_ids=torch.zeros_like(ids)))
        return torch.stack([outputs[:, position, column] for position, column in places], 1)

    return model, tokenizer, task(), targets, encoding["input_ids"], scores


def test_occlusion_equals_a_loop_on_both_sides(case):
    model, tokenizer, task, targets, ids, scores = case
    output = Occlusion(model, tokenizer, granularity="token", task=task)(TEXT, targets)[0]
    masked = ids.repeat(ids.shape[1] - 2, 1)
    masked[range(len(masked)), range(1, ids.shape[1] - 1)] = tokenizer.mask_token_id
    torch.testing.assert_close(output.attributions, (scores(ids) - scores(masked)).T, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(output.base_scores, scores(ids)[0])
    assert output.attributions.isfinite().all() and output.target_labels == [word for word, _ in targets]


def test_hidden_tokens_are_read_where_they_are(case):
    model, tokenizer, task, targets, ids, scores = case
    output = Occlusion(model, tokenizer, task=task, replacement="attention", granularity="token")(TEXT, targets)[0]
    visible = torch.ones(ids.shape[1] - 2, ids.shape[1])
    visible[range(len(visible)), range(1, ids.shape[1] - 1)] = 0
    found = scores(ids.repeat(len(visible), 1), visible)
    torch.testing.assert_close(output.attributions, (scores(ids) - found).T, rtol=1e-4, atol=1e-5)


def test_dropped_tokens_move_the_position_that_is_read(case):
    model, tokenizer, task, targets, ids, scores = case
    output = Occlusion(model, tokenizer, task=task, replacement="drop", granularity="token")(TEXT, targets)[0]
    shorter = torch.cat([ids[:, :1], ids[:, 2:]], 1)  # without the first word, which is before every target
    read = CASES["spans" if isinstance(task, SpanTask) else "tokens"][2]
    with torch.no_grad():
        outputs = read(model(shorter, token_type_ids=torch.zeros_like(shorter)))
    names = tokenizer.convert_ids_to_tokens(shorter[0].tolist())
    found = torch.stack([outputs[0, names.index(w), column] for w, column in targets])
    torch.testing.assert_close(output.attributions[:, 0], scores(ids)[0] - found, rtol=1e-4, atol=1e-5)


def test_gradients_equal_autograd(case):
    model, tokenizer, task, targets, ids, _ = case
    output = InputXGradient(model, tokenizer, granularity="token", task=task)(TEXT, targets)[0]
    table = model.get_input_embeddings()
    embeddings = table(ids).detach().requires_grad_()
    result = model(inputs_embeds=embeddings, token_type_ids=torch.zeros_like(ids))
    read = CASES["spans" if isinstance(task, SpanTask) else "tokens"][2](result)
    names = tokenizer.convert_ids_to_tokens(ids[0].tolist())
    for row, (word, column) in zip(output.attributions, targets, strict=True):
        (gradient,) = torch.autograd.grad(read[0, names.index(word), column], embeddings, retain_graph=True)
        torch.testing.assert_close(row, (gradient * embeddings).sum(-1)[0, 1:-1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", [Occlusion, KernelShap, IntegratedGradients], ids=lambda m: m.__name__)
def test_company_shortcuts_and_files_change_nothing(case, method, tmp_path):
    model, tokenizer, task, targets, _, _ = case
    texts = [TEXT, "A not very good film that is not bad", TEXT + ", not at all"]
    together = method(model, tokenizer, task=task)(texts, targets)
    plain = EngineOptions(one_pass=False, kept_logits=False, prefix=False, distinct=False, shared_backward=False)
    for text, output in zip(texts, together, strict=True):
        alone = method(model, tokenizer, task=task, batch_size=2, shortcuts=plain)(text, targets)[0]
        torch.testing.assert_close(output.attributions, alone.attributions, rtol=1e-3, atol=1e-4)
    together[0].save(tmp_path / "explanation")
    loaded = AttributionOutput.load(tmp_path / "explanation")
    assert [readout.causal for readout in loaded.sample.targets.readouts] == [False]


def test_metrics_remove_units_on_both_sides(case):
    model, tokenizer, task, targets, _, _ = case
    explanations = Occlusion(model, tokenizer, task=task)(TEXT, targets)
    assert explanations[0].sample.ahead.all()
    assert explanations[0].sample.reach.tolist() == [len(explanations[0].elements)] * len(targets)
    assert Deletion(model, tokenizer, task=task).run(explanations).per_sample is not None
