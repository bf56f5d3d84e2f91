"""Whether the concepts are all that a classifier's decisions need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from interpreto.concepts.base import ConceptAutoEncoderExplainer
from interpreto.concepts.concept_model import read_seed
from interpreto.concepts.splitters.base import TokenSplitter
from interpreto.concepts.splitters.granularities import ActivationGranularity
from interpreto.errors import InputError, OptionError, TargetError, TaskError
from interpreto.inputs.samples import Sample
from interpreto.metrics.concepts.outputs import AboveSplit, read_targets
from interpreto.metrics.result import MetricResult


@dataclass(frozen=True, eq=False)
class _Text:
    """A text at the split point, its codes ``(u, c)``, and its class."""

    sample: Sample
    hidden: Tensor
    codes: Tensor
    label: int


class ConceptCompleteness:
    """How much of a classifier's accuracy its concepts can give: ``(P[h(g(z)) = y] − r) / (P[f(x) = y] − r)``.

    g maps the concepts of each unit to activations, from which the model h runs on; r is the accuracy of guessing, one
    over the number of classes. g is the better one, on half of the texts, of the explainer's decoder and of the decoder
    plus a two-layer network that is trained for the model's decisions there; accuracies are of the other half. 1: the
    concepts are enough. 0: they are worth no more than a guess. Higher is better; sampling may take it a little past
    either.

    Args:
        concept_explainer: A fitted explainer with the splitter of a classifier.
        width: Hidden neurons of the trained network; 0: the decoder alone.
        epochs: Passes over the texts that it is trained on.
        learning_rate: Of its Adam.
        batch_size: Texts a step.
        activation_granularity: What is explained; None: texts where activations have one row a text, else all tokens,
            since through a special token that is left as it is every decision could pass.
        random_state: Seed of the halves, the network and the batches.

    Raises:
        OptionError: the explainer has no splitter, or an option is out of range.

    Examples:
        >>> from interpreto import demo
        >>> from interpreto.concepts import NeuronsAsConcepts
        >>> from interpreto.concepts.splitters import SplitterForClassification
        >>> model, tokenizer = demo.load_classifier()
        >>> neurons = NeuronsAsConcepts(SplitterForClassification(model, tokenizer=tokenizer), nb_concepts=128)
        >>> ConceptCompleteness(neurons, width=0).compute(["A charming film.", "Dull.", "I loved it.", "A mess."])
        1.0

    References:
        Yeh et al., NeurIPS 2020, https://arxiv.org/abs/1910.07969.
    """

    higher_is_better = True
    value_range = (None, None)

    def __init__(
        self,
        concept_explainer: ConceptAutoEncoderExplainer,
        width: int = 128,
        epochs: int = 20,
        learning_rate: float = 1e-3,
        *,
        batch_size: int = 32,
        activation_granularity: Any = None,
        random_state: int = 0,
    ) -> None:
        for name, value, least in (("width", width, 0), ("epochs", epochs, 0), ("batch_size", batch_size, 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise OptionError(f"`{name}`: got {value!r}; pass a whole number of at least {least}.")
        if not learning_rate > 0:
            raise OptionError(f"`learning_rate`: got {learning_rate!r}; pass a number above 0.")
        tokens = activation_granularity is None and isinstance(concept_explainer.splitter, TokenSplitter)
        self.upper = AboveSplit(concept_explainer, ActivationGranularity.ALL_TOKENS if tokens else activation_granularity)
        self.upper.check_distributes("ConceptCompleteness")
        self.width, self.epochs, self.learning_rate, self.batch_size = width, epochs, learning_rate, batch_size
        self.random_state = read_seed(random_state)

    def run(self, inputs: Any, labels: Any = None) -> MetricResult:
        """The completeness.

        Args:
            inputs: Texts and all else that the splitter takes; at least two.
            labels: A class for each; None: the model's own decisions, of which P[f(x) = y] is 1.

        Returns:
            ``per_sample`` says which of the held-out texts were right; ``details`` have the accuracies of the ``model``,
            of the ``decoder``, of the ``chosen`` map and of ``guessing``, and the numbers of the ``held_out`` texts.

        Raises:
            TaskError: the model is no classifier of texts.
        """
        samples = self.upper.samples(inputs)
        if len(samples) < 2:
            raise InputError(f"`inputs`: got {len(samples)}; pass at least two, one to fit on and one to score.")
        texts, own, classes = self._read(samples, read_targets(labels, len(samples), "labels"))
        generator = torch.Generator().manual_seed(self.random_state)
        order = torch.randperm(len(texts), generator=generator).tolist()
        fitted, held_out = ([texts[i] for i in half] for half in (order[: len(order) // 2], order[len(order) // 2 :]))
        chosen = decoder = _Map(self.upper.explainer, None)
        if self.width and self.epochs:
            trained = self._train(fitted, generator)
            better = self._right(fitted, trained).mean() > self._right(fitted, decoder).mean()
            chosen = trained if bool(better) else decoder
        right, guess = self._right(held_out, chosen), 1 / classes
        numbers = order[len(order) // 2 :]
        parts = torch.stack([right, torch.tensor([float(own[i] == texts[i].label) for i in numbers], dtype=torch.float64)], 1)
        accuracies = parts.mean(0)
        details = {
            "model": float(accuracies[1]),
            "decoder": float(self._right(held_out, decoder).mean()),
            "chosen": float(right.mean()),
            "guessing": guess,
            "held_out": numbers,
        }
        return MetricResult(
            score=float(above_chance(accuracies, guess)),
            per_sample=right,
            details=details,
            higher_is_better=True,
            value_range=self.value_range,
            n_valid=len(held_out),
            n_skipped=0,
            config={"width": self.width, "epochs": self.epochs, "random_state": self.random_state},
            name=type(self).__name__,
            parts=parts,
            combined=partial(above_chance, guess=guess),
        )

    def compute(self, inputs: Any, labels: Any = None) -> float:
        """The score alone."""
        return float(self.run(inputs, labels))

    def _read(self, samples: Sequence[Sample], labels: Sequence[int | None]) -> tuple[list[_Text], list[int], int]:
        """The texts, the model's decisions, and how many classes there are."""
        texts, own, classes = [], [], 0
        for text, label in zip(self.upper.read(samples), labels, strict=True):
            if text.logits.ndim != 1 or len(text.logits) < 2:
                raise TaskError(
                    f"`concept_explainer`: completeness is of classifiers of texts, and "
                    f"{type(self.upper.splitter.model).__name__} answers shape {tuple(text.logits.shape)} for one; "
                    "use LossRecovered."
                )
            own.append(int(text.logits.argmax()))
            classes = len(text.logits)
            if label is not None and not 0 <= label < classes:
                raise TargetError(f"`labels`: got {label}; the model has the classes 0 to {classes - 1}.")
            texts.append(_Text(text.sample, text.hidden[0], text.codes, own[-1] if label is None else label))
        return texts, own, classes

    def _logits(self, texts: Sequence[_Text], mapping: _Map) -> Float[Tensor, "b k"]:
        samples, parts = [text.sample for text in texts], [text.hidden for text in texts]
        hidden = torch.stack(parts) if parts[0].ndim == 1 else pad_sequence(parts, batch_first=True)
        rows = self.upper.rows(samples, hidden)
        given = mapping(torch.cat([text.codes for text in texts]))
        return self.upper.outputs_from(samples, self.upper.moved(samples, hidden, given.to(rows) - rows))

    @torch.no_grad()
    def _right(self, texts: Sequence[_Text], mapping: _Map) -> Float[Tensor, " n"]:
        right = torch.zeros(len(texts), dtype=torch.float64)

        def run(picked: list[int]) -> None:
            logits = self._logits([texts[i] for i in picked], mapping)
            for i, answer in zip(picked, logits.argmax(1).tolist(), strict=True):
                right[i] = float(answer == texts[i].label)

        self.upper.splitter.sweep([text.sample for text in texts], run)
        return right

    def _train(self, texts: Sequence[_Text], generator: torch.Generator) -> _Map:
        mapping = _Map(self.upper.explainer, _weights(texts[0].codes, texts[0].hidden.shape[-1], self.width, generator))
        assert mapping.weights is not None
        optimizer = torch.optim.Adam(mapping.weights, lr=self.learning_rate)
        for _ in range(self.epochs):
            for picked in torch.randperm(len(texts), generator=generator).split(self.batch_size):
                optimizer.zero_grad()
                self._add_gradients([texts[i] for i in picked.tolist()], mapping)
                optimizer.step()
        return mapping

    def _add_gradients(self, texts: Sequence[_Text], mapping: _Map) -> None:
        """Of the mean cross-entropy; in parts, where the texts cannot be run together."""

        def run(picked: list[int]) -> None:
            batch = [texts[i] for i in picked]
            with torch.enable_grad():
                logits = self._logits(batch, mapping)
                labels = torch.tensor([text.label for text in batch], device=logits.device)
                (cross_entropy(logits, labels, reduction="sum") / len(texts)).backward()

        self.upper.splitter.sweep([text.sample for text in texts], run)


