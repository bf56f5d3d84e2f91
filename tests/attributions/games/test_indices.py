"""Values and interactions of games whose answer is known; equal to shapiq where it is installed."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from interpreto.attributions.games import indices
from interpreto.attributions.games.interactions import interactions

INDICES = ("SII", "k-SII", "STII", "FSII", "BII")


def random_table(n: int, t: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.randn(2**n, t, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def additive(weights: list[float]) -> torch.Tensor:
    return indices.all_coalitions(len(weights)) @ torch.tensor(weights, dtype=torch.float64)[:, None]


def test_the_transform_is_inverted_by_sums_over_subsets():
    table = random_table(5)
    dividends = indices.moebius(table)
    for row in range(32):
        below = [r for r in range(32) if r & row == r]
        torch.testing.assert_close(dividends[below].sum(0), table[row])


def test_shapley_and_banzhaf_values_are_those_of_their_definitions():
    n, table = 5, random_table(5)
    shapley, banzhaf = torch.zeros(2, n, dtype=torch.float64), torch.zeros(2, n, dtype=torch.float64)
    for i in range(n):
        for row in range(2**n):
            if row >> i & 1:
                continue
            gain, size = table[row | 1 << i] - table[row], bin(row).count("1")
            shapley[:, i] += gain * math.factorial(size) * math.factorial(n - size - 1) / math.factorial(n)
            banzhaf[:, i] += gain / 2 ** (n - 1)
    torch.testing.assert_close(indices.shapley_values(table), shapley)
    torch.testing.assert_close(indices.banzhaf_values(table), banzhaf)


@pytest.mark.parametrize("index", INDICES)
def test_a_pair_that_plays_together(index):
    """v = Σ w + a·[i and j present]: the interaction is a."""
    weights, a = [1.0, -2.0, 0.5, 3.0], 1.75
    table = additive(weights) + a * indices.all_coalitions(4)[:, [0, 2]].prod(1)[:, None]
    found = interactions(table, index, 2)
    assert float(found[0, 2]) == pytest.approx(a)
    assert all(abs(float(found[pair])) < 1e-9 for pair in itertools.combinations(range(4), 2) if pair != (0, 2))
    values = [w + a / 2 * (i in (0, 2)) for i, w in enumerate(weights)]
    torch.testing.assert_close(indices.shapley_values(table)[0], torch.tensor(values, dtype=torch.float64))


def test_exclusive_or_has_an_interaction_of_minus_two():
    present = indices.all_coalitions(2)
    found = interactions((present.sum(1) == 1).double()[:, None], "k-SII", 2)
    assert float(found[0, 1]) == pytest.approx(-2)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("index", ["k-SII", "STII", "FSII"])
def test_efficient_indices_sum_to_the_gap(index, order):
    table = random_table(6)
    total = sum(interactions(table, index, order).values())
    torch.testing.assert_close(total, table[-1] - table[0])


@pytest.mark.parametrize("index", INDICES)
def test_symmetry_and_null_player(index):
    weights = [1.0, 1.0, 0.0, -0.5]
    table = (additive(weights).exp() + additive(weights)).double()
    found = interactions(table, index, 2)
    assert float(found[0,]) == pytest.approx(float(found[1,]))
    assert float(found[0, 3]) == pytest.approx(float(found[1, 3]))
    assert all(abs(float(value)) < 1e-9 for coalition, value in found.items() if 2 in coalition)


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("index", INDICES)
def test_shapiq_finds_the_same(index, order):
    shapiq = pytest.importorskip("shapiq")
    n, table = 6, random_table(6, 1)

    def game(coalitions):
        return [float(table[indices.number_of([i for i, present in enumerate(row) if present])]) for row in coalitions]

    import numpy as np

    exact = shapiq.ExactComputer(n_players=n, game=lambda rows: np.array(game(np.atleast_2d(rows))))
    theirs, ours = exact(index, order), interactions(table, index, order)
    scale = max(abs(float(value)) for value in ours.values())
    for coalition, value in ours.items():  # FSII there has large weights in place of the constraint
        assert float(value) == pytest.approx(theirs[coalition], abs=(1e-8 if index == "FSII" else 1e-12) * scale)


def test_owen_values_of_a_flat_tree_are_shapley_values():
    table = random_table(5)
    torch.testing.assert_close(indices.owen_values(table, [0, 1, 2, 3, 4]), indices.shapley_values(table))


@pytest.mark.parametrize("tree", [[[0, 1], [2, [3, 4]]], [0, [1, [2, [3, 4]]]], [[0, 1, 2], [3, 4]]])
def test_owen_values_are_complete_and_those_of_groups_at_each_level(tree):
    table = random_table(5)
    values = indices.owen_values(table, tree)
    torch.testing.assert_close(values.sum(1), table[-1] - table[0])
    groups = [indices.number_of(list(indices.leaves(child))) for child in tree]
    rows = [sum(g for i, g in enumerate(groups) if row >> i & 1) for row in range(2 ** len(groups))]
    by_group = indices.shapley_values(table[rows])
    for i, child in enumerate(tree):
        torch.testing.assert_close(values[:, list(indices.leaves(child))].sum(1), by_group[:, i])


def test_owen_values_of_a_binary_tree_are_those_of_shaps_partition_explainer():
    shap = pytest.importorskip("shap")
    import numpy as np

    table = random_table(4, 1)[:, 0]

    def model(rows):
        return np.array([float(table[indices.number_of(np.flatnonzero(row).tolist())]) for row in np.asarray(rows).astype(int)])

    clustering = np.array([[0, 1, 1.0, 2], [2, 3, 1.0, 2], [4, 5, 2.0, 4]])
    masker = shap.maskers.Partition(np.zeros((1, 4)), clustering=clustering)
    theirs = shap.explainers.Partition(model, masker)(np.ones((1, 4)), max_evals=1000).values[0]
    ours = indices.owen_values(table[:, None], [[0, 1], [2, 3]])[0]
    torch.testing.assert_close(ours, torch.tensor(theirs, dtype=torch.float64), atol=1e-12, rtol=0)
