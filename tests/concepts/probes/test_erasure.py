"""Erasure: nothing linear is left, by the smallest change."""

import pytest
import torch

from interpreto.concepts import Erasure, ProbeConcepts
from interpreto.concepts.splitters import ModelWithSplitPoints, SplitterForClassification
from interpreto.errors import InputError, ModelError
from tests.tiny import CLASSIFIERS, SENTENCES

PEER = [
    [2.818343195266, 2.024852071006],
    [2.008875739645, 3.366863905325],
    [3.672781065089, 0.608284023669],
    [3.537869822485, 0.831952662722],
    [1.379289940828, 4.410650887574],
    [3.582840236686, 0.757396449704],
]


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def problem(n=200, d=6, classes=3):
    labels = torch.arange(n) % classes
    return normal(n, d) @ normal(d, d, seed=1) + normal(classes, d, seed=2)[labels], labels


def covariance(rows, labels):
    table = torch.nn.functional.one_hot(labels).double()
    return (rows - rows.mean(0)).T @ (table - table.mean(0)) / len(rows)


def by_the_formula(rows, labels):
    """x − W⁺ P W (x − μ), with symmetric roots, and P the projection on the columns of W Σxz."""
    centered = rows - rows.mean(0)
    values, vectors = torch.linalg.eigh(centered.T @ centered / len(rows))
    whiten, back = (vectors * values**power @ vectors.T for power in (-0.5, 0.5))
    given = whiten @ covariance(rows, labels)
    projection = given @ torch.linalg.pinv(given, rtol=1e-8)
    return rows - centered @ (back @ projection @ whiten).T


def test_no_covariance_is_left():
    rows, labels = problem()
    erasure = Erasure().fit(rows, labels.tolist())
    assert covariance(rows, labels).abs().max() > 0.1 and covariance(erasure(rows), labels).abs().max() < 1e-13
    assert erasure.rank == 2  # of three classes, the last follows from the others


def test_it_is_the_formula_of_the_paper():
    rows, labels = problem()
    assert torch.allclose(Erasure().fit(rows, labels.tolist())(rows), by_the_formula(rows, labels), atol=1e-12)


def test_it_is_concept_erasure():
    """Values of concept_erasure 0.2.4, LeaceEraser.fit(rows, labels, shrinkage=False), for these rows."""
    rows = torch.tensor([[0.0, 1.0], [1.0, 3.0], [2.0, 0.0], [4.0, 1.0], [3.0, 5.0], [7.0, 2.0]], dtype=torch.float64)
    found = Erasure().fit(rows, [0, 0, 0, 1, 1, 1])(rows)
    assert torch.allclose(found, torch.tensor(PEER, dtype=torch.float64), atol=1e-9)


def test_erasing_twice_is_erasing_once():
    rows, labels = problem()
    erasure = Erasure().fit(rows, labels.tolist())
    assert torch.allclose(erasure(erasure(rows)), erasure(rows), atol=1e-12)


def test_no_other_erasure_moves_rows_less():
    """Projecting the difference of means out, orthogonally or along any other direction, moves rows at least as much."""
    rows, labels = problem(classes=2)
    erasure = Erasure().fit(rows, labels)
    least = (erasure(rows) - rows).square().sum(1).mean()
    gap = rows[labels == 1].mean(0) - rows[labels == 0].mean(0)
    centered = rows - rows.mean(0)
    for seed in range(20):
        reader = gap + 0.5 * normal(6, seed=seed)
        moved = (centered @ reader)[:, None] * gap / (reader @ gap)
        assert covariance(rows - moved, labels).abs().max() < 1e-12 and moved.square().sum(1).mean() >= least
    total = centered.square().sum(1).mean()
    assert torch.isclose(torch.tensor(erasure.variance_lost, dtype=torch.float64), least / total)


def test_no_probe_reads_what_was_erased():
    rows, labels = problem(classes=2)
    erased = Erasure().fit(rows, labels)(rows)
    before, after = (ProbeConcepts(None, "ridge", l2=0.01, cv=0).fit(given, labels) for given in (rows, erased))
    assert before.concept_model.weights.abs().max() > 0.1 and after.concept_model.weights.abs().max() < 1e-10


def test_random_erasures_have_the_rank_and_leave_the_concept():
    rows, labels = problem()
    erasure = Erasure().fit(rows, labels.tolist())
    other = erasure.random(1)
    assert other.rank == erasure.rank and covariance(other(rows), labels).abs().max() > 0.05
    assert torch.linalg.matrix_rank(rows - other(rows), tol=1e-8) == 2
    assert torch.equal(erasure.random(1)(rows), other(rows)) and not torch.equal(erasure.random(2)(rows), other(rows))


def test_dimensions_that_are_constant_stay():
    rows, labels = problem()
    rows = torch.cat([rows, torch.full((len(rows), 2), 3.0, dtype=torch.float64)], 1)
    erased = Erasure().fit(rows, labels.tolist())(rows)
    assert torch.allclose(erased[:, -2:], rows[:, -2:]) and covariance(erased, labels).abs().max() < 1e-12


def test_it_edits_a_model():
    model, tokenizer = CLASSIFIERS["bert"]()
    splitter = SplitterForClassification(model, tokenizer=tokenizer)
    rows, classes = splitter.get_activations(SENTENCES)
    labels = torch.arange(len(SENTENCES)) % 2
    erasure = Erasure().fit(rows, labels)
    edited = splitter.edited_outputs(SENTENCES, erasure)
    assert torch.allclose(edited, splitter.activations_to_outputs(erasure(rows)), atol=1e-5)
    effect = erasure.effect(splitter, SENTENCES, n_controls=3)
    logits = splitter.activations_to_outputs(rows)
    assert effect.kept == float((edited.argmax(1) == classes).double().mean()) and effect.control_kept.shape == (3,)
    assert torch.allclose(effect.change, (edited - logits).abs().mean(0).double(), atol=1e-5)


def test_it_edits_every_token():
    model, tokenizer = CLASSIFIERS["bert"]()
    splitter = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
    rows = splitter.get_activations(SENTENCES, "sample")
    erasure = Erasure().fit(rows, torch.arange(len(SENTENCES)) % 2)
    assert 0 <= erasure.effect(splitter, SENTENCES, n_controls=1).kept <= 1


def test_wrong_calls():
    with pytest.raises(ModelError, match="not fitted"):
        Erasure()(torch.zeros(1, 2))
    with pytest.raises(InputError, match="labels"):
        Erasure().fit(torch.eye(3), [0, 1])
