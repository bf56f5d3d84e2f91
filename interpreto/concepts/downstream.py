"""The model downstream of a split point: its outputs as a function of activations, or of concepts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from interpreto.concepts.activations import holds_activations, read_activations
from interpreto.concepts.outputs import samples_with_targets, task_of, with_targets
from interpreto.concepts.splitters.base import read_strategy
from interpreto.concepts.splitters.classification import SplitterForClassification
from interpreto.errors import InputError, OptionError, TaskError
from interpreto.inputs.pooling import BatchUnits
from interpreto.inputs.samples import Sample
from interpreto.inputs.units import GranularityAggregationStrategy, Units
from interpreto.models.batching import Budget, map_batches
from interpreto.models.padding import selected
from interpreto.models.scorer import finite, mixed_rows
from interpreto.models.tasks import Classification, Generation

if TYPE_CHECKING:
    from interpreto.concepts.base import ConceptExplainer

T = TypeVar("T")

Change = Callable[[Tensor], Tensor]
"""Activations ``(u, d)`` of units to changed activations."""

GRADIENT_COPIES = 8  # times a batch's tokens: how many of them one batched backward pass may hold
WINDOW = 32  # texts whose activations and concepts are in memory together
MEAN = GranularityAggregationStrategy.MEAN


@dataclass(frozen=True, eq=False)
class TextAtSplit:
    """One text at the split point.

    Attributes:
        sample: The text.
        hidden: Its activations before they are pooled: ``(1, l, d)``, or ``(1, d)``.
        concepts: Of its units, ``(g, c)``.
        logits: The model's output, ``(v,)`` or ``(l, v)`` and what padding adds; of an encoder-decoder, for its decoder's
            tokens.
    """

    sample: Sample
    hidden: Tensor
    concepts: Tensor
    logits: Tensor


@dataclass(frozen=True, eq=False)
class SampleAtSplit(Sample):
    """A text of which only the activations are known.

    Attributes:
        hidden: What the classification head reads, ``(d,)``.
    """

    hidden: Tensor | None = None

    @staticmethod
    def of(hidden: Float[Tensor, " d"]) -> SampleAtSplit:
        """Return the sample of a row of activations."""
        units = Units(torch.tensor([0]), ("activations",), ((0, 0),))
        return SampleAtSplit("activations", torch.tensor([0]), units, hidden=hidden)


def activations_at_split(samples: Sequence[Sample]) -> Tensor | None:
    """Return the activations ``(b, d)`` of samples that carry them; None of others."""
    rows = [sample.hidden for sample in samples if isinstance(sample, SampleAtSplit) and sample.hidden is not None]
    return torch.stack(rows) if len(rows) == len(samples) else None


class Downstream:
    """The model downstream of an explainer's split point.

    A change of a unit's activations is added to each of its tokens; everything else, special tokens among it, stays as it is.

    Args:
        explainer: Fitted concepts with a splitter.
        activation_granularity: The unit that the concepts were learned of; None: the splitter's own, tokens or texts.
        aggregation_strategy: How tokens are pooled into units; None: the mean.
        inference_mode: The score; see `InferenceModes`. None: the task's own.
        split_point: The explainer's own, or None.

    Raises:
        ModelError: the concepts are not fitted.
        OptionError: the explainer has no splitter, and so no model; or the split point is not its own.
    """

    def __init__(
        self,
        explainer: ConceptExplainer,
        activation_granularity: Any = None,
        aggregation_strategy: GranularityAggregationStrategy | str | None = MEAN,
        inference_mode: Any = None,
        split_point: str | None = None,
    ) -> None:
        self.explainer, self.splitter = explainer, explainer.own_splitter(split_point)
        self.granularity = activation_granularity
        self.strategy = MEAN if aggregation_strategy is None else read_strategy(aggregation_strategy)
        self.task = task_of(self.splitter, inference_mode)

    @property
    def generates(self) -> bool:
        """Return True if the model is a language model."""
        return isinstance(self.task, Generation)

    @property
    def kind(self) -> str:
        """Return ``"single-label"`` where the outputs are one distribution, else ``"multi-label"`` or ``"regression"``."""
        return self.task.kind if isinstance(self.task, Classification) else "single-label"

    def check_distributes(self, metric: str) -> None:
        """Refuse models whose outputs are not one distribution, for a metric that compares distributions.

        Raises:
            TaskError: the model's outputs are labels of their own, or numbers.
        """
        if self.kind != "single-label":
            raise TaskError(
                f"`concept_explainer`: {metric} compares distributions over outputs, and a {self.kind} model has none; "
                "use ConceptDeletion and ConceptInsertion, or a ReconstructionError of another distance."
            )

    def samples(self, inputs: Any) -> list[Sample]:
        """Return the inputs as samples with their units, at least one.

        Raises:
            InputError: there is no input.
        """
        found = self.splitter.samples(inputs, self.granularity)
        if not found:
            raise InputError("`inputs`: there is nothing in it; pass texts, or an iterable of them.")
        return found

    def samples_with_targets(self, inputs: Any, targets: Any) -> list[Sample]:
        """Return the inputs as samples with their units and targets.

        Args:
            inputs: Texts and everything else that the splitter reads; of a `SplitterForClassification` also its activations.
            targets: See `outputs.samples_with_targets`.

        Raises:
            InputError: the inputs are activations, and the splitter cannot run the model on from these alone.
        """
        if not holds_activations(inputs):
            return samples_with_targets(self.splitter, self.task, inputs, targets, self.granularity)
        if not isinstance(self.splitter, SplitterForClassification):
            raise InputError(
                f"`inputs`: got activations, and from these alone {type(self.splitter).__name__} cannot run the model on; pass "
                "texts, or use SplitterForClassification."
            )
        rows = read_activations(inputs, self.explainer.split_point, self.explainer.device).read()
        return with_targets(self.task, [SampleAtSplit.of(row) for row in rows], targets, single=False)

    def map(self, samples: Sequence[Sample], step: Callable[[list[int]], Sequence[T]], budget: Budget | None = None) -> list[T]:
        """Apply ``step`` to the numbers of all samples, in batches of similar length; see `batching.map_batches`.

        Args:
            samples: The texts.
            step: Takes the numbers of a batch's samples, and returns an item for each.
            budget: Of a batch; None: the splitter's.

        Returns:
            An item for each sample, in order.
        """
        if not samples:
            return []
        with self.splitter.session(samples) as mixed:
            budget = self.splitter.budget() if budget is None else budget
            return map_batches([len(sample) for sample in samples], step, budget, mixed)

    @torch.no_grad()
    def at_split(self, samples: Sequence[Sample]) -> Iterator[TextAtSplit]:
        """Yield each text at the split point, in order, with the model's output; some texts are in memory at a time."""
        for start in range(0, len(samples), WINDOW):
            part = samples[start : start + WINDOW]

            def read(picked: list[int], part: Sequence[Sample] = part) -> list[TextAtSplit]:
                batch = [part[i] for i in picked]
                hidden = self.splitter.batch_activations(batch, self.explainer.split_point)
                concepts = self.explainer.encode_activations(self.pool(batch, hidden))
                counts = [len(sample.units) if hidden.ndim == 3 else 1 for sample in batch]
                logits = self.outputs_from(batch, hidden)
                each = zip(batch, concepts.split(counts), strict=True)
                alone = [hidden[i : i + 1] if hidden.ndim == 2 else hidden[i : i + 1, : len(s)] for i, s in enumerate(batch)]
                return [TextAtSplit(sample, alone[i], own, logits[i]) for i, (sample, own) in enumerate(each)]

            yield from self.map(part, read)

    def batch(self, samples: Sequence[Sample], budget: Budget | None = None) -> DownstreamBatch:
        """Run the model up to the split point on one batch.

        Args:
            samples: The texts, with their targets.
            budget: Of a batch; None: the splitter's.
        """
        with torch.no_grad():
            hidden = activations_at_split(samples)
            if hidden is None:
                hidden = self.splitter.batch_activations(samples, self.explainer.split_point)
            units = BatchUnits.of_samples(samples)
            if hidden.ndim == 2 and set(units.counts) != {1}:
                raise OptionError(
                    f"`activation_granularity`: {self.explainer.split_point!r} has one vector per text, and none per token; "
                    "use SAMPLE or CLS_TOKEN."
                )
            rows = hidden if hidden.ndim == 2 else units.pool(hidden, self.strategy)
            concepts = self.explainer.encode_activations(rows)
            budget = self.splitter.budget() if budget is None else budget
            displacement = self.explainer.displacement(concepts, rows)
            return DownstreamBatch(self, samples, hidden, units, concepts, displacement, budget)

    def pool(self, samples: Sequence[Sample], hidden: Tensor) -> Float[Tensor, "u d"]:
        """Return the activations of all units of a batch."""
        return hidden if hidden.ndim == 2 else BatchUnits.of_samples(samples).pool(hidden, self.strategy)

    def moved(self, samples: Sequence[Sample], hidden: Tensor, by: Float[Tensor, "u d"]) -> Tensor:
        """Return the activations of a batch with a step added to each unit; differentiable in both."""
        step = by.to(hidden)
        return hidden + (step if hidden.ndim == 2 else BatchUnits.of_samples(samples).spread(step, torch.zeros_like(hidden)))

    def edited(self, samples: Sequence[Sample], change: Change) -> Float[Tensor, "b ..."]:
        """Compute logits of a batch whose units go through ``change``."""

        def edit(hidden: Tensor) -> Tensor:
            rows = self.pool(samples, hidden)
            return self.moved(samples, hidden, change(rows).to(rows) - rows)

        with torch.no_grad():
            return self.splitter.edited_outputs(list(samples), edit, self.explainer.split_point)

    def outputs_from(self, samples: Sequence[Sample], hidden: Tensor) -> Float[Tensor, "b ..."]:
        """Compute logits of a batch from activations before they are pooled; differentiable in them."""
        return self.splitter.outputs_from(samples, hidden, self.explainer.split_point)


