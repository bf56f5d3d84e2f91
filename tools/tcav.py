"""False alarms of tests of TCAV: how often random sets of sentences count as concepts that a classifier uses."""

from __future__ import annotations

import numpy as np
import torch
from scipy import stats

from interpreto import ModelWithSplitPoints, SplitterForClassification, demo
from interpreto.concepts import CAVConcepts, NeuronsAsConcepts, tcav

CONCEPTS, SIZE, RUNS, RANDOM, LEVEL = 200, 50, 10, 50, 0.05
POOL, TEXTS = 600, 150
CONTROLS = {"praise": "positive", "blame": "negative"}

PAGE = f"""Share of {CONCEPTS} random concepts that each test finds at the level of 5 %: sets of {SIZE} sentences drawn from
{POOL} training sentences of the embedded classifier, whose effect on the class *positive* is read from {TEXTS} held-out
sentences. There is nothing to find, so 5 % is right; 2 to 8 % is what {CONCEPTS} draws give by chance.

{{table}}

The t-tests compare the sign counts of {RUNS} vectors of one concept, each with {SIZE} other random sentences as negatives,
with ½ or with those of {RANDOM} random vectors. These {RUNS} vectors share the concept's sentences and the texts, and so they
are no {RUNS} independent observations: more of them make it worse. The permutation test asks whether the derivative is larger
than that of shuffled examples, and its level holds.

The same permutation test finds sets of {SIZE} sentences by their meaning, the most positive and the most negative ones (their
p-values before correction):

{{found}}

`python tools/tables.py tcav` computes both again.
"""


def table() -> str:
    """Return the page."""
    model, tokenizer = demo.load_classifier()
    train, held = demo.load_sentences(split="train"), demo.load_sentences(split="held-out")
    draws = np.random.default_rng(0)
    pool = [train[i] for i in draws.choice(len(train), POOL, replace=False)]
    texts = [held[i].text for i in draws.choice(len(held), TEXTS, replace=False)]
    lines = [
        "| split point | permutation test | t-test against ½ | t-test against random vectors |",
        "| --- | ---: | ---: | ---: |",
    ]
    found = ["| split point | " + " | ".join(f"{name}, *{target}*" for name, target in CONTROLS.items()) + " |"]
    found.append("| --- | ---: | ---: |")
    for name, splitter in (
        ("block 0", ModelWithSplitPoints(model, 0, tokenizer=tokenizer)),
        ("block 1", ModelWithSplitPoints(model, 1, tokenizer=tokenizer)),
        ("head", SplitterForClassification(model, tokenizer=tokenizer)),
    ):
        rows = rows_of(splitter, [sentence.text for sentence in pool])
        shares = [permutation(splitter, rows, texts), *t_tests(rows, gradients(splitter, texts))]
        lines.append(f"| {name} | " + " | ".join(f"{100 * share:.1f} %" for share in shares) + " |")
        values = known(splitter, rows, np.array([sentence.score for sentence in pool]), texts)
        found.append(f"| {name} | " + " | ".join(f"{value:.4f}" for value in values) + " |")
    return PAGE.format(table="\n".join(lines), found="\n".join(found))


def rows_of(splitter: object, texts: list[str]) -> torch.Tensor:
    """Return one row per text."""
    if isinstance(splitter, SplitterForClassification):
        return splitter.get_activations(texts)[0]
    return splitter.get_activations(texts, "sample")[splitter.split_point]  # type: ignore[attr-defined]


def sets() -> np.ndarray:
    """Return which sentences each random concept has, ``(c, n)``."""
    draws = np.random.default_rng(1)
    inside = np.zeros((CONCEPTS, POOL), dtype=bool)
    for row in inside:
        row[draws.choice(POOL, SIZE, replace=False)] = True
    return inside


def permutation(splitter: object, rows: torch.Tensor, texts: list[str]) -> float:
    """Return the share of random concepts that the permutation test finds."""
    vectors = CAVConcepts(splitter, cv=0).fit(rows, torch.tensor(sets().T))
    return float((tcav(vectors, texts, "positive", permutations=1000, n_random=1).p_value <= LEVEL).double().mean())


def known(splitter: object, rows: torch.Tensor, scores: np.ndarray, texts: list[str]) -> list[float]:
    """Return p-values of the most positive and the most negative sentences, each on its own class."""
    order = scores.argsort()
    values = []
    for (name, target), best in zip(CONTROLS.items(), (order[-SIZE:], order[:SIZE]), strict=True):
        labels = np.isin(np.arange(len(rows)), best)
        vectors = CAVConcepts(splitter, names=[name], cv=0).fit(rows, labels)
        values.append(float(tcav(vectors, texts, target).p_value))
    return values


def gradients(splitter: object, texts: list[str]) -> torch.Tensor:
    """Return the gradient of the class in what all tokens of each text are moved by, ``(n, d)``."""
    found = NeuronsAsConcepts(splitter).concept_output_attribution(
        texts, ["positive"], "gradient", activation_granularity="sample"
    )
    return torch.stack([values[0, 0] for values in found])


def t_tests(rows: torch.Tensor, given: torch.Tensor) -> tuple[float, float]:
    """Return the shares of random concepts that t-tests of sign counts find: against ½, and against random vectors."""
    draws = np.random.default_rng(2)

    def count(inside: np.ndarray, other: np.ndarray) -> float:
        vector = rows[torch.tensor(inside)].mean(0) - rows[torch.tensor(other)].mean(0)
        return float(((given @ vector) > 0).double().mean())

    chance = [count(*draws.choice(POOL, (2, SIZE), replace=False)) for _ in range(RANDOM)]
    half, random = 0, 0
    for concept in sets():
        inside, outside = concept.nonzero()[0], (~concept).nonzero()[0]
        counts = [count(inside, draws.choice(outside, SIZE, replace=False)) for _ in range(RUNS)]
        if np.ptp(counts) == 0:  # the t-test's p-value of equal counts is 0, unless they equal the other mean
            half, random = half + (counts[0] != 0.5), random + (counts[0] != np.mean(chance))
            continue
        half += int(stats.ttest_1samp(counts, 0.5).pvalue <= LEVEL)
        random += int(stats.ttest_ind(counts, chance, equal_var=False).pvalue <= LEVEL)
    return half / CONCEPTS, random / CONCEPTS
