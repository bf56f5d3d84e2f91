"""Least squares on sets of atoms, and the sets that non-negative codes use."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.optimize import nnls
from torch import Tensor

from interpreto.concepts.solvers import active_set as supports
from interpreto.concepts.solvers.active_set import LeastSquares, exchange
from interpreto.concepts.solvers.coordinate_descent import Descent, Penalty
from interpreto.concepts.solvers.least_squares import MILD, SLOW, encode


def problem(atoms: int, width: int, alike: float = 0.0, rows: int = 40) -> tuple[Tensor, Tensor]:
    """Atoms, of which ``alike`` is common to all, and noisy mixtures of them."""
    generator = torch.Generator().manual_seed(0)
    dictionary = torch.randn(atoms, width, generator=generator, dtype=torch.float64)
    dictionary = (1 - alike) * dictionary + alike * dictionary.mean(0)
    mixtures = torch.rand(rows, atoms, generator=generator, dtype=torch.float64) @ dictionary
    return dictionary, mixtures + 0.3 * torch.randn(rows, width, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("inverse", [True, False])
def test_each_row_is_solved_on_its_own_atoms(share, inverse):
    dictionary, rows = problem(11, 20)
    used = torch.rand(40, 11, generator=torch.Generator().manual_seed(1)) < share
    squares = LeastSquares.of(dictionary @ dictionary.T)
    assert squares.inverse is not None
    squares = squares if inverse else LeastSquares(squares.gram, None, math.inf)
    found = squares.on(rows @ dictionary.T, used)
    assert bool((found[~used] == 0).all())
    for code, row, atoms in zip(found, rows, used, strict=True):
        expected = torch.linalg.lstsq(dictionary[atoms].T, row[:, None]).solution[:, 0] if atoms.any() else row[:0]
        torch.testing.assert_close(code[atoms], expected, atol=1e-6, rtol=1e-6)


def test_the_inverse_of_dependent_atoms_is_not_trusted():
    dictionary, _ = problem(11, 20)
    assert LeastSquares.of(torch.eye(3)).condition == pytest.approx(1.0)
    assert LeastSquares.of(dictionary @ dictionary.T).condition < 1e4
    dictionary[1] = 2 * dictionary[0]
    assert LeastSquares.of(dictionary @ dictionary.T).inverse is None


@pytest.mark.parametrize(("atoms", "width", "alike"), [(6, 20, 0.0), (20, 30, 0.9), (30, 30, 0.98), (40, 20, 0.0)])
def test_exchanged_sets_are_scipys(atoms, width, alike):
    dictionary, rows = problem(atoms, width, alike)
    squares = LeastSquares.of(dictionary @ dictionary.T)
    assert (squares.inverse is None) == (atoms > width)
    codes, exact = exchange(torch.ones(len(rows), atoms, dtype=rows.dtype), rows @ dictionary.T, squares)
    theirs = torch.stack([torch.from_numpy(nnls(dictionary.T.numpy(), row.numpy())[0]) for row in rows])
    assert bool(exact.all())
    torch.testing.assert_close(codes @ dictionary, theirs @ dictionary, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(("alike", "slow"), [(0.0, False), (0.95, True)])
def test_codes_do_not_depend_on_their_company(alike, slow):
    dictionary, rows = problem(20, 90, alike, rows=300)
    assert (LeastSquares.of(dictionary @ dictionary.T).condition > SLOW) == slow
    dictionary, rows = dictionary.float(), rows.float()
    codes = encode(rows, dictionary)
    theirs = torch.stack([torch.from_numpy(nnls(dictionary.T.numpy(), row.numpy())[0]) for row in rows]).float()
    torch.testing.assert_close(codes @ dictionary, theirs @ dictionary, atol=1e-4, rtol=1e-4)
    assert torch.equal(codes, encode(rows, dictionary))
    for size in (1, 7, 128):
        apart = torch.cat([encode(part, dictionary) for part in rows[:60].split(size)])
        torch.testing.assert_close(apart, codes[:60], atol=1e-5 * float(codes.max()), rtol=0)


@pytest.mark.parametrize(("atoms", "width"), [(44, 40), (60, 30)])
def test_codes_of_more_atoms_than_dimensions_are_optimal_and_each_row_s_own(atoms, width):
    dictionary, rows = problem(atoms, width, rows=80)
    codes = encode(rows, dictionary)
    theirs = torch.stack([torch.from_numpy(nnls(dictionary.T.numpy(), row.numpy())[0]) for row in rows])
    torch.testing.assert_close(codes @ dictionary, theirs @ dictionary, atol=1e-6, rtol=1e-6)
    for size in (1, 7):
        apart = torch.cat([encode(part, dictionary) for part in rows.split(size)])
        torch.testing.assert_close(apart, codes, atol=1e-6 * float(codes.max()), rtol=0)


@pytest.mark.parametrize(("spread", "mild"), [(0.05, True), (0.2, True), (0.4, False), (3.0, False)])
def test_codes_of_float32_rows_are_those_of_float64_and_of_each_row_alone(spread, mild):
    generator = torch.Generator().manual_seed(0)
    dictionary = torch.rand(12, 40, generator=generator) * spread + torch.eye(12, 40)
    assert (LeastSquares.of(dictionary.double() @ dictionary.double().T).condition <= MILD) == mild
    rows = torch.rand(500, 12, generator=generator) @ dictionary + 0.3 * torch.rand(500, 40, generator=generator)
    codes, wide = encode(rows, dictionary), encode(rows.double(), dictionary.double())
    assert codes.dtype == torch.float32
    largest = wide.abs().amax(1, keepdim=True)
    assert float(((codes - wide).abs() / largest).max()) < 3e-5
    alone = torch.cat([encode(row[None], dictionary) for row in rows[:50]])
    assert float(((codes[:50] - alone).abs() / largest[:50]).max()) < 1e-5
    theirs = torch.stack([torch.from_numpy(nnls(dictionary.double().T.numpy(), row.double().numpy())[0]) for row in rows[:50]])
    assert float(((codes[:50] - theirs).abs() / largest[:50]).max()) < 3e-5


def test_sets_that_go_round_in_circles_are_left_or_solved_atom_by_atom(monkeypatch):
    monkeypatch.setattr(supports, "PIVOTS", 1)
    dictionary, rows = problem(20, 30, 0.9)
    squares, correlations = LeastSquares.of(dictionary @ dictionary.T), rows @ dictionary.T
    start = torch.rand(len(rows), 20, dtype=rows.dtype, generator=torch.Generator().manual_seed(0)) - 0.3
    codes, exact = exchange(start.clamp_min(0), correlations, squares, whole=False)
    assert not exact.all()
    assert bool((codes[~exact] == 0).all())
    codes, exact = exchange(start.clamp_min(0), correlations, squares)
    assert bool(exact.all())
    theirs = torch.stack([torch.from_numpy(nnls(dictionary.T.numpy(), row.numpy())[0]) for row in rows])
    torch.testing.assert_close(codes, theirs, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(("atoms", "shift", "condition"), [(90, 0.5, 1e3), (40, 20.0, 1e5), (25, 60.0, 1e6)])
def test_every_row_reaches_its_optimum_where_atoms_are_nearly_collinear(atoms, shift, condition):
    generator = torch.Generator().manual_seed(0)
    dictionary = torch.rand(atoms, 128, generator=generator, dtype=torch.float64) + shift
    assert LeastSquares.of(dictionary @ dictionary.T).condition > condition
    mixed = torch.rand(1000, atoms, generator=generator, dtype=torch.float64) ** 4 @ dictionary / atoms
    rows = mixed + 0.3 * torch.rand(1000, 128, generator=generator, dtype=torch.float64)
    codes = encode(rows, dictionary)
    theirs = torch.stack([torch.from_numpy(nnls(dictionary.T.numpy(), row.numpy())[0]) for row in rows])
    assert float(((codes - theirs).abs().amax(1) / theirs.amax(1)).max()) < 1e-4


def test_a_sweep_is_a_loop_over_coordinates():
    dictionary, rows = problem(40, 50, rows=5)  # more atoms than a block
    dictionary[3] = 0
    gram, correlations = dictionary @ dictionary.T, dictionary @ rows.T
    descent = Descent(gram)
    codes = torch.rand(40, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = codes.clone()
    for i in range(40):
        if i != 3:  # an atom of zeros keeps its code
            others = gram[i] @ expected - gram[i, i] * expected[i]
            expected[i] = ((correlations[i] - others) / gram[i, i]).clamp_min(0)
    descent.sweep(codes, descent.targets(correlations))
    torch.testing.assert_close(codes, expected)


def test_distance_is_what_one_coordinate_would_move():
    dictionary, rows = problem(5, 8, rows=3)
    gram, correlations = dictionary @ dictionary.T, dictionary @ rows.T
    penalty = Penalty(l1=0.1, signed=True)
    codes = torch.randn(5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = Descent(gram, penalty).distance(codes, Descent(gram, penalty).targets(correlations))
    for column in range(3):
        moves, norms = [], gram.diagonal().sqrt()
        for i in range(5):
            pull = correlations[i, column] - gram[i] @ codes[:, column] + gram[i, i] * codes[i, column]
            best = pull.sign() * (pull.abs() - 0.1).clamp_min(0) / gram[i, i]
            moves.append(float((best - codes[i, column]).abs() * norms[i]))
        assert float(found[column]) == pytest.approx(max(moves) / float((codes[:, column].abs() * norms).max()))


def test_rows_are_left_after_so_many_sweeps():
    dictionary, rows = problem(20, 60, 0.3)
    best = encode(rows, dictionary)
    gaps = [float((encode(rows, dictionary, max_sweeps=sweeps) - best).norm()) for sweeps in (1, 2, 4, 500)]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[0] > gaps[2] > 0.0
    assert gaps[3] == 0.0


def test_orthogonal_atoms_take_one_sweep(monkeypatch):
    swept = []
    sweep = Descent.sweep
    monkeypatch.setattr(Descent, "sweep", lambda self, codes, targets: (swept.append(1), sweep(self, codes, targets)))
    rows = torch.randn(30, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(encode(rows, 2 * torch.eye(6)), rows.clamp_min(0) / 2)
    assert len(swept) == 1
