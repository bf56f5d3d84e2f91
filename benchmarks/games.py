"""Our games, shap's and shapiq's, on the same texts with the same model function and the same budgets: one table.

    python -W ignore -m benchmarks.games [--texts 8] [--threads 1]

The model function takes texts, tokenizes them and runs the embedded classifier, in batches of 64, on whatever it is asked for:
every library gets this one, and calls it as it likes. ``the model itself`` is our method on the model instead of the function,
where the engine makes rows of ids, runs equal ones once and packs the rows of all texts into batches. Each cell is the best of
several rounds, which are interleaved.
"""

from __future__ import annotations

import argparse
import platform
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from interpreto import BlackBox, KernelShap, PartitionShap, PermutationShap, ShapleyInteractions, demo

BATCH, BUDGET, PAIRS, ROUNDS, SHORTEST, LONGEST = 64, 500, 1000, 3, 13, 18


class Function:
    """The model as a function of texts."""

    def __init__(self) -> None:
        self.model, self.tokenizer = demo.load_classifier()
        self.rows = 0

    def __call__(self, texts: list[str]) -> np.ndarray:
        self.rows += len(texts)
        scores = []
        for start in range(0, len(texts), BATCH):
            rows = self.tokenizer(texts[start : start + BATCH], return_tensors="pt", padding=True)
            with torch.no_grad():
                scores.append(self.model(input_ids=rows["input_ids"], attention_mask=rows["attention_mask"]).logits[:, 1])
        return torch.cat(scores)[:, None].double().numpy()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--texts", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")
    texts = [s.text for s in demo.load_sentences(split="held-out") if SHORTEST <= len(s.text.split()) <= LONGEST]
    texts = texts[: arguments.texts]
    function = Function()
    rows = [_measured(name, runs, texts, function) for name, runs in _runs(function).items()]
    print(f"\n## Games: shap and shapiq\n\n{__doc__.strip().splitlines()[0]}\n")
    print(f"{len(texts)} sentences of {SHORTEST} to {LONGEST} words; seconds per text, rows of the model per text in brackets.")
    print(
        f"Values at {BUDGET} coalitions, interactions of pairs at {PAIRS}. {platform.processor() or platform.machine()}, ",
        end="",
    )
    print(f"{arguments.threads} thread, torch {torch.__version__}.\n")
    print("| | ours, the function | ours, the model itself | shap | shapiq | shap / ours | shapiq / ours |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    print("\n".join(rows))


def _measured(name: str, runs: dict[str, Callable[[list[str]], Any] | None], texts: list[str], function: Function) -> str:
    best: dict[str, tuple[float, float]] = {}
    for _ in range(ROUNDS):
        for column, run in runs.items():
            if run is None:
                continue
            function.rows, start = 0, time.perf_counter()
            run(texts)
            seconds = (time.perf_counter() - start) / len(texts)
            best[column] = min(best.get(column, (np.inf, 0.0)), (seconds, function.rows / len(texts)))
    cells = []
    for column in ("function", "model", "shap", "shapiq"):
        seconds, count = best.get(column, (np.nan, np.nan))
        cells.append("" if column not in best else f"{seconds:.3f}" + (f" ({count:.0f})" if count else ""))
    for column in ("shap", "shapiq"):
        cells.append("" if column not in best else f"{best[column][0] / best['function'][0]:.1f}")
    return f"| {name} | {' | '.join(cells)} |"


def _runs(function: Function) -> dict[str, dict[str, Callable[[list[str]], Any] | None]]:
    import shap
    import shapiq

    box, model = BlackBox(function), (function.model, function.tokenizer)

    def game(text: str) -> tuple[int, Callable[[Any], np.ndarray]]:
        words = text.split()

        def value(coalitions: Any) -> np.ndarray:
            rows = np.atleast_2d(np.asarray(coalitions)).astype(bool)
            return function([" ".join(w for w, kept in zip(words, row, strict=True) if kept) for row in rows])[:, 0]

        return len(words), value

    def by_shap(make: Callable[[Any, int], Any]) -> Callable[[list[str]], Any]:
        return lambda texts: [make(value, u) for u, value in map(game, texts)]

    def kernel(value: Any, u: int) -> Any:
        return shap.KernelExplainer(value, np.zeros((1, u))).shap_values(np.ones(u), nsamples=BUDGET, silent=True)

    def permutation(value: Any, u: int) -> Any:
        explainer = shap.explainers.Permutation(value, shap.maskers.Independent(np.zeros((1, u))))
        return explainer(np.ones((1, u)), max_evals=BUDGET, batch_size=BATCH, silent=True)

    def partition(value: Any, u: int) -> Any:
        masker = shap.maskers.Partition(np.zeros((1, u)), clustering=_tree(u))
        return shap.explainers.Partition(value, masker)(np.ones((1, u)), max_evals=BUDGET, batch_size=BATCH, silent=True)

    def of_shapiq(kind: Callable[[int], Any], budget: int) -> Callable[[list[str]], Any]:
        return by_shap(lambda value, u: kind(u).approximate(budget, value))

    split = {"granularity": _words}
    return {
        "Kernel SHAP": {
            "function": KernelShap(box, n_perturbations=BUDGET, **split),
            "model": KernelShap(*model, n_perturbations=BUDGET, replacement="drop", **split),
            "shap": by_shap(kernel),
            "shapiq": of_shapiq(lambda u: shapiq.KernelSHAP(n=u, random_state=0), BUDGET),
        },
        "permutations": {
            "function": PermutationShap(box, n_perturbations=BUDGET, **split),
            "model": PermutationShap(*model, n_perturbations=BUDGET, replacement="drop", **split),
            "shap": by_shap(permutation),
            "shapiq": of_shapiq(lambda u: shapiq.PermutationSamplingSV(n=u, random_state=0), BUDGET),
        },
        "Owen values": {
            "function": PartitionShap(box, n_perturbations=BUDGET, hierarchy="balanced", **split),
            "model": PartitionShap(*model, n_perturbations=BUDGET, replacement="drop", hierarchy="balanced", **split),
            "shap": by_shap(partition),
            "shapiq": None,
        },
        "k-SII of pairs": {
            "function": ShapleyInteractions(box, n_perturbations=PAIRS, **split),
            "model": ShapleyInteractions(*model, n_perturbations=PAIRS, replacement="drop", **split),
            "shap": None,
            "shapiq": of_shapiq(lambda u: shapiq.KernelSHAPIQ(n=u, max_order=2, index="k-SII", random_state=0), PAIRS),
        },
    }


def _words(text: str) -> list[tuple[int, int]]:
    """Return the words between spaces, with their punctuation."""
    spans, start = [], 0
    for word in text.split():
        start = text.index(word, start)
        spans.append((start, start + len(word)))
        start += len(word)
    return spans


def _tree(u: int) -> np.ndarray:
    """Return balanced halves as rows of a linkage."""
    rows, level = [], [(i, 1) for i in range(u)]
    while len(level) > 1:
        merged = []
        for i in range(0, len(level) - 1, 2):
            (a, m), (b, n) = level[i], level[i + 1]
            rows.append((a, b, float(len(rows) + 1), m + n))
            merged.append((u + len(rows) - 1, m + n))
        level = merged + level[len(level) - len(level) % 2 :]
    return np.array(rows, dtype=float)


if __name__ == "__main__":
    main()