def above_chance(accuracies: Float[Tensor, "*b 2"], guess: float) -> Float[Tensor, "*b"]:
    """How far the first accuracy is above guessing, as a share of how far the second is; NaN where that is nothing."""
    first, second = (accuracies - guess).unbind(-1)
    return torch.where(second == 0, torch.nan, first / second)


@dataclass(frozen=True, eq=False)
class _Map:
    """Concepts to activations: the decoder, plus a two-layer network where there is one."""

    explainer: ConceptAutoEncoderExplainer
    weights: list[Tensor] | None

    def __call__(self, codes: Float[Tensor, "u c"]) -> Float[Tensor, "u d"]:
        with torch.no_grad():
            decoded = self.explainer.decode_concepts(codes)
        if self.weights is None:
            return decoded
        first, bias, second, offset = self.weights
        return decoded + torch.relu(codes @ first + bias) @ second + offset


def _weights(codes: Tensor, d: int, width: int, generator: torch.Generator) -> list[Tensor]:
    """Of a network that answers zero, so that training begins at the decoder."""
    c = codes.shape[1]
    first = (2 * torch.rand(c, width, generator=generator, dtype=torch.float64) - 1) / c**0.5
    starts = [first, torch.zeros(width), torch.zeros(width, d), torch.zeros(d)]
    return [start.to(codes.device, codes.dtype).requires_grad_() for start in starts]
