"""Completeness: the share of a classifier's accuracy that its concepts give."""

from __future__ import annotations

import math
import warnings
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.aliases import aliases
from interpreto.concepts.base import ConceptAutoEncoderExplainer
from interpreto.concepts.concept_maps import ConceptMap, MapTraining, classified_texts, decided_rightly, halves
from interpreto.concepts.downstream import Downstream
from interpreto.concepts.outputs import single_targets
from interpreto.concepts.splitters.base import TokenSplitter
from interpreto.concepts.splitters.granularities import ActivationGranularity
from interpreto.errors import EstimateWarning, InputError
from interpreto.metrics.concepts.base import Scored
from interpreto.metrics.result import MetricResult
from interpreto.validation import check_count, check_positive, check_seed


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
        labels = single_targets(self.downstream.task, targets, samples)
        texts = classified_texts(
            self.downstream, samples, labels, name="targets", metric="completeness", other="use LossRecovered"
        )
        generator = torch.Generator().manual_seed(self.random_state)
        fit, numbers = halves(len(texts), generator)
        held_out, decoder = [texts[i] for i in numbers], ConceptMap(self.explainer)
        training = MapTraining(self.width, self.n_epochs, self.lr, self.batch_size)
        chosen = training(self.downstream, self.explainer, [texts[i] for i in fit], generator)
        accurate = torch.tensor([float(text.decision == text.label) for text in held_out], dtype=torch.float64)
        right = [decided_rightly(self.downstream, held_out, mapping) for mapping in (decoder, chosen)]
        details = {"decoder": float(right[0].mean()), "held_out": numbers}
        return self._result(torch.stack([right[1], accurate], 1), 1 / texts[0].classes, details)

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


def above_chance(accuracies: Float[Tensor, "*b 2"], guess: float) -> Float[Tensor, "*b"]:
    """Compute the share of the second accuracy's gain over guessing that the first one has; NaN where there is no gain."""
    first, second = (accuracies - guess).unbind(-1)
    return torch.where(second == 0, torch.nan, first / second)
