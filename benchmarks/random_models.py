"""Models of published sizes with random weights, and a tokenizer of words: benchmarks on a GPU need no download."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

WORDS = 5000
SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
SIZES = {
    "bert-base": {},
    "bert-small": {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024},
    "gpt2": {},
    "gpt2-small": {"n_embd": 256, "n_layer": 4, "n_head": 4},
}
"""Options of the config that differ from the published model."""


def random_model(name: str, language: bool = False, dtype: str = "float32", device: str = "cpu") -> tuple[Any, Any]:
    """Return a model with random weights and its tokenizer.

    Args:
        name: One of `SIZES`.
        language: A GPT-2 that writes, instead of one that classifies.
        dtype: Name of the type of its weights.
        device: Where it is run.
    """
    tokenizer = _tokenizer(encodes=name.startswith("bert"))
    torch.manual_seed(0)
    if name.startswith("bert"):
        config: Any = transformers.BertConfig(**SIZES[name], num_labels=2)
        model: Any = transformers.BertForSequenceClassification(config)
    else:
        config = transformers.GPT2Config(**SIZES[name], num_labels=2, pad_token_id=tokenizer.pad_token_id)
        model = (transformers.GPT2LMHeadModel if language else transformers.GPT2ForSequenceClassification)(config)
    return model.to(getattr(torch, dtype)).to(device).eval(), tokenizer


def random_text(length: int, seed: int = 0) -> str:
    """Return a text of so many words, one token each."""
    drawn = torch.randint(WORDS, (length,), generator=torch.Generator().manual_seed(seed))
    return " ".join(f"w{i}" for i in drawn.tolist())


def _tokenizer(encodes: bool) -> PreTrainedTokenizerFast:
    """Return a tokenizer that adds BERT's special tokens; of a GPT-2, one token before the text, so that none is empty."""
    special = SPECIAL if encodes else {"pad_token": "[PAD]", "unk_token": "[UNK]", "bos_token": "[BOS]"}
    vocabulary = {text: i for i, text in enumerate([*special.values(), *(f"w{i}" for i in range(WORDS))])}
    words = Tokenizer(models.WordLevel(vocabulary, "[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    single = "[CLS] $A [SEP]" if encodes else "[BOS] $A"
    ends = [(text, vocabulary[text]) for text in ("[CLS]", "[SEP]", "[BOS]") if text in vocabulary and text in single]
    words.post_processor = processors.TemplateProcessing(single=single, pair=f"{single} $B", special_tokens=ends)
    return PreTrainedTokenizerFast(tokenizer_object=words, model_input_names=["input_ids", "attention_mask"], **special)
