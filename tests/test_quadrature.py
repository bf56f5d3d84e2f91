"""The rule of Gauss and Legendre on [0, 1]."""

from __future__ import annotations

import pytest
import torch

from interpreto.quadrature import gauss_legendre


@pytest.mark.parametrize("n", [1, 2, 5, 32])
def test_a_rule_of_n_nodes_is_exact_up_to_degree_2n_minus_1(n: int) -> None:
    nodes, weights = gauss_legendre(n)
    for degree in range(2 * n):
        assert float((weights * nodes**degree).sum()) == pytest.approx(1 / (degree + 1), rel=1e-12)


def test_callers_cannot_change_the_rule_for_others() -> None:
    gauss_legendre(4)[0].zero_()
    gauss_legendre(4)[1].zero_()
    nodes, weights = gauss_legendre(4)
    assert float(nodes.min()) > 0 and float(weights.sum()) == pytest.approx(1)


def test_the_sum_over_the_nodes_is_that_of_numpy() -> None:
    nodes, weights = gauss_legendre(8)
    assert float((weights * torch.exp(nodes)).sum()) == pytest.approx(float(torch.e) - 1, rel=1e-12)
