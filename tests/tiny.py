"""Small tokenizers and randomly weighted models of many families, built in memory: the zoo that the tests share."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CORPUS = [
    "The film was great, and the actors were wonderful.",
    "The film was terrible; the story is a mess!",
    "I loved this movie, but I didn't like the ending.",
    "It's not a bad film, it's just too long.",
    "What a wonderful story, told with so much love.",
    "The worst movie I have seen this year: boring, slow and sad.",
    "A great cast can't save a bad script.",
    "Nothing happens for two hours, and then it ends.",
    "The music is beautiful and the pictures are bright.",
    "She doesn't want to see it again, and neither do we.",
    "One of the best films of the year, without a doubt.",
    "The keys to the cabinet are on the table.",
    "The key to the cabinets is on the table.",
    "The author who knows the actors writes every day.",
    "The authors who know the actor write every day.",
    "The dogs near the house bark at night.",
    "The dog near the houses barks at night.",
    "The woman that the children see is a doctor.",
    "The children that the woman sees are happy.",
    "My brother and my sister were not there.",
    "In 2024, the ticket cost 12.50 dollars.",
    "There are 365 days in a year, and 24 hours in a day.",
    "Room 101 is on floor 3; call 555-0199.",
    "He paid $1,000 for 7 old books (all of them signed).",
    '"Where are you going?" asked the old man.',
    '"Home," she said, "and you\'re coming with me."',
    "We've never been to Paris, they've been there twice.",
    "I'd say that he'll win; she won't.",
    "Is it good? Is it bad? Who knows...",
    "Paris is the capital of France, and Rome is the capital of Italy.",
    "The cat sat on the mat while the rain fell on the city.",
    "A quick brown fox jumps over the lazy dog.",
    "Pack my box with five dozen jugs of juice, please.",
    "Some people think that time moves slowly in small towns.",
    "When the light was gone, nobody could find the door.",
    "Open the window, take the bread, and give it to the birds.",
    "This is a very, very long sentence about a very short book.",
    "The end was good, the beginning was better - the middle was great!",
    "Don't walk too fast, or you will miss the view.",
    "Water, fire, wind and earth; north, south, east and west.",
    "Great music, great pictures: thank you!",
]
"""What every tokenizer is trained on."""

NON_LATIN = ["What a film 🎬! I loved it 😀.", "电影很好看", "東京 は 大きい 都市 です"]
"""Added to the corpus of the tokenizers whose alphabet is bytes."""

SENTENCES = [
    "Great",
    "The film was terrible.",
    "It's not a bad film, it's just too long.",
    "The keys to the cabinet are on the table.",
    "A шедевр, she said, and nothing less.",  # no tokenizer has these letters: unknown, or one token per byte
    "In 2024, the ticket cost 12.50 dollars!",
    "The authors who know the actor didn't like the ending of the movie.",
    "The worst movie I have seen this year: nothing happens for two hours, and then the old man walks home.",
]
"""1 to 20 words each, of unequal lengths."""

LABELS = ("negative", "neutral", "positive")

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

_ROBERTA_MASK = AddedToken("<mask>", lstrip=True, special=True)  # takes the space before it

RELEASE = tuple(int(part) for part in transformers.__version__.split(".")[:2])
SINCE = {
    "Olmo2ForCausalLM": (4, 47),
    "ModernBertForSequenceClassification": (4, 48),
    "ModernBertForMaskedLM": (4, 48),
    "ModernBertModel": (4, 48),
    "ModernBertForQuestionAnswering": (4, 50),
    "ModernBertForTokenClassification": (4, 48),
    "Gemma3ForCausalLM": (4, 50),
    "Qwen3ForCausalLM": (4, 51),
    "Qwen3ForSequenceClassification": (4, 51),
}
"""The release of transformers with which a class came, where it is later than the lowest that is supported."""

Zoo = dict[str, Callable[[], "tuple[PreTrainedModel, PreTrainedTokenizerFast]"]]


def wordpiece(token_type_ids: bool = True) -> PreTrainedTokenizerFast:
    """BERT's: lower case, `[CLS] A [SEP] B [SEP]`. DistilBERT and ModernBERT take no `token_type_ids`."""
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    return _wrap(_wordpiece(), special, token_type_ids)


def byte_bpe() -> PreTrainedTokenizerFast:
    """GPT-2's: bytes, the space belongs to the next word and to its offsets, no special token is added to a text."""
    return _wrap(_byte_bpe(), {"eos_token": "<|endoftext|>"})


def chat() -> PreTrainedTokenizerFast:
    """`byte_bpe` with the ChatML template and its two tokens, one of which ends a turn (`eos_token`, as in Qwen2)."""
    more = ["<|endoftext|>", "<|im_start|>"]
    name = "extra_special_tokens" if RELEASE >= (5,) else "additional_special_tokens"
    tokenizer = _wrap(_byte_bpe(), {"eos_token": "<|im_end|>", name: more})
    tokenizer.chat_template = CHATML
    return tokenizer


