"""Random sets of sentences are rarely found by the permutation test, and often by the usual t-test: docs/tables/tcav.md."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from interpreto import SplitterForClassification, demo
from interpreto.concepts import CAVConcepts, NeuronsAsConcepts, tcav

TABLE = Path(__file__).parents[3] / "docs" / "tables" / "tcav.md"


@pytest.mark.slow
def test_random_sets_at_the_head():
    """Of 60 random sets, 3 ± 1.7 have p ≤ 0.05; the t-test of sign counts finds a third of them and more."""
    model, tokenizer = demo.load_classifier()
    splitter = SplitterForClassification(model, tokenizer=tokenizer)
    sentences = [sentence.text for sentence in demo.load_sentences(split="train")[:240]]
    rows, texts = splitter.get_activations(sentences[:200])[0], sentences[200:]
    draws = np.random.default_rng(0)
    inside = np.stack([np.isin(np.arange(200), draws.choice(200, 30, replace=False)) for _ in range(60)])
    vectors = CAVConcepts(splitter, cv=0).fit(rows, torch.tensor(inside.T))
    p_values = tcav(vectors, texts, "positive", permutations=200, n_random=1).p_value
    assert int((p_values <= 0.05).sum()) <= 8
    neurons = NeuronsAsConcepts(splitter).concept_output_attribution(texts, ["positive"], "gradient")
    gradients, found = torch.stack([values[0, 0] for values in neurons]), 0
    for own in inside:
        others = [draws.choice((~own).nonzero()[0], 30, replace=False) for _ in range(10)]
        gaps = torch.stack([rows[torch.tensor(own)].mean(0) - rows[torch.tensor(other)].mean(0) for other in others])
        counts = ((gradients @ gaps.T) > 0).double().mean(0).numpy()
        found += int(np.ptp(counts) == 0 or stats.ttest_1samp(counts, 0.5).pvalue <= 0.05)
    assert found >= 15


def test_the_table_is_within_what_it_says():
    shares = re.findall(r"^\| (?:block \d|head) \| ([\d.]+) % \| ([\d.]+) % \| ([\d.]+) % \|", TABLE.read_text("utf-8"), re.M)
    assert len(shares) == 3
    for permutation, half, random in shares:
        assert 2 <= float(permutation) <= 8 and 30 <= float(half) <= 60 and 30 <= float(random) <= 60