@dataclass(frozen=True, eq=False)
class DownstreamBatch:
    """A batch of texts at a split point: outputs as a function of their concepts.

    The part of the activations that the concepts do not explain stays in place: where concepts ``c`` become ``c'``, every
    token of a unit is moved by ``decode(c') − decode(c)``. So the outputs at ``c`` are exactly the model's.

    Attributes:
        downstream: The model.
        samples: The texts of the batch, with their targets.
        hidden: Their activations.
        units: Which rows of concepts each text has.
        concepts: Of each unit, as the model has them.
        displacement: Change of the activations by changed concepts; see `ConceptExplainer.displacement`.
        budget: Of a batch.
    """

    downstream: Downstream
    samples: Sequence[Sample]
    hidden: Tensor
    units: BatchUnits
    concepts: Float[Tensor, "u c"]
    displacement: Callable[[Tensor], Tensor]
    budget: Budget

    @property
    def copies(self) -> int:
        """Return how many copies of the batch fit in one pass."""
        rows, length = len(self.samples), self.hidden.shape[1] if self.hidden.ndim == 3 else 1
        return max(1, self.budget.rows // rows if self.budget.rows is not None else self.budget.tokens // (rows * length))

    def scores(self, concepts: Float[Tensor, "m u c"]) -> Float[Tensor, "m b t"]:
        """Compute scores of ``m`` copies of the batch with other concepts, zero where a text has fewer than others.

        Differentiable in the concepts alone.
        """
        m, b = len(concepts), len(self.samples)
        moved = self.displacement(concepts.flatten(0, 1)).unflatten(0, (m, -1))
        moved = moved.to(self.hidden.device, torch.promote_types(self.hidden.dtype, torch.float32))
        if self.hidden.ndim == 3:
            index = self.units.index.to(moved.device)
            moved = torch.where((index >= 0)[..., None], moved[:, index.clamp(min=0)], 0.0)
        hidden, samples = (self.hidden + moved).flatten(0, 1), list(self.samples) * m
        logits = self.downstream.splitter.outputs_from(samples, hidden, self.downstream.explainer.split_point)
        return finite(self._read(logits, samples), self.samples[0]).unflatten(0, (m, b))

    def gradients(self, concepts: Float[Tensor, "m u c"]) -> Float[Tensor, "t m u c"]:
        """Compute gradients of each score in the concepts of its own text; they do not depend on the rest of the batch."""
        with torch.enable_grad():
            at = concepts.detach().clone().requires_grad_()
            scores = self.scores(at)
            t = scores.shape[-1]
            if not scores.requires_grad:
                return concepts.new_zeros(t, *concepts.shape)
            totals = scores.sum((0, 1))
        directions = torch.eye(t, dtype=totals.dtype, device=totals.device)
        room = GRADIENT_COPIES * self.budget.tokens // max(1, scores.shape[0] * self.hidden[..., 0].numel())
        return torch.cat([_batched(totals, at, part) for part in directions.split(max(1, room))])

    def by_text(self, values: Float[Tensor, "t u c"]) -> list[Float[Tensor, "t2 g c"]]:
        """Return the values of each text alone."""
        counts = [None if sample.targets is None else len(sample.targets) for sample in self.samples]
        parts = values.split(list(self.units.counts), dim=1)
        return [part[:count] for part, count in zip(parts, counts, strict=True)]

    def _read(self, logits: Tensor, samples: Sequence[Sample]) -> Float[Tensor, "r t"]:
        task, targets = self.downstream.task, [sample.targets for sample in samples if sample.targets is not None]
        if len(targets) < len(samples):
            every = torch.arange(logits.shape[-1]).expand(len(logits), -1)
            return task.read(logits, every)
        readouts = [own.readouts[0] for own in targets]
        ids = pad_sequence([readout.ids for readout in readouts], batch_first=True)
        at = [readout.positions for readout in readouts if readout.positions is not None]
        if at:
            sources = torch.tensor([sample.source for sample in samples])  # a decoder has outputs for its own tokens alone
            logits = selected(logits, (pad_sequence(at, batch_first=True) - sources[:, None]).clamp(min=0))
        return mixed_rows(task.read(logits, ids), readouts)


def _batched(totals: Float[Tensor, " t"], at: Float[Tensor, "m u c"], directions: Float[Tensor, "k t"]) -> Tensor:
    """Compute gradients of some scores: in one pass, or one after the other where a layer does not support that."""
    try:
        return torch.autograd.grad(totals, at, directions, retain_graph=True, is_grads_batched=True)[0]
    except RuntimeError:
        return torch.stack([torch.autograd.grad(totals, at, one, retain_graph=True)[0] for one in directions])
