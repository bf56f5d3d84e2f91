"""Attention read from outside equals what the eager implementation returns, whatever implementation runs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from interpreto.errors import ModelError
from interpreto.models.attention import AttentionReader
from interpreto.models.watching import IMPLEMENTATION, watching
from tests import tiny

ZOO = {
    f"{kind}/{name}": build for kind in ("CLASSIFIERS", "CAUSAL_LMS", "SEQ2SEQ") for name, build in getattr(tiny, kind).items()
}
UNREAD = ("CAUSAL_LMS/mamba",)  # no attention
UNLIKE = ("CAUSAL_LMS/falcon",)  # returns other numbers than its weights


def inputs(name, tokenizer):
    ids = torch.tensor([tokenizer("the film was not a great story")["input_ids"]])
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return given | ({"decoder_input_ids": ids[:, :5]} if name.startswith("SEQ2SEQ") else {})


def read(model, given):
    reader = AttentionReader(model, 1)
    with torch.no_grad(), watching(model, reader):
        logits = model(**given).logits
    return reader, logits


@pytest.mark.parametrize("name", [name for name in ZOO if name not in UNREAD])
def test_weights_are_those_of_the_eager_implementation(name):
    model, tokenizer = ZOO[name]()
    given = inputs(name, tokenizer)
    with torch.no_grad():
        plain = model(**given).logits
    reader, logits = read(model, given)
    torch.testing.assert_close(logits, plain, rtol=1e-4, atol=1e-4)
    maps = reader.checked()
    for each in maps:
        torch.testing.assert_close(each.weights.sum(-1), torch.ones(each.weights.shape[:-1]), rtol=1e-5, atol=1e-5)
    if name in UNLIKE:
        return
    eager, _ = ZOO[name]()
    eager.set_attn_implementation("eager")
    with torch.no_grad():
        returned = eager(**given, output_attentions=True)
    for kind, fields in {
        "encoder": ("encoder_attentions",),
        "self": ("attentions", "decoder_attentions"),
        "cross": ("cross_attentions",),
    }.items():
        wanted = [weights for field in fields for weights in (getattr(returned, field, None) or ())]
        found = [each.weights for each in maps if each.kind == kind]
        assert len(found) == len(wanted)
        for a, b in zip(found, wanted, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", UNREAD)
def test_attention_that_cannot_be_read_is_refused(name):
    model, tokenizer = ZOO[name]()
    reader, _ = read(model, inputs(name, tokenizer))
    with pytest.raises(ModelError, match="no attention that can be read"):
        reader.checked()


def test_edited_weights_take_part_in_the_computation():
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    given = inputs("bert", tokenizer)
    silent = AttentionReader(model, 1, lambda _layer, weights, values: (torch.zeros_like(weights), values))
    with torch.no_grad(), watching(model, silent):
        logits = model(**given).logits
    none = AttentionReader(model, 1, lambda _layer, weights, values: (weights, torch.zeros_like(values)))
    with torch.no_grad(), watching(model, none):
        torch.testing.assert_close(model(**given).logits, logits)
    assert not torch.allclose(read(model, given)[1], logits)


class Torchs(nn.Module):
    """A classifier of torch's own layers, whose attention is one function to whoever watches."""

    def __init__(self, vocabulary, heads=2):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 8)
        layer = nn.TransformerEncoderLayer(8, heads, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)

    def get_input_embeddings(self):
        return self.embedding

    def forward(self, input_ids, attention_mask):
        hidden = self.encoder(self.embedding(input_ids), src_key_padding_mask=attention_mask == 0)
        return SimpleNamespace(logits=self.head(hidden[:, 0]))


def test_attention_of_torchs_own_layers_is_what_they_return():
    torch.manual_seed(0)
    model = Torchs(20).eval()
    given = {
        "input_ids": torch.tensor([[3, 4, 5, 6], [7, 8, 0, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]),
    }
    wanted = []

    def keep(module, args, kwargs, _output):
        with torch.no_grad():
            again = module.forward(*args, **kwargs | {"need_weights": True, "average_attn_weights": False})
        wanted.append(again[1])

    handles = [layer.self_attn.register_forward_hook(keep, with_kwargs=True) for layer in model.encoder.layers]
    plain = model(**given).logits
    for handle in handles:
        handle.remove()
    reader = AttentionReader(model, 2)
    with torch.no_grad(), watching(model, reader):
        logits = model(**given).logits
    torch.testing.assert_close(logits, plain)
    for found, weights in zip(reader.checked(), wanted, strict=True):
        torch.testing.assert_close(found.weights, weights, rtol=1e-5, atol=1e-6)


def test_attention_within_windows_is_refused_by_name():
    class Windows(nn.Module):
        def forward(self, x):
            parts = x.reshape(-1, 1, 2, x.shape[-1])  # two tokens each, as Swin cuts an image
            return F.scaled_dot_product_attention(parts, parts, parts)

    model = Windows()
    with watching(model, AttentionReader(model, 1)), pytest.raises(ModelError, match="Windows attends within windows"):
        model(torch.randn(1, 4, 3))


@pytest.mark.parametrize("named", ["flash_attention_2", "flex_attention", "kernels-community/flash-attn"])
def test_fused_kernels_are_switched_to_sdpa_for_the_call_and_back(named):
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    given, plain = inputs("bert", tokenizer), read(model, inputs("bert", tokenizer))[1]
    attribute = next(name for name in IMPLEMENTATION if name in vars(model.config))
    vars(model.config)[attribute] = named
    with torch.no_grad(), watching(model, reader := AttentionReader(model, 1)):
        assert vars(model.config)[attribute] == "sdpa"
        torch.testing.assert_close(model(**given).logits, plain)
    assert reader.count == 2 and vars(model.config)[attribute] == named


def test_gradient_checkpointing_is_refused():
    model, _ = tiny.CLASSIFIERS["bert"]()
    model.train()
    model.gradient_checkpointing_enable()
    with pytest.raises(ModelError, match="gradient checkpointing"), watching(model, AttentionReader(model, 1)):
        pass
