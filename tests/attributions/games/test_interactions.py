"""Shapley interactions: exact values, estimates whose errors cover, sparse surrogates, files and pictures."""

from __future__ import annotations

import math
import re

import pytest
import torch

from interpreto import BlackBox, Granularity, InteractionOutput, ShapleyInteractions, plot_interactions
from interpreto.attributions.games import indices
from interpreto.attributions.games.interactions import EFFICIENT, INDICES, coalition_weights, interactions, of_polynomial
from interpreto.errors import FileError, OptionError
from tests import problems, tiny
from tests.attributions.games.test_methods import pairwise, random_table
from tests.contracts.zoo import GENERATORS


def of_game(table: torch.Tensor, u: int, **options) -> InteractionOutput:
    model = problems.Game(lambda present: table.numpy()[(present @ 2 ** torch.arange(u).numpy()).astype(int)], u)
    explainer = ShapleyInteractions(
        model, problems.GameTokenizer(u), granularity=Granularity.TOKEN, replacement="mask", **options
    )
    return explainer(torch.arange(u), 0)[0]


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("index", INDICES)
def test_weights_of_coalitions_and_dividends_of_polynomials_say_the_same(index, order):
    n, table = 5, torch.randn(32, 2, generator=torch.Generator().manual_seed(3)).double()
    present, exact = indices.all_coalitions(n), interactions(table, index, order)
    for coalition, value in exact.items():
        common = present[:, list(coalition)].sum(1).long()
        weights = coalition_weights(index, n, len(coalition), order)[present.sum(1).long(), common]
        torch.testing.assert_close(weights @ table, value)
    rows = indices.moebius(table)
    dividends = {tuple(i for i in range(n) if r >> i & 1): rows[r] for r in range(1, 32)}
    torch.testing.assert_close(of_polynomial(dividends, list(exact), index, order), torch.stack(list(exact.values())))


@pytest.mark.parametrize("index", INDICES)
def test_all_coalitions_give_the_index_of_the_table(index):
    table = random_table(5)
    found = of_game(table, 5, index=index, order=3)
    exact = interactions(table[:, None].double(), index, 3)
    assert found.exact and found.coalitions == tuple(exact) and not found.standard_error.any()
    torch.testing.assert_close(found.values[0], torch.stack(list(exact.values()))[:, 0].float(), atol=1e-5, rtol=1e-5)
    assert (found.residual is None) == (index not in EFFICIENT)
    assert found.residual is None or float(found.residual.abs()) < 1e-5
    assert found.explanation.attributions[0].tolist() == found.values[0, :5].tolist()


@pytest.mark.parametrize("index", INDICES)
def test_games_of_pairs_are_estimated_without_error(index):
    u, table = 10, pairwise(10)
    found = of_game(table, u, index=index, n_perturbations=400)
    exact = interactions(table[:, None], index, 2)
    assert not found.exact
    torch.testing.assert_close(found.values[0], torch.stack(list(exact.values()))[:, 0].float(), atol=1e-4, rtol=1e-4)
    assert float(found.standard_error.max()) < 1e-4


@pytest.mark.parametrize("index", INDICES)
def test_estimates_of_a_dummy_are_zero_within_their_error_and_efficient_indices_sum_to_the_gap(index):
    u = 10
    weights = torch.tensor([1.0, 1.0, 0.0, -0.5, 2.0, 0.3, -1.0, 0.2, 0.8, -0.4]).double()
    table = (indices.all_coalitions(u) @ weights / 2).exp()
    found = of_game(table, u, index=index, n_perturbations=400)
    within = [abs(found.value(2, *more)) <= 5 * _error(found, (2, *more)) for more in ((), (0,), (4,), (9,))]
    assert all(within) and abs(found.value(0) - found.value(1)) <= 5 * (_error(found, (0,)) + _error(found, (1,)))
    assert found.residual is None or float(found.residual.abs()) < 1e-4


def _error(found: InteractionOutput, coalition: tuple[int, ...]) -> float:
    return float(found.standard_error[0, found.coalitions.index(tuple(sorted(coalition)))]) + 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("index", INDICES)
def test_estimates_are_unbiased_and_their_errors_cover(index):
    u, table = 10, random_table(10, 7) + pairwise(10, 7).float()
    exact = torch.stack(list(interactions(table[:, None].double(), index, 2).values()))[:, 0].float()
    found = [of_game(table, u, index=index, n_perturbations=300, random_state=seed) for seed in range(40)]
    values, errors = (torch.stack([getattr(one, name)[0] for one in found]) for name in ("values", "standard_error"))
    errors = errors.clamp(min=1e-5)  # single units of STII are known exactly
    assert 0.9 <= float(((values - exact).abs() <= 1.96 * errors).float().mean()) <= 0.99
    assert float(((values.mean(0) - exact).abs() / errors.mean(0)).max()) < 4.5 / 40**0.5


@pytest.mark.slow
@pytest.mark.parametrize("index", INDICES)
def test_a_large_share_of_all_coalitions_biases_nothing(index):
    """Coalitions are drawn without replacement: those that the surrogate saw are not among those that correct it."""
    u, table = 10, random_table(10, 7) + pairwise(10, 7).float()
    exact = torch.stack(list(interactions(table[:, None].double(), index, 2).values()))[:, 0].float()
    found = torch.stack(
        [of_game(table, u, index=index, n_perturbations=300, random_state=seed).values[0] for seed in range(200)]
    )
    z = (found.mean(0) - exact) / found.std(0).clamp(min=1e-5) * 200**0.5
    assert float(z.square().mean().sqrt()) < 1.3  # 2.3 where draws of a fold stand for all coalitions of their size


