"""Methods that read attention satisfy the equations that define them, where the answer is known."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from interpreto import (
    Alti,
    AttentionRollout,
    BidirectionalAttention,
    GenericAttention,
    Granularity,
    RawAttention,
    TransitionAttention,
    ValueZeroing,
)
from interpreto.attributions.attention import alti
from interpreto.attributions.attention.alti import AltiFlow, contributions
from interpreto.attributions.attention.chains import Chain
from interpreto.attributions.attention.flows import ProductFlow, SingleFlow, TransitionFlow
from interpreto.attributions.attention.relevancy import GenericFlow, HeadFlow, Relevancy, normalized
from interpreto.attributions.methods.attention_rollout import mixed_with_identity, shares
from interpreto.errors import ModelError, OptionError
from interpreto.models.attention import AttentionMap, AttentionReader
from interpreto.models.attention_flow import LayerStates
from interpreto.models.attention_pass import Felt, LayerReader
from interpreto.models.sublayers import Projection
from interpreto.models.watching import watching
from tests import tiny

TEXT = "The film was not good."
METHODS = [
    *(RawAttention, AttentionRollout, GenericAttention, TransitionAttention, BidirectionalAttention),
    *(ValueZeroing, Alti),
]
BLIND = (RawAttention, AttentionRollout, ValueZeroing, Alti)  # to classes


def layer(weights, kind="self", number=0):
    """Attention of one head (or the given heads) of one row."""
    weights = torch.as_tensor(weights, dtype=torch.float32)
    return AttentionMap(weights.reshape(1, -1, *weights.shape[-2:]), None, "layer", kind, number)


def first(n=3):
    return torch.eye(n)[:1]


def rows_of(flow, layers, read):
    for each in layers:
        flow.see(each)
    return flow.row(read)


def rollout(start=0, share=0.5):
    return ProductFlow(lambda each: mixed_with_identity(each, share, "mean"), lambda each: shares(each, "mean"), start)


# --- Closed forms


def test_rollout_of_uniform_attention():
    uniform = torch.full((4, 4), 0.25)
    for count, own, other in ((1, 0.625, 0.125), (2, 0.4375, 0.1875), (3, 0.34375, 0.21875)):
        row = rows_of(rollout(), [layer(uniform)] * count, first(4)).own[0]
        torch.testing.assert_close(row, torch.tensor([own, other, other, other]))


def test_rollout_of_the_identity_is_the_identity_and_only_its_last_layers_can_take_part():
    assert torch.equal(rows_of(rollout(), [layer(torch.eye(3))] * 3, first()).own, first())
    mixing, still = layer(torch.full((3, 3), 1 / 3)), layer(torch.eye(3))
    for start in (1, -1):
        assert torch.equal(rows_of(rollout(start), [mixing, still], first()).own, first())
    assert not torch.equal(rows_of(rollout(), [mixing, still], first()).own, first())


def test_rollout_of_two_stacks_goes_through_the_last_cross_attention():
    encoder, own = torch.tensor([[0.5, 0.5], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    cross = torch.tensor([[0.2, 0.8], [0.6, 0.4]])
    found = rows_of(
        rollout(share=0.0), [layer(encoder, "encoder"), layer(own), layer(cross, "cross")], torch.tensor([[0.0, 1.0]])
    )
    torch.testing.assert_close(found.own, torch.tensor([[0.5, 0.5]]))
    torch.testing.assert_close(found.source, torch.tensor([[0.5, 0.5]]) @ cross @ encoder)
    torch.testing.assert_close(found.source.sum(), torch.tensor(1.0))


def test_transitions_of_one_layer_are_its_row_and_of_two_the_recursion():
    a, b = torch.rand(2, 3, 3)
    torch.testing.assert_close(rows_of(TransitionFlow(), [layer(a)], first()).own, a[:1])
    torch.testing.assert_close(rows_of(TransitionFlow(), [layer(a), layer(b)], first()).own, b[:1] @ a + b[:1])
    c = torch.rand(3, 3)
    s = c[:1] @ b + c[:1]
    torch.testing.assert_close(rows_of(TransitionFlow(), [layer(a), layer(b), layer(c)], first()).own, s @ a + s)
    torch.testing.assert_close(rows_of(TransitionFlow(-2), [layer(a), layer(b), layer(c)], first()).own, s)
    torch.testing.assert_close(rows_of(TransitionFlow(-1), [layer(a), layer(b), layer(c)], first()).own, c[:1])


def felt(flow, layers, gradients, read, two_stacks=False):
    for each in layers:
        flow.see(each)
    flow.start(read, two_stacks)
    for each, gradient in reversed(list(zip(layers, gradients, strict=True))):
        flow.feel(each, torch.as_tensor(gradient).reshape(each.weights.shape))
    return flow.row(read)


def test_generic_attention_of_one_layer_is_attention_times_gradient():
    weights, gradient = torch.rand(3, 3), torch.randn(3, 3)
    found = felt(GenericFlow(), [layer(weights)], [gradient], first())
    torch.testing.assert_close(found.own, (weights * gradient).clamp(min=0)[:1])
    assert not felt(GenericFlow(), [layer(weights)], [torch.zeros(3, 3)], first()).own.any()


def test_generic_attention_clips_heads_before_their_mean():
    weights = torch.full((2, 1, 1), 0.4)
    found = felt(GenericFlow(), [layer(weights)], [torch.tensor([[[1.0]], [[-1.0]]])], torch.ones(1, 1))
    torch.testing.assert_close(found.own, torch.tensor([[0.2]]))  # the other order would give 0


def test_a_row_through_layers_is_a_row_of_the_whole_matrix():
    layers = [layer(torch.rand(2, 4, 4), number=i) for i in range(3)]
    gradients = [torch.randn(2, 4, 4) for _ in layers]
    found = felt(GenericFlow(), layers, gradients, first(4)).own
    whole = torch.eye(4)
    for each, gradient in zip(layers, gradients, strict=True):
        whole = whole + (each.weights[0] * gradient).clamp(min=0).mean(0) @ whole
    torch.testing.assert_close(found, (whole - torch.eye(4))[:1])


def test_relevance_between_two_streams_by_hand():
    def one(*rows):
        return torch.tensor([rows])

    streams = Relevancy((2, 3), torch.zeros(1, 1, 1))
    own, other = one([0.0, 0.4], [0.2, 0.2]), one([0.0, 0.3, 0.1], [0.0, 0.0, 0.0], [0.5, 0.0, 0.5])
    cross = one([0.1, 0.0, 0.2], [0.0, 0.3, 0.0])
    streams.attend(1, other)
    streams.attend(0, own)
    streams.attend_to_other(0, cross)
    tilde_own = one([1.0, 1.0], [0.5, 1.5])
    tilde_other = one([1.0, 0.75, 0.25], [0.0, 1.0, 0.0], [0.5, 0.0, 1.5])
    torch.testing.assert_close(normalized(streams.within[1]), tilde_other)
    torch.testing.assert_close(streams.between[0], tilde_own.transpose(1, 2) @ cross @ tilde_other)
    torch.testing.assert_close(streams.within[0], torch.eye(2) + own)  # the other stream knows nothing of this one yet
    streams.attend_to_other(1, one([0.1, 0.1], [0.0, 0.2], [0.3, 0.0]))  # co-attention: it attends back
    assert streams.between[1].shape == (1, 3, 2) and bool((streams.between[1] >= 0).all())
    torch.testing.assert_close(
        streams.within[1], torch.eye(3) + other + one([0.1, 0.1], [0.0, 0.2], [0.3, 0.0]) @ streams.between[0]
    )


def test_rows_without_relevance_stay_the_identity():
    torch.testing.assert_close(normalized(torch.eye(3)[None]), torch.eye(3)[None])


def test_generic_attention_of_two_stacks_follows_the_rules_of_two_streams():
    encoder, own, cross = torch.rand(2, 2), torch.rand(3, 3), torch.rand(3, 2)
    layers = [layer(encoder, "encoder", 0), layer(own, "self", 1), layer(cross, "cross", 2)]
    gradients = [torch.rand(each.weights.shape) for each in layers]
    read = torch.eye(3)[2:]
    found = felt(GenericFlow(), layers, gradients, read, two_stacks=True)
    e, s, c = ((each.weights * g).mean(1) for each, g in zip(layers, gradients, strict=True))
    wanted = normalized(torch.eye(3) + s).transpose(1, 2) @ c @ normalized(torch.eye(2) + e)
    torch.testing.assert_close(found.source, wanted[:, 2])
    torch.testing.assert_close(found.own, s[:, 2])


def test_head_importances_sum_to_one():
    weights, gradient = torch.rand(2, 3, 3), torch.randn(2, 3, 3)
    flow = HeadFlow()
    matrix = flow.matrix(layer(weights), gradient[None])
    importance = torch.stack([(a.T @ g).abs().mean() for a, g in zip(weights, gradient, strict=True)])
    importance = importance / importance.sum()
    torch.testing.assert_close(matrix[0], (importance[:, None, None] * weights).sum(0))
    same = torch.rand(3, 3)  # heads that are alike
    torch.testing.assert_close(flow.matrix(layer(same.expand(2, 3, 3)), gradient[None])[0], same)
    torch.testing.assert_close(flow.matrix(layer(same.expand(2, 3, 3)), torch.zeros(1, 2, 3, 3))[0], same)


def test_a_chain_without_layers_changes_nothing():
    assert torch.equal(Chain().through(first()), first())


# --- A model whose attention is known


class Head(nn.Module):
    """Attends to the keys where scores are high."""

    def forward(self, hidden, scores):
        return scores.softmax(-1) @ hidden


class Copies(nn.Module):
    """Layers of one head that copies the token after each token (the last itself), without a residual connection."""

    def __init__(self, vocabulary=12, layers=2, width=4):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList(Head() for _ in range(layers))
        self.head = nn.Linear(width, 2)

    def get_input_embeddings(self):
        return self.embedding

    def forward(self, input_ids, attention_mask):
        hidden = self.embedding(input_ids)
        last = attention_mask.sum(1) - 1
        here = torch.arange(input_ids.shape[1])
        keys = torch.minimum(here + 1, last[:, None])
        scores = torch.where(here == keys[..., None], 50.0, 0.0)
        for block in self.layers:
            hidden = block(hidden, scores)
        return SimpleNamespace(logits=self.head(hidden[:, 0]))


@pytest.fixture
def copying():
    torch.manual_seed(0)
    return Copies().eval()


def explained(method, model, ids=(3, 4, 5, 6), target=0, **options):
    explainer = method(model, tiny.wordpiece(), granularity="all_tokens", task="single-label", **options)
    return explainer(torch.tensor(ids), target)[0].attributions[0]


def test_a_planted_copying_head_is_found(copying):
    torch.testing.assert_close(explained(RawAttention, copying), torch.tensor([0.0, 1.0, 0.0, 0.0]))
    torch.testing.assert_close(explained(AttentionRollout, copying, residual=0.0), torch.tensor([0.0, 0.0, 1.0, 0.0]))
    torch.testing.assert_close(explained(AttentionRollout, copying), torch.tensor([0.25, 0.5, 0.25, 0.0]))


# --- Models of the zoo


@pytest.mark.parametrize("family", ["bert", "xlnet", "llama", "deberta_v2"])
def test_raw_attention_is_the_row_of_the_token_that_is_read(family):
    model, tokenizer = tiny.CLASSIFIERS[family]()
    model.set_attn_implementation("eager")
    given = tokenizer(TEXT, return_tensors="pt")
    with torch.no_grad():
        maps = model(**given, output_attentions=True).attentions
    at = 0 if family in ("bert", "deberta_v2") else -1
    for number in (0, -1):
        found = explained_text(RawAttention, family, layer=number)
        torch.testing.assert_close(found, maps[number][0].mean(0)[at], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(explained_text(RawAttention, family, layer=number, heads=1), maps[number][0, 1, at])
        torch.testing.assert_close(explained_text(RawAttention, family, layer=number, heads="max"), maps[number][0].amax(0)[at])


def explained_text(method, family, **options):
    return method(*tiny.CLASSIFIERS[family](), granularity="all_tokens", **options)(TEXT)[0].attributions[0]


@pytest.mark.parametrize("family", ["llama", "mistral", "gpt2", "t5", "bart"])
def test_rollout_rows_sum_to_one_and_see_nothing_ahead(family):
    build = {**tiny.CAUSAL_LMS, **tiny.SEQ2SEQ}[family]
    found = AttentionRollout(*build(), granularity="all_tokens")("The film was", " not good")[0]
    values, source = found.attributions, found.sample.source
    rows = torch.ones(len(values))
    torch.testing.assert_close(values[:, source:].nansum(1), rows)
    if source:
        torch.testing.assert_close(values[:, :source].sum(1), rows)
    assert bool((values.nan_to_num() >= 0).all())


def whole_generic(model, given, target):
    """Generic attention with all maps, their gradients and all rows in memory."""
    reader = AttentionReader(model, 1, lambda _n, weights, values: (_leaf(weights), values))
    with torch.enable_grad(), watching(model, reader):
        logits = model(**given).logits
    maps = [each.weights for each in reader.maps]
    gradients = torch.autograd.grad(logits[0, target], maps)
    total = torch.eye(maps[0].shape[-1])
    for weights, gradient in zip(maps, gradients, strict=True):
        total = total + (weights * gradient).clamp(min=0).mean(1)[0].detach() @ total
    return total - torch.eye(len(total))


def _leaf(weights):
    return weights if weights.requires_grad else weights.requires_grad_()


@pytest.mark.parametrize("family", ["bert", "deberta_v2", "albert", "modernbert"])
def test_generic_attention_is_the_row_of_the_whole_matrix(family):
    model, tokenizer = tiny.CLASSIFIERS[family]()
    for target in (0, 2):
        found = GenericAttention(model, tokenizer, granularity="all_tokens")(TEXT, target)[0].attributions[0]
        wanted = whole_generic(model, tokenizer(TEXT, return_tensors="pt"), target)
        wanted = wanted.mean(0) if family == "modernbert" and model.config.classifier_pooling == "mean" else wanted[0]
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_transition_attention_is_its_definition():
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    given = tokenizer(TEXT, return_tensors="pt")
    embeddings = model.get_input_embeddings()(given["input_ids"]).detach()
    total, steps = 0, 4
    for step in range(1, steps + 1):
        reader = AttentionReader(model, 1, lambda _n, weights, values: (_leaf(weights), values))
        rest = {name: value for name, value in given.items() if name != "input_ids"}
        with torch.enable_grad(), watching(model, reader):
            logits = model(inputs_embeds=embeddings * step / steps, **rest).logits
        (gradient,) = torch.autograd.grad(logits[0, 1], reader.maps[-1].weights)
        total = total + gradient[0, :, 0] / steps
    below, last = (each.weights[0].mean(0).detach() for each in reader.maps)
    wanted = (last[0] @ below + last[0]) * total.clamp(min=0).mean(0)
    found = TransitionAttention(model, tokenizer, granularity="all_tokens", n_perturbations=steps)(TEXT, 1)[0].attributions[0]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def test_token_perception_is_the_length_of_transformed_values():
    model, tokenizer = tiny.CLASSIFIERS["gpt2"]()  # its projection is a Conv1D
    given = tokenizer(TEXT, return_tensors="pt")
    reader = AttentionReader(model, 1)
    with torch.no_grad(), watching(model, reader):
        hidden = model(**given, output_hidden_states=True).hidden_states
    perceived = torch.eye(hidden[0].shape[1])
    for i, each in enumerate(reader.maps):
        transformed = each.values[0].transpose(0, 1).flatten(1) @ model.transformer.h[i].attn.c_proj.weight
        ratio = transformed.norm(dim=-1) / hidden[i][0].norm(dim=-1)
        perceived = perceived + (each.weights[0].mean(0) * ratio) @ perceived
    weighted = {"granularity": "all_tokens", "n_perturbations": 2}
    found = BidirectionalAttention(model, tokenizer, **weighted)(TEXT, 1)[0].attributions[0]
    feedback = TransitionAttention(model, tokenizer, start_layer=-1, **weighted)(TEXT, 1)[0].attributions[0]
    feedback = feedback / reader.maps[-1].weights[0].mean(0)[-1]
    torch.testing.assert_close(found, perceived[-1] * feedback, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_classes_differ_where_gradients_are_read(method):
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    a, b = method(model, tokenizer)(TEXT, [0, 1])[0].attributions
    assert bool((a >= 0).all()) and torch.equal(a, b) == (method in BLIND)


# --- What is held


def test_one_map_is_alive_at_a_time_where_no_gradient_is_read(monkeypatch):
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    found = RawAttention(model, tokenizer)
    kept = []
    own = LayerReader.leave

    def leave(self, module, inputs, output):
        kept.append(len(self.maps) + len(self._unclosed))
        return own(self, module, inputs, output)

    monkeypatch.setattr(LayerReader, "leave", leave)
    found(TEXT)
    assert kept and not any(kept)


def test_gradients_of_layers_are_dropped_as_they_come(monkeypatch):
    """What a flow holds after each layer's gradient is one row per text: no matrix, no head."""
    sizes = []
    own = GenericFlow.feel

    def feel(self, seen, gradient):
        own(self, seen, gradient)
        sizes.append((len(self._kept), tuple(self._row.shape)))

    monkeypatch.setattr(GenericFlow, "feel", feel)
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    GenericAttention(model, tokenizer, granularity="all_tokens")(TEXT, [0, 1])
    length = len(tokenizer(TEXT)["input_ids"])
    assert sizes == [(0, (1, length))] * 4  # two layers, two classes


