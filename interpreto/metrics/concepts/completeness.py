"""Completeness: the share of a classifier's accuracy that its concepts give."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from interpreto.aliases import aliases
from interpreto.concepts.base import ConceptAutoEncoderExplainer
from interpreto.concepts.downstream import Downstream
from interpreto.concepts.outputs import single_targets
from interpreto.concepts.splitters.base import TokenSplitter
from interpreto.concepts.splitters.granularities import ActivationGranularity
from interpreto.errors import EstimateWarning, InputError, TargetError, TaskError
from interpreto.inputs.samples import Sample
from interpreto.metrics.concepts.base import Scored
from interpreto.metrics.result import MetricResult
from interpreto.validation import check_count, check_positive, check_seed


@dataclass(frozen=True, eq=False)
class _Text:
    """A text at the split point, its codes ``(u, c)``, and its class."""

    sample: Sample
    hidden: Tensor
    codes: Tensor
    label: int


class ConceptCompleteness(Scored):
    """Share of a classifier's accuracy that its concepts give: ``(P[h(g(z)) = y] − r) / (P[f(x) = y] − r)``.

    g maps the concepts of each unit to activations, from which the model h runs on; r is the accuracy of guessing, one
    over the number of classes. g is the better one, on half of the texts, of the explainer's decoder and of the decoder
    plus a two-layer network that is trained for the model's decisions there; accuracies are of the other half. 1: the
    concepts are enough. 0: they are worth no more than a guess. Higher is better; sampling may take it a little past
    either. Not defined where the model itself is no better than a guess.

    Args:
        concept_explainer: A fitted explainer with the splitter of a classifier.
        width: Hidden neurons of the trained network; 0: the decoder alone.
        n_epochs: Passes over the texts that it is trained on. ``epochs`` is another spelling.
        lr: Learning rate of Adam. ``learning_rate`` is another spelling.
        batch_size: Texts per step.
        activation_granularity: The unit that the concepts were learned of; None: texts where activations have one row per
            text, else all tokens, since every decision could pass through a special token that is left as it is.
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

    @aliases(epochs="n_epochs", learning_rate="lr")
    def __init__(
        self,
        concept_explainer: ConceptAutoEncoderExplainer,
        width: int = 128,
        n_epochs: int = 20,
        lr: float = 1e-3,
        *,
        batch_size: int = 32,
        activation_granularity: Any = None,
        random_state: int = 0,
    ) -> None:
        self.width, self.n_epochs = check_count(width, "width", 0), check_count(n_epochs, "n_epochs", 0)
        self.lr, self.batch_size = check_positive(lr, "lr"), check_count(batch_size, "batch_size")
        self.random_state = check_seed(random_state)
        tokens = activation_granularity is None and isinstance(concept_explainer.splitter, TokenSplitter)
        granularity = ActivationGranularity.ALL_TOKENS if tokens else activation_granularity
        self.explainer, self.downstream = concept_explainer, Downstream(concept_explainer, granularity)
        self.downstream.check_distributes("ConceptCompleteness")

    @aliases(labels="targets")
    def run(self, inputs: Any, targets: Any = None) -> MetricResult:
        """Return the completeness.

        Args:
            inputs: Texts and everything else that the splitter reads; at least two.
            targets: A class for each, by id or name; None: the model's own decisions, of which P[f(x) = y] is 1.
                ``labels`` is another spelling.

        Returns:
            ``per_sample`` is 1 for held-out texts that were classified rightly from their concepts, else 0; ``details`` have
            the accuracies of the ``model``, of the ``decoder``, of the ``chosen`` map and of ``guessing``, the numbers of
            the ``held_out`` texts, and, where the score is not defined, the ``reason``.

        Raises:
            TaskError: the model is no classifier of texts.
        """
        samples = self.downstream.samples(inputs)
        if len(samples) < 2:
            raise InputError(f"`inputs`: got {len(samples)}; pass at least two, one to fit on and one to score.")
        texts, own, classes = self._read(samples, single_targets(self.downstream.task, targets, samples))
        generator = torch.Generator().manual_seed(self.random_state)
        order = torch.randperm(len(texts), generator=generator).tolist()
        fitted, held_out = ([texts[i] for i in half] for half in (order[: len(order) // 2], order[len(order) // 2 :]))
        chosen = decoder = _Map(self.explainer, None)
        if self.width and self.n_epochs:
            trained = self._train(fitted, generator)
            better = self._right(fitted, trained).mean() > self._right(fitted, decoder).mean()
            chosen = trained if bool(better) else decoder
        numbers = order[len(order) // 2 :]
        accurate = torch.tensor([float(own[i] == texts[i].label) for i in numbers], dtype=torch.float64)
        details = {"decoder": float(self._right(held_out, decoder).mean()), "held_out": numbers}
        return self._result(torch.stack([self._right(held_out, chosen), accurate], 1), 1 / classes, details)

    def _result(self, parts: Float[Tensor, "n 2"], guess: float, details: dict[str, Any]) -> MetricResult:
        chosen, model = parts.mean(0).tolist()
        details = {"model": model, "chosen": chosen, "guessing": guess, **details}
        score = float(above_chance(parts.mean(0), guess))
        if math.isnan(score):
            details["reason"] = (
                f"the model's accuracy on the held-out texts is {model:.4g}, that of a guess: completeness is a share of what "
                "the model does better than that, and is not defined"
            )
            warnings.warn(f"ConceptCompleteness: {details['reason']}.", EstimateWarning, stacklevel=3)
        return MetricResult(
            score=score,
            per_sample=parts[:, 0],
            details=details,
            higher_is_better=True,
            value_range=self.value_range,
            n_valid=0 if math.isnan(score) else len(parts),
            n_skipped=len(parts) if math.isnan(score) else 0,
            config={"width": self.width, "n_epochs": self.n_epochs, "random_state": self.random_state},
            name=type(self).__name__,
            parts=parts,
            combined=partial(above_chance, guess=guess),
        )

    def _read(self, samples: Sequence[Sample], labels: Sequence[int | None]) -> tuple[list[_Text], list[int], int]:
        """Return the texts, the model's decisions, and the number of classes."""
        texts, own, classes = [], [], 0
        for text, label in zip(self.downstream.at_split(samples), labels, strict=True):
            if text.logits.ndim != 1 or len(text.logits) < 2:
                raise TaskError(
                    f"`concept_explainer`: completeness is of classifiers of texts, and the logits of "
                    f"{type(self.downstream.splitter.model).__name__} for one have shape {tuple(text.logits.shape)}; "
                    "use LossRecovered."
                )
            own.append(int(text.logits.argmax()))
            classes = len(text.logits)
            if label is not None and not 0 <= label < classes:
                raise TargetError(f"`targets`: got {label}; the model has the classes 0 to {classes - 1}.")
            texts.append(_Text(text.sample, text.hidden[0], text.concepts, own[-1] if label is None else label))
        return texts, own, classes

    def _logits(self, texts: Sequence[_Text], mapping: _Map) -> Float[Tensor, "b k"]:
        samples, parts = [text.sample for text in texts], [text.hidden for text in texts]
        hidden = torch.stack(parts) if parts[0].ndim == 1 else pad_sequence(parts, batch_first=True)
        rows = self.downstream.pool(samples, hidden)
        given = mapping(torch.cat([text.codes for text in texts]))
        return self.downstream.outputs_from(samples, self.downstream.moved(samples, hidden, given.to(rows) - rows))

    @torch.no_grad()
    def _right(self, texts: Sequence[_Text], mapping: _Map) -> Float[Tensor, " n"]:
        """Return 1 for texts whose class follows from the mapped concepts, else 0."""

        def right(picked: list[int]) -> list[float]:
            batch = [texts[i] for i in picked]
            predictions = self._logits(batch, mapping).argmax(1).tolist()
            return [float(prediction == text.label) for prediction, text in zip(predictions, batch, strict=True)]

        return torch.tensor(self.downstream.map([text.sample for text in texts], right), dtype=torch.float64)

    def _train(self, texts: Sequence[_Text], generator: torch.Generator) -> _Map:
        mapping = _Map(self.explainer, _weights(texts[0].codes, texts[0].hidden.shape[-1], self.width, generator))
        assert mapping.weights is not None
        optimizer = torch.optim.Adam(mapping.weights, lr=self.lr)
        for _ in range(self.n_epochs):
            for picked in torch.randperm(len(texts), generator=generator).split(self.batch_size):
                optimizer.zero_grad()
                self._add_gradients([texts[i] for i in picked.tolist()], mapping)
                optimizer.step()
        return mapping

    def _add_gradients(self, texts: Sequence[_Text], mapping: _Map) -> None:
        """Add the gradients of the mean cross-entropy, in parts where the texts cannot be run together."""

        def add(picked: list[int]) -> list[int]:
            batch = [texts[i] for i in picked]
            with torch.enable_grad():
                logits = self._logits(batch, mapping)
                labels = torch.tensor([text.label for text in batch], device=logits.device)
                (cross_entropy(logits, labels, reduction="sum") / len(texts)).backward()
            return picked

        self.downstream.map([text.sample for text in texts], add)


def above_chance(accuracies: Float[Tensor, "*b 2"], guess: float) -> Float[Tensor, "*b"]:
    """Compute the share of the second accuracy's gain over guessing that the first one has; NaN where there is no gain."""
    first, second = (accuracies - guess).unbind(-1)
    return torch.where(second == 0, torch.nan, first / second)


@dataclass(frozen=True, eq=False)
class _Map:
    """Maps concepts to activations: the decoder, plus a two-layer network where there is one."""

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
    """Return weights of a network whose output is zero, so that training begins at the decoder."""
    c = codes.shape[1]
    first = (2 * torch.rand(c, width, generator=generator, dtype=torch.float64) - 1) / c**0.5
    starts = [first, torch.zeros(width), torch.zeros(width, d), torch.zeros(d)]
    return [start.to(codes.device, codes.dtype).requires_grad_() for start in starts]
