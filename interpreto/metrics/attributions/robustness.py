"""Whether explanations stay what they are while the input hardly moves."""

from __future__ import annotations

import math
import warnings
import zlib
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.output import AttributionOutput
from interpreto.attributions.perturbations.base import check_count
from interpreto.errors import CompletenessWarning, InputError, OptionError
from interpreto.metrics.attributions.base import AttributionMetric, Finding
from interpreto.metrics.attributions.cases import read_explanations
from interpreto.metrics.result import MetricResult
from interpreto.models.forward import Forward


class ExplainerMetric(AttributionMetric):
    """A metric of a method, which explains the same inputs and targets again under other circumstances.

    Args:
        explainer: The method.
    """

    def __init__(self, explainer: AttributionExplainer) -> None:
        if not isinstance(explainer, AttributionExplainer):
            raise OptionError(f"`explainer`: got {type(explainer).__name__}; pass the method that explains, as it was made.")
        self._explainer = explainer

    @property
    def config(self) -> dict[str, Any]:
        return {"explainer": type(self._explainer).__name__, **super().config}

    def run(self, explanations: Any, targets: Any = None) -> MetricResult:
        """The metric on explanations of the explainer, or on inputs and targets, which are explained first.

        Raises:
            InputError: explanations are of another method, or of another score.
        """
        given = list(explanations) if isinstance(explanations, Iterator) else explanations
        if not _are_outputs(given):
            return self._run(self._explainer(given, targets))
        found, task = read_explanations(given), self._explainer.task
        for i, output in enumerate(found):
            theirs = output.method, output.inference_mode
            ours = type(self._explainer).__name__, task.mode_name
            if theirs != ours:
                raise InputError(
                    f"`explanations[{i}]`: {theirs[0]} of {theirs[1]} made it, and the explainer is {ours[0]} of {ours[1]}; "
                    "pass its own explanations, or texts."
                )
        return self._run(found)

    @abstractmethod
    def _run(self, explanations: list[AttributionOutput]) -> MetricResult:
        """The metric on explanations."""

    def own(self, explanations: Sequence[AttributionOutput]) -> list[AttributionOutput]:
        """The explanations made again while nothing has changed, with which others are compared.

        Raises:
            InputError: they are others: the explainer was made with other options, or has another model.
        """
        found = self.again(explanations)
        if self._explainer.settings.random_state is None:
            return found  # other draws, other numbers
        for i, (before, after) in enumerate(zip(explanations, found, strict=True)):
            if bool((_distance(before.attributions, after.attributions) > OTHER).any()):
                raise InputError(
                    f"`explanations[{i}]`: the explainer answers other attributions of {before.text[:40]!r}; pass the "
                    "explainer that made them, with its options, or pass texts."
                )
        return found

    def again(self, explanations: Sequence[AttributionOutput]) -> list[AttributionOutput]:
        """The same inputs, units and targets, explained as things are now."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CompletenessWarning)
            return self._explainer.explain_samples([output.sample for output in explanations])


class Sensitivity(ExplainerMetric):
    """How far explanations move, ‖φ(x + δ) − φ(x)‖ / ‖φ(x)‖, when embeddings do. Lower is better, from 0 on.

    δ moves each coordinate of the input tokens' embeddings evenly in ± ``radius``; equal tokens move alike, and what
    stands for removed units stays. Targets stay those of the unmoved input. A robust explanation need not be a right one.

    Args:
        explainer: The method.
        n_perturbations: Draws of δ; each costs an explanation of all inputs.
        radius: In standard deviations of the embeddings' table.
        random_state: Seed of the draws; a token's move is its own, whatever else is explained.
    """

    higher_is_better = False
    value_range = (0.0, None)

    def __init__(
        self, explainer: AttributionExplainer, n_perturbations: int = 10, radius: int | float = 0.1, *, random_state: int = 0
    ) -> None:
        super().__init__(explainer)
        if not isinstance(radius, (int, float)) or radius <= 0:
            raise OptionError(f"`radius`: got {radius!r}; pass a number above 0.")
        self.n_perturbations, self.radius = check_count(n_perturbations, "n_perturbations"), float(radius)
        self.random_state = check_count(random_state, "random_state", 0)

    def _run(self, explanations: list[AttributionOutput]) -> MetricResult:
        ids = torch.cat([output.sample.input_ids for output in explanations]).unique()
        layers, still = embedding_layers(self._explainer.forward), self.own(explanations)
        sizes = [self.radius * spread_of(layer) for layer in layers]
        moves: list[list[Tensor]] = [[] for _ in explanations]
        for draw in range(self.n_perturbations):
            with embeddings_moved(layers, ids, sizes, f"{self.random_state}/{draw}"):
                for own, before, after in zip(moves, still, self.again(explanations), strict=True):
                    own.append(_distance(before.attributions, after.attributions))
        return self.result([[self._finding(row) for row in torch.stack(own, dim=1)] for own in moves])

    def _finding(self, moves: Float[Tensor, " p"]) -> Finding:
        if not bool(moves.isfinite().all()):
            return Finding.none("all attributions are zero")
        return Finding(self.reduced(moves), {"moves": moves})

    @abstractmethod
    def reduced(self, moves: Float[Tensor, " p"]) -> float:
        """One number of all draws."""


class MaxSensitivity(Sensitivity):
    """The farthest that an explanation moves, relative to its length, while embeddings move a little. Lower is better.

    A lower bound of the true maximum: the farthest of the draws.

    References:
        Yeh et al., NeurIPS 2019, https://arxiv.org/abs/1901.09392.
    """

    def reduced(self, moves: Float[Tensor, " p"]) -> float:
        return float(moves.max())


class AverageSensitivity(Sensitivity):
    """How far an explanation moves on average, relative to its length, while embeddings move a little. Lower is better.

    References:
        Yeh et al., NeurIPS 2019, https://arxiv.org/abs/1901.09392; Bhatt et al., IJCAI 2020,
        https://arxiv.org/abs/2005.00631.
    """

    def reduced(self, moves: Float[Tensor, " p"]) -> float:
        return float(moves.mean())


def embedding_layers(forward: Forward) -> list[nn.Module]:
    """The model's own, and of an encoder-decoder both, where they are two."""
    layers = [forward.embedding, forward.decoder_embedding] if forward.encodes else [forward.embedding]
    return list({id(layer): layer for layer in layers}.values())