def test_rows_are_felt_from_the_last_layer_down(monkeypatch):
    order = []
    own = GenericFlow.feel
    monkeypatch.setattr(GenericFlow, "feel", lambda self, seen, g: (order.append(seen.number), own(self, seen, g))[1])
    for family in ("bert", "albert", "xlnet"):
        order.clear()
        GenericAttention(*tiny.CLASSIFIERS[family]())(TEXT, 0)
        assert order == [1, 0]


# --- Hands off


def test_logits_and_later_gradients_are_bit_identical():
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    given = tokenizer(TEXT, return_tensors="pt")

    def state():
        model.zero_grad()
        logits = model(**given).logits
        logits.sum().backward()
        return logits.detach(), [p.grad.clone() for p in model.parameters()]

    logits, gradients = state()
    model.zero_grad()
    for method in METHODS:
        method(model, tokenizer)(TEXT)
    again, later = state()
    assert torch.equal(logits, again) and all(torch.equal(a, b) for a, b in zip(gradients, later, strict=True))


def test_an_exception_within_a_flow_leaves_nothing_behind(monkeypatch):
    model, tokenizer = tiny.CLASSIFIERS["bert"]()

    def fails(*_):
        raise KeyError("boom")

    for part in (Felt, SingleFlow):
        with monkeypatch.context() as patched:
            patched.setattr(part, "__call__" if part is Felt else "see", fails)
            with pytest.raises(KeyError, match="boom"):
                (GenericAttention if part is Felt else RawAttention)(model, tokenizer)(TEXT)
    assert all(p.requires_grad for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


# --- Refused


def test_models_without_attention_are_refused_by_name():
    model, tokenizer = tiny.CAUSAL_LMS["mamba"]()
    for method in METHODS:
        with pytest.raises(ModelError, match="MambaForCausalLM has no attention"):
            method(model, tokenizer)("The film", " was")


def test_attention_over_other_tokens_than_the_texts_is_refused_by_name():
    class Longer(Copies):
        def forward(self, input_ids, attention_mask):
            ids = torch.nn.functional.pad(input_ids, (1, 0))
            return super().forward(ids, torch.nn.functional.pad(attention_mask, (1, 0), value=1))

    with pytest.raises(ModelError, match="Longer attends with weights"):
        explained(RawAttention, Longer())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda m, t: RawAttention(m, t, layer=7), "has 2 layers"),
        (lambda m, t: RawAttention(m, t, heads=5), "a layer has 2"),
        (lambda m, t: RawAttention(m, t, heads="sum"), "'mean', 'max'"),
        (lambda m, t: AttentionRollout(m, t, residual=2.0), "residual"),
        (lambda m, t: AttentionRollout(m, t, start_layer=2), "has 2 layers"),
        (lambda m, t: GenericAttention(m, t, start_layer=-3), "has 2 layers"),
        (lambda m, t: TransitionAttention(m, t, start_layer=2), "has 2 layers"),
        (lambda m, t: BidirectionalAttention(m, t, mode="layer"), "'token', 'head'"),
        (lambda m, t: TransitionAttention(m, t, n_perturbations=0), "at least 1"),
    ],
)
def test_options_that_are_not_valid_are_refused(make, said):
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    with pytest.raises(OptionError, match=said):
        make(model, tokenizer)(TEXT)


