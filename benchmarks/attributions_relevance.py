"""Relevance methods, one plain forward and backward pass, integrated gradients and captum: one run, one table.

    python -m benchmarks.attributions_relevance [--width 576] [--rounds 5] [--threads 1]

A randomly weighted BERT classifier with six layers explains one class of eight held-out sentences. ``plain`` is one forward and
one backward pass of the same rows, ready-made, to their embeddings. Rounds are interleaved; each cell is the best of them. With
one thread, seconds are the processor's, which other programs of the machine move little.
"""

from __future__ import annotations

import argparse
import platform
import time

import torch
from transformers import BertConfig, BertForSequenceClassification

from benchmarks.attributions_classification import Run, measure
from interpreto import AttnLrp, DeepLift, InputXGradient, IntegratedGradients, demo

SENTENCES, LAYERS, CLASS, STEPS = 8, 6, 1, 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=576)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    clock = time.process_time if arguments.threads == 1 else time.perf_counter
    best = measure(runs(arguments.width), arguments.rounds, clock)
    print(
        f"{SENTENCES} held-out sentences of equal length, a BERT of {LAYERS} layers and width {arguments.width}; best of "
        f"{arguments.rounds} interleaved rounds (peers 2), {'processor' if arguments.threads == 1 else 'wall'} time;\n"
        f"{platform.machine()}, threads: {arguments.threads}, device cpu, torch "
        f"{torch.__version__}.\n\n| run | time | over plain |\n|---|---|---|"
    )
    for name, seconds in best.items():
        print(f"| {name} | {seconds * 1000:.0f} ms | {seconds / best['plain']:.2f} |")


def runs(width: int) -> dict[str, Run]:
    """Return what is timed, by name."""
    _, tokenizer = demo.load_classifier()
    heads = width // 64
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=LAYERS,
        num_attention_heads=heads,
        intermediate_size=4 * width,
    )
    torch.manual_seed(0)
    model = BertForSequenceClassification(config).eval()
    texts = [s.text for s in demo.load_sentences(split="held-out")]
    lengths = {text: len(tokenizer(text)["input_ids"]) for text in texts}
    common = max(range(24, 40), key=list(lengths.values()).count)
    texts = [text for text in texts if lengths[text] == common][:SENTENCES]
    ids = torch.stack([torch.tensor(tokenizer(text)["input_ids"]) for text in texts])
    embeddings = model.get_input_embeddings()(ids).detach()

    def plain() -> torch.Tensor:
        given = embeddings.clone().requires_grad_()
        return torch.autograd.grad(model(inputs_embeds=given).logits[:, CLASS].sum(), given)[0]

    def explained(method: type, **options: object) -> Run:
        explainer = method(model, tokenizer, **options)
        return lambda: explainer(texts, CLASS)

    return {
        "plain": plain,
        "InputXGradient": explained(InputXGradient),
        "AttnLrp": explained(AttnLrp),
        "AttnLrp, frozen attention": explained(AttnLrp, attention="frozen"),
        "DeepLift": explained(DeepLift),
        "IntegratedGradients, 32 steps": explained(IntegratedGradients, n_perturbations=STEPS),
        "captum": integrated(model, ids),
    }


def integrated(model: BertForSequenceClassification, ids: torch.Tensor) -> Run:
    """Return captum's integrated gradients of the same rows, a text at a time."""
    from captum.attr import LayerIntegratedGradients

    method = LayerIntegratedGradients(lambda rows: model(rows).logits, model.get_input_embeddings())
    return lambda: [method.attribute(row[None], torch.zeros_like(row[None]), target=CLASS, n_steps=STEPS) for row in ids]


if __name__ == "__main__":
    main()
