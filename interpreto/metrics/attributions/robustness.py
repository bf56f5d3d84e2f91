"""Sensitivity of explanations to small perturbations of the embeddings."""

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
from interpreto.errors import CompletenessWarning, InputError, OptionError
from interpreto.inputs.pictures import parts_of, picture_of
from interpreto.metrics.attributions.base import AttributionMetric, CaseResult
from interpreto.metrics.attributions.cases import read_explanations
from interpreto.metrics.result import MetricResult
from interpreto.models.forward import Forward
from interpreto.models.images import Cells
from interpreto.models.protocol import require
from interpreto.validation import check_count, check_positive, check_seed

SAME_EXPLANATION_TOLERANCE = 0.05
"""Distance of two explanations, relative to their norm, that float arithmetic does not reach."""
EMBEDDINGS_PER_READ = 8192


class ExplainerMetric(AttributionMetric):
    """A metric of a method, which explains the same inputs and targets again under other conditions.

    Args:
        explainer: The method.
    """

    needs = "explainer"

    def __init__(self, explainer: AttributionExplainer) -> None:
        if not isinstance(explainer, AttributionExplainer):
            raise OptionError(f"`explainer`: got {type(explainer).__name__}; pass the explainer itself.")
        self.explainer = explainer

    def run(self, explanations: Any, targets: Any = None) -> MetricResult:
        """Compute the metric of explanations of the explainer, or of inputs and targets, which are explained first.

        Raises:
            InputError: The explanations are of another method, or of another score.
        """
        given = list(explanations) if isinstance(explanations, Iterator) else explanations
        if not _are_outputs(given):
            return self.run_on(self.explainer(given, targets))
        outputs, task = read_explanations(given), self.explainer.task
        for i, output in enumerate(outputs):
            theirs = output.method, output.inference_mode
            ours = type(self.explainer).__name__, task.mode_name
            if theirs != ours:
                raise InputError(
                    f"`explanations[{i}]`: {theirs[0]} of {theirs[1]} made it, and the explainer is {ours[0]} of {ours[1]}; "
                    "pass its own explanations, or texts."
                )
        return self.run_on(outputs)

    @abstractmethod
    def run_on(self, explanations: list[AttributionOutput]) -> MetricResult:
        """Compute the metric of the explainer's own explanations."""

    def reproduced(self, explanations: Sequence[AttributionOutput]) -> list[AttributionOutput]:
        """Return the explanations made again under the same conditions, with which others are compared.

        Raises:
            InputError: They differ: the explainer has other options, or another model, than the one that made them.
        """
        found = self.explained_again(explanations)
        if self.explainer.settings.random_state is None:
            return found  # other draws, other numbers
        for i, (before, after) in enumerate(zip(explanations, found, strict=True)):
            if bool((_distance(before.attributions, after.attributions) > SAME_EXPLANATION_TOLERANCE).any()):
                raise InputError(
                    f"`explanations[{i}]`: the explainer returns other attributions of {before.text[:40]!r}; pass the "
                    "explainer that made them, with its options, or pass texts."
                )
        return found

    def explained_again(self, explanations: Sequence[AttributionOutput]) -> list[AttributionOutput]:
        """Return explanations of the same inputs, units and targets under the present conditions."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CompletenessWarning)
            return self.explainer.explain_samples([output.sample for output in explanations])


class Sensitivity(ExplainerMetric):
    """Relative change of explanations, ‖φ(x + δ) − φ(x)‖ / ‖φ(x)‖, when embeddings move by δ. Lower is better, from 0 on.

    Each coordinate of δ is uniform in ± ``radius``; equal tokens move alike, and the replacement of masked units does not
    move. Targets are those of the unmoved input. A robust explanation need not be a correct one.

    Args:
        explainer: The method.
        n_perturbations: Number of draws of δ; each costs an explanation of all inputs.
        radius: In standard deviations of the embedding table, or of the pixels of images.
        random_state: Seed of the draws; the δ of a token does not depend on the other inputs.
    """

    higher_is_better = False
    value_range = (0.0, None)

    def __init__(
        self, explainer: AttributionExplainer, n_perturbations: int = 10, radius: int | float = 0.1, *, random_state: int = 0
    ) -> None:
        super().__init__(explainer)
        self.n_perturbations = check_count(n_perturbations, "n_perturbations")
        self.radius, self.random_state = check_positive(radius, "radius"), check_seed(random_state)

    def run_on(self, explanations: list[AttributionOutput]) -> MetricResult:
        ids = torch.cat([output.sample.input_ids for output in explanations]).unique()
        require(self.explainer.model, "gradients", type(self).__name__)
        layers, still = embedding_layers(self.explainer.forward), self.reproduced(explanations)
        sizes = [size_of_moves(layer, ids, self.radius) for layer in layers]
        moves: list[list[Tensor]] = [[] for _ in explanations]
        for draw in range(self.n_perturbations):
            with embeddings_moved(layers, ids, sizes, f"{self.random_state}/{draw}"):
                for own, before, after in zip(moves, still, self.explained_again(explanations), strict=True):
                    own.append(_distance(before.attributions, after.attributions))
        return self.summarize([[self._value(changes) for changes in torch.stack(own, dim=1)] for own in moves])

    def _value(self, changes: Float[Tensor, " p"]) -> CaseResult:
        if not bool(changes.isfinite().all()):
            return CaseResult.undefined("all attributions are zero")
        return CaseResult(self.reduce(changes), {"moves": changes})

    @abstractmethod
    def reduce(self, changes: Float[Tensor, " p"]) -> float:
        """Return one number for the relative changes of all draws."""


class MaxSensitivity(Sensitivity):
    """Largest relative change of an explanation when embeddings move a little. Lower is better.

    The largest over the draws, which is a lower bound of the maximum over all δ.

    References:
        Yeh et al., NeurIPS 2019, https://arxiv.org/abs/1901.09392.
    """

    def reduce(self, changes: Float[Tensor, " p"]) -> float:
        return float(changes.max())


class AverageSensitivity(Sensitivity):
    """Mean relative change of an explanation when embeddings move a little. Lower is better.

    References:
        Yeh et al., NeurIPS 2019, https://arxiv.org/abs/1901.09392; Bhatt et al., IJCAI 2020,
        https://arxiv.org/abs/2005.00631.
    """

    def reduce(self, changes: Float[Tensor, " p"]) -> float:
        return float(changes.mean())


def embedding_layers(forward: Forward) -> list[nn.Module]:
    """Return the model's embedding layers: two of an encoder-decoder that does not share them."""
    layers = [forward.embeddings.first, forward.embeddings.decoder] if forward.encodes else [forward.embeddings.first]
    return list({id(layer): layer for layer in layers}.values())