def test_a_word_has_the_mean_of_its_tokens():
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    tokens = RawAttention(model, tokenizer, granularity=Granularity.TOKEN)(TEXT)[0]
    sentence = RawAttention(model, tokenizer, granularity=Granularity.SENTENCE)(TEXT)[0]
    torch.testing.assert_close(sentence.attributions[0, 0], tokens.attributions[0].mean())


# --- Value zeroing


class Values(nn.Module):
    """Attention with a projection, and no residual connection: a linear function of the values of its tokens."""

    def __init__(self, width):
        super().__init__()
        self.value, self.out = nn.Linear(width, width, bias=False), nn.Linear(width, width)

    def forward(self, hidden):
        scores = hidden @ hidden.transpose(1, 2)
        return self.out(F.softmax(scores, -1) @ self.value(hidden))


class Linear(nn.Module):
    """Blocks of attention that is read at the first token."""

    def __init__(self, vocabulary=12, layers=1, width=4):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList(Values(width) for _ in range(layers))
        self.head = nn.Linear(width, 2)

    def get_input_embeddings(self):
        return self.embedding

    def forward(self, input_ids, attention_mask):
        hidden = self.embedding(input_ids)
        for block in self.layers:
            hidden = block(hidden)
        return SimpleNamespace(logits=self.head(hidden[:, 0]))


