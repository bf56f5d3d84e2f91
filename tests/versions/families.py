"""The language models whose prefix is shared with every supported release of transformers."""

from __future__ import annotations

from functools import partial

from tests import tiny

GEMMA = partial(tiny._build, "GemmaForCausalLM", tiny.sentencepiece_bpe, tiny._GROUPED | {"head_dim": 16})
LANGUAGE_MODELS = {name: tiny.CAUSAL_LMS[name] for name in ("gpt2", "llama", "qwen2", "mistral")} | {"gemma": GEMMA}
