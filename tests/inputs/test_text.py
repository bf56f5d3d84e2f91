"""Every form of input is read as the text is, and nothing of the caller's is touched."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy
import pandas
import pytest
import torch
from torch import Tensor
from transformers import BatchEncoding, PreTrainedTokenizerFast

from interpreto.errors import InputError, TokenizerError
from interpreto.inputs.segmentation import segment
from interpreto.inputs.text import InputReader, TokenizedInput, decoded
from interpreto.inputs.units import Granularity, Units
from tests import tiny

TOKENIZERS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "wordpiece": tiny.wordpiece,
    "byte_bpe": tiny.byte_bpe,
    "chat": tiny.chat,
    "roberta_bpe": tiny.roberta_bpe,
    "sentencepiece_bpe": tiny.sentencepiece_bpe,
    "unigram": tiny.unigram,
    "xlnet_unigram": tiny.xlnet_unigram,
}
TEXTS = ["the film was terrible.", "the keys to the cabinet are on the table.", "great"]
"""Lower case and without contractions: WordPiece's ids do not tell those."""


def numpy_objects(texts: list[str]) -> numpy.ndarray:
    return numpy.array(texts, dtype=object)


def padding(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """The tokenizer, able to pad."""
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def words(encoding: TokenizedInput) -> Units:
    return segment(encoding.tokens, Granularity.WORD)


def assert_same_ids(found: TokenizedInput, expected: TokenizedInput) -> None:
    """The same inputs of the model, free tokens and units; ids do not tell white space nor, in WordPiece, case."""
    assert found.input_ids.tolist() == expected.input_ids.tolist()
    assert {k: v.tolist() for k, v in found.extras.items()} == {k: v.tolist() for k, v in expected.extras.items()}
    assert found.tokens.names == expected.tokens.names
    assert found.tokens.frozen == expected.tokens.frozen
    assert words(found).index.tolist() == words(expected).index.tolist()
    assert words(found).texts == words(expected).texts


def assert_same(found: TokenizedInput, expected: TokenizedInput) -> None:
    assert_same_ids(found, expected)
    assert found.tokens.text == expected.tokens.text
    assert found.tokens.offsets == expected.tokens.offsets
    assert found.tokens.segments == expected.tokens.segments


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_text_is_what_the_tokenizer_says(name: str) -> None:
    tokenizer = TOKENIZERS[name]()
    for text in tiny.SENTENCES + tiny.NON_LATIN:
        (encoding,) = InputReader(tokenizer)(text)
        expected = tokenizer(text, return_offsets_mapping=True, return_special_tokens_mask=True)
        assert encoding.tokens.text == text
        assert encoding.input_ids.tolist() == expected["input_ids"]
        assert list(encoding.tokens.offsets) == expected["offset_mapping"]
        assert list(encoding.tokens.names) == tokenizer.convert_ids_to_tokens(expected["input_ids"])
        assert list(encoding.tokens.frozen) == [bool(special) for special in expected["special_tokens_mask"]]
        types = {"token_type_ids": expected["token_type_ids"]} if "token_type_ids" in expected else {}
        assert {k: v.tolist() for k, v in encoding.extras.items()} == types


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("form", [list, iter, pandas.Series, numpy.array, numpy_objects], ids=lambda form: form.__name__)
def test_texts_in_a_row_are_the_texts(name: str, form: Callable[[list[str]], object]) -> None:
    encode = InputReader(TOKENIZERS[name]())
    for found, text in zip(encode(form(TEXTS)), TEXTS, strict=True):
        assert_same(found, encode(text)[0])


def batches_of(tokenizer: PreTrainedTokenizerFast, side: str) -> BatchEncoding:
    return tokenizer(TEXTS, padding=True, padding_side=side, return_tensors="pt")


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("form", ["batch encoding", "dict", "dict of lists", "with more of the tokenizer's answer"])
def test_padding_is_removed_on_either_side(name: str, side: str, form: str) -> None:
    tokenizer = padding(TOKENIZERS[name]())
    batch = batches_of(tokenizer, side)
    assert int(batch["attention_mask"].sum(1).min()) < batch["attention_mask"].shape[1]
    given = {
        "batch encoding": batch,
        "dict": dict(batch),
        "dict of lists": {k: v.tolist() for k, v in batch.items()},
        "with more of the tokenizer's answer": dict(batch)
        | {"special_tokens_mask": batch["attention_mask"], "offset_mapping": batch["input_ids"]},
    }[form]
    encode = InputReader(tokenizer)
    for found, text in zip(encode(given), TEXTS, strict=True):
        assert_same_ids(found, encode(text)[0])


@pytest.mark.parametrize("name", TOKENIZERS)
def test_ids_alone_are_the_texts_where_no_types_are_needed(name: str) -> None:
    encode = InputReader(TOKENIZERS[name]())
    for text in TEXTS:
        expected = encode(text)[0]
        plain = TokenizedInput(expected.tokens, expected.input_ids, {})
        ids = expected.input_ids
        for form in (ids, ids[None], [ids], {"input_ids": ids}, {"input_ids": ids[None]}, ids.to(torch.int32)):
            (found,) = encode(form)
            assert_same_ids(found, plain)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_forms_mix_in_a_list(name: str) -> None:
    tokenizer = padding(TOKENIZERS[name]())
    encode = InputReader(tokenizer)
    batch = batches_of(tokenizer, "right")
    found = encode([TEXTS[1], batch, ("great film", "bad end"), encode(TEXTS[2])[0].input_ids, dict(tokenizer(TEXTS[0]))])
    assert len(found) == 1 + 3 + 1 + 1 + 1
    for encoding, text in zip([found[0], *found[1:4], found[6]], [TEXTS[1], *TEXTS, TEXTS[0]], strict=True):
        assert_same_ids(encoding, encode(text)[0])
    assert_same(found[4], encode(("great film", "bad end"))[0])
    assert found[5].input_ids.tolist() == tokenizer(TEXTS[2])["input_ids"]


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_pair_keeps_its_types_and_its_texts_apart(name: str) -> None:
    tokenizer = TOKENIZERS[name]()
    first, second = "the film was great", "no end to it"
    (encoding,) = InputReader(tokenizer)((first, second))
    expected = tokenizer(first, second)
    assert encoding.input_ids.tolist() == expected["input_ids"]
    types = [expected["token_type_ids"]] if "token_type_ids" in expected else []
    assert [v.tolist() for v in encoding.extras.values()] == types
    assert [encoding.tokens.text[a:b] for a, b in encoding.tokens.segments] == [first, second]
    assert list(words(encoding).texts) == [*first.split(), *second.split()]
    assert list(segment(encoding.tokens, Granularity.SENTENCE).texts) == [first, second]


@pytest.mark.parametrize("name", ["wordpiece", "xlnet_unigram"])
def test_a_pair_given_as_tensors_is_the_pair(name: str) -> None:
    tokenizer = TOKENIZERS[name]()
    encode, pair = InputReader(tokenizer), ("the film was great", "no end to it")
    (found,) = encode(tokenizer(*pair, return_tensors="pt"))
    assert_same_ids(found, encode(pair)[0])
    assert len(found.extras["token_type_ids"].unique()) > 1
    assert len(segment(found.tokens, Granularity.SENTENCE)) == 2  # a unit does not straddle the separator


@pytest.mark.parametrize("name", ["wordpiece", "unigram", "xlnet_unigram"])
def test_unknown_and_mask_tokens_stay_free(name: str) -> None:
    tokenizer = TOKENIZERS[name]()
    kept = [i for i in (tokenizer.unk_token_id, tokenizer.mask_token_id) if i is not None]
    ids = torch.tensor([*tokenizer("the film", add_special_tokens=False)["input_ids"], *kept, tokenizer.pad_token_id])
    (encoding,) = InputReader(tokenizer)(ids)
    assert list(encoding.tokens.frozen) == [False] * (len(ids) - 1) + [True]
    names = [tokenizer.convert_ids_to_tokens(i) for i in kept]
    assert list(words(encoding).texts[:2]) == ["the", "film"]
    assert "".join(words(encoding).texts[2:]) == "".join(names)


CHAT = [{"role": "user", "content": "Is it good?"}, {"role": "assistant", "content": "It is a wonderful film."}]
STRIPPING = tiny.CHATML.replace("message['content']", "message['content'] | trim")
CHATS = {
    "plain": (tiny.CHATML, CHAT),
    "stripped": (STRIPPING, [{"role": "user", "content": "  Is it good?\n"}, {"role": "assistant", "content": " Yes. "}]),
    "not stripped": (tiny.CHATML, [{"role": "user", "content": "  Is it good?\n"}]),
    "content like a role": (tiny.CHATML, [{"role": "user", "content": "user"}, {"role": "assistant", "content": "assistant"}]),
    "the same twice": (tiny.CHATML, [{"role": "user", "content": "Great"}, {"role": "user", "content": "Great"}]),
    "special token inside": (tiny.CHATML, [{"role": "user", "content": "Say <|im_end|> now"}]),
    "bytes": (tiny.CHATML, [{"role": "user", "content": "🎬 東京"}]),
}


@pytest.mark.parametrize("case", CHATS)
def test_a_chat_is_as_its_template_writes_it_and_only_its_messages_are_free(case: str) -> None:
    template, messages = CHATS[case]
    tokenizer = tiny.chat()
    tokenizer.chat_template = template
    (encoding,) = InputReader(tokenizer)(messages)
    tokens = encoding.tokens
    assert tokens.text == tokenizer.apply_chat_template(messages, tokenize=False)
    rendered = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True)
    assert encoding.input_ids.tolist() == rendered["input_ids"]
    written = [m["content"].strip() if template is STRIPPING else m["content"] for m in messages]
    assert [tokens.text[a:b] for a, b in tokens.segments] == written
    assert all(tokens.text[a - 1] == "\n" and tokens.text[b:].startswith("<|im_end|>") for a, b in tokens.segments)
    inside = {i for a, b in tokens.segments for i in range(a, b)}
    free = [set(range(a, b)) for (a, b), frozen in zip(tokens.offsets, tokens.frozen, strict=True) if not frozen]
    assert set().union(*free) == inside
    assert all(not set(range(a, b)) & inside for (a, b), f in zip(tokens.offsets, tokens.frozen, strict=True) if f)