@pytest.fixture
def linear():
    torch.manual_seed(3)
    return Linear().eval()


def turned(model, ids, layer=0):
    """One minus the cosine of a block's output at the first token with and without each value, by a loop."""
    hidden = model.embedding(torch.tensor(ids))
    for block in model.layers[:layer]:
        hidden = block(hidden[None])[0]
    block = model.layers[layer]
    weights, values = (hidden @ hidden.T).softmax(-1), block.value(hidden)
    found = []
    for j in range(len(ids)):
        kept = values.clone()
        kept[j] = 0
        found.append(1 - torch.cosine_similarity(block.out(weights @ kept), block.out(weights @ values), dim=-1))
    return torch.stack(found, 1)


@torch.no_grad()
def test_value_zeroing_of_a_linear_block_is_a_loop(linear):
    wanted = turned(linear, [3, 4, 5, 6])
    torch.testing.assert_close(explained(ValueZeroing, linear), wanted[0] / wanted[0].sum(), rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_a_value_that_is_zero_already_has_no_share(linear):
    linear.embedding.weight[5] = 0.0
    found = explained(ValueZeroing, linear)
    assert float(found[2]) == pytest.approx(0.0, abs=1e-6) and float(found.sum()) == pytest.approx(1.0)


def test_a_single_token_has_all_of_it(linear):
    torch.testing.assert_close(explained(ValueZeroing, linear, ids=[4]), torch.ones(1))


@torch.no_grad()
def test_value_zeroing_multiplies_layers_or_returns_the_last():
    torch.manual_seed(4)
    model, ids = Linear(layers=2).eval(), [3, 4, 5]
    first, second = (turned(model, ids, layer) for layer in (0, 1))
    first, second = first / first.sum(1, keepdim=True), second / second.sum(1, keepdim=True)
    options = {"rtol": 1e-3, "atol": 1e-5}
    torch.testing.assert_close(explained(ValueZeroing, model, ids=ids), (second @ first)[0], **options)
    torch.testing.assert_close(explained(ValueZeroing, model, ids=ids, rollout=False), second[0], **options)
    torch.testing.assert_close(explained(ValueZeroing, model, ids=ids, start_layer=-1), second[0], **options)


@pytest.mark.parametrize("family", ["bert", "xlnet", "deberta_v2", "albert"])
def test_value_zeroing_is_the_whole_model_with_a_value_set_to_zero(family):
    """In the last layer, where running its block again is running the model again, attention being written out in both."""
    model, tokenizer = tiny.CLASSIFIERS[family]()
    found = ValueZeroing(model, tokenizer, granularity="all_tokens", rollout=False)(TEXT)[0]
    given = tokenizer(TEXT, return_tensors="pt")
    at = 0 if family in ("bert", "deberta_v2", "albert") else -1

    def hidden(zeroed):
        def edit(n, weights, values):
            values = values.clone()
            if n == 1 and zeroed is not None:
                values[:, :, zeroed] = 0
            return weights, values

        with torch.no_grad(), watching(model, AttentionReader(model, 1, edit)):
            states = model.base_model(**given, output_hidden_states=True)
        return states.hidden_states[-1][0, at].double()

    whole = hidden(None)
    wanted = torch.stack([1 - torch.cosine_similarity(hidden(j), whole, dim=0) for j in range(len(found.elements))])
    torch.testing.assert_close(found.attributions[0], (wanted / wanted.sum()).float(), rtol=1e-3, atol=1e-5)


# --- ALTI


@pytest.mark.parametrize("family", ["bert", "albert", "xlnet", "gpt2", "llama", "deberta_v2", "modernbert"])
def test_the_parts_of_a_layer_sum_to_its_hidden_states(family):
    """Contributions are the distances of parts that, together with the bias, are what the next operation reads."""
    model, tokenizer = tiny.CLASSIFIERS[family]()
    seen = []

    class Parts(AltiFlow):
        def close(self, layer, states):
            inputs, scale = states.inputs, alti._scale(states)
            whole = inputs + alti.added_to(states)
            out, deviation = alti._normalized(whole, states)
            ((_, parts),) = alti._parts(layer, states, scale)
            own = torch.arange(parts.shape[1])
            parts[:, own, own] += inputs
            parts = alti._linear(parts, states, deviation)
            bias = scale * (0.0 if states.projection.bias is None else states.projection.bias)
            bias = alti._linear(bias, states, deviation)
            if states.normalization is not None:
                bias = bias + states.normalization.bias
            torch.testing.assert_close(parts.sum(2) + bias, out, rtol=1e-4, atol=1e-5 * max(1.0, float(out.abs().max())))
            seen.append(states.normalization is not None)
            super().close(layer, states)

    explainer = Alti(model, tokenizer, granularity="all_tokens")
    explainer.evidence.rule._flow = Parts
    found = explainer(TEXT)[0]
    assert seen == [family in ("bert", "albert", "xlnet", "deberta_v2")] * 2
    torch.testing.assert_close(found.attributions.sum(), torch.tensor(1.0))


def test_contributions_by_hand():
    weights, values = torch.tensor([[[[1.0, 0.0], [0.25, 0.75]]]]), torch.tensor([[[[2.0, 0.0], [0.0, 4.0]]]])
    inputs = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    added = (weights @ values)[:, 0]
    states = LayerStates(inputs, inputs, Projection(torch.eye(2)), (added, added))
    found = contributions(AttentionMap(weights, values, "layer", "self"), states)
    torch.testing.assert_close(found, torch.tensor([[[1.0, 0.0], [0.5 / 4.5, 4.0 / 4.5]]]))


def test_parts_that_do_not_sum_to_the_layer_are_refused():
    states = torch.ones(1, 2, 2)
    layer = AttentionMap(torch.full((1, 1, 2, 2), 0.5), torch.ones(1, 1, 2, 2), "layer", "self")
    wrong = LayerStates(states, states, Projection(torch.eye(2)), (states, states + 1))
    with pytest.raises(ModelError, match="do not sum"):
        contributions(layer, LayerStates(states, states, Projection(2 * torch.eye(2)), (states, states)))
    assert contributions(layer, wrong).shape == (1, 2, 2)  # as a normalization behind the matrix would scale it
    with pytest.raises(ModelError, match="was not found"):
        contributions(layer, LayerStates(states, states, Projection(torch.eye(2))))


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3_text", "phi", "olmo2"])
def test_alti_logit_and_the_rest_of_the_model_sum_to_the_logit(family):
    model, tokenizer = tiny.CAUSAL_LMS[family]()
    explainer = Alti(model, tokenizer, granularity="all_tokens", logits=True, inference_mode="logits")
    found = explainer("The film was", torch.tensor([7]))[0]
    with torch.no_grad():  # without the perceptrons and without biases, tokens are all that adds up
        for name, parameter in model.named_parameters():
            if name.endswith("bias") or "down_proj" in name or "mlp.c_proj" in name or "fc2" in name:
                parameter.zero_()
    bare = explainer("The film was", torch.tensor([7]))[0]
    torch.testing.assert_close(bare.attributions.nansum(), bare.base_scores[0], rtol=1e-4, atol=1e-4)
    assert found.signed and not torch.allclose(found.attributions.nansum(), found.base_scores[0], atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_alti_takes_models_of_half_precision_apart(dtype):
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    wanted = Alti(model, tokenizer)(tiny.SENTENCES[1])[0].attributions
    found = Alti(model.to(dtype), tokenizer)(tiny.SENTENCES[1])[0].attributions
    torch.testing.assert_close(found, wanted, rtol=0, atol=0.05)  # shares of one


def test_alti_refuses_two_stacks_and_layers_that_do_not_add_up():
    with pytest.raises(ModelError, match="one stack"):
        Alti(*tiny.SEQ2SEQ["t5"]())("The film", " was")
    with pytest.raises(ModelError, match="normalizes its residual stream"):
        Alti(*tiny.CLASSIFIERS["bert"](), logits=True)(TEXT)
    with pytest.raises(OptionError, match="leave it 0"):
        Alti(*tiny.CLASSIFIERS["gpt2"](), logits=True, start_layer=1)
