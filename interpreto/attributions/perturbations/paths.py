"""Perturbators of other paths than the straight line: token after token, or through the embeddings of other words."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from interpreto.attributions.perturbations.base import EmbeddingsPerturbator, on_units
from interpreto.attributions.perturbations.embeddings import check_baseline
from interpreto.inputs.samples import EmbeddingVariants, Sample
from interpreto.models.embeddings import InputSpace
from interpreto.quadrature import gauss_legendre
from interpreto.validation import check_choice, check_count

STRATEGIES = ("greedy", "maxcount")


class SequentialPathPerturbator(EmbeddingsPerturbator):
    """Move one token at a time from its baseline to its embedding, while all others keep theirs.

    The value of a token tends to the score that is lost if it alone is replaced by the baseline, so that values do not sum to
    one gap. There are ``n_perturbations`` points per token.

    Args:
        baseline: Start of each token's line: a `Baseline`.
        n_perturbations: Number of points per token, at the nodes of the Gauss-Legendre rule.

    References:
        Enguehard, Findings of ACL 2023, https://arxiv.org/abs/2305.15853.
    """

    def __init__(self, baseline: Any = "zero", n_perturbations: int = 32) -> None:
        self.baseline, self.n_perturbations = check_baseline(baseline), check_count(n_perturbations, "n_perturbations")

    def __call__(self, sample: Sample, space: InputSpace, generator: Generator) -> EmbeddingVariants:
        x = space.embed(sample)
        step = on_units(x - space.baseline(self.baseline, x, sample), sample)
        moved = sample.units.free.nonzero()[:, 0].to(x.device)
        alone = torch.zeros(len(moved), *x.shape, dtype=x.dtype, device=x.device)
        alone[torch.arange(len(moved)), moved] = step[moved]
        alphas, weights = gauss_legendre(self.n_perturbations)
        left = 1 - alphas.to(x).repeat(len(moved))
        direction = alone.repeat_interleave(self.n_perturbations, 0)
        shares = weights.repeat(len(moved))
        return EmbeddingVariants(sample, x - left[:, None, None] * direction, direction, shares)


class DiscretizedPathPerturbator(EmbeddingsPerturbator):
    """Lead each token to its baseline near the embeddings of other words, monotonically in every coordinate.

    From a word, the next anchor is one of its nearest words that the path has not used; coordinates of the anchor that do not
    lie between the last word and the baseline are moved there. The integral is a sum over the steps.

    Args:
        baseline: End of the paths: a `Baseline`.
        n_perturbations: Number of steps.
        strategy: ``"greedy"``: the anchor that is moved least. ``"maxcount"``: the one with most coordinates in between.
        n_neighbors: Number of nearest words to choose from.

    References:
        Sanyal and Ren, EMNLP 2021, https://arxiv.org/abs/2108.13654.
    """

    def __init__(
        self, baseline: Any = "zero", n_perturbations: int = 32, *, strategy: str = "greedy", n_neighbors: int = 50
    ) -> None:
        self.baseline, self.n_perturbations = check_baseline(baseline), check_count(n_perturbations, "n_perturbations")
        self.strategy = check_choice(strategy, "strategy", STRATEGIES)
        self.n_neighbors = check_count(n_neighbors, "n_neighbors")

    def __call__(self, sample: Sample, space: InputSpace, generator: Generator) -> EmbeddingVariants:
        x = space.embed(sample)
        start = x - on_units(x - space.baseline(self.baseline, x, sample), sample)
        free = sample.units.free.to(x.device)
        vocabulary = torch.cat([space.table(ids) for ids in torch.arange(space.size).split(8192)])
        path = x.repeat(self.n_perturbations + 1, 1, 1)
        path[:, free] = self.paths(sample.input_ids.to(x.device)[free], x[free], start[free], vocabulary)
        path = path.flip(0)
        return EmbeddingVariants(sample, path[:-1], path[1:] - path[:-1], torch.ones(self.n_perturbations), start)

    def paths(
        self, ids: Int[Tensor, " m"], x: Float[Tensor, "m d"], end: Float[Tensor, "m d"], vocabulary: Float[Tensor, "v d"]
    ) -> Float[Tensor, "p m d"]:
        """Return the points from each token's embedding to its baseline, both included."""
        rows, now, points = torch.arange(len(ids)), ids, [x]
        used = (vocabulary[None] == end[:, None]).all(-1) if len(vocabulary) < 1024 else torch.cdist(end, vocabulary) == 0
        arrived = used[rows, ids]
        used[rows, ids] = True
        for _ in range(self.n_perturbations - 1):
            chosen, none_left = self._next(now, end, vocabulary, used)
            arrived = arrived | none_left
            used[rows, chosen] = True
            moved = self._between(vocabulary[chosen], end, points[-1])
            points.append(torch.where(arrived[:, None], end, moved))
            now = chosen
        return torch.stack([*points, end])

    def _next(
        self, now: Int[Tensor, " m"], end: Float[Tensor, "m d"], vocabulary: Float[Tensor, "v d"], used: Bool[Tensor, "m v"]
    ) -> tuple[Int[Tensor, " m"], Bool[Tensor, " m"]]:
        """Return the next word of each path, and where there is none."""
        distances = torch.cdist(vocabulary[now], vocabulary)
        distances[torch.arange(len(now)), now] = torch.inf
        near = distances.topk(min(self.n_neighbors, len(vocabulary) - 1), largest=False).indices
        anchors, source = vocabulary[near], vocabulary[now][:, None]
        if self.strategy == "greedy":
            cost = (anchors - self._between(anchors, end[:, None], source)).norm(dim=-1)
        else:
            cost = -is_between(anchors, end[:, None], source).sum(-1).to(anchors)
        cost = cost.masked_fill(used.gather(1, near), torch.inf)
        return near.gather(1, cost.argmin(1, keepdim=True))[:, 0], cost.isinf().all(1)

    def _between(self, anchor: Tensor, end: Tensor, source: Tensor) -> Tensor:
        """Return an anchor whose coordinates lie between a source and the baseline: others make one step from the source."""
        return torch.where(is_between(anchor, end, source), anchor, source - (source - end) / (self.n_perturbations + 1))


def is_between(anchor: Tensor, end: Tensor, source: Tensor) -> Tensor:
    """Return True for the coordinates in which an anchor lies between two points."""
    return (torch.minimum(source, end) <= anchor) & (anchor <= torch.maximum(source, end))
