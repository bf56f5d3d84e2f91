"""Methods on games whose values are known: exact, over orders, Banzhaf, GLIME, RISE."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from interpreto import Banzhaf, BlackBox, ExactShapley, GLime, Granularity, KernelShap, Lime, Occlusion, PermutationShap, Rise
from interpreto.attributions.games import indices
from interpreto.attributions.perturbations.games import OrdersPerturbator, PairedMasksPerturbator
from interpreto.errors import OptionError
from tests import problems, tiny
from tests.contracts.zoo import GENERATORS


def game_explanation(method, table, u, **options):
    """Explain the game of a table ``(2^u,)`` of coalitions."""

    model = problems.Game(lambda present: table.numpy()[(present @ 2 ** np.arange(u)).astype(int)], u)
    explainer = method(model, problems.GameTokenizer(u), granularity=Granularity.TOKEN, replacement="mask", **options)
    return explainer(torch.arange(u), 0)[0]


def random_table(u: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(2**u, generator=torch.Generator().manual_seed(seed))


def pairwise(u: int, seed: int = 0) -> torch.Tensor:
    """Return a game in which units interact in pairs at most."""
    draws = torch.Generator().manual_seed(seed)
    weights, pairs = torch.randn(u, generator=draws).double(), torch.randn(u, u, generator=draws).double()
    present = indices.all_coalitions(u)
    return present @ weights + torch.einsum("ri,ij,rj->r", present, pairs.triu(1), present)


@pytest.mark.parametrize("u", [1, 2, 5])
def test_exact_values_are_those_of_the_table(u):
    table = random_table(u)
    exact = indices.shapley_values(table[:, None].double())[0].float()
    found = game_explanation(ExactShapley, table, u)
    torch.testing.assert_close(found.attributions[0], exact, atol=1e-5, rtol=1e-5)
    assert float(found.residual) == pytest.approx(0, abs=1e-5) and float(found.reference_scores) == pytest.approx(
        float(table[0])
    )
    banzhaf = game_explanation(Banzhaf, table, u)
    torch.testing.assert_close(
        banzhaf.attributions[0], indices.banzhaf_values(table[:, None].double())[0].float(), atol=1e-5, rtol=1e-5
    )
    assert not banzhaf.standard_error.any()


def test_more_units_than_allowed_are_refused_with_their_coalitions():
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    with pytest.raises(OptionError, match=r"`max_units`: the text has 6 units, and 2\^6 = 64 coalitions; 4 units are allowed"):
        ExactShapley(model, tokenizer, max_units=4)("The film was not so good")


@pytest.mark.parametrize("seed", range(3))
def test_orders_with_their_reverses_are_exact_for_pairs(seed):
    u, table = 6, pairwise(6, seed)
    exact = indices.shapley_values(table[:, None])[0].float()
    found = game_explanation(PermutationShap, table, u, n_perturbations=2 * u, random_state=seed)  # one order is enough
    torch.testing.assert_close(found.attributions[0], exact, atol=1e-4, rtol=1e-4)


def test_over_orders_the_values_sum_to_the_gap_and_the_errors_cover_the_truth():
    u, table = 7, random_table(7, 5)
    exact = indices.shapley_values(table[:, None].double())[0].float()
    covered = []
    for seed in range(60):
        found = game_explanation(PermutationShap, table, u, n_perturbations=86, random_state=seed)
        assert float(found.residual.abs()) < 1e-4
        covered.append((found.attributions[0] - exact).abs() <= 1.96 * found.standard_error[0])
    assert 0.9 <= float(torch.stack(covered).float().mean()) <= 0.99


def test_sampled_banzhaf_values_are_unbiased_and_their_errors_cover_the_truth():
    u, table = 10, random_table(10, 3)
    exact = indices.banzhaf_values(table[:, None].double())[0].float()
    found = [game_explanation(Banzhaf, table, u, n_perturbations=100, random_state=seed) for seed in range(60)]
    values = torch.stack([one.attributions[0] for one in found])
    error = torch.stack([one.standard_error[0] for one in found])
    assert float((values.mean(0) - exact).abs().max()) < 4 * float(error.mean()) / 60**0.5
    assert 0.9 <= float(((values - exact).abs() <= 1.96 * error).float().mean()) <= 0.99


def test_an_unweighted_surrogate_of_all_masks_has_the_banzhaf_values():
    """Hammer and Holzman, 1992: the best linear approximation of a game under the uniform distribution."""
    u, table = 6, random_table(6)
    present = indices.all_coalitions(u)
    design = torch.cat([present, torch.ones(len(present), 1).double()], 1)
    fit = torch.linalg.lstsq(design, table[:, None].double()).solution[:-1, 0].float()
    torch.testing.assert_close(game_explanation(Banzhaf, table, u).attributions[0], fit, atol=1e-5, rtol=1e-5)


def test_the_expectation_of_glime_is_limes_with_the_exponential_kernel():
    u, table, sigma = 4, random_table(4, 1), 0.8
    present = indices.all_coalitions(u)
    weights = torch.exp((present.sum(1) - u) / sigma**2).sqrt()[:, None]
    design = torch.cat([present, torch.ones(len(present), 1).double()], 1)
    exact = torch.linalg.lstsq(design * weights, table[:, None].double() * weights).solution[:-1, 0].float()
    found = [game_explanation(GLime, table, u, n_perturbations=3000, sigma=sigma, random_state=seed) for seed in range(4)]
    mean, error = torch.stack([one.attributions[0] for one in found]).mean(0), found[0].standard_error[0] / 2
    assert bool(((mean - exact).abs() < 4 * error).all())
    apart = (mean - exact).abs().max()
    wrong = game_explanation(Lime, table, u, n_perturbations=3000).attributions[0]
    assert float(apart) < float((wrong - exact).abs().max())


def test_glime_finds_the_weights_of_an_additive_game_exactly():
    weights = torch.tensor([1.0, -2.0, 0.5, 3.0])
    table = (indices.all_coalitions(4) @ weights.double()[:, None])[:, 0]
    torch.testing.assert_close(game_explanation(GLime, table, 4).attributions[0], weights, atol=1e-4, rtol=1e-4)
    for sigma in (0.1, 0.0, math.inf):
        with pytest.raises(OptionError, match="`sigma`"):
            game_explanation(GLime, table, 4, sigma=sigma)


def test_rise_is_the_mean_score_where_a_unit_is_present():
    weights, p = torch.tensor([1.0, -2.0, 0.5, 3.0]), 0.4
    table = (indices.all_coalitions(4) @ weights.double()[:, None])[:, 0]
    found = game_explanation(Rise, table, 4, n_perturbations=4000, perturb_probability=p)
    expected = weights + (1 - p) * (weights.sum() - weights)
    assert bool(((found.attributions[0] - expected).abs() < 5 * found.standard_error[0]).all()) and not found.signed


def test_pairs_are_complements_and_few_units_are_enumerated():
    masks = PairedMasksPerturbator(20).masks(9, torch.Generator().manual_seed(0))
    assert masks.shape == (20, 9) and bool((masks[0::2] + masks[1::2] == 1).all())
    assert len(PairedMasksPerturbator(16).masks(4, torch.Generator()).unique(dim=0)) == 16


def test_a_budget_without_an_order_is_refused():
    with pytest.raises(
        OptionError, match="`n_perturbations`: 9 coalitions hold no order of 6 units with its reverse; pass at least 12"
    ):
        game_explanation(PermutationShap, random_table(6), 6, n_perturbations=9)
    assert OrdersPerturbator(12).n_perturbations == 12


def test_orders_of_few_units_are_all_coalitions_and_exact():
    table = random_table(5, 2)
    found = game_explanation(PermutationShap, table, 5)
    exact = indices.shapley_values(table[:, None].double()).float()
    torch.testing.assert_close(found.attributions, exact, atol=1e-5, rtol=1e-5)
    assert float(found.standard_error.abs().max()) == 0


@pytest.mark.parametrize("u", [9, 12, 40])
def test_the_budget_of_orders_counts_each_coalition_once(u):
    game = problems.Game(lambda present: present.sum(1), u)
    sample = Occlusion(game, problems.GameTokenizer(u), granularity=Granularity.TOKEN)(torch.arange(u), 0)[0].sample
    masks = OrdersPerturbator(400)(sample, torch.Generator().manual_seed(0)).mask
    distinct = len(masks.unique(dim=0))
    assert 400 - 2 * (u - 1) < distinct <= 400
    assert u == 40 or len(masks) > 400


@pytest.mark.parametrize("method", [ExactShapley, PermutationShap, Banzhaf])
def test_tokens_of_a_generation_are_games_of_the_units_before_them(method):
    model, tokenizer = GENERATORS["gpt2"]()
    found = method(model, tokenizer, granularity="token")("the film", " was good", attribute_targets=True)[0]
    unseen = found.attributions.isnan().sum(1).tolist()
    assert unseen == sorted(unseen, reverse=True) and unseen[0] == len(unseen)
    if method is not Banzhaf:
        exact = KernelShap(model, tokenizer, granularity="token", n_perturbations=2**12)("the film", " was good")[0]
        if method is ExactShapley:
            torch.testing.assert_close(found.attributions, exact.attributions, atol=1e-4, rtol=1e-3, equal_nan=True)
        assert float(found.residual.abs().max()) < 1e-4


def test_they_run_on_black_boxes():
    box = BlackBox(lambda texts: [[float("good" in text), float("film" in text)] for text in texts])
    for method in (ExactShapley, PermutationShap, Banzhaf):
        found = method(box)("a good film", [0, 1])[0]
        torch.testing.assert_close(found.attributions, torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("family", ["bert", "gpt2", "t5"])
def test_exact_values_do_not_depend_on_company_and_leave_the_model_alone(family):
    """The contracts of every method, on texts that are short enough for all coalitions."""
    model, tokenizer = tiny.CLASSIFIERS["bert"]() if family == "bert" else GENERATORS[family]()
    texts, targets = ["a good film", "not so good", "dull"], [0, 1, 0] if family == "bert" else [" good", " a", " film"]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    explainer = ExactShapley(model, tokenizer)
    together = explainer(texts, targets)
    for text, target, found in zip(texts, targets, together, strict=True):
        alone = ExactShapley(model, tokenizer, batch_size=3)(text, [target])[0]
        torch.testing.assert_close(alone.attributions, found.attributions, atol=1e-5, rtol=1e-4, equal_nan=True)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
