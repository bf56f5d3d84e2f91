"""Tokenizers of every kind: slow ones without a fast twin, and what is no tokenizer."""

from __future__ import annotations

import pytest
import torch
import transformers

from interpreto import Granularity, Occlusion
from interpreto.errors import TokenizerError
from interpreto.inputs.segmentation import segment
from interpreto.inputs.text import InputReader
from interpreto.inputs.tokenizers import read_tokenizer
from tests import tiny

SLOW = {"byt5": transformers.ByT5Tokenizer, "canine": transformers.CanineTokenizer}
TEXT = "It isn't a bad film, é 🎬."


@pytest.mark.parametrize("name", SLOW)
def test_a_slow_tokenizer_has_the_units_of_the_text(name):
    tokenizer = SLOW[name]()
    assert not tokenizer.is_fast
    found = InputReader(tokenizer)(TEXT)[0]
    assert found.input_ids.tolist() == tokenizer(TEXT)["input_ids"]
    units = segment(found.tokens, Granularity.WORD)
    assert list(units.texts) == ["It", "isn't", "a", "bad", "film", ",", "é", "🎬", "."]
    assert [TEXT[a:b] for a, b in units.spans] == list(units.texts)
    special = [i in tokenizer.all_special_ids for i in found.input_ids.tolist()]
    assert list(found.tokens.frozen) == special and any(special)


@pytest.mark.parametrize("name", SLOW)
def test_a_pair_is_two_segments(name):
    found = InputReader(SLOW[name]())(("Is it?", "A film."))[0].tokens
    assert [found.text[a:b] for a, b in found.segments] == ["Is it?", "A film."]


def test_a_model_of_bytes_is_explained():
    config = transformers.T5Config(
        vocab_size=384, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    torch.manual_seed(0)
    model = transformers.T5ForConditionalGeneration(config).eval()
    found = Occlusion(model, SLOW["byt5"](), replacement="zero")("A fine film", "gut", aggregate="sequence")[0]
    assert found.elements == ["A", "fine", "film", "gut"] and found.target_labels == ["gut"]


def test_a_processor_has_a_tokenizer():
    tokenizer = tiny.wordpiece()
    processor = type("Processor", (), {"tokenizer": tokenizer})()
    assert read_tokenizer(processor) is tokenizer is read_tokenizer(tokenizer)
    assert InputReader(processor)("a film")[0].input_ids.tolist() == InputReader(tokenizer)("a film")[0].input_ids.tolist()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "got None; pass the model's tokenizer"),
        (torch.nn.Linear(1, 1), "got Linear; it is a model; the model comes first"),
        ("bert-base-uncased", r"got 'bert-base-uncased'; pass the tokenizer itself, AutoTokenizer\.from_pretrained"),
        (len, "got <built-in function len>; pass the model's tokenizer"),
    ],
    ids=["none", "a model", "a name", "a function"],
)
def test_what_is_no_tokenizer_is_refused(value, message):
    with pytest.raises(TokenizerError, match=f"^`tokenizer`: {message}"):
        read_tokenizer(value)
