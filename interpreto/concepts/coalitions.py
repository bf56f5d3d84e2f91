"""Games on concepts: outputs of a classifier where some concepts are present and the others are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from interpreto.concepts.base import ConceptAutoEncoderExplainer
from interpreto.concepts.concept_maps import ConceptMap, MapTraining, classified_texts, halves
from interpreto.concepts.downstream import Downstream
from interpreto.concepts.outputs import single_targets
from interpreto.concepts.splitters.base import TokenSplitter
from interpreto.concepts.splitters.granularities import ActivationGranularity
from interpreto.errors import InputError, TargetError, TaskError
from interpreto.inputs.samples import Sample

VALUES = ("completeness", "accuracy", "probability", "logit")


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Outcomes of a classifier that is given coalitions of concepts.

    Attributes:
        totals: Sum over the texts of each class of their values, ``(s, k)``.
        right: Number of the texts of each class that the model itself gets right, ``(k,)``.
        counts: Number of texts of each class, ``(k,)``.
    """

    totals: Float[Tensor, "s k"]
    right: Float[Tensor, " k"]
    counts: Float[Tensor, " k"]

    def worth(self, value: str) -> Float[Tensor, "s k1"]:
        """Return the value of each coalition for each class, and, last, for all texts; NaN for a class without texts."""
        totals = torch.cat([self.totals, self.totals.sum(1, keepdim=True)], 1)
        counts = torch.cat([self.counts, self.counts.sum()[None]])
        means = totals / counts
        if value != "completeness":
            return means
        accuracy = torch.cat([self.right, self.right.sum()[None]]) / counts
        guess = 1 / len(self.counts)
        gain = accuracy - guess
        return (means - guess) / torch.where(gain == 0, torch.nan, gain)


