"""Reconstruction errors by any distance: of the activations themselves, or of the model's outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.aliases import aliases
from interpreto.choices import Choice, read_member
from interpreto.concepts.activations import ActivationSource
from interpreto.concepts.base import ConceptAutoEncoderExplainer
from interpreto.concepts.downstream import Downstream
from interpreto.concepts.splitters.classification import SplitterForClassification
from interpreto.errors import OptionError
from interpreto.metrics.concepts.base import Coded, ConceptMetric, mean_of
from interpreto.metrics.concepts.reconstruction import cosines
from interpreto.metrics.result import MetricResult


class ReconstructionSpaces(Choice):
    """Where a reconstruction is compared: at the split point, or in the model's outputs when it runs on from there."""

    LATENT_ACTIVATIONS = "latent"
    LOGITS = "outputs"


class RowDistance(Choice):
    """Distance between two rows.

    ``EUCLIDEAN``: ``‖a − b‖``. ``SQUARED``: the mean over dimensions of ``(a − b)²``. ``COSINE``: 1 − cos(a, b). ``KL``:
    Kullback-Leibler divergence of softmax(b) from softmax(a), in nats; of logits only.
    """

    EUCLIDEAN = "euclidean"
    SQUARED = "squared"
    COSINE = "cosine"
    KL = "kl"

    def __call__(self, given: Float[Tensor, "n d"], found: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Compute the distance of each row, in float64; NaN where it is not defined."""
        a, b = given.double(), found.double()
        if self is RowDistance.EUCLIDEAN:
            return (a - b).norm(dim=1)
        if self is RowDistance.SQUARED:
            return (a - b).square().mean(1)
        if self is RowDistance.COSINE:
            return 1 - cosines(a, b)
        return divergence(a.log_softmax(-1), b.log_softmax(-1))


Distance = Callable[[Tensor, Tensor], Tensor]
"""Two ``(n, d)`` to distances ``(n,)``, row by row."""


def divergence(log_p: Float[Tensor, "n v"], log_q: Float[Tensor, "n v"]) -> Float[Tensor, " n"]:
    """Compute ``Σ p (log p − log q)`` of each row; what has no probability in p adds nothing."""
    p = log_p.exp()
    return torch.where(p > 0, p * (log_p - log_q), 0.0).sum(-1).clamp(min=0)


class ReconstructionError(ConceptMetric):
    """Mean distance of reconstructions from the activations. Lower is better.

    Args:
        concept_explainer: A fitted concept explainer.
        reconstruction_space: Where they are compared; see `ReconstructionSpaces`.
        distance_function: A `RowDistance`, its name, or a function of two ``(n, d)`` to ``(n,)``. None: ``EUCLIDEAN`` of
            activations, ``KL`` of logits; ``EUCLIDEAN`` where those are labels of their own, or a regression.
        activation_granularity: The unit that the concepts were learned of, where texts are run.
        batch_size: Rows that are encoded together.

    Examples:
        >>> import torch
        >>> from interpreto.concepts import PCAConcepts
        >>> rows = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
        >>> ReconstructionError(PCAConcepts(None, nb_concepts=1).fit(rows)).compute(rows)
        0.5
    """

    higher_is_better = False
    value_range = (0.0, None)

    def __init__(
        self,
        concept_explainer: ConceptAutoEncoderExplainer,
        reconstruction_space: ReconstructionSpaces | str = ReconstructionSpaces.LATENT_ACTIVATIONS,
        distance_function: RowDistance | str | Distance | None = None,
        *,
        activation_granularity: Any = None,
        batch_size: int = 8192,
    ) -> None:
        super().__init__(concept_explainer, batch_size=batch_size)
        self.space = read_member(ReconstructionSpaces, reconstruction_space, "reconstruction_space")
        latent = self.space is ReconstructionSpaces.LATENT_ACTIVATIONS
        self.downstream = None if latent else Downstream(concept_explainer, activation_granularity)
        distributes = self.downstream is not None and self.downstream.kind == "single-label"
        default = RowDistance.KL if distributes else RowDistance.EUCLIDEAN
        self.distance = _read_distance(default if distance_function is None else distance_function)
        if self.distance is RowDistance.KL:
            if self.downstream is None:
                raise OptionError("`distance_function`: KL is of the model's outputs; use reconstruction_space='logits'.")
            self.downstream.check_distributes("KL divergence")
        name = getattr(self.distance, "value", None) or getattr(self.distance, "__name__", type(self.distance).__name__)
        self.config = {"reconstruction_space": self.space.value, "distance_function": name}

    @aliases(latent_activations="activations")
    def run(self, activations: Any) -> MetricResult:
        """Return the mean over rows.

        Args:
            activations: ``(n, d)``, a dictionary of them by split point, or an `ActivationStore`. In the space of logits
                these are for a `SplitterForClassification`; for other splitters pass inputs: the mean is over texts, of
                the mean over their tokens.
        """
        if self.downstream is None:
            return self.mean_over_rows(activations, lambda coded: self.distance(coded.rows, coded.decoded))
        splitter = self.downstream.splitter
        if isinstance(splitter, SplitterForClassification) and isinstance(activations, (Tensor, Mapping, ActivationSource)):
            return self.mean_over_rows(activations, lambda coded: self._of_outputs(coded, splitter.activations_to_outputs))
        if isinstance(activations, ActivationSource) or _are_floats(activations):
            raise OptionError(
                f"`activations`: from rows of activations alone {type(splitter).__name__} cannot run on; pass the "
                "inputs, as in run(texts)."
            )
        return self._of_inputs(self.downstream, activations)

    def _of_outputs(self, coded: Coded, run_on: Callable[[Tensor], Tensor]) -> Tensor:
        return self.distance(run_on(coded.rows), run_on(coded.decoded)).cpu()

    def _of_inputs(self, downstream: Downstream, inputs: Any) -> MetricResult:
        samples = downstream.samples(inputs)

        def distances(picked: list[int]) -> list[float]:
            batch = [samples[i] for i in picked]
            given, found = downstream.edited(batch, lambda rows: rows), downstream.edited(batch, self._reconstructed)
            own = [slice(i, i + 1) if given.ndim == 2 else (i, slice(len(sample))) for i, sample in enumerate(batch)]
            return [mean_of(self.distance(given[part], found[part]).double().cpu()) for part in own]

        values = torch.tensor(downstream.map(samples, distances), dtype=torch.float64)
        return self.result(mean_of(values), len(values), int(values.isnan().sum()), values)

    def _reconstructed(self, rows: Tensor) -> Tensor:
        return self.concept_explainer.decode_concepts(self.concept_explainer.encode_activations(rows), rows)


def _read_distance(value: object) -> Distance:
    if callable(value) and not isinstance(value, (str, Enum)):
        return value  # type: ignore[return-value]  # what a user's function returns shows when it is called
    return read_member(RowDistance, value, "distance_function")


def _are_floats(activations: Any) -> bool:
    tensors = activations.values() if isinstance(activations, Mapping) else [activations]
    return any(isinstance(value, Tensor) and value.is_floating_point() for value in tensors)
