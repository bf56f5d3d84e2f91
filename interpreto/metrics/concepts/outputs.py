"""What a model answers when its activations are changed, and how answers are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpreto.choices import read_member
from interpreto.concepts.base import ConceptAutoEncoderExplainer
from interpreto.concepts.splitters.base import ModelSplitter
from interpreto.errors import InputError, OptionError, TargetError, TaskError
from interpreto.inputs.pooling import BatchUnits
from interpreto.inputs.samples import Sample
from interpreto.inputs.units import GranularityAggregationStrategy
from interpreto.models.tasks import Classification, resolve_task

Change = Callable[[Tensor], Tensor]
"""Activations ``(u, d)`` of units to what they become."""

TOGETHER = 32  # texts whose activations and codes are in memory together


@dataclass(frozen=True, eq=False)
class TextReading:
    """One text at the split point.

    Attributes:
        sample: The text.
        hidden: Its activations before they are pooled: ``(1, l, d)``, or ``(1, d)``.
        codes: Of its units, ``(g, c)``.
        logits: What the model answers, ``(v,)`` or ``(l, v)`` and what padding adds; of an encoder-decoder, for its
            decoder's tokens.
    """

    sample: Sample
    hidden: Tensor
    codes: Tensor
    logits: Tensor


class AboveSplit:
    """A model above an explainer's split point: runs on from activations of units that were changed.

    A change of a unit is added to each of its tokens; all else, special tokens among it, stays as it is.

    Args:
        concept_explainer: A fitted explainer with a splitter.
        activation_granularity: What the concepts were learned of; None: the splitter's own, tokens or texts.
        aggregation_strategy: How tokens were pooled into units.

    Raises:
        OptionError: the explainer has no splitter, and so no model.
    """

    def __init__(
        self,
        concept_explainer: ConceptAutoEncoderExplainer,
        activation_granularity: Any = None,
        aggregation_strategy: GranularityAggregationStrategy | str = GranularityAggregationStrategy.MEAN,
    ) -> None:
        if not isinstance(concept_explainer.splitter, ModelSplitter):
            raise OptionError(
                "`concept_explainer`: it has no splitter, and this metric runs the model; make it with one, as in "
                "NMFConcepts(splitter, nb_concepts=20)."
            )
        self.explainer, self.splitter = concept_explainer, concept_explainer.splitter
        self.granularity = activation_granularity
        self.strategy = read_member(GranularityAggregationStrategy, aggregation_strategy, "aggregation_strategy")
        self.generates = bool(getattr(self.splitter.model, "can_generate", bool)())
        task = resolve_task(self.splitter.model, self.splitter.tokenizer, None, None)
        self.kind = task.kind if isinstance(task, Classification) else "single-label"

    def check_distributes(self, metric: str) -> None:
        """A loss is of outputs that are one distribution.

        Raises:
            TaskError: the model's outputs are labels of their own, or numbers.
        """
        if self.kind != "single-label":
            raise TaskError(
                f"`concept_explainer`: {metric} compares distributions over outputs, and a {self.kind} model has none; "
                "use ConceptDeletion and ConceptInsertion, or a ReconstructionError of another distance."
            )

    def samples(self, inputs: Any) -> list[Sample]:
        """The inputs with their units."""
        return self.splitter.samples(inputs, self.granularity)

    @torch.no_grad()
    def read(self, samples: Sequence[Sample]) -> Iterator[TextReading]:
        """Every text, in order; some texts are in memory at a time."""
        for start in range(0, len(samples), TOGETHER):
            part = samples[start : start + TOGETHER]
            readouts: dict[int, TextReading] = {}

            def run(picked: list[int], part: Sequence[Sample] = part, readouts: dict[int, TextReading] = readouts) -> None:
                batch = [part[i] for i in picked]
                hidden = self.splitter.batch_activations(batch, self.explainer.split_point)
                codes = self.explainer.encode_activations(self.rows(batch, hidden))
                counts = [len(sample.units) if hidden.ndim == 3 else 1 for sample in batch]
                logits = self.outputs_from(batch, hidden)
                for row, (i, own) in enumerate(zip(picked, codes.split(counts), strict=True)):
                    alone = hidden[row : row + 1] if hidden.ndim == 2 else hidden[row : row + 1, : len(part[i])]
                    readouts[i] = TextReading(part[i], alone, own, logits[row])

            self.splitter.sweep(part, run)
            yield from (readouts[i] for i in range(len(part)))

    def rows(self, samples: Sequence[Sample], hidden: Tensor) -> Float[Tensor, "u d"]:
        """Activations of all units of a batch."""
        return hidden if hidden.ndim == 2 else BatchUnits.of_samples(samples).pool(hidden, self.strategy)

    def moved(self, samples: Sequence[Sample], hidden: Tensor, by: Float[Tensor, "u d"]) -> Tensor:
        """Activations of a batch with a step added to each unit. Differentiable in both."""
        step = by.to(hidden)
        return hidden + (step if hidden.ndim == 2 else BatchUnits.of_samples(samples).spread(step, torch.zeros_like(hidden)))

    def edited(self, samples: Sequence[Sample], change: Change) -> Float[Tensor, "b ..."]:
        """Logits of a batch whose units go through ``change``."""

        def edit(hidden: Tensor) -> Tensor:
            rows = self.rows(samples, hidden)
            return self.moved(samples, hidden, change(rows).to(rows) - rows)

        with torch.no_grad():
            return self.splitter.edited_outputs(list(samples), edit, self.explainer.split_point)

    def outputs_from(self, samples: Sequence[Sample], hidden: Tensor) -> Float[Tensor, "b ..."]:
        """Logits of a batch, the model run on from activations before they are pooled; differentiable in them."""
        return self.splitter.outputs_from(samples, hidden, self.explainer.split_point)

    def reconstruct(self, rows: Float[Tensor, "u d"]) -> Float[Tensor, "u d"]:
        """What the concepts say of activations."""
        return self.explainer.decode_concepts(self.explainer.encode_activations(rows))


@dataclass(frozen=True, eq=False)
class Predicted:
    """What is read off one text's logits: some outputs, one at each of some positions.

    Attributes:
        at: Rows of the logits; None where the model answers one row a text.
        ids: The class, or token of the vocabulary, that is read at each.
        kind: Of the model's outputs: ``"single-label"`` where they are one distribution, ``"multi-label"`` or
            ``"regression"``.
    """

    positions: Int[Tensor, " k"] | None
    ids: Int[Tensor, " k"]
    kind: str = "single-label"

    def __len__(self) -> int:
        return len(self.ids)

    def log_distributions(self, logits: Float[Tensor, "*l v"]) -> Float[Tensor, "k v"]:
        """The model's log-probabilities wherever one is read, in float64."""
        rows = logits[None] if self.positions is None else logits[self.positions.to(logits.device)]
        return rows.double().log_softmax(-1)

    def log_probabilities(self, logits: Float[Tensor, "*l v"]) -> Float[Tensor, " k"]:
        """Those of what is read."""
        return self.log_distributions(logits).gather(1, self.ids.to(logits.device)[:, None])[:, 0]

    def scores(self, logits: Float[Tensor, "*l v"]) -> Float[Tensor, " k"]:
        """Probabilities of what is read: by softmax, of a label of several by sigmoid; a regression's own output."""
        if self.kind == "single-label":
            return self.log_probabilities(logits).exp()
        rows = logits[None] if self.positions is None else logits[self.positions.to(logits.device)]
        read = rows.double().gather(1, self.ids.to(logits.device)[:, None])[:, 0]
        return read.sigmoid() if self.kind == "multi-label" else read