class ConceptGame:
    """Values of coalitions of concepts, for a classifier of texts.

    Activations are what the decoder, or a map that was trained, makes of the concepts of a coalition, and the model runs on
    from there; concepts outside of it are zero, or their mean.

    Args:
        explainer: Fitted concepts with a splitter.
        inputs: Texts, or any other form that the splitter reads.
        labels: A class for each, by number or name; None: the model's own decisions.
        value: One of `VALUES`; all but ``"completeness"`` are summed as they are, which is of accuracies.
        absent: ``"zero"`` or ``"mean"``.
        players: Concepts that come and go; the others are present.
    """

    def __init__(
        self,
        explainer: ConceptAutoEncoderExplainer,
        inputs: Any,
        labels: Any,
        *,
        value: str,
        absent: str,
        players: Sequence[int],
        activation_granularity: Any = None,
    ) -> None:
        tokens = activation_granularity is None and isinstance(explainer.splitter, TokenSplitter)
        granularity = ActivationGranularity.ALL_TOKENS if tokens else activation_granularity
        self.explainer, self.downstream = explainer, Downstream(explainer, granularity)
        self.downstream.check_distributes("ConceptShap")
        self.samples = self.downstream.samples(inputs)
        self.labels = single_targets(self.downstream.task, labels, self.samples)
        self.value, self.absent, self.players = value, absent, torch.tensor(list(players))
        self.mapping = ConceptMap(explainer)

    def train(self, training: MapTraining, random_state: int) -> tuple[int, ...]:
        """Train the map to activations on half of the texts, with all of their concepts, and keep the other half for the game.

        Returns:
            Numbers of the texts that are kept.

        Raises:
            InputError: there are fewer than two texts.
            TargetError, TaskError: see `classified_texts`.
        """
        if len(self.samples) < 2:
            raise InputError(f"`inputs`: got {len(self.samples)}; pass at least two, one to train on and one to value.")
        generator = Generator().manual_seed(random_state)
        fit, kept = halves(len(self.samples), generator)
        samples, labels = [self.samples[i] for i in fit], [self.labels[i] for i in fit]
        texts = classified_texts(
            self.downstream, samples, labels, name="labels", metric="ConceptShap", other="pass a classifier"
        )
        self.mapping = training(self.downstream, self.explainer, texts, generator)
        self.samples, self.labels = [self.samples[i] for i in kept], [self.labels[i] for i in kept]
        return tuple(kept)

    @torch.no_grad()
    def outcomes(self, coalitions: Bool[Tensor, "s m"]) -> Outcomes:
        """Return what the model gives from each coalition of the players."""
        present = torch.ones(len(coalitions), self.explainer.nb_concepts, dtype=torch.bool)
        present[:, self.players] = coalitions
        absent = self._absent()
        parts = self.downstream.map(self.samples, lambda picked: self._batch(picked, present, absent))
        values, own, labels = (torch.stack(part) for part in zip(*parts, strict=True))
        classes = int(own[0, 1])
        belongs = torch.nn.functional.one_hot(labels.long(), classes).double()
        return Outcomes(values.T @ belongs, (own[:, 0] == labels).double() @ belongs, belongs.sum(0))

    def _absent(self) -> Float[Tensor, " c"] | float:
        if self.absent == "zero":
            return 0.0
        total, count = 0.0, 0
        for text in self.downstream.at_split(self.samples):
            total, count = total + text.concepts.double().sum(0), count + len(text.concepts)
        assert isinstance(total, Tensor)
        return total / count

    def _batch(self, picked: list[int], present: Bool[Tensor, "s c"], absent: Any) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Return each text's values ``(s,)``, the model's own decision with the number of classes, and the label."""
        samples = [self.samples[i] for i in picked]
        batch = self.downstream.batch(samples)
        rows = self.downstream.pool(samples, batch.hidden)
        own = self.downstream.outputs_from(samples, batch.hidden)
        if own.ndim != 2 or own.shape[1] < 2:
            raise TaskError(
                f"`concept_explainer`: ConceptShap explains classifiers of texts, and the logits of "
                f"{type(self.downstream.splitter.model).__name__} have shape {tuple(own.shape)}."
            )
        decided = own.argmax(1)
        given = [int(decided[j]) if self.labels[i] is None else self.labels[i] for j, i in enumerate(picked)]
        labels = torch.tensor(given, device=own.device)
        if int(labels.min()) < 0 or int(labels.max()) >= own.shape[1]:
            raise TargetError(f"`labels`: got {given}; the model has the classes 0 to {own.shape[1] - 1}.")
        found = []
        for masks in present.to(batch.concepts.device).split(batch.copies):
            codes = torch.where(masks[:, None], batch.concepts, torch.as_tensor(absent).to(batch.concepts))
            found.append(self._read(self._logits(samples, batch.hidden, rows, codes), labels))
        classes = torch.full_like(decided, own.shape[1])
        return list(zip(torch.cat(found).T.cpu(), torch.stack([decided, classes], 1).cpu(), labels.cpu(), strict=True))

    def _logits(
        self, samples: Sequence[Sample], hidden: Tensor, rows: Float[Tensor, "u d"], codes: Float[Tensor, "m u c"]
    ) -> Float[Tensor, "m b k"]:
        m = len(codes)
        many = rows.repeat(m, 1)
        moved = self.mapping(codes.flatten(0, 1), many).to(many) - many
        copies = list(samples) * m
        at = self.downstream.moved(copies, hidden.repeat(m, *[1] * (hidden.ndim - 1)), moved)
        return self.downstream.outputs_from(copies, at).unflatten(0, (m, -1)).double()

    def _read(self, logits: Float[Tensor, "m b k"], labels: Int[Tensor, " b"]) -> Float[Tensor, "m b"]:
        if self.value in ("completeness", "accuracy"):
            return (logits.argmax(-1) == labels).double()
        scores = logits.softmax(-1) if self.value == "probability" else logits
        return scores.gather(-1, labels.expand(len(logits), -1)[..., None])[..., 0]
