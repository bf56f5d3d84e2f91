"""Maps from concepts to activations: a decoder, and a network next to it that is trained for a classifier's decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from interpreto.concepts.base import ConceptAutoEncoderExplainer
from interpreto.concepts.downstream import Downstream
from interpreto.errors import TargetError, TaskError
from interpreto.inputs.samples import Sample


@dataclass(frozen=True, eq=False)
class ClassifiedText:
    """A text at the split point, with its codes ``(u, c)``, its class, the model's own decision and the number of classes."""

    sample: Sample
    hidden: Tensor
    codes: Tensor
    label: int
    decision: int
    classes: int


def classified_texts(
    downstream: Downstream, samples: Sequence[Sample], labels: Sequence[int | None], *, name: str, metric: str, other: str
) -> list[ClassifiedText]:
    """Return the texts at the split point, each with its class; None: the model's own decision.

    Args:
        downstream: Runs the model.
        samples: The texts.
        labels: Class of each.
        name: Argument that the labels come from.
        metric: What is of classifiers alone.
        other: What to use for other models.

    Raises:
        TargetError: there is no such class.
        TaskError: the model is no classifier of texts.
    """
    texts = []
    with torch.inference_mode(False):  # what is read here may be trained on
        for text, label in zip(downstream.at_split(samples), labels, strict=True):
            if text.logits.ndim != 1 or len(text.logits) < 2:
                raise TaskError(
                    f"`concept_explainer`: {metric} is of classifiers of texts, and the logits of "
                    f"{type(downstream.splitter.model).__name__} for one have shape {tuple(text.logits.shape)}; {other}."
                )
            own, classes = int(text.logits.argmax()), len(text.logits)
            if label is not None and not 0 <= label < classes:
                raise TargetError(f"`{name}`: got {label}; the model has the classes 0 to {classes - 1}.")
            given = own if label is None else label
            texts.append(ClassifiedText(text.sample, text.hidden[0], text.concepts, given, own, classes))
    return texts


@dataclass(frozen=True, eq=False)
class ConceptMap:
    """Maps concepts to activations: the decoder, plus a two-layer network where there is one."""

    explainer: ConceptAutoEncoderExplainer
    weights: tuple[Tensor, ...] | None = None

    def __call__(self, codes: Float[Tensor, "u c"], rows: Float[Tensor, "u d"] | None = None) -> Float[Tensor, "u d"]:
        """Return activations; differentiable in the network's weights alone."""
        with torch.no_grad():
            decoded = self.explainer.decode_concepts(codes, rows)
        if self.weights is None:
            return decoded
        first, bias, second, offset = self.weights
        return decoded + torch.relu(codes @ first + bias) @ second + offset


@dataclass(frozen=True)
class MapTraining:
    """Training of a map for the decisions of a classifier, by Adam on the cross-entropy.

    Attributes:
        width: Hidden neurons of the network; 0: the decoder alone.
        n_epochs: Passes over the texts; 0: the decoder alone.
        lr: Learning rate.
        batch_size: Texts per step.
    """

    width: int
    n_epochs: int
    lr: float
    batch_size: int

    def __call__(
        self,
        downstream: Downstream,
        explainer: ConceptAutoEncoderExplainer,
        texts: Sequence[ClassifiedText],
        generator: Generator,
    ) -> ConceptMap:
        """Return the better on some texts of the decoder and of a map that is trained on them.

        Neither the model's gradients nor the caller's autograd mode change.

        Args:
            downstream: Runs the model.
            explainer: Its decoder is where training begins.
            texts: Texts with their classes.
            generator: Draws the weights and the batches.
        """
        decoder = ConceptMap(explainer)
        if not self.width or not self.n_epochs:
            return decoder
        with torch.inference_mode(False):
            weights = _weights(texts[0].codes, texts[0].hidden.shape[-1], self.width, generator)
            mapping = ConceptMap(explainer, weights)
            optimizer = torch.optim.Adam(weights, lr=self.lr)
            for _ in range(self.n_epochs):
                for picked in torch.randperm(len(texts), generator=generator).split(self.batch_size):
                    batch = [texts[i] for i in picked.tolist()]
                    for weight, gradient in zip(weights, _gradients(downstream, batch, mapping), strict=True):
                        weight.grad = gradient
                    optimizer.step()
        trained = ConceptMap(explainer, tuple(weight.detach() for weight in weights))
        better = decided_rightly(downstream, texts, trained).mean() > decided_rightly(downstream, texts, decoder).mean()
        return trained if bool(better) else decoder


@torch.no_grad()
def decided_rightly(downstream: Downstream, texts: Sequence[ClassifiedText], mapping: ConceptMap) -> Float[Tensor, " n"]:
    """Return 1 for texts whose class follows from the mapped concepts, else 0."""

    def right(picked: list[int]) -> list[float]:
        batch = [texts[i] for i in picked]
        predictions = _mapped_logits(downstream, batch, mapping).argmax(1).tolist()
        return [float(prediction == text.label) for prediction, text in zip(predictions, batch, strict=True)]

    return torch.tensor(downstream.map([text.sample for text in texts], right), dtype=torch.float64)


def halves(n: int, generator: Generator) -> tuple[list[int], list[int]]:
    """Return the numbers of the texts to train on, and of those to value, in random order."""
    order = torch.randperm(n, generator=generator).tolist()
    return order[: n // 2], order[n // 2 :]


def _mapped_logits(downstream: Downstream, texts: Sequence[ClassifiedText], mapping: ConceptMap) -> Float[Tensor, "b k"]:
    """Compute what the model gives from the activations to which the concepts of each text are mapped."""
    samples, parts = [text.sample for text in texts], [text.hidden for text in texts]
    hidden = torch.stack(parts) if parts[0].ndim == 1 else pad_sequence(parts, batch_first=True)
    rows = downstream.pool(samples, hidden)
    given = mapping(torch.cat([text.codes for text in texts]))
    return downstream.outputs_from(samples, downstream.moved(samples, hidden, given.to(rows) - rows))


def _gradients(downstream: Downstream, texts: Sequence[ClassifiedText], mapping: ConceptMap) -> list[Tensor]:
    """Return the gradients of the mean cross-entropy, from parts where the texts cannot be run together."""
    assert mapping.weights is not None
    weights = mapping.weights
    totals = [torch.zeros_like(weight) for weight in weights]

    def add(picked: list[int]) -> list[int]:
        with torch.enable_grad():
            logits = _mapped_logits(downstream, [texts[i] for i in picked], mapping)
            labels = torch.tensor([texts[i].label for i in picked], device=logits.device)
            loss = cross_entropy(logits, labels, reduction="sum") / len(texts)
            gradients = torch.autograd.grad(loss, weights)
        for total, gradient in zip(totals, gradients, strict=True):
            total.add_(gradient)
        return picked

    downstream.map([text.sample for text in texts], add)
    return totals


def _weights(codes: Tensor, d: int, width: int, generator: Generator) -> tuple[Tensor, ...]:
    """Return weights of a network whose output is zero, so that training begins at the decoder."""
    c = codes.shape[1]
    first = (2 * torch.rand(c, width, generator=generator, dtype=torch.float64) - 1) / c**0.5
    starts = (first, torch.zeros(width), torch.zeros(width, d), torch.zeros(d))
    return tuple(start.to(codes.device, codes.dtype).requires_grad_() for start in starts)