def test_a_chat_may_stand_in_a_list() -> None:
    encode = InputReader(tiny.chat())
    found = encode([CHAT, "a text", CHAT[:1]])
    assert_same(found[0], encode(CHAT)[0])
    assert_same(found[1], encode("a text")[0])
    assert_same(found[2], encode(CHAT[:1])[0])


def test_a_template_that_rewrites_messages_is_refused() -> None:
    tokenizer = tiny.chat()
    tokenizer.chat_template = tiny.CHATML.replace("message['content']", "message['content'] | upper")
    with pytest.raises(InputError, match="the chat template rewrites the messages; render the chat yourself"):
        InputReader(tokenizer)(CHAT)


@pytest.mark.parametrize("template", [None, ""])
def test_a_chat_needs_a_template(template: str | None) -> None:
    tokenizer = tiny.byte_bpe()
    tokenizer.chat_template = template
    with pytest.raises(TokenizerError, match="no chat template; pass a text"):
        InputReader(tokenizer)(CHAT)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_long_text_is_refused_or_cut_as_the_tokenizer_cuts(name: str) -> None:
    tokenizer = TOKENIZERS[name]()
    text, limit = tiny.SENTENCES[-1], 9
    with pytest.raises(InputError, match=r"^`inputs`: \d+ tokens, and the model takes 9; .*truncation=True"):
        InputReader(tokenizer, limit)(text)
    (cut,) = InputReader(tokenizer, limit, truncation=True)(text)
    assert cut.input_ids.tolist() == tokenizer(text, truncation=True, max_length=limit)["input_ids"]
    assert len(cut.input_ids) == limit
    whole = list(words(InputReader(tokenizer)(text)[0]).texts)
    found = list(words(cut).texts)
    assert 1 <= len(found) < len(whole)
    assert found == whole[: len(found)]


