"""Extraction and concept gradients against what they replace: one run, ratios.

    python -m benchmarks.concepts [--rounds 3] [--threads 2] [--texts 2000]

Extraction: the embedded classifier's words and tokens at its middle block, from embedded sentences joined to mixed lengths.
``arrival`` are batches of 32 as the texts come; ``bare`` is the model alone on ready-made batches of like length, stopped
after the block. Gradients: concepts at the middle of a small BERT of 12 blocks, against backpropagation through the whole
model, one target after the other. Each cell is the best of several rounds, which are interleaved.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from interpreto import demo
from interpreto.concepts import PCAConcepts
from interpreto.concepts.splitters import ModelWithSplitPoints
from interpreto.inputs.samples import Sample
from interpreto.models.batching import map_batches

Run = Callable[[], object]
ARRIVAL = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print("# Activations and concept gradients\n")
    machine = f"{platform.machine()}, {arguments.threads} threads, device {arguments.device}, torch {torch.__version__}"
    print(f"Best of {arguments.rounds} interleaved rounds; {machine}.\n")
    print("\n".join([*extraction(arguments), "", *gradients(arguments)]))


def measure(runs: dict[str, Run], rounds: int) -> dict[str, float]:
    """Best seconds of each, rounds interleaved, after one round to warm up."""
    best = dict.fromkeys(runs, float("inf"))
    for i in range(rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if i:
                best[name] = min(best[name], time.perf_counter() - start)
    return best


def mixed_texts(count: int) -> list[str]:
    """Texts of one to eight sentences, few of them long."""
    sentences = [sentence.text for sentence in demo.load_sentences()]
    generator = torch.Generator().manual_seed(0)
    sizes = torch.randn(count, generator=generator).exp().ceil().clamp(max=8).int().tolist()
    texts, start = [], 0
    for size in sizes:
        words = " ".join(sentences[(start + i) % len(sentences)] for i in range(size)).split()
        texts.append(" ".join(words[:120]))  # the model takes 256 tokens
        start += size
    return texts


class Stop(Exception):  # noqa: N818  # no error: the way out
    pass


def stopped(model: nn.Module, layer: nn.Module, batches: Sequence[dict[str, Tensor]]) -> Run:
    """The model alone on ready-made batches, left after a layer; activations are brought to the CPU."""

    def leave(_module: nn.Module, _args: object, output: Tensor) -> None:
        output.cpu()
        raise Stop

    def run() -> None:
        handle = layer.register_forward_hook(leave)
        with torch.no_grad():
            for batch in batches:
                try:
                    model(**batch)
                except Stop:
                    continue
        handle.remove()

    return run


def batch_of(samples: Sequence[Sample], device: str) -> dict[str, Tensor]:
    ids = nn.utils.rnn.pad_sequence([sample.input_ids for sample in samples], batch_first=True)
    mask = nn.utils.rnn.pad_sequence([torch.ones_like(sample.input_ids) for sample in samples], batch_first=True)
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}


def extraction(arguments: argparse.Namespace) -> list[str]:
    model, tokenizer = demo.load_classifier()
    model = model.to(arguments.device)
    texts = mixed_texts(arguments.texts)
    splitter = ModelWithSplitPoints(model, 1, tokenizer=tokenizer)
    samples, words = splitter.samples(texts, "token"), splitter.samples(texts, "word")
    picked: list[list[int]] = []
    with splitter.session(samples) as mixed:
        map_batches([len(sample) for sample in samples], picked.append, splitter.budget(), mixed)
    ours = [batch_of([samples[i] for i in batch], arguments.device) for batch in picked]
    arrived = [batch_of(samples[i : i + ARRIVAL], arguments.device) for i in range(0, len(samples), ARRIVAL)]
    layer = model.bert.encoder.layer[1]
    times = measure(
        {
            "tokens of samples": lambda: splitter.activations_of(samples),
            "words of samples": lambda: splitter.activations_of(words),
            "bare, like lengths": stopped(model, layer, ours),
            "bare, arrival order": stopped(model, layer, arrived),
            "tokens of texts, with tokenizing": lambda: splitter.get_activations(texts, activation_granularity="token"),
            "words of texts, with tokenizing": lambda: splitter.get_activations(texts, activation_granularity="word"),
        },
        arguments.rounds,
    )
    tokens = sum(map(len, samples))
    alike = sum(b["input_ids"].numel() for b in ours) / tokens
    factors = dict.fromkeys(times, alike) | {"bare, arrival order": sum(b["input_ids"].numel() for b in arrived) / tokens}
    lines = [
        f"{len(texts)} texts of {min(map(len, samples))} to {max(map(len, samples))} tokens.",
        "",
        "| extraction | padding factor | time | ÷ bare, like lengths |",
        "|---|---|---|---|",
    ]
    for name, seconds in times.items():
        lines.append(f"| {name} | {factors[name]:.2f} | {seconds:.2f} s | {seconds / times['bare, like lengths']:.2f} |")
    return lines


def gradients(arguments: argparse.Namespace) -> list[str]:
    from transformers import BertConfig, BertForSequenceClassification

    _, tokenizer = demo.load_classifier()
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        num_hidden_layers=12,
        num_attention_heads=4,
        intermediate_size=512,
        num_labels=5,
    )
    torch.manual_seed(0)
    model = BertForSequenceClassification(config).eval().to(arguments.device)
    texts = [sentence.text for sentence in demo.load_sentences("movie")[:64]]
    splitter = ModelWithSplitPoints(model, 5, tokenizer=tokenizer)
    explainer = PCAConcepts(splitter, nb_concepts=20).fit(splitter.get_activations(texts))
    samples = splitter.samples(texts)
    found: dict[str, list[Tensor]] = {}

    def ours() -> None:
        found["ours"] = explainer.concept_output_gradient(texts, concepts_x_gradients=False, normalization=False)

    def whole(name: str) -> None:
        found[name] = [
            part
            for i in range(0, len(samples), ARRIVAL)
            for part in through_the_whole(explainer, samples[i : i + ARRIVAL], arguments.device, again=name == "loop")
        ]

    runs: dict[str, Run] = {"ours": ours, "whole": lambda: whole("whole"), "loop": lambda: whole("loop")}
    times = measure(runs, arguments.rounds)
    gap = max(float((a - b.cpu()).abs().max() / b.abs().max()) for a, b in zip(found["ours"], found["whole"], strict=True))
    lines = [
        f"{len(texts)} texts, 5 targets, 20 concepts of tokens after block 6 of 12; largest relative difference {gap:.0e}.",
        "",
        "| concept gradients | time | ratio |",
        "|---|---|---|",
        f"| model downstream of the split, targets together | {times['ours']:.2f} s | |",
    ]
    for key, what in (("loop", "a forward and a backward pass"), ("whole", "one forward pass, a backward pass")):
        lines.append(f"| whole model, {what} for each target | {times[key]:.2f} s | {times[key] / times['ours']:.1f} × |")
    return lines


def through_the_whole(explainer: PCAConcepts, samples: Sequence[Sample], device: str, again: bool) -> list[Tensor]:
    """Gradients ``(t, g, c)`` with the graph of the whole model, parameters included, one backward pass a target.

    ``again``: with a forward pass for each, as a loop over targets has it.
    """
    model, kept = explainer.splitter.model, []
    free = nn.utils.rnn.pad_sequence([sample.units.free for sample in samples], batch_first=True).to(device)

    def edit(_module: nn.Module, _args: object, output: Tensor) -> Tensor:
        concepts = explainer.encode_activations(output[free]).requires_grad_()
        concepts.retain_grad()
        kept[:] = [concepts]
        moved = explainer.decode_concepts(concepts) - explainer.decode_concepts(concepts.detach())
        return output.masked_scatter(free[..., None], output[free] + moved.to(output))

    batch, rows = batch_of(samples, device), []
    with_edit = model.get_submodule(explainer.split_point).register_forward_hook(edit)
    logits = model(**batch).logits
    for target in range(logits.shape[1]):
        logits = model(**batch).logits if again and target else logits
        kept[0].grad = None
        logits[:, target].sum().backward(retain_graph=not again)
        rows.append(kept[0].grad)
    with_edit.remove()
    model.zero_grad()
    return list(torch.stack(rows).split([len(sample.units) for sample in samples], dim=1))


if __name__ == "__main__":
    main()
