"""Sampling in rounds until values are as precise as asked for: closed forms, nested designs, what is said of it."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch

import interpreto.registry
from interpreto import (
    AttributionOutput,
    Banzhaf,
    BlackBox,
    GLime,
    Granularity,
    KernelShap,
    Lime,
    LimeWithPrior,
    Occlusion,
    PermutationShap,
    ReAGent,
    Rise,
    ShapleyInteractions,
    Sobol,
)
from interpreto.attributions.games import indices
from interpreto.attributions.options import UNTIL_TOLERANCE
from interpreto.attributions.perturbations import RandomMaskedTokenPerturbator, ShapTokenPerturbator
from interpreto.attributions.perturbations.games import InteractionPerturbator, OrdersPerturbator, PairedMasksPerturbator
from interpreto.attributions.tolerance import A_UNIT, FIRST
from interpreto.errors import OptionError
from tests import problems, tiny
from tests.attributions.games.test_methods import random_table
from tests.contracts.zoo import GENERATORS

METHODS = (KernelShap, PermutationShap, Banzhaf, Lime, GLime, LimeWithPrior, Rise)
U = 11


def of_game(method, table, u=U, texts=1, **options):
    model = problems.Game(lambda present: table.numpy()[(present @ 2 ** np.arange(u)).astype(int)], u)
    explainer = method(model, problems.GameTokenizer(u), granularity=Granularity.TOKEN, replacement="mask", **options)
    return explainer([torch.arange(u)] * texts, [0] * texts), model, explainer


def additive(u=U):
    return (indices.all_coalitions(u) @ torch.arange(1, u + 1).double()).float()


@pytest.mark.parametrize("method", [KernelShap, PermutationShap, Lime, GLime])
def test_a_linear_game_is_done_after_the_first_round(method):
    (found,), model, explainer = of_game(method, additive(), tolerance=0.01)
    rows = int(found.stopped.removeprefix("tolerance reached after ").removesuffix(" rows"))
    assert rows <= max(FIRST, A_UNIT * U) + 2 and model.calls <= rows + 1  # the untouched input; everything masked
    torch.testing.assert_close(found.attributions[0], torch.arange(1, U + 1).float(), atol=1e-3, rtol=0)
    assert explainer.report()["tolerance"]


@pytest.mark.parametrize("method", METHODS)
def test_a_game_of_noise_uses_the_budget_and_ends_where_no_tolerance_does(method):
    table = random_table(U)
    table[0], table[-1] = 0.0, 1.0
    (found,), _, explainer = of_game(method, table, tolerance=1e-3, n_perturbations=200)
    (whole,), _, _ = of_game(method, table, n_perturbations=200)
    assert found.stopped.startswith("budget ended after") and whole.stopped is None
    torch.testing.assert_close(found.attributions, whole.attributions)
    torch.testing.assert_close(found.standard_error, whole.standard_error)
    assert explainer.report()["tolerance"].reason == "the budget ended first for 1 of 1 texts"


@pytest.mark.parametrize(
    "kind",
    [ShapTokenPerturbator, OrdersPerturbator, PairedMasksPerturbator, RandomMaskedTokenPerturbator, InteractionPerturbator],
)
def test_larger_designs_contain_smaller_ones(kind):
    game = problems.Game(lambda present: present.sum(1), U)
    sample = Occlusion(game, problems.GameTokenizer(U), granularity="token")(torch.arange(U), 0)[0].sample
    before = set()
    for n in (180, 250, 400, 700, 1500):
        rows = {tuple(row) for row in kind(n)(sample, torch.Generator().manual_seed(4)).mask.int().tolist()}
        assert len(before - rows) <= 2 * (kind is ShapTokenPerturbator)  # a pair, where the shares of sizes are rounded
        before = rows


@pytest.mark.parametrize("method", METHODS)
def test_no_row_is_run_twice_and_the_errors_are_within_the_tolerance(method):
    generator = torch.Generator().manual_seed(3)
    table = additive() / 20 + 0.03 * torch.randn(2**U, generator=generator)
    (found,), model, _ = of_game(method, table, tolerance=0.1, n_perturbations=1500)
    gap = float((table[-1] - table[0]).abs())
    if found.stopped.startswith("tolerance"):
        assert float(1.96 * found.standard_error.max()) <= 0.1 * gap
    rounds = 20
    assert model.calls <= int(found.stopped.split()[-2]) + rounds  # the untouched input is in each round
    assert method is Rise or found.stopped.startswith("tolerance")


def test_texts_in_lock_step_are_explained_as_alone():
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    texts = [
        "the film was not so good and the actor was dull",
        "a good story",
        "the film is so gorgeous and so good and not dull",
    ]
    explainer = KernelShap(model, tokenizer, tolerance=0.02)
    together = explainer(texts, [0, 1, 0])
    assert len({one.stopped for one in together}) > 1
    for text, target, found in zip(texts, [0, 1, 0], together, strict=True):
        alone = KernelShap(model, tokenizer, tolerance=0.02, batch_size=7)(text, target)[0]
        assert alone.stopped == found.stopped
        torch.testing.assert_close(alone.attributions, found.attributions, atol=1e-5, rtol=1e-4)


def test_generations_interactions_and_black_boxes_stop_too(tmp_path):
    model, tokenizer = GENERATORS["gpt2"]()
    found = KernelShap(model, tokenizer, tolerance=0.5)("the film was not", " good and dull")[0]
    assert "after" in found.stopped
    found.save(tmp_path / "a.safetensors")
    assert AttributionOutput.load(tmp_path / "a.safetensors").stopped == found.stopped
    assert found.stopped in str(found) and found.stopped in found.to_html()
    (pairs,), _, _ = of_game(ShapleyInteractions, additive(), tolerance=0.01)
    assert pairs.explanation.stopped.startswith("tolerance reached after") and not pairs.exact
    box = BlackBox(lambda texts: [float(len(text.split())) for text in texts])
    assert KernelShap(box, tolerance=0.1)("a b c d e f g h i j k l")[0].stopped.startswith("tolerance reached")


def test_every_sampled_method_takes_a_tolerance_and_others_name_those():
    for summary in interpreto.registry.METHODS:
        takes = "tolerance" in inspect.signature(getattr(interpreto, summary.name)).parameters
        assert takes is summary.sampled is (summary.name in UNTIL_TOLERANCE)
    for method in (Occlusion, ReAGent):
        with pytest.raises(OptionError, match=f"`tolerance`: {method.__name__} has no standard errors .* KernelShap, Permut"):
            method(*tiny.CLASSIFIERS["bert"](), tolerance=0.1)
    for wrong in ({"sampler": "latin_hypercube"}, {"l1_ratio": 0.5}):
        with pytest.raises(OptionError, match="tolerance"):
            (Sobol if "sampler" in wrong else LimeWithPrior)(*tiny.CLASSIFIERS["bert"](), tolerance=0.1, **wrong)


def test_shares_of_variance_are_measured_by_the_largest_of_them():
    weights = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 4.0])
    table = (indices.all_coalitions(U) @ weights.double()).float()
    for sampler in ("sobol", "halton"):
        options = {"sobol_indices_order": "total", "sampler": sampler, "n_token_perturbations": 128}
        (found,), _, explainer = of_game(Sobol, table, tolerance=0.6, **options)
        assert found.stopped.startswith("tolerance reached") and explainer.report()["tolerance"]
        assert float(1.96 * found.standard_error.max()) <= 0.6 * float(found.attributions.max())
        exact = weights.square() / weights.square().sum()  # of an additive game; no unit's presence depends on another's
        assert float((found.attributions[0] - exact).abs().max()) <= 0.6 * float(exact.max())
        (ended,), _, _ = of_game(Sobol, table, tolerance=1e-3, **options)
        (whole,), _, _ = of_game(Sobol, table, **options)
        assert ended.stopped.startswith("budget ended") and int(found.stopped.split()[-2]) < int(ended.stopped.split()[-2])
        torch.testing.assert_close(ended.attributions, whole.attributions)


def test_a_prior_weighs_as_much_in_a_round_as_in_the_whole_budget():
    weights, prior = torch.arange(1.0, U + 1), {f"u{i}": float(U - i) for i in range(U)}
    table = (indices.all_coalitions(U) @ weights.double()).float() + 0.3 * torch.randn(
        2**U, generator=torch.Generator().manual_seed(0)
    )
    options = {"prior": prior, "strength": 20.0, "n_perturbations": 1500}
    (found,), _, _ = of_game(LimeWithPrior, table, tolerance=0.05, **options)
    (whole,), _, _ = of_game(LimeWithPrior, table, **options)
    (alone,), _, _ = of_game(LimeWithPrior, table, **options | {"n_perturbations": int(found.stopped.split()[-2])})
    gap = float(table[-1] - table[0])
    assert found.stopped.startswith("tolerance") and int(found.stopped.split()[-2]) < 750
    assert float((found.attributions - whole.attributions).abs().max()) <= 0.05 * gap
    assert (
        float((alone.attributions - whole.attributions).abs().max()) > 0.05 * gap
    )  # with its weight as it is, the prior leads


@pytest.mark.parametrize("wrong", [0.0, -0.1, float("inf"), float("nan")])
def test_a_wrong_tolerance_is_refused(wrong):
    with pytest.raises(OptionError, match="`tolerance`"):
        KernelShap(BlackBox(len), tolerance=wrong)