def test_a_text_as_long_as_the_model_takes_is_left_whole() -> None:
    tokenizer = tiny.wordpiece()
    length = len(tokenizer(TEXTS[0])["input_ids"])
    for truncation in (False, True):
        assert_same(InputReader(tokenizer, length, truncation)(TEXTS[0])[0], InputReader(tokenizer)(TEXTS[0])[0])


def test_ids_are_never_cut() -> None:
    with pytest.raises(InputError, match=r"`inputs`: 5 ids, and the model takes 4; cut them yourself"):
        InputReader(tiny.wordpiece(), 4, truncation=True)(torch.tensor([2, 20, 21, 22, 3]))


def state(tokenizer: PreTrainedTokenizerFast) -> dict[str, object]:
    return {
        "backend": tokenizer.backend_tokenizer.to_str(),  # with its padding, truncation and vocabulary
        "sides": (tokenizer.padding_side, tokenizer.truncation_side),
        "special": dict(tokenizer.special_tokens_map),
        "limit": tokenizer.model_max_length,
        "size": len(tokenizer),
        "template": tokenizer.chat_template,
    }


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("truncation", [False, True])
def test_the_tokenizer_is_left_as_it_was(name: str, truncation: bool) -> None:
    tokenizer = TOKENIZERS[name]()
    before = state(tokenizer)
    encode = InputReader(tokenizer, 12, truncation)
    encode(["The film", ("a", "b"), torch.tensor([5, 6]), {"input_ids": torch.tensor([[5, 6]])}])
    assert state(tokenizer) == before
    with pytest.raises(InputError):  # after an error too
        encode([tiny.SENTENCES[-1], ""])
    assert state(tokenizer) == before


