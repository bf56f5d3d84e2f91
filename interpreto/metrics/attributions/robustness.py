"""Whether explanations stay what they are while the input hardly moves."""

from __future__ import annotations

import warnings
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
from interpreto.errors import CompletenessWarning, OptionError
from interpreto.inference.forward import Forward
from interpreto.metrics.attributions.base import AttributionMetric, Finding
from interpreto.metrics.attributions.rows import read_explanations
from interpreto.metrics.result import MetricResult


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
        """The metric on explanations of the explainer, or on inputs and targets, which are explained first."""
        found = read_explanations(explanations) if _are_outputs(explanations) else self._explainer(explanations, targets)
        return self._run(found)

    @abstractmethod
    def _run(self, explanations: list[AttributionOutput]) -> MetricResult:
        """The metric on explanations."""

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
        random_state: Seed of the draws.
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
        self.random_state = random_state

    def _run(self, explanations: list[AttributionOutput]) -> MetricResult:
        generator = Generator().manual_seed(self.random_state)
        ids = torch.cat([output.sample.input_ids for output in explanations]).unique()
        moves: list[list[Tensor]] = [[] for _ in explanations]
        for _ in range(self.n_perturbations):
            with embeddings_moved(self._explainer.forward, ids, self.radius, generator):
                for own, before, after in zip(moves, explanations, self.again(explanations), strict=True):
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


@contextmanager
def embeddings_moved(forward: Forward, ids: Int[Tensor, " v"], radius: float, generator: Generator) -> Iterator[None]:
    """Within, the model's embedding layers answer moved embeddings for these ids; they are as before after it."""
    layers = {
        id(layer): layer
        for layer in ([forward.embedding, forward.decoder_embedding] if forward.encodes else [forward.embedding])
    }
    handles = []
    try:
        for layer in layers.values():
            with torch.no_grad():
                table = layer(ids.to(next(layer.parameters()).device))
            size = radius * float(table.float().std())
            moves = (torch.rand(table.shape, generator=generator) * 2 - 1) * size
            handles.append(layer.register_forward_hook(_Move(ids, moves.to(table))))
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
