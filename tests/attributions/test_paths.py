"""Paths of integrated gradients: one token at a time, and near the embeddings of other words."""

from __future__ import annotations

import itertools

import pytest
import torch

from interpreto import IntegratedGradients, Occlusion
from interpreto.attributions.perturbations import DiscretizedPathPerturbator
from interpreto.attributions.perturbations.paths import is_between
from interpreto.errors import OptionError
from tests import problems, tiny

TEXT = "The film was not good."
STEPS = 9


class Squared(problems.Toy):
    """logits = head((sum of all vectors)²)."""

    def read(self, vectors):
        return self.head(vectors.sum(1).square())


@pytest.fixture
def setting():
    tokenizer = tiny.wordpiece()
    return Squared(len(tokenizer)).eval(), tokenizer


def test_a_sequential_path_gives_the_score_lost_without_a_token(setting):
    """The integral of one token's gradient is exact with a node, as the model is quadratic."""
    options = {"granularity": "token"}
    wanted = Occlusion(*setting, replacement="mask", **options)(TEXT, [[0, 1]])[0]
    found = IntegratedGradients(*setting, path="sequential", baseline="mask", n_perturbations=2, **options)(TEXT, [[0, 1]])[0]
    torch.testing.assert_close(found.attributions, wanted.attributions, rtol=1e-4, atol=1e-3)
    assert found.residual is None
    straight = IntegratedGradients(*setting, baseline="mask", n_perturbations=2, **options)(TEXT, [[0, 1]])[0]
    assert not torch.allclose(straight.attributions, found.attributions, atol=1.0)


@pytest.mark.parametrize("strategy", ["greedy", "maxcount"])
def test_discretized_paths_are_those_of_a_loop(strategy):
    generator = torch.Generator().manual_seed(0)
    vocabulary = torch.randn(40, 4, generator=generator)
    ids, end = torch.tensor([3, 8, 21]), torch.randn(4, generator=generator)
    perturbator = DiscretizedPathPerturbator(n_perturbations=STEPS, strategy=strategy, n_neighbors=7)
    found = perturbator.paths(ids, vocabulary[ids], end.expand(3, -1), vocabulary)
    for place, word in enumerate(ids.tolist()):
        used, at, points = [word], vocabulary[word], [vocabulary[word]]
        for _ in range(STEPS - 1):
            now = vocabulary[used[-1]]
            near = (vocabulary - now).norm(dim=1).argsort()[1:8].tolist()
            costs = {}
            for anchor in near:
                if anchor in used:
                    continue
                inside = is_between(vocabulary[anchor], end, now)
                moved = torch.where(inside, vocabulary[anchor], now - (now - end) / (STEPS + 1))
                costs[anchor] = float((vocabulary[anchor] - moved).norm()) if strategy == "greedy" else -int(inside.sum())
            used.append(min(costs, key=costs.get))
            inside = is_between(vocabulary[used[-1]], end, at)
            at = torch.where(inside, vocabulary[used[-1]], at - (at - end) / (STEPS + 1))
            points.append(at)
        torch.testing.assert_close(found[:, place], torch.stack([*points, end]), rtol=1e-5, atol=1e-6)


def test_discretized_paths_are_monotone_and_end_at_the_baseline():
    vocabulary = torch.randn(30, 5, generator=torch.Generator().manual_seed(1))
    ids, end = torch.arange(4), vocabulary[7].expand(4, -1)
    points = DiscretizedPathPerturbator(n_perturbations=6).paths(ids, vocabulary[ids], end, vocabulary)
    assert torch.equal(points[0], vocabulary[:4]) and torch.equal(points[-1], end)
    for before, after in itertools.pairwise(points):
        assert bool(is_between(after, end, before).all())


def test_the_integral_along_a_discretized_path_is_its_sum():
    """Of a linear model every path gives the weights; of a quadratic one the sum over the steps, by hand."""
    tokenizer = tiny.wordpiece()
    model = problems.Additive(len(tokenizer)).eval()
    found = IntegratedGradients(model, tokenizer, path="discretized", baseline="mask", n_perturbations=STEPS)(TEXT, 1)[0]
    wanted = model.contributions(found.sample, model.embedding.weight[tokenizer.mask_token_id])[[1]]
    torch.testing.assert_close(found.attributions, wanted, rtol=1e-4, atol=1e-4)
    assert float(found.residual.abs()) < 1e-3


@pytest.mark.parametrize(("option", "value"), [("path", "curved"), ("strategy", "fast")])
def test_unknown_paths_are_refused(option, value, setting):
    with pytest.raises(OptionError, match=f"`{option}`: got '{value}'"):
        IntegratedGradients(*setting, **({"path": "discretized"} | {option: value}))
