"""Load the model of a command."""

from __future__ import annotations

from typing import Any

import transformers

from interpreto import demo


def load_model(model: str | None) -> tuple[Any, Any]:
    """Return a model in evaluation mode and its tokenizer.

    Args:
        model: A repository or a folder; None: the embedded classifier.
    """
    if model is None:
        return demo.load_classifier()
    config = transformers.AutoConfig.from_pretrained(model)
    kinds = {
        "AutoModelForSeq2SeqLM": transformers.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
        "AutoModelForCausalLM": transformers.MODEL_FOR_CAUSAL_LM_MAPPING,
    }
    declared, kind = set(config.architectures or []), "AutoModelForSequenceClassification"
    for name, mapping in kinds.items():
        if type(config) in mapping and declared & {cls.__name__ for cls in _classes(mapping[type(config)])}:
            kind = name
    return getattr(transformers, kind).from_pretrained(model).eval(), transformers.AutoTokenizer.from_pretrained(model)


def _classes(found: Any) -> tuple[type, ...]:
    return found if isinstance(found, tuple) else (found,)
