"""Memory of GenericAttention at 512 tokens, next to keeping the attention and the gradients of all layers.

python -W ignore -m benchmarks.attributions_attention
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from transformers import BertConfig, BertForSequenceClassification

from interpreto import GenericAttention
from interpreto.models.attention import AttentionReader
from interpreto.models.watching import watching
from tests import tiny

LAYERS, HEADS, WIDTH, TOKENS = 12, 12, 768, 512


def built() -> tuple[BertForSequenceClassification, torch.Tensor]:
    """Return a BERT of the base size with random weights, and the ids of one text."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=301, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS, max_position_embeddings=TOKENS
    )
    return BertForSequenceClassification(config).eval(), torch.randint(5, 300, (TOKENS,))


def streamed() -> None:
    """Explain by the library: a row per text, each layer's gradient used and dropped."""
    model, ids = built()
    explain(lambda: GenericAttention(model, tiny.wordpiece(), granularity="all_tokens")(ids, 0))


def kept() -> None:
    """Explain with the attention and the gradients of all layers in memory, and the whole matrix."""
    model, ids = built()

    def whole() -> None:
        reader = AttentionReader(model, 1, lambda _n, weights, values: (weights.requires_grad_(), values))
        with torch.enable_grad(), watching(model, reader):
            logits = model(input_ids=ids[None]).logits
        maps = [each.weights for each in reader.maps]
        gradients = torch.autograd.grad(logits[0, 0], maps)
        total = torch.eye(TOKENS)
        for weights, gradient in zip(maps, gradients, strict=True):
            total = total + (weights * gradient).clamp(min=0).mean(1)[0].detach() @ total

    explain(whole)


def explain(run: Callable[[], object]) -> None:
    """Print by how much the peak of the memory grows in a run, in MiB, and its seconds."""
    before, start = peak(), time.perf_counter()
    run()
    print(f"{peak() - before:.0f} {time.perf_counter() - start:.1f}")


def peak() -> float:
    """Return the peak of this process's memory in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure each way in a process of its own."""
    if len(sys.argv) > 1:
        {"streamed": streamed, "kept": kept}[sys.argv[1]]()
        return
    print(f"BERT, {LAYERS} layers, {HEADS} heads, {TOKENS} tokens; one class\n")
    print("| | peak above the model, MiB | seconds |\n|---|---:|---:|")
    for name in ("streamed", "kept"):
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.attributions_attention", name]
        memory, seconds = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        print(f"| {name} | {memory} | {seconds} |")


if __name__ == "__main__":
    main()