def roberta_bpe() -> PreTrainedTokenizerFast:
    """RoBERTa's: bytes, `<s> A </s></s> B </s>`, ids 0 to 3 as in RoBERTa, offsets without the space."""
    first = {"bos_token": "<s>", "cls_token": "<s>", "pad_token": "<pad>", "mask_token": _ROBERTA_MASK}
    return _wrap(_roberta_bpe(), first | {"eos_token": "</s>", "sep_token": "</s>", "unk_token": "<unk>"})


def sentencepiece_bpe() -> PreTrainedTokenizerFast:
    """Llama's: `<s> A`, unknown characters as bytes. It does not split words first: `word_ids()` are all alike."""
    return _wrap(_sentencepiece_bpe(), {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"})


def unigram(mask_token: str | None = None) -> PreTrainedTokenizerFast:
    """T5's: `A </s>`, with a mask token only where one is named."""
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return _wrap(_unigram(), special if mask_token is None else special | {"mask_token": mask_token})


def xlnet_unigram() -> PreTrainedTokenizerFast:
    """XLNet's: `A <sep> <cls>`, the class token is the last and of type 2; pads on the left, with type 3."""
    special = {f"{name}_token": f"<{name}>" for name in ("unk", "sep", "pad", "cls", "mask")}
    tokenizer = _wrap(_xlnet_unigram(), special | {"bos_token": "<s>", "eos_token": "</s>"}, token_type_ids=True)
    tokenizer.padding_side = "left"
    tokenizer._pad_token_type_id = 3  # as XLNetTokenizer does; no argument sets it
    return tokenizer


def _wrap(backend: Tokenizer, special: Mapping[str, Any], token_type_ids: bool = False) -> PreTrainedTokenizerFast:
    """A new tokenizer around a copy of `backend`, so that no test can change what another one gets."""
    inputs = ["input_ids", *["token_type_ids"] * token_type_ids, "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_input_names=inputs, **special)


@functools.cache
def _wordpiece() -> Tokenizer:
    words = [normalizers.BertNormalizer().normalize_str(text) for text in CORPUS]
    pieces = _pieces(words, pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer(), _metaspace()]), 280)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    inner = [f"##{piece}" for piece in pieces if not piece.startswith("▁")]
    initial = [piece[1:] for piece in pieces if len(piece) > 1 and piece.startswith("▁")]
    alone = [piece for piece in pieces if len(piece) == 1 and piece != "▁"]
    vocab = dict.fromkeys([*special, *alone, *inner, *initial])
    tokenizer = Tokenizer(models.WordPiece({piece: id for id, piece in enumerate(vocab)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = _template(tokenizer, "[CLS] $A [SEP]", "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1")
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


@functools.cache
def _byte_bpe() -> Tokenizer:
    tokenizer = _bytes([])
    tokenizer.add_special_tokens(["<|endoftext|>"])  # the last id, as in GPT-2
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


@functools.cache
def _roberta_bpe() -> Tokenizer:
    tokenizer = _bytes(["<s>", "<pad>", "</s>", "<unk>"])
    tokenizer.add_special_tokens([_ROBERTA_MASK])  # the last id, as in RoBERTa
    ends = ("</s>", 2), ("<s>", 0)  # named `cls` before tokenizers 0.21, and `cls_token` after
    tokenizer.post_processor = processors.RobertaProcessing(*ends, trim_offsets=True, add_prefix_space=False)
    return tokenizer


def _bytes(special: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS + NON_LATIN, trainer)
    return tokenizer


@functools.cache
def _sentencepiece_bpe() -> Tokenizer:
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    # Pieces must not span words, as in Llama; only the training sees this pre-tokenizer.
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"▁?[^▁\W]+|▁?[^▁\w]"), behavior="isolated")
    trainer = trainers.BpeTrainer(vocab_size=480, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return _without_special_bytes(tokenizer)


def _without_special_bytes(trained: Tokenizer) -> Tokenizer:
    """The same model, where `<0xE2>` is a piece like any other: a special token would be cut out of a text."""
    tokenizer = Tokenizer(trained.model)
    tokenizer.normalizer = trained.normalizer
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.post_processor = _template(tokenizer, "<s> $A", "<s>:0 $A:0 <s>:1 $B:1")
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    return tokenizer


@functools.cache
def _unigram() -> Tokenizer:
    tokenizer = _metaspace_unigram(["<pad>", "</s>", "<unk>"])
    tokenizer.post_processor = _template(tokenizer, "$A </s>", "$A:0 </s>:0 $B:0 </s>:0")
    return tokenizer


@functools.cache
def _xlnet_unigram() -> Tokenizer:
    tokenizer = _metaspace_unigram(["<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>"])
    tokenizer.post_processor = _template(tokenizer, "$A:0 <sep>:0 <cls>:2", "$A:0 <sep>:0 $B:1 <sep>:1 <cls>:2")
    return tokenizer


def _metaspace_unigram(special: list[str]) -> Tokenizer:
    # No piece holds both letters and punctuation, as in T5; the tokenizer itself splits at spaces only.
    pieces = _pieces(CORPUS, pre_tokenizers.Sequence([_metaspace(), pre_tokenizers.Punctuation()]), 340)
    total = sum(pieces.values())
    vocab = [(token, 0.0) for token in special] + [(piece, math.log(n / total)) for piece, n in pieces.items()]
    tokenizer = Tokenizer(models.Unigram(vocab, unk_id=special.index("<unk>")))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = _metaspace()
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.add_special_tokens(special)
    return tokenizer


def _metaspace() -> pre_tokenizers.Metaspace:
    return pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")


def _pieces(texts: list[str], split: pre_tokenizers.PreTokenizer, size: int) -> Counter[str]:
    """Frequent pieces of words and how often they occur, by BPE: the other trainers differ from run to run."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = split
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size, show_progress=False))
    vocab = tokenizer.get_vocab()
    pieces = Counter(sorted(vocab, key=lambda piece: vocab[piece]))  # once each, for those that were only merged on
    for text in texts:
        pieces.update(tokenizer.encode(text).tokens)
    return pieces


def _template(tokenizer: Tokenizer, single: str, pair: str) -> processors.TemplateProcessing:
    names = {part.split(":")[0] for part in pair.split()} - {"$A", "$B"}
    return processors.TemplateProcessing(
        single=single, pair=pair, special_tokens=[(name, tokenizer.token_to_id(name)) for name in sorted(names)]
    )


def _build(
    model_class: str, tokenizer_factory: Callable[[], PreTrainedTokenizerFast], settings: Mapping[str, Any]
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A new model in evaluation mode, the same at each call, and its tokenizer; skips the test in releases without it."""
    if (since := SINCE.get(model_class, (0, 0))) > RELEASE:
        import pytest  # only where a test is skipped: the examples of the README use this file without it

        pytest.skip(f"{model_class} exists since transformers {'.'.join(map(str, since))}")
    tokenizer = tokenizer_factory()
    of_class = getattr(transformers, model_class)
    labels = _labels() if model_class.endswith("SequenceClassification") else {}
    config = of_class.config_class(**_token_ids(tokenizer) | labels | dict(settings))
    with torch.random.fork_rng():
        torch.manual_seed(31)  # with which every classifier predicts more than one class over SENTENCES
        model = of_class(config)
        _enlarge(model)
    return model.eval(), tokenizer


def _labels() -> dict[str, Any]:
    return {"id2label": dict(enumerate(LABELS)), "label2id": {label: id for id, label in enumerate(LABELS)}}


def _token_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """None where the tokenizer has no such token, so that no default of a family lies beyond the vocabulary."""
    return {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


@torch.no_grad()
def _enlarge(model: PreTrainedModel) -> None:
    """Give every matrix a gain of 2 and every vector some noise: at its first weights a model is nearly linear."""
    for name, parameter in model.named_parameters():
        if name.endswith("A_log"):  # Mamba's decay rates, which are not a matrix
            continue
        if parameter.dim() == 1:
            parameter.add_(0.1 * torch.randn_like(parameter))
        else:
            parameter.mul_(2 / (parameter.std() * 32**0.5))


_SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
_DENSE = _SIZES | {"intermediate_size": 64, "max_position_embeddings": 128}
_GROUPED = _DENSE | {"num_key_value_heads": 1}
_GPT = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128}
_NARROW = _DENSE | {"embedding_size": 16}
_ROBERTA = _DENSE | {"max_position_embeddings": 130}  # positions start at `pad_token_id + 1`
_DISTILBERT = {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 2, "max_position_embeddings": 128}
_DEBERTA = _DENSE | {
    "relative_attention": True,
    "pos_att_type": ["c2p", "p2c"],
    "position_buckets": 16,
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
    "position_biased_input": False,
}
_MODERNBERT = _DENSE | {
    "cls_token_id": 2,
    "sep_token_id": 3,
    "local_attention": 8,
    "layer_types": ["full_attention", "sliding_attention"],
}
_XLNET = {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64, "mem_len": None}
_GPT_NEO = {
    "hidden_size": 32,
    "num_layers": 2,
    "num_heads": 2,
    "max_position_embeddings": 128,
    "attention_types": [[["global", "local"], 1]],
    "window_size": 8,
}
_CODEGEN = _GPT | {"n_head": 4, "rotary_dim": 4}  # its heads come in four blocks
_MIXTRAL = _GROUPED | {"num_local_experts": 4, "num_experts_per_tok": 2}
_GEMMA = _GROUPED | {
    "head_dim": 16,
    "query_pre_attn_scalar": 16,
    "sliding_window": 8,
    "layer_types": ["sliding_attention", "full_attention"],
}
_T5 = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0}
_ENCODER = {"encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 64}
_DECODER = {"decoder_layers": 2, "decoder_attention_heads": 2, "decoder_ffn_dim": 64, "decoder_start_token_id": 2}
_BART = _ENCODER | _DECODER | {"d_model": 32, "max_position_embeddings": 128}

_wordpiece_untyped = partial(wordpiece, token_type_ids=False)

CLASSIFIERS: Zoo = {
    "bert": partial(_build, "BertForSequenceClassification", wordpiece, _DENSE),
    "roberta": partial(_build, "RobertaForSequenceClassification", roberta_bpe, _ROBERTA),
    "distilbert": partial(_build, "DistilBertForSequenceClassification", _wordpiece_untyped, _DISTILBERT),
    "albert": partial(_build, "AlbertForSequenceClassification", wordpiece, _NARROW),
    "electra": partial(_build, "ElectraForSequenceClassification", wordpiece, _NARROW),
    "deberta_v2": partial(_build, "DebertaV2ForSequenceClassification", wordpiece, _DEBERTA),
    "modernbert": partial(_build, "ModernBertForSequenceClassification", _wordpiece_untyped, _MODERNBERT),
    "xlnet": partial(_build, "XLNetForSequenceClassification", xlnet_unigram, _XLNET),
    "gpt2": partial(_build, "GPT2ForSequenceClassification", byte_bpe, _GPT),
    "llama": partial(_build, "LlamaForSequenceClassification", sentencepiece_bpe, _GROUPED),
    "qwen2": partial(_build, "Qwen2ForSequenceClassification", byte_bpe, _GROUPED),
    "qwen3": partial(_build, "Qwen3ForSequenceClassification", byte_bpe, _GROUPED | {"head_dim": 16}),
}
"""Three labels each. The configuration has no `pad_token_id` where the tokenizer has no pad token."""

CAUSAL_LMS: Zoo = {
    "gpt2": partial(_build, "GPT2LMHeadModel", byte_bpe, _GPT),
    "gpt_neo": partial(_build, "GPTNeoForCausalLM", byte_bpe, _GPT_NEO),
    "gptj": partial(_build, "GPTJForCausalLM", byte_bpe, _GPT | {"rotary_dim": 8}),
    "codegen": partial(_build, "CodeGenForCausalLM", byte_bpe, _CODEGEN),
    "llama": partial(_build, "LlamaForCausalLM", sentencepiece_bpe, _GROUPED),
    "mistral": partial(_build, "MistralForCausalLM", sentencepiece_bpe, _GROUPED | {"sliding_window": 8}),
    "mixtral": partial(_build, "MixtralForCausalLM", sentencepiece_bpe, _MIXTRAL),
    "qwen2": partial(_build, "Qwen2ForCausalLM", byte_bpe, _GROUPED),
    "qwen3": partial(_build, "Qwen3ForCausalLM", byte_bpe, _GROUPED | {"head_dim": 16}),
    "gemma3_text": partial(_build, "Gemma3ForCausalLM", sentencepiece_bpe, _GEMMA),
    "phi": partial(_build, "PhiForCausalLM", byte_bpe, _DENSE),
    "olmo2": partial(_build, "Olmo2ForCausalLM", byte_bpe, _GROUPED),
    "falcon": partial(_build, "FalconForCausalLM", byte_bpe, _SIZES | {"max_position_embeddings": 128}),
    "starcoder2": partial(_build, "Starcoder2ForCausalLM", byte_bpe, _GROUPED),
    "mamba": partial(_build, "MambaForCausalLM", byte_bpe, {"hidden_size": 32, "num_hidden_layers": 2}),
}

SEQ2SEQ_CLASSIFIERS: Zoo = {
    "t5": partial(_build, "T5ForSequenceClassification", unigram, _T5),
    "bart": partial(_build, "BartForSequenceClassification", roberta_bpe, _BART),
}

SEQ2SEQ: Zoo = {
    "t5": partial(_build, "T5ForConditionalGeneration", unigram, _T5),
    "bart": partial(_build, "BartForConditionalGeneration", roberta_bpe, _BART),
}


def chat_lm() -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A Qwen2 language model whose vocabulary has the tokens of `chat`."""
    return _build("Qwen2ForCausalLM", chat, _GROUPED)
