"""Units are what their names say, whatever the tokenizer; values move between tokens and units without loss."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from interpreto.errors import InputError, OptionError
from interpreto.inputs.segmentation import Tokens, segment
from interpreto.inputs.text import InputReader
from interpreto.inputs.units import Granularity, GranularityAggregationStrategy, Span, Units, read_granularity
from interpreto.models.modes import InferenceModes
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
WORDS = {
    "It's not a bad film.": ["It's", "not", "a", "bad", "film", "."],
    "We've paid $1,000 for 12.50 dollars!": ["We've", "paid", "$", "1,000", "for", "12.50", "dollars", "!"],
    "Is it (very) good?!": ["Is", "it", "(", "very", ")", "good", "?", "!"],
    "  leading,  double\tand\ntrailing \n": ["leading", ",", "double", "and", "trailing"],
    "A шедевр, she said": ["A", "шедевр", ",", "she", "said"],
    "I loved it 😀 !": ["I", "loved", "it", "😀", "!"],
    "a well-known e-mail": ["a", "well", "-", "known", "e", "-", "mail"],
}
SENTENCES = {
    "Dr. Who is here. It costs 3.5 euros!": ["Dr. Who is here.", "It costs 3.5 euros!"],
    "J. R. R. Tolkien wrote it. Really? Yes!": ["J. R. R. Tolkien wrote it.", "Really?", "Yes!"],
    "He saw Mr. Smith, Mrs. Jones etc. and left.": ["He saw Mr. Smith, Mrs. Jones etc. and left."],
    '"Go home." She left.': ['"Go home."', "She left."],
    "Wait... what? Wait… what?": ["Wait... what?", "Wait… what?"],
    "She said no. He left.": ["She said no.", "He left."],
    "See No. 5 and fig. 3. Then go.": ["See No. 5 and fig. 3.", "Then go."],
    "No end\n\nAnother one": ["No end", "Another one"],
    "1. First item. 2. Second item.": ["1. First item.", "2. Second item."],
    '"Really?" she said. "No!" he cried.': ['"Really?" she said.', '"No!" he cried.'],
    "One line\nof text. Two": ["One line\nof text.", "Two"],
}
PARAGRAPHS = {
    "One. Two.\nStill one.\n\nThe second.\n  \n\n  The third. ": ["One. Two.\nStill one.", "The second.", "The third."],
    "Alone.": ["Alone."],
}
TEXTS = [*WORDS, *SENTENCES, *PARAGRAPHS, *tiny.SENTENCES, *tiny.NON_LATIN]
BY_TEXT = [
    *((Granularity.WORD, text, units) for text, units in WORDS.items()),
    *((Granularity.SENTENCE, text, units) for text, units in SENTENCES.items()),
    *((Granularity.PARAGRAPH, text, units) for text, units in PARAGRAPHS.items()),
]


def tokens_of(tokenizer: PreTrainedTokenizerFast, text: str) -> Tokens:
    return InputReader(tokenizer)(text)[0].tokens


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize(("granularity", "text", "expected"), BY_TEXT)
def test_units_of_a_text_are_the_same_for_every_tokenizer(
    name: str, granularity: Granularity, text: str, expected: list[str]
) -> None:
    units = segment(tokens_of(TOKENIZERS[name](), text), granularity)
    assert list(units.texts) == expected
    assert [text[start:end] for start, end in units.spans] == expected


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("granularity", Granularity)
def test_units_are_a_partition_of_the_tokens_that_are_not_special(name: str, granularity: Granularity) -> None:
    tokenizer = TOKENIZERS[name]()
    for text in TEXTS:
        tokens = tokens_of(tokenizer, text)
        units = segment(tokens, granularity)
        everything = granularity is Granularity.ALL_TOKENS
        assert units.free.tolist() == [everything or not frozen for frozen in tokens.frozen]
        assert set(units.index[units.free].tolist()) == set(range(len(units)))


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("granularity", [Granularity.WORD, Granularity.SENTENCE, Granularity.PARAGRAPH])
def test_units_show_every_visible_character_once(name: str, granularity: Granularity) -> None:
    tokenizer = TOKENIZERS[name]()
    for text in TEXTS:
        units = segment(tokens_of(tokenizer, text), granularity)
        assert list(units.texts) == [text[start:end] for start, end in units.spans]
        assert "".join("".join(units.texts).split()) == "".join(text.split())


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_token_is_a_unit_named_by_its_characters_or_by_its_own_name(name: str) -> None:
    tokenizer = TOKENIZERS[name]()
    for text in TEXTS:
        tokens = tokens_of(tokenizer, text)
        units = segment(tokens, Granularity.TOKEN)
        free = [i for i, frozen in enumerate(tokens.frozen) if not frozen]
        assert units.index[free].tolist() == list(range(len(free)))
        for i, shown, (start, end) in zip(free, units.texts, units.spans, strict=True):
            characters = text[slice(*tokens.offsets[i])].strip()
            assert shown == (characters or tokens.names[i])
            assert not characters or text[start:end] == characters


@pytest.mark.parametrize("name", ["wordpiece", "roberta_bpe", "sentencepiece_bpe", "unigram", "xlnet_unigram"])
def test_all_tokens_adds_exactly_the_special_ones(name: str) -> None:
    tokenizer = TOKENIZERS[name]()
    tokens = tokens_of(tokenizer, "The film was great.")
    units, inner = (segment(tokens, granularity) for granularity in (Granularity.ALL_TOKENS, Granularity.TOKEN))
    special = [text for text, frozen in zip(units.texts, tokens.frozen, strict=True) if frozen]
    assert special == [name for name in tokens.names if name in tokenizer.all_special_tokens] != []
    assert [text for text in units.texts if text not in special] == list(inner.texts)


@pytest.mark.parametrize("name", ["wordpiece", "unigram", "xlnet_unigram"])
@pytest.mark.parametrize("granularity", [Granularity.TOKEN, Granularity.WORD])
def test_an_unknown_word_is_explained(name: str, granularity: Granularity) -> None:
    tokenizer = TOKENIZERS[name]()
    tokens = tokens_of(tokenizer, "A шедевр, she said")
    unknown = tokens.names.index(tokenizer.unk_token)
    units = segment(tokens, granularity)
    assert units.texts[int(units.index[unknown])] == "шедевр"


def test_words_that_share_a_token_are_one_unit() -> None:
    text = "I said 很好看 and left..."
    by_token = segment(tokens_of(tiny.unigram(), text), Granularity.WORD)
    assert list(by_token.texts[:5]) == ["I", "said", "很好看", "and", "left"]  # one unknown token for the three
    apart = segment(tokens_of(tiny.roberta_bpe(), text), Granularity.WORD)
    assert list(apart.texts) == ["I", "said", "很", "好", "看", "and", "left", "..", "."]  # ".." is a token


@pytest.mark.parametrize("name", ["byte_bpe", "sentencepiece_bpe"])
def test_bytes_of_a_character_are_tokens_of_its_unit(name: str) -> None:
    tokens = tokens_of(TOKENIZERS[name](), "Oh 🎬 yes")
    units = segment(tokens, Granularity.WORD)
    assert list(units.texts) == ["Oh", "🎬", "yes"]
    assert int((units.index == 1).sum()) == 5  # four bytes and the space in front of them


def made(text: str, pieces: list[Span], frozen: tuple[int, ...] = (), segments: list[Span] | None = None) -> Tokens:
    names = tuple(f"<{text[a:b]}>" for a, b in pieces)
    parts = tuple(segments or [(0, len(text))])
    return Tokens(text, tuple(pieces), names, tuple(i in frozen for i in range(len(pieces))), parts)


def test_white_space_goes_with_what_follows_else_with_what_precedes() -> None:
    tokens = made("a b  ", [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)])
    assert segment(tokens, Granularity.WORD).index.tolist() == [0, 1, 1, 1, 1]


def test_a_token_without_characters_inside_a_word_belongs_to_it() -> None:
    tokens = made("café b", [(0, 3), (3, 3), (3, 4), (4, 6)])
    assert segment(tokens, Granularity.WORD).index.tolist() == [0, 0, 0, 1]


def test_a_text_of_white_space_is_one_unit_with_the_names_of_its_tokens() -> None:
    units = segment(made("\n \n", [(0, 1), (1, 3)]), Granularity.WORD)
    assert units.index.tolist() == [0, 0]
    assert list(units.texts) == ["<\n>< \n>"]


def test_a_unit_never_straddles_segments() -> None:
    text = "no end more of it"
    tokens = made(text, [(0, 2), (2, 6), (6, 11), (11, 17)], segments=[(0, 6), (7, 17)])
    assert list(segment(tokens, Granularity.SENTENCE).texts) == ["no end", "more of it"]


@pytest.mark.parametrize("granularity", [Granularity.TOKEN, Granularity.ALL_TOKENS])
def test_tokens_are_not_cut_from_the_text_alone(granularity: Granularity) -> None:
    with pytest.raises(OptionError, match=f"{granularity.name} is defined by the tokenizer"):
        granularity.split("a text")


@pytest.mark.parametrize("name", TOKENIZERS)
def test_spans_are_the_units_and_freeze_the_rest(name: str) -> None:
    text = "The film was terrible, and the actors were wonderful."
    spans = [(4, 8), (23, 37), (43, 52)]
    tokens = tokens_of(TOKENIZERS[name](), text)
    units = segment(tokens, Granularity.WORD, spans)
    assert list(units.texts) == ["film", "and the actors", "wonderful"]
    assert list(units.spans) == spans
    for token, (a, b) in enumerate(tokens.offsets):
        characters = set(range(a, b)) - {i for i in range(a, b) if text[i].isspace()}
        inside = [unit for unit, (start, end) in enumerate(spans) if characters and characters <= set(range(start, end))]
        frozen = tokens.frozen[token] or (bool(characters) and not inside)
        assert int(units.index[token]) in ([-1] if frozen else inside or [-1, 0, 1, 2])


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([(4, 8), (0, 3)], r"\(0, 3\) begins before .* sort them"),
        ([(0, 8), (4, 8)], r"\(4, 8\) begins before .* without overlap"),
        ([(0, 30)], r"got \(0, 30\) for a text of 8 characters; .* <= 8"),
        ([(-1, 3)], r"got \(-1, 3\)"),
        ([(4, 4)], r"got \(4, 4\)"),
        ([(0, 3), (5, 7)], r"no token begins in \(5, 7\) \('il'\)"),
    ],
)
def test_spans_that_are_no_partition_are_refused(spans: list[Span], message: str) -> None:
    with pytest.raises(InputError, match=f"^`spans`: .*{message}"):
        segment(made("The film", [(0, 3), (3, 8)]), Granularity.WORD, spans)


def test_a_function_may_cut_the_text() -> None:
    def halves(text: str) -> list[Span]:
        return [(0, len(text) // 2), (len(text) // 2, len(text))]

    assert read_granularity(halves) is halves
    text = "The film was great"
    units = segment(tokens_of(tiny.byte_bpe(), text), halves)
    assert list(units.texts) == ["The film ", "was great"]
    assert units.index.tolist() == sorted(units.index.tolist())
    assert bool(units.free.all())


def test_what_a_function_leaves_out_is_frozen_with_its_white_space() -> None:
    tokens = made("a  b  bad", [(0, 1), (1, 2), (2, 4), (4, 5), (5, 9)])
    assert segment(tokens, lambda text: [(6, 9)]).index.tolist() == [-1, -1, -1, 0, 0]


def test_a_function_that_cuts_outside_the_text_is_refused() -> None:
    with pytest.raises(InputError, match=r"got \(0, 99\) for a text of 8 characters"):
        segment(made("The film", [(0, 3), (3, 8)]), lambda text: [(0, 99)])


@pytest.mark.parametrize("value", ["all_tokens", "ALL-TOKENS", "All_Tokens", Granularity.ALL_TOKENS])
def test_a_granularity_goes_by_its_name(value: str | Granularity) -> None:
    assert read_granularity(value) is Granularity.ALL_TOKENS


INTERLEAVED = torch.tensor([2, 0, 1, 0, 2, 0])
VALUES = torch.tensor([[-1.0, 2.0, -3.0, -5.0, 4.0, 0.5], [3.0, -1.0, 0.0, -2.0, -3.0, -3.0]])


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("mean", [[-2.5 / 3, -3.0, 1.5], [-2.0, 0.0, 0.0]]),
        ("max", [[2.0, -3.0, 4.0], [-1.0, 0.0, 3.0]]),
        ("min", [[-5.0, -3.0, -1.0], [-3.0, 0.0, -3.0]]),
        ("sum", [[-2.5, -3.0, 3.0], [-6.0, 0.0, 0.0]]),
        ("signed_max", [[-5.0, -3.0, 4.0], [-3.0, 0.0, 3.0]]),  # 3 and −3: the positive one
        ("first", [[2.0, -3.0, -1.0], [-1.0, 0.0, 3.0]]),
        ("last", [[0.5, -3.0, 4.0], [-3.0, 0.0, -3.0]]),
    ],
)
def test_strategies_by_hand(strategy: str, expected: list[list[float]]) -> None:
    found = GranularityAggregationStrategy(strategy)(VALUES, INTERLEAVED, 3)
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-6, atol=1e-6)


def random_units(seed: int) -> tuple[Units, torch.Generator]:
    """A random partition, interleaved, with frozen tokens; every unit has a token."""
    generator = torch.Generator().manual_seed(seed)
    u = int(torch.randint(1, 8, (1,), generator=generator))
    extra = torch.randint(-1, u, (int(torch.randint(0, 12, (1,), generator=generator)),), generator=generator)
    index = torch.cat([torch.arange(u), extra])
    index = index[torch.randperm(len(index), generator=generator)]
    return Units(index, tuple(map(str, range(u))), tuple((i, i + 1) for i in range(u))), generator


SEEDS = range(20)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("strategy", ["mean", "max", "min", "signed_max", "first", "last"])
def test_pooling_undoes_spreading(seed: int, strategy: str) -> None:
    units, generator = random_units(seed)
    values = torch.randn(2, 3, len(units), generator=generator)
    pooled = units.pool(units.spread(values), GranularityAggregationStrategy(strategy))
    torch.testing.assert_close(pooled, values, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_summing_spread_values_counts_the_tokens(seed: int) -> None:
    units, generator = random_units(seed)
    values = torch.randn(3, len(units), generator=generator)
    sizes = torch.bincount(units.index[units.free], minlength=len(units))
    pooled = units.pool(units.spread(values), GranularityAggregationStrategy.SUM)
    torch.testing.assert_close(pooled, values * sizes, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("seed", SEEDS)
def test_pools_agree_with_loops_over_the_tokens(seed: int) -> None:
    units, generator = random_units(seed)
    values = torch.randn(3, len(units.index), generator=generator, dtype=torch.float64)
    rules: dict[str, Callable[[Tensor], Tensor]] = {
        "mean": lambda part: part.mean(-1),
        "max": lambda part: part.amax(-1),
        "min": lambda part: part.amin(-1),
        "sum": lambda part: part.sum(-1),
        "signed_max": lambda part: part.gather(-1, part.abs().argmax(-1, keepdim=True))[..., 0],
        "first": lambda part: part[..., 0],
        "last": lambda part: part[..., -1],
    }
    for name, rule in rules.items():
        expected = torch.stack([rule(values[:, units.index == unit]) for unit in range(len(units))], dim=-1)
        torch.testing.assert_close(units.pool(values, GranularityAggregationStrategy(name)), expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_sum_loses_nothing_but_the_frozen_tokens_and_they_get_zero(seed: int) -> None:
    units, generator = random_units(seed)
    values = torch.randn(len(units.index), generator=generator, dtype=torch.float64)
    total = units.pool(values, GranularityAggregationStrategy.SUM).sum()
    torch.testing.assert_close(total, values[units.free].sum())
    spread = units.spread(torch.ones(len(units)))
    assert spread.tolist() == units.free.float().tolist()


@pytest.mark.parametrize("member", [*Granularity, *GranularityAggregationStrategy, *InferenceModes])
def test_a_member_equals_its_value_on_either_side_and_as_a_key(member) -> None:
    assert member == member.value and member.value == member
    assert member != member.value.upper() and member != "another"
    assert {member.value: 1}[member] == {member: 1}[member.value] == 1
    assert type(member)(member.value) is member and pickle.loads(pickle.dumps(member)) is member
    assert sum(member == other for other in type(member)) == 1


def test_members_of_two_enumerations_differ() -> None:
    assert Granularity.TOKEN != InferenceModes.LOGITS
