"""Each metric against a loop that follows its definition, on a game in which any units may interact."""

from __future__ import annotations

import copy
import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch

from interpreto import Occlusion
from interpreto.metrics import (
    ABPC,
    Deletion,
    FaithfulnessCorrelation,
    Insertion,
    LeRF,
    ModelParameterRandomization,
    MoRF,
    SensitivityN,
    SoftComprehensiveness,
    SoftSufficiency,
    SurrogateFidelity,
)
from tests import tiny
from tests.metrics.games import explained, model_of
from tests.problems import random_game

U = 7
VALUE, _ = random_game(U, 11)
ROWS = [*np.random.default_rng(0).normal(size=(3, U)).tolist(), [1.0, 1.0, 2.0, 2.0, 3.0, 0.0, 0.0]]
ALL = set(range(U))


@pytest.fixture(scope="module")
def game():
    return model_of(VALUE, U)


@pytest.fixture(scope="module")
def outputs(game):
    return explained(*game, *ROWS)


def f(present):
    return float(VALUE(np.array([[1.0 if i in present else 0.0 for i in range(U)]]))[0])


def over_orders(value):
    """For each row the mean over its order and the one with equals reversed."""
    found = []
    for row in ROWS:
        first, second = (sorted(ALL, key=lambda i, row=row, sign=sign: (-row[i], sign * i)) for sign in (1, -1))
        found.append((value(first) + value(second)) / 2)
    return found


def sums_and_drops(row, sets):
    return [sum(row[i] for i in s) for s in sets], [f(ALL) - f(ALL - set(s)) for s in sets]


@pytest.mark.parametrize("steps", [7, 3])
@pytest.mark.parametrize("share", [1.0, 3 / 7])
@pytest.mark.parametrize(
    ("metric", "at"),
    [
        (Deletion, lambda o, k: f(ALL - set(o[:k]))),
        (MoRF, lambda o, k: f(ALL - set(o[:k]))),
        (Insertion, lambda o, k: f(set(o[:k]))),
        (LeRF, lambda o, k: f(set(o[: U - k]))),
        (ABPC, lambda o, k: f(set(o[: U - k])) - f(ALL - set(o[:k]))),
    ],
)
def test_areas_of_whole_walks_and_of_their_beginnings(game, outputs, metric, at, share, steps):  # noqa: PLR0917  (two grids)
    end = round(share * U)
    counts = np.unique(np.linspace(0, end, min(steps, end) + 1).round().astype(int))
    expected = over_orders(lambda o: np.trapezoid([at(o, k) for k in counts], counts) / end)
    result = metric(*game, n_perturbations=steps, max_percentage_perturbed=share, measure="score").run(outputs)
    assert result.per_sample.tolist() == pytest.approx(expected, abs=1e-5)
    first = sorted(ALL, key=lambda i: -ROWS[0][i])
    assert result.details["curves"][0][0].tolist() == pytest.approx([at(first, k) for k in counts], abs=1e-5)


def test_faithfulness_correlation(game, outputs):
    sets = list(itertools.combinations(range(U), math.ceil(0.3 * U)))
    expected = [scipy.stats.pearsonr(*sums_and_drops(row, sets)).statistic for row in ROWS]
    found = FaithfulnessCorrelation(*game, n_perturbations=200).run(outputs)
    assert found.per_sample.tolist() == pytest.approx(expected, abs=1e-5)


def test_sensitivity_n(game, outputs):
    sizes = [list(itertools.combinations(range(U), n)) for n in range(1, U)]
    expected = [np.mean([scipy.stats.pearsonr(*sums_and_drops(row, sets)).statistic for sets in sizes]) for row in ROWS]
    found = SensitivityN(*game, n_perturbations=2000).run(outputs)
    assert found.per_sample.tolist() == pytest.approx(expected, abs=1e-5)


def test_surrogate_fidelity(game, outputs):
    sets = [s for n in range(1, U + 1) for s in itertools.combinations(range(U), n)]
    expected = []
    for row in ROWS:
        sums, drops = map(np.array, sums_and_drops(row, sets))
        expected.append(1 - ((sums - drops) ** 2).sum() / ((drops - drops.mean()) ** 2).sum())
    found = SurrogateFidelity(*game, n_perturbations=200).run(outputs)
    assert found.per_sample.tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("metric", "comprehensive"), [(SoftComprehensiveness, True), (SoftSufficiency, False)])
def test_soft_masks_of_uneven_weights(metric, comprehensive):
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    outputs = [output for output in Occlusion(model, tokenizer)(tiny.SENTENCES) if len(output.elements) > 3][:4]
    generator = torch.Generator().manual_seed(3)
    outputs = [replace(o, attributions=torch.rand(o.attributions.shape, generator=generator)) for o in outputs]
    found = metric(model, tokenizer, n_perturbations=1500).run(outputs)
    for i, output in enumerate(outputs):
        index, weights = output.sample.units.index, output.attributions[0]
        weights = (weights - weights.min()) / (weights.max() - weights.min())
        with torch.no_grad():
            embeddings = model.get_input_embeddings()(output.sample.input_ids)

        def probability(points, output=output):
            with torch.no_grad():
                return model(inputs_embeds=points).logits.softmax(-1)[:, int(output.targets[0])].double()

        kept = torch.where(index >= 0, (1 - weights if comprehensive else weights)[index.clamp(min=0)], 1.0)
        drawn = probability(
            torch.bernoulli(kept[None, :, None].expand(1500, -1, embeddings.shape[1]), generator=generator) * embeddings
        )
        whole, nothing = probability(embeddings[None])[0], probability((embeddings * (index < 0)[:, None])[None])[0]
        if whole <= nothing:
            assert math.isnan(float(found.per_sample[i]))
            continue
        lost = ((whole - drawn).clamp(min=0) / (whole - nothing)).clamp(0, 1)
        assert float(found.per_sample[i]) == pytest.approx(float((lost if comprehensive else 1 - lost).mean()), abs=0.05)
    assert found.n_valid >= 1


@pytest.mark.parametrize("mode", ["cascading", "independent"])
@pytest.mark.parametrize("absolute", [True, False])
def test_randomised_layers_from_the_output_down(mode, absolute):
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    text = tiny.SENTENCES[1]
    before = Occlusion(model, tokenizer)(text)
    result = ModelParameterRandomization(Occlusion(model, tokenizer), mode, absolute=absolute).run(before)
    generator, shuffled, expected = torch.Generator().manual_seed(0), copy.deepcopy(model), []
    layers = {
        "behind the blocks": lambda name: not name.startswith("bert.e"),
        "bert.encoder.layer.1": lambda name: ".layer.1." in name,
        "bert.encoder.layer.0": lambda name: ".layer.0." in name,
        "before the blocks": lambda name: "embeddings" in name,
    }
    for of in layers.values():
        if mode == "independent":
            shuffled.load_state_dict(model.state_dict())
        for name, parameter in shuffled.named_parameters():
            if of(name):
                order = torch.randperm(parameter.numel(), generator=generator)
                parameter.data.copy_(parameter.data.flatten()[order].view_as(parameter))
        (after,) = Occlusion(shuffled, tokenizer)(text, before[0].targets.tolist())
        a, b = before[0].attributions[0], after.attributions[0]
        expected.append(scipy.stats.spearmanr(*((a.abs(), b.abs()) if absolute else (a, b))).statistic)
    assert result.details["layers"] == list(layers)
    assert result.details["by_layer"][0][0] == pytest.approx(expected, abs=1e-3)
    assert float(result) == pytest.approx(np.mean(expected), abs=1e-3)
    assert result.details["unchanged"] == 1.0
