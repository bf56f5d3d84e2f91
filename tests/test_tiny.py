"""The zoo is what the other tests take it for: kinds of tokenizers, lively models, and how each meets padding."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from tests import tiny

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TOKENIZERS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "wordpiece": tiny.wordpiece,
    "byte_bpe": tiny.byte_bpe,
    "chat": tiny.chat,
    "roberta_bpe": tiny.roberta_bpe,
    "sentencepiece_bpe": tiny.sentencepiece_bpe,
    "unigram": tiny.unigram,
    "xlnet_unigram": tiny.xlnet_unigram,
}
MODELS = {f"{name}-classifier": make for name, make in tiny.CLASSIFIERS.items()} | {
    f"{name}-lm": make for name, make in (tiny.CAUSAL_LMS | tiny.SEQ2SEQ | {"chat": tiny.chat_lm}).items()
}
DROPPING = ["bert", "roberta", "distilbert", "electra", "deberta_v2", "xlnet", "gpt2"]  # by their defaults, in training
RIGHT_PADDED = [name for name in tiny.CLASSIFIERS if name != "xlnet"]
MARKERS = str.maketrans("", "", "Ġ▁#")


@pytest.fixture(autouse=True)
def single_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@torch.no_grad()
def logits(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, text: str) -> torch.Tensor:
    inputs = dict(tokenizer(text, return_tensors="pt"))
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = torch.tensor([[model.config.decoder_start_token_id, 9, 8]])
    return model(**inputs).logits


@torch.no_grad()
def padded(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, text: str, side: str, pad: int = 5) -> torch.Tensor:
    """Logits of a row padded by hand, with attention mask 0 and, where the model has no pad token, an unused id."""
    inputs = dict(tokenizer(text, return_tensors="pt"))
    if model.config.pad_token_id is None:
        model.config.pad_token_id = min(set(range(len(tokenizer))) - set(inputs["input_ids"][0].tolist()))
    fill = {"input_ids": model.config.pad_token_id, "token_type_ids": tokenizer.pad_token_type_id, "attention_mask": 0}
    amount = (pad, 0) if side == "left" else (0, pad)
    return model(**{name: torch.nn.functional.pad(row, amount, value=fill[name]) for name, row in inputs.items()}).logits


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_tokenizer_is_fast_small_and_never_shared(name: str) -> None:
    tokenizer = TOKENIZERS[name]()
    size = len(tokenizer)
    assert tokenizer.is_fast
    assert 300 <= size <= 480
    tokenizer.add_tokens(["polluted"])
    assert len(tokenizer) == size + 1
    assert len(TOKENIZERS[name]()) == size


@pytest.mark.parametrize("name", TOKENIZERS)
def test_offsets_give_back_the_pieces(name: str) -> None:
    tokenizer = TOKENIZERS[name]()
    for text in (text for text in tiny.CORPUS + tiny.SENTENCES if text.isascii()):
        encoded = tokenizer(text, return_offsets_mapping=True, return_special_tokens_mask=True)
        for token, (start, end), special in zip(
            encoded.tokens(), encoded["offset_mapping"], encoded["special_tokens_mask"], strict=True
        ):
            piece = token.translate(MARKERS)
            span = text[start:end].strip()
            added = special or not piece  # a marker of its own has no text, see the next test
            assert added or (span.lower() if name == "wordpiece" else span) == piece


@pytest.mark.parametrize("name", ["sentencepiece_bpe", "unigram", "xlnet_unigram"])
def test_a_marker_put_before_a_text_claims_its_first_character(name: str) -> None:
    encoded = TOKENIZERS[name]()("(all", add_special_tokens=False, return_offsets_mapping=True)
    assert encoded.tokens() == ["▁", "(", "all"]
    assert encoded["offset_mapping"] == [(0, 1), (0, 1), (1, 4)]  # so that spans of tokens can overlap


@pytest.mark.parametrize("name", TOKENIZERS)
def test_offsets_cover_every_word(name: str) -> None:
    tokenizer = TOKENIZERS[name]()
    for text in tiny.CORPUS + tiny.SENTENCES + tiny.NON_LATIN:
        spans = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
        covered = {position for start, end in spans for position in range(start, end)}
        assert covered >= {position for position, character in enumerate(text) if not character.isspace()}


def test_sentences_have_1_to_20_words_and_unequal_lengths() -> None:
    words = [len(sentence.split()) for sentence in tiny.SENTENCES]
    assert len(words) == 8
    assert min(words) == 1
    assert max(words) == 20
    assert len(set(words)) >= 6


def test_wordpiece_marks_both_texts_of_a_pair() -> None:
    tokenizer = tiny.wordpiece()
    pair = tokenizer("Great film", "Bad!")
    assert pair.tokens() == ["[CLS]", "great", "film", "[SEP]", "bad", "!", "[SEP]"]
    assert pair["token_type_ids"] == [0, 0, 0, 0, 1, 1, 1]
    assert tokenizer.convert_tokens_to_ids(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]) == [0, 1, 2, 3, 4]
    assert tokenizer.mask_token_id == 4
    assert "token_type_ids" not in tiny.wordpiece(token_type_ids=False)("Great film")


def test_byte_bpe_has_an_end_and_no_other_special_token() -> None:
    tokenizer = tiny.byte_bpe()
    assert tokenizer.special_tokens_map == {"eos_token": "<|endoftext|>"}
    assert tokenizer.eos_token_id == len(tokenizer) - 1
    assert tokenizer.pad_token is None
    assert tokenizer.mask_token is None
    assert tokenizer.unk_token is None
    encoded = tokenizer("The film", return_offsets_mapping=True)
    assert encoded.tokens() == ["The", "Ġfilm"]
    assert encoded["offset_mapping"] == [(0, 3), (3, 8)]  # with the space


@pytest.mark.parametrize("name", ["byte_bpe", "chat", "roberta_bpe", "sentencepiece_bpe"])
def test_bytes_spell_every_text(name: str) -> None:
    tokenizer = TOKENIZERS[name]()
    for text in tiny.SENTENCES + tiny.NON_LATIN:
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


@pytest.mark.parametrize("name", ["wordpiece", "unigram", "xlnet_unigram"])
def test_one_sentence_has_an_unknown_word(name: str) -> None:
    tokenizer = TOKENIZERS[name]()
    assert [tokenizer.unk_token_id in tokenizer(text)["input_ids"] for text in tiny.SENTENCES].count(True) == 1


def test_roberta_bpe_has_the_ids_and_pairs_of_roberta() -> None:
    tokenizer = tiny.roberta_bpe()
    assert tokenizer.convert_tokens_to_ids(["<s>", "<pad>", "</s>", "<unk>"]) == [0, 1, 2, 3]
    assert tokenizer.mask_token_id == len(tokenizer) - 1
    encoded = tokenizer("The film", "The year", return_offsets_mapping=True)
    assert encoded.tokens() == ["<s>", "The", "Ġfilm", "</s>", "</s>", "The", "Ġyear", "</s>"]
    assert encoded["offset_mapping"][2] == (4, 8)  # without the space
    assert tokenizer("The <mask> film")["input_ids"][2] == tokenizer.mask_token_id  # it takes the space before it


def test_sentencepiece_bpe_starts_with_bos_and_knows_no_words() -> None:
    tokenizer = tiny.sentencepiece_bpe()
    encoded = tokenizer("The film 🎬")
    assert encoded.tokens() == ["<s>", "▁The", "▁film", "▁", "<0xF0>", "<0x9F>", "<0x8E>", "<0xAC>"]
    assert encoded.word_ids() == [None, 0, 0, 0, 0, 0, 0, 0]
    assert tokenizer.pad_token is None
    assert tokenizer.mask_token is None
    assert tokenizer.convert_tokens_to_ids(["<unk>", "<s>", "</s>"]) == [0, 1, 2]


def test_unigram_ends_with_eos_and_may_have_a_mask() -> None:
    tokenizer = tiny.unigram()
    assert tokenizer("The film").tokens() == ["▁The", "▁film", "</s>"]
    assert tokenizer.convert_tokens_to_ids(["<pad>", "</s>", "<unk>"]) == [0, 1, 2]
    assert tokenizer.mask_token is None
    masked = tiny.unigram(mask_token="<mask>")
    assert len(masked) == len(tokenizer) + 1
    assert masked.mask_token_id == len(tokenizer)


def test_xlnet_unigram_ends_with_the_class_token_and_pads_on_the_left() -> None:
    tokenizer = tiny.xlnet_unigram()
    encoded = tokenizer("The film")
    assert encoded.tokens() == ["▁The", "▁film", "<sep>", "<cls>"]
    assert encoded["token_type_ids"] == [0, 0, 0, 2]
    batch = tokenizer(["The film", "The"], padding=True)
    assert batch.tokens(1) == ["<pad>", "▁The", "<sep>", "<cls>"]
    assert batch["token_type_ids"][1] == [3, 0, 0, 2]
    assert batch["attention_mask"][1] == [0, 1, 1, 1]


def test_chat_renders_chatml_with_whole_tokens() -> None:
    tokenizer = tiny.chat()
    turns = [{"role": "user", "content": "Is it good?"}]
    text = "<|im_start|>user\nIs it good?<|im_end|>\n"
    assert tokenizer.apply_chat_template(turns, tokenize=False) == text
    asked = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert isinstance(asked, str)
    assert asked == text + "<|im_start|>assistant\n"
    ids = tokenizer(asked)["input_ids"]
    start, end = (tokenizer.get_vocab()[token] for token in ("<|im_start|>", "<|im_end|>"))
    assert (ids.count(start), ids.count(end), tokenizer.eos_token_id) == (2, 1, end)
    assert {start, end} < set(tokenizer.all_special_ids)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_lively_and_always_the_same(name: str) -> None:
    state = torch.random.get_rng_state()
    (model, tokenizer), (again, _) = MODELS[name](), MODELS[name]()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert model.config.vocab_size == len(tokenizer)
    assert dict(model.get_input_embeddings().named_parameters())["weight"].shape[0] == len(tokenizer)
    assert model.config.pad_token_id == tokenizer.pad_token_id
    outputs = [logits(model, tokenizer, text)[0] for text in tiny.SENTENCES]
    repeated = [logits(again, tokenizer, text)[0] for text in tiny.SENTENCES]
    assert all(torch.equal(one, other) for one, other in zip(outputs, repeated, strict=True))
    assert all(output.isfinite().all() and output.abs().max() < 20 for output in outputs)
    last = torch.stack([output.reshape(-1, output.shape[-1])[-1] for output in outputs])
    assert torch.pdist(last, p=float("inf")).min() > 0.05


@pytest.mark.parametrize("name", tiny.CLASSIFIERS)
def test_a_classifier_names_its_labels_and_predicts_several(name: str) -> None:
    model, tokenizer = tiny.CLASSIFIERS[name]()
    assert model.config.id2label == {0: "negative", 1: "neutral", 2: "positive"}
    assert model.config.label2id == {"negative": 0, "neutral": 1, "positive": 2}
    scores = torch.cat([logits(model, tokenizer, text) for text in tiny.SENTENCES])
    assert scores.shape == (8, 3)
    if tiny.RELEASE >= (5,):  # the seed of `tiny` is chosen for the weights that these releases draw
        assert len(scores.argmax(dim=-1).unique()) > 1


@pytest.mark.parametrize("name", DROPPING)
def test_a_forgotten_eval_is_noticed(name: str) -> None:
    model, tokenizer = tiny.CLASSIFIERS[name]()
    text = tiny.SENTENCES[3]
    expected = logits(model, tokenizer, text)
    model.train()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert (logits(model, tokenizer, text) - expected).abs().max() > 0.01


@pytest.mark.parametrize("name", RIGHT_PADDED)
def test_padding_on_the_right_changes_nothing(name: str) -> None:
    model, tokenizer = tiny.CLASSIFIERS[name]()
    for text in tiny.SENTENCES:
        torch.testing.assert_close(padded(model, tokenizer, text, "right"), logits(model, tokenizer, text), atol=1e-5, rtol=0)


def test_xlnet_reads_the_last_position_so_only_padding_on_the_left_changes_nothing() -> None:
    model, tokenizer = tiny.CLASSIFIERS["xlnet"]()
    for text in tiny.SENTENCES:
        expected = logits(model, tokenizer, text)
        assert (padded(model, tokenizer, text, "right") - expected).abs().max() > 0.05
        torch.testing.assert_close(padded(model, tokenizer, text, "left"), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", tiny.CAUSAL_LMS)
def test_padding_on_the_right_of_a_language_model_leaves_its_positions_alone(name: str) -> None:
    model, tokenizer = tiny.CAUSAL_LMS[name]()
    for text in tiny.SENTENCES:
        expected = logits(model, tokenizer, text)
        found = padded(model, tokenizer, text, "right")[:, : expected.shape[1]]
        torch.testing.assert_close(found, expected, atol=5e-5, rtol=0)  # logits near 10, noise of float32 near 1e-5


def test_tokenizers_are_the_same_in_every_process() -> None:
    made = ", ".join(f"tiny.{name}()" for name in TOKENIZERS)
    program = f"from tests import tiny\nprint([sorted(t.get_vocab().items()) for t in ({made})])"
    here = [sorted(make().get_vocab().items()) for make in TOKENIZERS.values()]
    assert run(program) == str(here)


def test_importing_the_zoo_imports_no_model() -> None:
    listed = "[m for m in sys.modules if m.startswith('transformers.models.') and '.modeling_' in m]"
    assert run(f"import sys\nfrom tests import tiny\nprint({listed})") == "[]"


def run(program: str) -> str:
    """What a new interpreter prints."""
    command = [sys.executable, "-X", "utf8", "-c", program]
    root = Path(__file__).parents[1]
    return subprocess.run(command, capture_output=True, encoding="utf8", check=True, cwd=root).stdout.strip()
