"""Attention read from outside equals what the eager implementation returns, whatever implementation runs."""

from __future__ import annotations

import pytest
import torch

from interpreto.errors import ModelError
from interpreto.models.attention import AttentionReader
from interpreto.models.watching import watching
from tests import tiny

ZOO = {
    f"{kind}/{name}": build for kind in ("CLASSIFIERS", "CAUSAL_LMS", "SEQ2SEQ") for name, build in getattr(tiny, kind).items()
}
UNREAD = ("CLASSIFIERS/xlnet", "CAUSAL_LMS/mamba")  # einsum in a layout of its own; no attention
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
