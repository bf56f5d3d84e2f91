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
from tests.visualizations.browser import Browser, needs_chromium

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


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    one = Browser(tmp_path_factory.mktemp("attention"))
    yield one
    one.close()


@pytest.mark.slow
@needs_chromium
def test_heads_and_tokens_are_chosen_by_mouse_and_by_key(browser, view):
    browser.size(1200, 900)
    browser.open(view.to_html())
    layer = view.layers[1]
    assert browser.run("$$('.heads button').length") == sum(len(layer.weights) for layer in view.layers)
    browser.click(".heads button", 3)
    assert browser.run("$$('h2')[0].textContent") == f"{layer.name}, head 2"
    assert (
        browser.run("$$('.heads button').map((node) => node.getAttribute('aria-pressed')).join(' ')")
        == "false false false true"
    )
    seen = layer.weights[1] >= 0.02
    assert browser.run("$$('.lines path').length") == int(seen.sum())
    browser.run("$$('.lines g')[2].focus()")
    browser.press("Enter")
    assert browser.run("$$('.lines path').length") == int(seen[2].sum())
    best = int(layer.weights[1, 2].argmax())
    said = browser.run("document.activeElement.getAttribute('aria-label')")
    assert said.startswith(f"{layer.queries[2].strip()} attends most to {layer.keys[best].strip()}")
    browser.press(" ")
    assert browser.run("$$('.lines path').length") == int(seen.sum()) and browser.said == []
    assert browser.run("$$('.bars tr').length") == len(view.explanation.elements)


@pytest.mark.slow
@needs_chromium
def test_a_telephone_shows_it_without_scrolling_sideways(browser, view):
    browser.size(390, 844)
    browser.open(view.to_html())
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
