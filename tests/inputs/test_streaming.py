"""Inputs as a stream: texts tokenized together are the texts tokenized one by one."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from interpreto.errors import InputError
from interpreto.inputs.streaming import CHUNK, encodings
from interpreto.inputs.text import InputReader
from tests.tiny import NON_LATIN, SENTENCES, roberta_bpe, sentencepiece_bpe, unigram, wordpiece

TOKENIZERS = [wordpiece, roberta_bpe, sentencepiece_bpe, unigram]
TEXTS = [*SENTENCES, *NON_LATIN, " two  spaces,\n a line "]


def assert_same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert dataclasses.asdict(one.tokens) == dataclasses.asdict(other.tokens)
        assert torch.equal(one.input_ids, other.input_ids)
        assert one.extras.keys() == other.extras.keys()
        assert all(torch.equal(one.extras[key], other.extras[key]) for key in one.extras)


@pytest.mark.parametrize("make", TOKENIZERS)
@pytest.mark.parametrize("options", [{}, {"max_length": 6, "truncation": True}, {"ends": False}])
def test_together_is_one_by_one(make, options):
    encoder = InputReader(make(), **options)
    alone = [encoder(text)[0] for text in TEXTS]
    assert_same(list(encodings(encoder, iter(TEXTS))), alone)
    assert encoder.takes_many == options.get("ends", True)
    if encoder.takes_many:
        assert_same(list(encoder.together(TEXTS)), alone)


def test_the_backend_s_settings_are_left_alone():
    tokenizer = wordpiece()
    tokenizer.backend_tokenizer.enable_truncation(max_length=4)
    tokenizer.backend_tokenizer.enable_padding(length=9)
    before = tokenizer.backend_tokenizer.truncation, tokenizer.backend_tokenizer.padding
    assert max(len(each.input_ids) for each in encodings(InputReader(tokenizer), TEXTS)) > 9
    assert (tokenizer.backend_tokenizer.truncation, tokenizer.backend_tokenizer.padding) == before


@pytest.mark.parametrize("bad", ["", "  ", 7, "a film " * 40])
def test_what_cannot_be_read_is_named_by_its_place(bad):
    encoder = InputReader(wordpiece(), max_length=60)
    items = ["A film."] * (CHUNK + 3) + [bad, "A film."]
    seen = []
    with pytest.raises(InputError, match=rf"`inputs\[{CHUNK + 3}\]`"):
        seen.extend(len(each.input_ids) for each in encodings(encoder, items))


def test_forms_are_mixed_in_their_order():
    tokenizer = wordpiece()
    encoder = InputReader(tokenizer)
    pair, ids = ("A film.", "A cast."), torch.tensor(tokenizer("Long ago.")["input_ids"])
    items = ["A film.", "A cast.", pair, ids, "Dull.", "Fine."]
    assert_same(list(encodings(encoder, items)), [encoder(item)[0] for item in items])
