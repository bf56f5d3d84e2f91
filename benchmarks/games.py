"""Our games, shap's and shapiq's, on the same texts with the same function of texts and the same budgets: three tables.

    python -W ignore -m benchmarks.games [--texts 8] [--threads 1] [--device cuda --model bert-base --batch 1024]

Every library gets the same function of texts, and calls it as it likes: one that tokenizes them and runs a network, in batches
on whatever it is asked for; then one that is cheap, a scikit-learn pipeline, where the libraries' own time shows; then one that
asks a language model for the probability of a word after a long prompt, of which the last words are explained. ``the function
alone`` is that function on the texts that our method asks it for, in the same calls: no library that asks for as many
can be faster. ``the model itself`` is our method on the network instead of the function, where the engine makes rows of ids,
runs equal ones once, packs the rows of all texts into batches, and runs the beginning that all rows share once. Each cell is
the best of several rounds, which are interleaved; on a CPU it is the time of the processor, which other processes move little.
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

from benchmarks.random_models import SIZES, random_model, random_text
from interpreto import BlackBox, KernelShap, PartitionShap, PermutationShap, ShapleyInteractions, demo

BUDGET, PAIRS, ROUNDS, SHORTEST, LONGEST = 500, 1000, 3, 13, 18
PROMPT, ASKED, FEWER, FEWER_PAIRS = 192, 2, 200, 400  # of the long prompt: words before, texts, coalitions
COLUMNS = ("function", "alone", "model", "shap", "shapiq")

Explain = Callable[[list[str]], Any]


class Network:
    """A network as a function of texts.

    Args:
        model: A classifier.
        tokenizer: Its tokenizer.
        batch: Texts of a pass.
    """

    def __init__(self, model: Any, tokenizer: Any, batch: int) -> None:
        self.model, self.tokenizer, self.batch = model, tokenizer, batch

    def __call__(self, texts: list[str]) -> np.ndarray:
        scores = []
        for start in range(0, len(texts), self.batch):
            rows = self.tokenizer(texts[start : start + self.batch], return_tensors="pt", padding=True)
            given = {name: rows[name].to(self.model.device) for name in ("input_ids", "attention_mask")}
            with torch.no_grad():
                scores.append(self.model(**given).logits[:, 1])
        return torch.cat(scores)[:, None].double().cpu().numpy()


class Prompted:
    """The log-probability of a word after a prompt and a text, as a function of texts.

    Args:
        model: A language model.
        tokenizer: Its tokenizer.
        batch: Texts of a pass.
    """

    def __init__(self, model: Any, tokenizer: Any, batch: int) -> None:
        self.model, self.tokenizer, self.batch = model, tokenizer, batch
        self.prompt, self.word = random_text(PROMPT, 1) + " ", "w7"

    def __call__(self, texts: list[str]) -> np.ndarray:
        scores, word = [], self.tokenizer.convert_tokens_to_ids(self.word)
        for start in range(0, len(texts), self.batch):
            whole = [self.prompt + text for text in texts[start : start + self.batch]]
            rows = self.tokenizer(whole, return_tensors="pt", padding=True)
            last = rows["attention_mask"].sum(1) - 1
            given = {name: rows[name].to(self.model.device) for name in ("input_ids", "attention_mask")}
            with torch.no_grad():
                hidden = self.model.transformer(**given).last_hidden_state[torch.arange(len(whole)), last]
                scores.append(self.model.lm_head(hidden).log_softmax(-1)[:, word])
        return torch.cat(scores)[:, None].double().cpu().numpy()

    def by(self, explainer: Any) -> Explain:
        """Return the explanations of a method that is given the model itself."""

        def explained(texts: list[str]) -> Any:
            spans = [[(a + len(self.prompt), b + len(self.prompt)) for a, b in _words(text)] for text in texts]
            return explainer([self.prompt + text for text in texts], [" " + self.word] * len(texts), spans=spans)

        return explained


class Pipeline:
    """Weights of words and a logistic regression, fit to the sentences of the demo: a function that costs next to nothing."""

    def __init__(self) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        found = demo.load_sentences(split="train")
        self.fitted = make_pipeline(TfidfVectorizer(), LogisticRegression())
        self.fitted.fit([one.text for one in found], [one.score > 0 for one in found])

    def __call__(self, texts: list[str]) -> np.ndarray:
        return self.fitted.decision_function(texts)[:, None]


class Counted:
    """A function of texts that counts them, and keeps the calls while it is asked to."""

    def __init__(self, function: Callable[[list[str]], np.ndarray]) -> None:
        self.function, self.rows = function, 0
        self.calls: list[list[str]] | None = None

    def __call__(self, texts: list[str]) -> np.ndarray:
        self.rows += len(texts)
        if self.calls is not None:
            self.calls.append(list(texts))
        return self.function(texts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model", default="demo", choices=("demo", *SIZES))
    parser.add_argument("--batch", type=int, help="texts of a pass of the function; None: 64, on a GPU 1024")
    arguments = parser.parse_args()
    on_gpu = arguments.device.startswith("cuda")
    arguments.batch = arguments.batch or (1024 if on_gpu else 64)
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")
    sentences = [s.text for s in demo.load_sentences(split="held-out") if SHORTEST <= len(s.text.split()) <= LONGEST]
    sentences = sentences[: arguments.texts]
    print(f"\n# Games: shap and shapiq\n\n{__doc__.strip().splitlines()[0]}\n")
    where = f"{torch.cuda.get_device_name()}, " if on_gpu else ""
    print(
        f"Seconds per text, rows of the function per text in brackets; values at {BUDGET} coalitions, interactions of pairs at"
    )
    print(f"{PAIRS}. {where}{platform.machine()}, {arguments.threads} thread, torch {torch.__version__}.")
    if arguments.model == "demo":
        (model, tokenizer), texts, kind = demo.load_classifier(), sentences, "the embedded classifier"
        model = model.to(arguments.device)
    else:
        model, tokenizer = random_model(arguments.model, device=arguments.device)
        texts = [random_text(SHORTEST + seed % (LONGEST - SHORTEST + 1), seed) for seed in range(arguments.texts)]
        kind = f"a classifier of {arguments.model}'s size"
    clock = time.perf_counter if on_gpu else time.process_time
    network = Counted(Network(model, tokenizer, arguments.batch))
    title = f"A function that runs {kind}, {arguments.batch} texts per pass"
    _table(title, _runs(network, model, tokenizer, arguments.batch), texts, network, clock)
    pipeline = Counted(Pipeline())
    _table("A function that costs next to nothing", _runs(pipeline, None, None, 1024), sentences, pipeline, time.process_time)
    prompted = Prompted(*random_model("gpt2-small", language=True, device=arguments.device), 16)
    asked = [random_text(SHORTEST + seed, seed) for seed in range(ASKED)]
    title = f"A language model of width 256 after {PROMPT} words: {FEWER} coalitions, {FEWER_PAIRS} for pairs"
    counted = Counted(prompted)
    _table(title, _runs(counted, prompted.model, prompted.tokenizer, 16, (FEWER, FEWER_PAIRS)), asked, counted, clock)


def _table(
    title: str, runs: dict[str, dict[str, Explain]], texts: list[str], function: Counted, clock: Callable[[], float]
) -> None:
    has_model = any("model" in columns for columns in runs.values())
    columns = [column for column in COLUMNS if has_model or column != "model"]
    names = {"function": "ours", "alone": "the function alone", "model": "ours, the model itself"}
    rivals = [f"{rival} / {us}" for us in ("ours", *["model itself"] * has_model) for rival in ("shap", "shapiq")]
    print(f"\n## {title}\n\n{len(texts)} sentences of {SHORTEST} to {LONGEST} words.\n")
    print(f"| | {' | '.join([*(names.get(column, column) for column in columns), *rivals])} |")
    print(f"| --- |{' ---: |' * (len(columns) + len(rivals))}")
    for name, own in runs.items():
        best = _measured(own, texts, function, clock)
        cells = [
            "" if column not in best else f"{best[column][0]:.4f}" + (f" ({best[column][1]:.0f})" if best[column][1] else "")
            for column in columns
        ]
        for us in ("function", "model")[: 1 + has_model]:
            for rival in ("shap", "shapiq"):
                cells.append(f"{best[rival][0] / best[us][0]:.1f}" if rival in best else "")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def _measured(
    runs: dict[str, Explain], texts: list[str], function: Counted, clock: Callable[[], float]
) -> dict[str, tuple[float, float]]:
    """Return the seconds per text, and the rows of the function per text, of each column."""
    function.calls = []
    runs["function"](texts)
    calls, function.calls = function.calls, None
    runs = {"function": runs["function"], "alone": lambda _: [function(asked) for asked in calls], **runs}
    best: dict[str, tuple[float, float]] = {}
    for _ in range(ROUNDS):
        for column, run in runs.items():
            function.rows, start = 0, clock()
            run(texts)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds = (clock() - start) / len(texts)
            best[column] = min(best.get(column, (np.inf, 0.0)), (seconds, function.rows / len(texts)))
    return best


def _runs(
    function: Counted, model: Any, tokenizer: Any, batch: int, budgets: tuple[int, int] = (BUDGET, PAIRS)
) -> dict[str, dict[str, Explain]]:
    """Return the methods, each by our function, by our model where there is one, and by the libraries that have it."""
    values, pairs = budgets
    peers, methods = (
        _peers(function, batch, budgets),
        {
            "Kernel SHAP": (KernelShap, {"n_perturbations": values}),
            "permutations": (PermutationShap, {"n_perturbations": values}),
            "Owen values": (PartitionShap, {"n_perturbations": values, "hierarchy": "balanced"}),
            "k-SII of pairs": (ShapleyInteractions, {"n_perturbations": pairs}),
        },
    )
    runs = {}
    for name, (method, options) in methods.items():
        own = {"function": method(BlackBox(function), batch_size=batch, granularity=_words, **options)}
        if isinstance(function.function, Prompted):
            own["model"] = function.function.by(method(model, tokenizer, replacement="drop", **options))
        elif model is not None:
            own["model"] = method(model, tokenizer, replacement="drop", granularity=_words, **options)
        runs[name] = own | peers[name]
    return runs


def _peers(function: Counted, batch: int, budgets: tuple[int, int]) -> dict[str, dict[str, Explain]]:
    """Return the methods of shap and of shapiq, text by text, as they take no more."""
    budget, pairs = budgets
    import shap
    import shapiq

    def game(text: str) -> tuple[int, Callable[[Any], np.ndarray]]:
        words = text.split()

        def value(coalitions: Any) -> np.ndarray:
            rows = np.atleast_2d(np.asarray(coalitions)).astype(bool)
            return function([" ".join(w for w, kept in zip(words, row, strict=True) if kept) for row in rows])[:, 0]

        return len(words), value

    def by_shap(make: Callable[[Any, int], Any]) -> Explain:
        return lambda texts: [make(value, u) for u, value in map(game, texts)]

    def kernel(value: Any, u: int) -> Any:
        return shap.KernelExplainer(value, np.zeros((1, u))).shap_values(np.ones(u), nsamples=budget, silent=True)

    def permutation(value: Any, u: int) -> Any:
        explainer = shap.explainers.Permutation(value, shap.maskers.Independent(np.zeros((1, u))))
        return explainer(np.ones((1, u)), max_evals=budget, batch_size=batch, silent=True)

    def partition(value: Any, u: int) -> Any:
        masker = shap.maskers.Partition(np.zeros((1, u)), clustering=_tree(u))
        return shap.explainers.Partition(value, masker)(np.ones((1, u)), max_evals=budget, batch_size=batch, silent=True)

    def of_shapiq(kind: Callable[[int], Any], most: int) -> Explain:
        return by_shap(lambda value, u: kind(u).approximate(most, value))

    return {
        "Kernel SHAP": {
            "shap": by_shap(kernel),
            "shapiq": of_shapiq(lambda u: shapiq.KernelSHAP(n=u, random_state=0), budget),
        },
        "permutations": {
            "shap": by_shap(permutation),
            "shapiq": of_shapiq(lambda u: shapiq.PermutationSamplingSV(n=u, random_state=0), budget),
        },
        "Owen values": {"shap": by_shap(partition)},
        "k-SII of pairs": {
            "shapiq": of_shapiq(lambda u: shapiq.KernelSHAPIQ(n=u, max_order=2, index="k-SII", random_state=0), pairs)
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
