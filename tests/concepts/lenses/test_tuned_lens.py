"""The tuned lens finds the map that exists, never ends further from the model than the logit lens, and is read from files."""

from __future__ import annotations

import json

import pytest
import torch

from interpreto import LogitLens, TunedLens, demo
from interpreto.errors import FileError, InputError, ModelError, OptionError
from tests import tiny

TEXTS = list(tiny.CORPUS[:24])


def linear():
    """A model whose last block multiplies each hidden state by a matrix, and shifts it."""
    model, tokenizer = tiny.CAUSAL_LMS["llama"]()
    generator = torch.Generator().manual_seed(5)
    matrix, shift = torch.eye(32) + 0.3 * torch.randn(32, 32, generator=generator), torch.randn(32, generator=generator)
    with torch.no_grad():
        model.model.layers[1].self_attn.o_proj.weight.zero_()
    model.model.layers[1].post_attention_layernorm = torch.nn.Identity()
    model.model.layers[1].mlp = Rest(matrix - torch.eye(32), shift)
    return model, tokenizer, matrix, shift


class Rest(torch.nn.Module):
    """A linear map, which a block adds to its input."""

    def __init__(self, matrix, shift):
        super().__init__()
        self.matrix, self.shift = matrix, shift

    def forward(self, hidden):
        return hidden @ self.matrix.T + self.shift


def test_a_linear_block_is_found():
    model, tokenizer, matrix, shift = linear()
    lens = TunedLens(model, tokenizer, layers=[0, 1]).fit(TEXTS, nb_epochs=0)
    plain, _, fitted = lens.divergences["0"]
    assert fitted < 1e-4 and plain > 0.1
    found, moved = lens.maps["0"]
    torch.testing.assert_close(found + torch.eye(32), matrix, atol=2e-2, rtol=0)
    torch.testing.assert_close(moved, shift, atol=1e-1, rtol=0)
    held_out = lens(tiny.CORPUS[30])[0]
    assert float(held_out.divergence[0, 1:].max()) < 1e-3
    assert list(lens.maps) == ["0"]  # the last block needs none


@pytest.mark.slow
def test_training_brings_every_layer_closer_to_the_model():
    model, tokenizer = tiny.CAUSAL_LMS["gpt2"]()
    start = TunedLens(model, tokenizer).fit(TEXTS, start="identity", nb_epochs=0)
    assert all(plain == before == after for plain, before, after in start.divergences.values())
    lens = TunedLens(model, tokenizer).fit(TEXTS, start="identity", nb_epochs=3, lr=0.03)
    assert set(lens.divergences) == {"embeddings", "0"}
    for plain, before, after in lens.divergences.values():
        assert after < 0.9 * before and before == plain
    again = TunedLens(model, tokenizer).fit(TEXTS, start="identity", epochs=3, learning_rate=0.03)
    assert all(torch.equal(a, b) for name in lens.maps for a, b in zip(lens.maps[name], again.maps[name], strict=True))
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    output, by_logits = lens(TEXTS[0])[0], LogitLens(model, tokenizer)(TEXTS[0])[0]
    assert torch.equal(output.probabilities[-1], by_logits.probabilities[-1]) and output.method == "TunedLens"
    assert not torch.equal(output.probabilities[0], by_logits.probabilities[0])


def test_a_map_of_zeros_is_the_logit_lens():
    model, tokenizer = tiny.CAUSAL_LMS["gpt2"]()
    lens = TunedLens(model, tokenizer).fit(TEXTS[:2], start="identity", nb_epochs=0)
    for found, wanted in zip(lens(TEXTS[:2]), LogitLens(model, tokenizer)(TEXTS[:2]), strict=True):
        assert torch.equal(found.ids, wanted.ids)


