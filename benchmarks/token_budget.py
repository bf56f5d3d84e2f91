"""Rows per second by the tokens of a pass: what `interpreto.models.batching.TOKENS_A_PASS` is set by.

    python -W ignore -m benchmarks.token_budget [--device cuda] [--length 64,512] [--budgets 8192,32768] [--dtype bfloat16]

A classifier of BERT-base's size and a language model of GPT-2's with random weights; on a CPU, smaller ones of the same kind.
Each cell is the best of two runs of about as many seconds as asked for. In brackets on a GPU: the largest memory that was in
use. ``↓`` marks a budget that did not fit and was halved. The last row is the geometric mean, over the rows above, of each
budget's share of the fastest.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.random_models import random_model, random_text
from interpreto import IntegratedGradients, KernelShap, Occlusion
from interpreto.models import batching

DEFAULTS = {
    "cpu": {"length": "64", "budgets": "512,1024,2048,4096", "models": "bert-small,gpt2-small", "seconds": 1.0, "rows": 128},
    "cuda": {
        "length": "64,512",
        "budgets": "8192,16384,32768,65536,131072",
        "models": "bert-base,gpt2",
        "seconds": 1.0,
        "rows": 500,
    },
}
PHRASES = 31  # units of a text, for all methods but occlusion by tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", default="float32")
    for name, kind in (("length", str), ("budgets", str), ("models", str), ("seconds", float), ("rows", int)):
        parser.add_argument(f"--{name}", type=kind)
    arguments = parser.parse_args()
    for name, value in DEFAULTS["cuda" if arguments.device.startswith("cuda") else "cpu"].items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")
    budgets = [int(budget) for budget in arguments.budgets.split(",")]
    on = torch.cuda.get_device_name() if arguments.device.startswith("cuda") else f"a CPU, {arguments.threads} threads"
    print(f"\n# Tokens of a pass\n\nRows per second by the token budget; {on}, {arguments.dtype}, torch {torch.__version__}.\n")
    print(f"| model | method | tokens | {' | '.join(f'{budget:,}' for budget in budgets)} |")
    print("| --- | --- | ---: |" + " ---: |" * len(budgets), flush=True)
    shares = []
    for name in arguments.models.split(","):
        model, tokenizer = random_model(name, language=True, dtype=arguments.dtype, device=arguments.device)
        for length in (int(length) for length in arguments.length.split(",")):
            for method, run in _runs(model, tokenizer, length, arguments.rows).items():
                cells = _measured(run, budgets, arguments)
                best = max(rate for rate, _ in cells)
                shares.append([rate / best for rate, _ in cells])
                print(f"| {name} | {method} | {length} | {' | '.join(text for _, text in cells)} |", flush=True)
    means = torch.tensor(shares).log().mean(0).exp().tolist()
    print(f"| share of the fastest | | | {' | '.join(f'{mean:.2f}' for mean in means)} |")


Run = Callable[[int], int]
"""Explain a number of texts, and return the number of rows of the model."""


def _runs(model: Any, tokenizer: Any, length: int, rows: int) -> dict[str, Run]:
    """Return the methods; a mask method of the language model masks by the mean embedding, as that has no mask token."""
    size = -(-length // PHRASES)

    def phrases(text: str) -> list[tuple[int, int]]:
        words, spans, start = text.split(), [], 0
        for first in range(0, len(words), size):
            end = start + len(" ".join(words[first : first + size]))
            spans.append((start, end))
            start = end + 1
        return spans

    def runs(explainer: Any, rows_a_text: int) -> Run:
        target = None if explainer.tokenizer.mask_token else " w1"

        def run(texts: int) -> int:
            inputs = [random_text(length - 2, seed) for seed in range(texts)]  # a BERT adds two tokens
            explainer(inputs, None if target is None else [target] * texts)
            return texts * rows_a_text

        return run

    return {
        "Occlusion": runs(Occlusion(model, tokenizer, granularity="token"), length - 1),
        "KernelShap": runs(KernelShap(model, tokenizer, n_perturbations=rows, granularity=phrases), rows),
        "IntegratedGradients": runs(IntegratedGradients(model, tokenizer, n_perturbations=32), 32),
    }


def _measured(run: Run, budgets: list[int], arguments: argparse.Namespace) -> list[tuple[float, str]]:
    """Return the rows per second at each budget, and how they are shown."""
    kind = "cuda" if arguments.device.startswith("cuda") else "cpu"
    before = batching.TOKENS_A_PASS[kind]
    try:
        batching.TOKENS_A_PASS[kind] = budgets[len(budgets) // 2]
        _timed(run, 1, kind)
        texts = max(1, min(1024, round(arguments.seconds / _timed(run, 1, kind)[0])))
        if texts > 8:  # a single text tells little of full batches
            texts = max(8, min(1024, round(8 * arguments.seconds / _timed(run, 8, kind)[0])))
        return [_cell(run, texts, kind, budget) for budget in budgets]
    finally:
        batching.TOKENS_A_PASS[kind] = before


def _cell(run: Run, texts: int, kind: str, budget: int) -> tuple[float, str]:
    batching.TOKENS_A_PASS[kind] = budget
    halved: list[int] = []
    halve = batching.Budget.halve

    def noted(own: batching.Budget, rows: int, length: int) -> None:
        halved.append(rows)
        halve(own, rows, length)

    batching.Budget.halve = noted  # type: ignore[method-assign]
    try:
        if kind == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        rate = max(rows / seconds for seconds, rows in (_timed(run, texts, kind) for _ in range(2)))
    finally:
        batching.Budget.halve = halve  # type: ignore[method-assign]
    memory = f" ({torch.cuda.max_memory_allocated() / 2**30:.0f} GB)" if kind == "cuda" else ""
    return rate, f"{rate:,.0f}{'↓' if halved else ''}{memory}"


def _timed(run: Run, texts: int, kind: str) -> tuple[float, int]:
    """Return the seconds and the rows of a run."""
    start = time.perf_counter()
    rows = run(texts)
    if kind == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start, rows


if __name__ == "__main__":
    main()
