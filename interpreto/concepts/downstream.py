"""Outputs as a function of concepts: the model run on from its split point, with some concepts changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from interpreto.errors import ModelError, OptionError
from interpreto.inputs.pooling import BatchUnits
from interpreto.inputs.samples import Sample
from interpreto.inputs.units import GranularityAggregationStrategy
from interpreto.models.batching import Budget
from interpreto.models.padding import selected
from interpreto.models.scorer import finite, mixed_rows
from interpreto.models.tasks import Task

TARGETS = 8  # times a batch's tokens: how many of them one batched backward pass may hold


@dataclass(frozen=True, eq=False)
class Downstream:
    """A batch of texts at a split point, and the model above it as a function of their concepts.

    What the concepts do not explain of the activations stays: where concepts ``c`` become ``c'``, every token of a unit is
    moved by ``decode(c') − decode(c)``. So the outputs at ``c`` are exactly the model's.

    Attributes:
        explainer: Encodes and decodes.
        task: How outputs are read.
        samples: The texts of the batch, with their aims.
        hidden: Their activations.
        units: Which rows of concepts each text has.
        concepts: Of each unit, as the model has them.
        displacement: Change of the activations by changed concepts; see `ConceptExplainer.displacement`.
        budget: What a batch may hold.
    """

    explainer: Any
    task: Task
    samples: Sequence[Sample]
    hidden: Tensor
    units: BatchUnits
    concepts: Float[Tensor, "u c"]
    displacement: Callable[[Tensor], Tensor]
    budget: Budget

    @staticmethod
    def of(
        explainer: Any, task: Task, samples: Sequence[Sample], strategy: GranularityAggregationStrategy, budget: Budget
    ) -> Downstream:
        """The batch of these samples; the lower half runs once, here."""
        splitter, units = explainer.splitter, BatchUnits.of_samples(samples)
        with torch.no_grad():
            hidden = splitter.batch_activations(samples, explainer.split_point)
            if hidden.ndim == 2 and set(units.counts) != {1}:
                raise OptionError(
                    f"`activation_granularity`: {explainer.split_point!r} has one vector a text, and none a token; use SAMPLE "
                    "or CLS_TOKEN."
                )
            rows = hidden if hidden.ndim == 2 else units.pool(hidden, strategy)
            concepts = explainer.encode_activations(rows)
            return Downstream(explainer, task, samples, hidden, units, concepts, explainer.displacement(concepts), budget)

    @property
    def copies(self) -> int:
        """How many copies of the batch fit in one pass."""
        rows, length = len(self.samples), self.hidden.shape[1] if self.hidden.ndim == 3 else 1
        return max(1, self.budget.rows // rows if self.budget.rows is not None else self.budget.tokens // (rows * length))

    def scores(self, concepts: Float[Tensor, "m u c"]) -> Float[Tensor, "m b t"]:
        """Scores of ``m`` copies of the batch with other concepts; zero where a text has fewer than others.

        Differentiable in the concepts alone.
        """
        m, b = len(concepts), len(self.samples)
        moved = self.displacement(concepts.flatten(0, 1)).unflatten(0, (m, -1))
        moved = moved.to(self.hidden.device, torch.promote_types(self.hidden.dtype, torch.float32))
        if self.hidden.ndim == 3:
            index = self.units.index.to(moved.device)
            moved = torch.where((index >= 0)[..., None], moved[:, index.clamp(min=0)], 0.0)
        hidden = (self.hidden + moved).flatten(0, 1)
        samples = list(self.samples) * m
        logits = self.explainer.splitter.outputs_from(samples, hidden, self.explainer.split_point)
        return finite(self._read(logits, samples), self.samples[0]).unflatten(0, (m, b))

    def gradients(self, concepts: Float[Tensor, "m u c"]) -> Float[Tensor, "t m u c"]:
        """Gradients of each score in the concepts of its own text; what other texts of the batch are changes nothing."""
        with torch.enable_grad():
            at = concepts.detach().clone().requires_grad_()
            scores = self.scores(at)
            t = scores.shape[-1]
            if not scores.requires_grad:
                return concepts.new_zeros(t, *concepts.shape)
            totals = scores.sum((0, 1))
        directions = torch.eye(t, dtype=totals.dtype, device=totals.device)
        room = TARGETS * self.budget.tokens // max(1, scores.shape[0] * self.hidden[..., 0].numel())
        return torch.cat([_batched(totals, at, part) for part in directions.split(max(1, room))])

    def counts(self) -> list[int]:
        """Scores of each text that has an aim of its own."""
        return [0 if sample.targets is None else len(sample.targets) for sample in self.samples]

    def apart(self, values: Float[Tensor, "t u c"]) -> Iterator[Float[Tensor, "t2 g c"]]:
        """The values of each text alone."""
        for part, count in zip(values.split(list(self.units.counts), dim=1), self.counts(), strict=True):
            yield part[:count] if count else part

    def _read(self, logits: Tensor, samples: Sequence[Sample]) -> Float[Tensor, "r t"]:
        aims = [sample.targets for sample in samples if sample.targets is not None]
        if len(aims) < len(samples):
            every = torch.arange(logits.shape[-1]).expand(len(logits), -1)
            return self.task.read(logits, every)
        readouts = [targets.readouts[0] for targets in aims]
        ids = pad_sequence([readout.ids for readout in readouts], batch_first=True)
        at = [readout.positions for readout in readouts if readout.positions is not None]
        if at:
            sources = torch.tensor([sample.source for sample in samples])  # a decoder answers for its own tokens alone
            logits = selected(logits, (pad_sequence(at, batch_first=True) - sources[:, None]).clamp(min=0))
        return mixed_rows(self.task.read(logits, ids), readouts)


def _batched(totals: Float[Tensor, " t"], at: Float[Tensor, "m u c"], directions: Float[Tensor, "k t"]) -> Tensor:
    """Gradients of some scores: in one pass, or one after the other where a layer cannot do it so."""
    try:
        return torch.autograd.grad(totals, at, directions, retain_graph=True, is_grads_batched=True)[0]
    except RuntimeError:
        return torch.stack([torch.autograd.grad(totals, at, one, retain_graph=True)[0] for one in directions])


def sweep_downstream(
    explainer: Any,
    task: Task,
    samples: Sequence[Sample],
    strategy: GranularityAggregationStrategy,
    *,
    batch_size: int | None,
    run: Callable[[Downstream], Float[Tensor, "t u c"]],
    on_texts: Callable[[int], object] = lambda n: None,
) -> list[Float[Tensor, "t g c"]]:
    """What ``run`` answers for each sample, in order, on the CPU; samples run in batches of like length."""
    found: dict[int, Tensor] = {}
    budget = explainer.splitter.budget(batch_size)

    def run_batch(picked: list[int]) -> None:
        upper = Downstream.of(explainer, task, [samples[i] for i in picked], strategy, budget)
        values = run(upper)
        if not values.isfinite().all():
            raise ModelError("`model`: gradients or scores in its concepts are not finite (NaN or infinity).")
        found.update(zip(picked, (part.detach().cpu() for part in upper.apart(values)), strict=True))
        on_texts(len(picked))

    explainer.splitter.sweep(samples, run_batch, budget)
    return [found[i] for i in range(len(samples))]