@pytest.mark.slow
def test_classifiers_and_decoders_have_one_too():
    lens = TunedLens(*demo.load_classifier()).fit(["A charming film.", "Dull.", "Not my cup of tea."], nb_epochs=1)
    assert set(lens.divergences) == {"embeddings", "0", "1"}
    assert all(after <= plain for plain, _, after in lens.divergences.values())
    model, tokenizer = tiny.SEQ2SEQ["t5"]()
    decoder = TunedLens(model, tokenizer, max_new_tokens=4).fit(TEXTS[:4], nb_epochs=1)
    assert all(after <= plain for plain, _, after in decoder.divergences.values())


def test_a_file_restores_it(tmp_path):
    model, tokenizer = tiny.CAUSAL_LMS["gpt2"]()
    lens = TunedLens(model, tokenizer).fit(TEXTS[:4], nb_epochs=1)
    lens.save(tmp_path / "lens.safetensors")
    loaded = TunedLens.load(tmp_path / "lens.safetensors", model, tokenizer)
    assert torch.equal(loaded(TEXTS[0])[0].probabilities, lens(TEXTS[0])[0].probabilities)
    other = tiny._build("GPT2LMHeadModel", tiny.byte_bpe, tiny._GPT | {"n_embd": 16})
    with pytest.raises(FileError, match="not a lens of a model with 2 blocks of width 16"):
        TunedLens.load(tmp_path / "lens.safetensors", *other)


@pytest.mark.slow
def test_a_folder_of_tuned_lens_is_read(tmp_path):
    model, tokenizer = tiny.CAUSAL_LMS["gpt2"]()
    lens = TunedLens(model, tokenizer).fit(TEXTS[:4], nb_epochs=0)
    state = {}
    for i, name in enumerate(("embeddings", "0")):  # map i reads the hidden states before block i
        state |= {f"{i}.weight": lens.maps[name][0], f"{i}.bias": lens.maps[name][1]}
    torch.save(state, tmp_path / "params.pt")
    facts = {"base_model_name_or_path": "gpt2", "d_model": 32, "num_hidden_layers": 2, "lens_type": "linear_tuned_lens"}
    (tmp_path / "config.json").write_text(json.dumps(facts))
    loaded = TunedLens.load(tmp_path, model, tokenizer)
    assert torch.equal(loaded(TEXTS[0])[0].probabilities, lens(TEXTS[0])[0].probabilities)
    (tmp_path / "config.json").write_text(json.dumps(facts | {"lens_type": "other"}))
    with pytest.raises(FileError, match="type 'other'"):
        TunedLens.load(tmp_path, model, tokenizer)
    torch.save({"0.weight": print}, tmp_path / "params.pt")
    with pytest.raises(FileError, match="cannot be read"):
        TunedLens.load(tmp_path, model, tokenizer)


WRONG = {
    "not fitted": (lambda lens: lens("a film"), ModelError, r"call `fit\(texts\)`"),
    "not saved": (lambda lens: lens.save("x"), ModelError, "not fitted"),
    "no tokens": (lambda lens: lens.fit(["a"]), InputError, "besides its first"),
    "no start": (lambda lens: lens.fit(["a film"], start="x"), OptionError, "'least_squares', 'identity'"),
    "no file": (lambda lens: TunedLens.load("/nowhere", lens.splitter), FileError, "no file"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_calls_say_what_to_do(wrong):
    call, error, message = WRONG[wrong]
    with pytest.raises(error, match=message):
        call(TunedLens(*tiny.CAUSAL_LMS["gpt2"]()))


def test_texts_that_are_held_out_decide():
    """As many tokens as dimensions can be fitted exactly, which says nothing of other texts."""
    model, tokenizer = tiny.CAUSAL_LMS["gpt2"]()
    few = [text[:24] for text in tiny.CORPUS[:10]]
    lens = TunedLens(model, tokenizer, layers=[0, 1]).fit(few, nb_epochs=0)
    (plain, before, after), held = lens.divergences["0"], few[::5]
    assert before == after and 0.0 < after <= plain
    outputs = lens(held)
    total = sum(float(output.divergence[0, 1:].sum()) for output in outputs)
    assert after == pytest.approx(total / sum(len(output.tokens) - 1 for output in outputs), rel=1e-4)