@torch.no_grad()
def spread_of(layer: nn.Module) -> float:
    """Standard deviation of all numbers that an embedding layer can answer."""
    table = next(layer.parameters())
    count, total, squares = 0, 0.0, 0.0
    for ids in torch.arange(len(table), device=table.device).split(ROWS):
        values = layer(ids).double()
        count, total, squares = count + values.numel(), total + float(values.sum()), squares + float(values.square().sum())
    return math.sqrt(max(0.0, squares / count - (total / count) ** 2))


@contextmanager
def embeddings_moved(layers: Sequence[nn.Module], ids: Int[Tensor, " v"], sizes: Sequence[float], seed: str) -> Iterator[None]:
    """Within, embedding layers answer moved embeddings for these ids; they are as before after it.

    Args:
        layers: The embedding layers.
        ids: Sorted, each once.
        sizes: Of each layer: the farthest that a coordinate moves.
        seed: Of the moves; each id has draws of its own.
    """
    generators = [Generator().manual_seed(zlib.crc32(f"{seed}/{token}".encode())) for token in ids.tolist()]
    handles = []
    try:
        for layer, size in zip(layers, sizes, strict=True):
            with torch.no_grad():
                table = layer(ids.to(next(layer.parameters()).device))
            draws = torch.stack([torch.rand(table.shape[1], generator=generator) for generator in generators])
            handles.append(layer.register_forward_hook(_Move(ids, ((draws * 2 - 1) * size).to(table))))
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Move:
    """Adds to each known id's embedding its own move."""

    def __init__(self, ids: Int[Tensor, " v"], moves: Float[Tensor, "v d"]) -> None:
        self.ids, self.moves = ids, moves

    def __call__(self, _module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        asked = inputs[0].cpu()
        places = torch.searchsorted(self.ids, asked).clamp(max=len(self.ids) - 1)
        known = (self.ids[places] == asked)[..., None].to(output.device)
        return output + torch.where(known, self.moves.to(output)[places.to(output.device)], 0.0)


def _distance(before: Float[Tensor, "t g"], after: Float[Tensor, "t g"]) -> Float[Tensor, " t"]:
    """How far each row moved, in its own length; NaN for a row of zeros."""
    known = ~before.isnan()
    first, second = (values.double().masked_fill(~known, 0.0) for values in (before, after))
    length = first.norm(dim=1)
    return torch.where(length > 0, (second - first).norm(dim=1) / length.clamp(min=1e-300), torch.nan)


def _are_outputs(values: Any) -> bool:
    several = isinstance(values, (list, tuple)) and bool(values) and all(isinstance(v, AttributionOutput) for v in values)
    return several or isinstance(values, AttributionOutput)


OTHER = 0.05  # of an explanation's length: more than float arithmetic moves it by
ROWS = 8192  # embeddings read at a time
