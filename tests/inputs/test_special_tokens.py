"""Special tokens are frozen, whether a template adds them, a text holds them, or ids name them."""

from __future__ import annotations

import pytest

from interpreto import Granularity
from interpreto.inputs.segmentation import segment
from interpreto.inputs.text import InputReader
from tests import tiny

TOKENIZERS = {name: getattr(tiny, name) for name in ("wordpiece", "byte_bpe", "roberta_bpe", "unigram", "xlnet_unigram")}


def texts_of(tokenizer) -> list[str]:
    special = [token for token in tokenizer.all_special_tokens if token not in (tokenizer.unk_token, tokenizer.mask_token)]
    return [f"good film {token} bad end" for token in special] + [f"{special[0]} good film {special[-1]} bad {special[0]}"]


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("granularity", Granularity)
@pytest.mark.parametrize("added", [False, True], ids=["its own", "added by the user"])
def test_a_text_and_its_ids_have_the_same_units(name, granularity, added):
    tokenizer = TOKENIZERS[name]()
    if added:
        tokenizer.add_special_tokens({"additional_special_tokens": ["[USR]", "[BOT]"]})
    reader = InputReader(tokenizer)
    for text in texts_of(tokenizer):
        found, ids = reader(text)[0], reader(tokenizer(text, return_tensors="pt"))[0]
        assert found.tokens.frozen == ids.tokens.frozen
        assert segment(found.tokens, granularity).index.tolist() == segment(ids.tokens, granularity).index.tolist()
        assert vars(list(reader.together([text, text]))[1].tokens) == vars(found.tokens)


@pytest.mark.parametrize("name", ["wordpiece", "roberta_bpe"])
def test_a_mask_written_in_a_text_is_free(name):
    tokenizer = TOKENIZERS[name]()
    tokens = InputReader(tokenizer)(f"A {tokenizer.mask_token} film")[0].tokens
    assert sum(not frozen for frozen in tokens.frozen) >= 3