@pytest.mark.parametrize("name", TOKENIZERS)
def test_backend_settings_of_the_caller_survive(name: str) -> None:
    tokenizer = TOKENIZERS[name]()
    tokenizer.backend_tokenizer.enable_truncation(5)
    tokenizer.backend_tokenizer.enable_padding(length=7)
    before = state(tokenizer)
    (encoding,) = InputReader(tokenizer)(TEXTS[1])
    assert encoding.input_ids.tolist() == TOKENIZERS[name]()(TEXTS[1])["input_ids"]
    assert state(tokenizer) == before


def test_inputs_are_not_changed_and_not_shared() -> None:
    tokenizer = tiny.wordpiece()
    batch = batches_of(tokenizer, "left")
    ids = batch["input_ids"].clone()
    inputs = [dict(batch), ids, ids[0], "a text", ("one", "two")]
    before = copy.deepcopy(inputs)
    found = InputReader(tokenizer)(inputs)
    for given, kept in zip(inputs, before, strict=True):
        if isinstance(given, dict):
            assert all(torch.equal(given[k], kept[k]) for k in kept) and given.keys() == kept.keys()
        else:
            assert torch.equal(given, kept) if isinstance(given, Tensor) else given == kept
    numbers = [encoding.input_ids.clone() for encoding in found]
    ids.fill_(0)
    batch["input_ids"].fill_(0)
    assert all(torch.equal(encoding.input_ids, number) for encoding, number in zip(found, numbers, strict=True))


@pytest.mark.parametrize("name", TOKENIZERS)
def test_spans_of_ids_cover_their_text_in_order(name: str) -> None:
    tokenizer = TOKENIZERS[name]()
    for text in [*tiny.SENTENCES, *tiny.NON_LATIN, "café 🎬🎬 naïve"]:
        ids = tokenizer(text)["input_ids"]
        read, spans = decoded(tokenizer, ids)
        assert read == tokenizer.decode(ids)
        assert "".join(read[a:b] for a, b in spans) == read
        assert len(spans) == len(ids)


@pytest.mark.parametrize("name", ["byte_bpe", "roberta_bpe", "sentencepiece_bpe"])
def test_a_split_character_belongs_to_the_token_that_finishes_it(name: str) -> None:
    tokenizer = TOKENIZERS[name]()
    ids = tokenizer("a 🎬 b", add_special_tokens=False)["input_ids"]
    text, spans = decoded(tokenizer, ids)
    assert text == "a 🎬 b"
    pieces = [text[a:b] for a, b in spans]
    assert [piece for piece in pieces if piece.strip()][1] == "🎬"
    assert pieces.count("") == 3  # the first three of its four bytes
    (encoding,) = InputReader(tokenizer)(torch.tensor(ids))
    units = words(encoding)
    assert list(units.texts) == ["a", "🎬", "b"]
    assert int((units.index == 1).sum()) == 5  # with the space in front of it


@pytest.mark.parametrize("name", ["byte_bpe", "sentencepiece_bpe"])
def test_ids_that_end_within_a_character_are_covered_too(name: str) -> None:
    tokenizer = TOKENIZERS[name]()
    ids = tokenizer("a 🎬", add_special_tokens=False)["input_ids"][:-1]
    text, spans = decoded(tokenizer, ids)
    assert text.startswith("a \ufffd")
    assert "".join(text[a:b] for a, b in spans) == text
    assert words(InputReader(tokenizer)(torch.tensor(ids))[0]).free.all()