def predicted(
    logits: Float[Tensor, "*l v"], sample: Sample, target: int | None, generates: bool, kind: str = "single-label"
) -> Predicted:
    """What a text is scored on.

    A class: the target, or the one predicted. A language model: the target after the text's last token; without a
    target, what was generated after the prompt, or where nothing was, the token predicted after the last one. Another
    model that answers a row a token: what it predicts at each.
    """
    if target is not None and not 0 <= target < logits.shape[-1]:
        raise TargetError(
            f"`targets`: got {target}, and the model has {logits.shape[-1]} outputs; pass 0 to {logits.shape[-1] - 1}."
        )
    if logits.ndim == 1:
        return Predicted(None, torch.tensor([int(logits.argmax()) if target is None else target]), kind)
    last, start = len(sample) - 1 - sample.source, sample.prompt
    if generates and target is None and start is not None and start < len(sample):
        return Predicted(torch.arange(start - 1 - sample.source, last), sample.input_ids[start:])
    if generates or target is not None:
        return Predicted(torch.tensor([last]), torch.tensor([int(logits[last].argmax()) if target is None else target]))
    return Predicted(torch.arange(last + 1), logits[: last + 1].argmax(-1).cpu())


def next_tokens(logits: Float[Tensor, "*l v"], sample: Sample, label: int | None, generates: bool) -> Predicted:
    """What a text's loss is of: a language model's every next token; else as `predicted` has it."""
    if logits.ndim == 2 and generates:
        if label is not None:
            raise TargetError("`labels`: a language model's loss is of the texts' own next tokens; leave them out.")
        ids = sample.input_ids[sample.source :]
        return Predicted(torch.arange(len(ids) - 1), ids[1:])
    return predicted(logits, sample, label, generates)


def read_targets(targets: Any, n: int, name: str = "targets") -> list[int | None]:
    """One target a text: None for what the model answers itself, one for all, or one for each."""
    if isinstance(targets, (Tensor, np.ndarray)):
        targets = targets.tolist()
    if targets is None or _is_whole(targets):
        return [targets] * n
    if isinstance(targets, str) or not isinstance(targets, Sequence) or not all(map(_is_whole, targets)):
        raise TargetError(f"`{name}`: got {targets!r}; pass whole numbers, one for each input or one for all, or None.")
    if len(targets) != n:
        raise TargetError(f"`{name}`: got {len(targets)} for {n} inputs; pass one for each, one for all, or None.")
    return list(targets)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def check_some(samples: Sequence[Sample]) -> None:
    if not samples:
        raise InputError("`inputs`: there is nothing in it; pass texts, or an iterable of them.")
