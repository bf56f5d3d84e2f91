"""Real activations to learn concepts from."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from interpreto import demo


@lru_cache(maxsize=1)
def demo_activations(rows: int = 20_000) -> Tensor:
    """Token activations of the embedded classifier's middle layer, by a plain hook, ``(rows, 128)``."""
    model, tokenizer = demo.load_classifier()
    seen: list[Tensor] = []
    layer = model.bert.encoder.layer[1]
    handle = layer.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    texts = [sentence.text for sentence in demo.load_sentences()]
    parts: list[Tensor] = []
    with torch.no_grad():
        for start in range(0, len(texts), 64):
            batch = tokenizer(texts[start : start + 64], padding=True, return_tensors="pt")
            model(**batch)
            parts.append(seen.pop()[batch["attention_mask"].bool()])
            if sum(map(len, parts)) >= rows:
                break
    handle.remove()
    return torch.cat(parts)[:rows]