def test_a_sparse_surrogate_finds_few_interactions_of_many_units():
    u = 14
    present = indices.all_coalitions(u)
    table = (2 * present[:, 1] - present[:, 4] * present[:, 9] + 3 * present[:, [2, 5, 11]].prod(1)).float()
    found = of_game(table, u, index="STII", order=3, surrogate="fourier", n_perturbations=400)
    for units, value in (((1,), 2.0), ((4, 9), -1.0), ((2, 5, 11), 3.0), ((2, 5), 0.0), ((0, 1), 0.0)):
        assert found.value(*units) == pytest.approx(value, abs=0.02)
    assert found.standard_error is None and not found.exact
    constant = of_game(torch.ones(16), 4, surrogate="fourier")
    assert not constant.values.any()


def test_single_units_pairs_and_triples_are_ranked():
    present = indices.all_coalitions(4)
    table = present @ torch.tensor([1.0, -2.0, 0.5, 3.0]).double() + 5 * present[:, 0] * present[:, 2] - present[:, 1:].prod(1)
    found = of_game(table, 4, index="STII", order=3)
    assert found.top_pairs(1) == [(("u0", "u2"), pytest.approx(5.0))]
    assert found.top_pairs(1, order=3) == [(("u1", "u2", "u3"), pytest.approx(-1.0))]
    assert [units for units, _ in found.top(2)] == [("u0", "u2"), ("u1", "u2", "u3")]
    matrix = found.matrix()
    assert torch.equal(matrix, matrix.T) and float(matrix[0, 2]) == pytest.approx(5.0)
    assert float(matrix[3, 3]) == pytest.approx(3)
    assert found.value(2, 0) == pytest.approx(5.0)
    frame = found.to_dataframe()
    assert len(frame) == len(found.coalitions) and list(frame["order"].value_counts().loc[[1, 2, 3]]) == [4, 6, 4]
    for wrong in (lambda: found.value(7), lambda: found.value(0, 0), lambda: found.top_pairs(order=4), lambda: found.matrix(9)):
        with pytest.raises(OptionError):
            wrong()


def test_a_file_holds_all_of_it(tmp_path):
    found = of_game(pairwise(6).float(), 6)
    found.save(tmp_path / "found.safetensors")
    loaded = InteractionOutput.load(tmp_path / "found.safetensors")
    assert torch.equal(loaded.values, found.values) and torch.equal(loaded.standard_error, found.standard_error)
    assert loaded.coalitions == found.coalitions and repr(loaded) == repr(found)
    found.explanation.save(tmp_path / "other.safetensors")
    with pytest.raises(FileError, match="interactions"):
        InteractionOutput.load(tmp_path / "other.safetensors")


def test_rows_of_a_generation_have_the_units_before_them():
    model, tokenizer = GENERATORS["gpt2"]()
    explainer = ShapleyInteractions(model, tokenizer, granularity="token")
    found = explainer("the film", " was good", attribute_targets=True)[0]
    for row, single in zip(found.values, found.explanation.attributions, strict=True):
        unseen = single.isnan()
        for coalition, value in zip(found.coalitions, row.tolist(), strict=True):
            assert math.isnan(value) == bool(unseen[list(coalition)].any())
    assert float(found.residual.abs().max()) < 1e-4
    call = {"inputs": "the film was a", "targets": " good", "attribute_targets": True}
    exact = explainer(**call)[0]
    u = exact.explanation.sample.players
    assert 2**u > 16 * u
    again = ShapleyInteractions(model, tokenizer, granularity="token", n_perturbations=16 * u)(**call)[0]
    assert exact.exact and not again.exact and len(exact.values) > 1
    assert torch.equal(again.values.isnan(), exact.values.isnan()) and float(again.residual.abs().max()) < 1e-3
    apart = (again.values - exact.values).abs() <= 3.5 * again.standard_error + 1e-4
    assert float(apart[~exact.values.isnan()].float().mean()) > 0.9


def test_a_black_box_and_the_budget():
    box = BlackBox(lambda texts: [float("not" in text and "good" in text) for text in texts])
    found = ShapleyInteractions(box)("not a good film")[0]
    assert found.top_pairs(1) == [(("not", "good"), pytest.approx(1.0))]
    with pytest.raises(OptionError, match=r"50 coalitions tell too little of the interactions of 8 units; pass at least 128"):
        ShapleyInteractions(box, n_perturbations=50)("a b c d e f g h")
    for wrong in ({"index": "SHAP"}, {"order": 0}, {"order": 9}, {"surrogate": "tree"}):
        with pytest.raises(OptionError, match=f"`{next(iter(wrong))}`"):
            ShapleyInteractions(box, **wrong)


def test_every_medium_draws_it(tmp_path, capsys):
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    found = ShapleyInteractions(model, tokenizer, order=3)("<b>the</b> film & was good", [[0, 1]])[0]
    page = found.to_html(tmp_path / "page.html")
    assert page.count("<svg") == 2 and "<b>the</b>" not in page and not re.search(r"(src|href)=", page)
    assert "<svg" in found._repr_html_() and "interactions" in str(found)
    figure = plot_interactions(found, tmp_path / "figure.png", backend="matplotlib", most=5)
    assert len(figure.axes) == 4 and (tmp_path / "figure.png").stat().st_size > 1000
    assert len(plot_interactions(found, kind="arcs", backend="matplotlib").axes) == 2
    plot_interactions(found, backend="terminal")
    assert "k-SII" in capsys.readouterr().out
    with pytest.raises(OptionError, match="`kind`"):
        plot_interactions(found, kind="graph", backend="matplotlib")


def test_one_unit_has_no_interaction():
    found = of_game(random_table(1), 1)
    assert found.coalitions == ((0,),) and found.top() == [] and len(of_game(random_table(2), 2, order=3).coalitions) == 3