def size_of_moves(layer: nn.Module, ids: Int[Tensor, " v"], radius: float) -> float | Float[Tensor, "v 1"]:
    """Return the largest move of a coordinate; of cells of images, for each of them, as pixels of images differ in spread."""
    if not isinstance(layer, Cells):
        return radius * spread_of(layer)
    numbers = parts_of(ids)[0].tolist()
    spread = {number: float(picture_of(number).pixels.double().std(unbiased=False)) for number in set(numbers)}
    return radius * torch.tensor([spread[number] for number in numbers])[:, None]


@torch.no_grad()
def spread_of(layer: nn.Module) -> float:
    """Return the standard deviation of all numbers that an embedding layer can return."""
    table = next(layer.parameters())
    count, total, squares = 0, 0.0, 0.0
    for some in torch.arange(len(table), device=table.device).split(EMBEDDINGS_PER_READ):
        values = layer(some).double()
        count, total, squares = count + values.numel(), total + float(values.sum()), squares + float(values.square().sum())
    return math.sqrt(max(0.0, squares / count - (total / count) ** 2))


@contextmanager
def embeddings_moved(
    layers: Sequence[nn.Module], ids: Int[Tensor, " v"], sizes: Sequence[float | Float[Tensor, "v 1"]], seed: str
) -> Iterator[None]:
    """Context manager that adds a random move to the embeddings of these ids.

    Args:
        layers: The embedding layers.
        ids: Token ids, sorted, each once.
        sizes: For each layer, the largest move of a coordinate, of all ids or of each.
        seed: Seed of the moves; each id has its own draws.
    """
    generators = [Generator().manual_seed(zlib.crc32(f"{seed}/{token}".encode())) for token in ids.tolist()]
    handles = []
    try:
        for layer, size in zip(layers, sizes, strict=True):
            with torch.no_grad():
                table = layer(ids.to(next((p.device for p in layer.parameters()), ids.device)))
            draws = torch.stack([torch.rand(table.shape[1], generator=generator) for generator in generators])
            handles.append(layer.register_forward_hook(_Move(ids, ((draws * 2 - 1) * size).to(table))))
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Move:
    """A forward hook that adds its move to the embedding of each known id."""

    def __init__(self, ids: Int[Tensor, " v"], moves: Float[Tensor, "v d"]) -> None:
        self.ids, self.moves = ids, moves

    def __call__(self, _module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        asked = inputs[0].cpu()
        places = torch.searchsorted(self.ids, asked).clamp(max=len(self.ids) - 1)
        known = (self.ids[places] == asked)[..., None].to(output.device)
        moves = self.moves.to(output)[places.to(output.device)][..., : output.shape[-1]]  # cells of small images are narrow
        return output + torch.where(known, moves, 0.0)


def _distance(before: Float[Tensor, "t g"], after: Float[Tensor, "t g"]) -> Float[Tensor, " t"]:
    """Return the distance of each target's attributions, relative to their norm; NaN where they are all zero."""
    known = ~before.isnan()
    first, second = (values.double().masked_fill(~known, 0.0) for values in (before, after))
    length = first.norm(dim=1)
    return torch.where(length > 0, (second - first).norm(dim=1) / length.clamp(min=1e-300), torch.nan)


def _are_outputs(values: Any) -> bool:
    several = isinstance(values, (list, tuple)) and bool(values) and all(isinstance(v, AttributionOutput) for v in values)
    return several or isinstance(values, AttributionOutput)
