"""The attention view shows the model's own maps, next to the explanation, in every medium."""

from __future__ import annotations

import base64
import json
import re

import pytest
import torch

from interpreto import GenericAttention, Occlusion, attention_view, plot_attention
from interpreto.errors import ModelError
from tests import tiny

TEXT = "The film was not good."


@pytest.fixture(scope="module")
def view():
    return attention_view(GenericAttention(*tiny.CLASSIFIERS["bert"]()), TEXT, 1)


def test_maps_are_the_eager_models(view):
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    model.set_attn_implementation("eager")
    with torch.no_grad():
        maps = model(**tokenizer(TEXT, return_tensors="pt"), output_attentions=True).attentions
    for layer, weights in zip(view.layers, maps, strict=True):
        torch.testing.assert_close(layer.weights, weights[0], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(layer.focus, weights[0].amax(-1).mean(-1), rtol=1e-5, atol=1e-6)
        assert len(layer.queries) == len(layer.keys) == weights.shape[-1]


def test_a_page_holds_every_weight_and_loads_nothing(view, tmp_path):
    page = view.to_html(tmp_path / "attention.html")
    assert page == (tmp_path / "attention.html").read_text(encoding="utf-8") and not re.search(r"(src|href)=", page)
    data = json.loads(re.search(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)[1])
    for layer, drawn in zip(view.layers, data["layers"], strict=True):
        for head, text in zip(layer.weights, drawn["weights"], strict=True):
            found = torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.float32)
            assert torch.equal(found, head.flatten())
    assert data["method"] == "GenericAttention" and data["units"] == list(view.explanation.elements)


def test_every_medium_draws_it(view, capsys):
    assert plot_attention(view, backend="matplotlib").axes[0].get_xlabel() == "head"
    plot_attention(view, backend="terminal")
    assert "layer 2" in capsys.readouterr().out and "layer 1" in view._repr_html_()


def test_an_encoder_and_a_decoder_have_tokens_of_their_own():
    found = attention_view(Occlusion(*tiny.SEQ2SEQ["t5"]()), "The film", " was good")
    names = [layer.name for layer in found.layers]
    assert names == ["encoder layer 1", "encoder layer 2", "layer 1", "cross-attention 1", "layer 2", "cross-attention 2"]
    for layer in found.layers:
        assert layer.weights.shape[1:] == (len(layer.queries), len(layer.keys))


def test_a_model_without_attention_is_refused_by_name():
    with pytest.raises(ModelError, match="MambaForCausalLM has no attention"):
        attention_view(Occlusion(*tiny.CAUSAL_LMS["mamba"]()), "The film", " was")
