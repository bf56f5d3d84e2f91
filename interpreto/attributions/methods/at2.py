"""AT2: attention to the sources of a context, with weights of heads that are learned from ablations."""

from __future__ import annotations

from contextlib import suppress
from os import PathLike
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import Unpack

from interpreto.attributions.aggregations.base import Aggregator, Estimate
from interpreto.attributions.attention.evidence import Attention
from interpreto.attributions.attention.head_weights import Ablations, HeadsFlow, WeightedFlow, fitted
from interpreto.attributions.attention.rules import FlowRule
from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.evidence import Parts
from interpreto.attributions.links import LOG_ODDS
from interpreto.attributions.options import Options
from interpreto.attributions.perturbations import RandomMaskedTokenPerturbator
from interpreto.errors import OptionError
from interpreto.inputs.samples import MaskVariants, Sample
from interpreto.inputs.units import Granularity
from interpreto.storage import read_file, write_file
from interpreto.validation import shown

FORMAT = "interpreto.at2/1"


class At2(AttributionExplainer):
    """Add up how much an answer attends to each source of its context, with a weight for each head of each layer.

    The weights are fitted once per model, so that the sums predict what removing sources does to answers; then an explanation
    takes one forward pass. Without a fit, all heads weigh the same. Values have no unit: they rank sources, and are not parts
    of the score. Sources are sentences by default, and the whole answer is explained, by its context alone.

    Args:
        weights: ``(layers, heads)``, or a file that `save_weights` wrote; None: all heads weigh the same.

    Attributes:
        weights: Weight of each head, their sizes 1 in sum; None: all heads weigh the same.

    Raises:
        OptionError: The weights are no table of numbers, or not those of a model with these layers.

    Examples:
        >>> from interpreto import At2, demo
        >>> text = "It rained all day. The film was wonderful. We went home by bus."
        >>> explanation = At2(*demo.load_classifier())(text)[0]
        >>> explanation.elements[0], round(float(explanation.attributions.sum()), 1) <= 1.0
        ('It rained all day.', True)

    References:
        Cohen-Wang et al., 2025, https://arxiv.org/abs/2504.13752.
    """

    explains_answers = True
    fitted = ("weights",)

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        *,
        weights: Any = None,
        **options: Unpack[Options],
    ) -> None:
        self.weights = _read_weights(weights)
        options.setdefault("granularity", Granularity.SENTENCE)
        rule = FlowRule(lambda: WeightedFlow(self.weights))
        super().__init__(model, tokenizer, batch_size, evidence=Attention(rule), signed=True, **options)

    def fit(
        self,
        inputs: Any,
        targets: Any = None,
        *,
        n_perturbations: int = 32,
        replacement: str | int = "drop",
        positive: bool = True,
        **call: Any,
    ) -> At2:
        """Learn the weights of heads from the scores of answers without random halves of their contexts.

        Args:
            inputs: Contexts; some tens are enough for small models.
            targets: Answers, as `explain` takes them; None: those that the model writes.
            n_perturbations: Perturbed inputs of each.
            replacement: What removed sources become.
            positive: No weight is below 0. With some tens of answers, weights of both signs fit these, and not others.
            **call: ``spans``, ``roles`` and ``generation_kwargs``, as in `explain`.

        Returns:
            The explainer itself.

        Raises:
            OptionError: Nothing that was removed changed a score, or the model is no language model of one stack.
        """
        if not self.task.generates:
            raise OptionError("`fit`: weights are fitted on answers of a language model; a classifier has none.")
        self.weights = fitted(self._ablations(inputs, targets, n_perturbations, replacement, call), positive=positive)
        return self

    def save_weights(self, path: str | PathLike[str]) -> None:
        """Write the weights to a file, which ``At2(model, tokenizer, weights=path)`` reads.

        Raises:
            OptionError: There are none yet.
            FileError: The file cannot be written.
        """
        if self.weights is None:
            raise OptionError("`save_weights`: there are no weights yet; call `fit` first.")
        write_file(path, FORMAT, {"weights": self.weights}, {})

    def _ablations(self, inputs: Any, targets: Any, n: int, replacement: str | int, call: dict[str, Any]) -> list[Ablations]:
        """Return the attention and the ablated scores of each answer."""
        scored = _Kept()
        settings = self.settings
        explainer = AttributionExplainer(
            self.model.forward.model,
            self.tokenizer,
            self.batch_size,
            RandomMaskedTokenPerturbator(n, 0.5),
            scored,
            replacement=replacement,
            granularity=settings.granularity,
            random_state=settings.random_state,
            task=settings.task,
            truncation=settings.truncation,
        )
        explainer(inputs, targets, **{"aggregate": "sequence", "attribute_targets": False, **call})
        model = self.model.configured(self.task.read, batch_size=self.batch_size)
        aim = Parts(self.perturbator, None, self.task, self._generator, self.strategy).with_targets
        found = []
        with model.session():
            for scores, variants in scored.seen:
                features = _features(model, variants.sample, aim)
                linked = LOG_ODDS.function(scores) if LOG_ODDS.applies(self.task, _targets(variants.sample)) else scores
                found.append(Ablations(features, 1 - variants.mask, linked[:, 0]))
        return found


class _Kept(Aggregator):
    """Keep scores and masks; the values are zero."""

    def __init__(self) -> None:
        self.seen: list[tuple[Tensor, MaskVariants]] = []

    def aggregate(self, scores: Float[Tensor, "p t"], variants: MaskVariants) -> Estimate:
        self.seen.append((scores, variants))
        return Estimate(torch.zeros(scores.shape[1], variants.mask.shape[1]))


def _features(model: Any, sample: Sample, aim: Any) -> Float[Tensor, "m h u"]:
    """Return how much an answer attends to each unit, for each head of each layer."""
    readout = _targets(sample).readouts[0]
    if sample.source or readout.positions is None:
        raise OptionError("`fit`: the model has two stacks, and weights are fitted for one; use the mean of its heads.")
    read = torch.zeros(len(sample)).index_add(0, readout.positions, torch.ones(len(readout.positions)))
    flow = HeadsFlow(read / read.sum())
    model.attention([sample], FlowRule(lambda: flow), aim)
    rows = torch.stack(flow.found)
    index = sample.units.index[: rows.shape[-1]]
    units = torch.nn.functional.one_hot(index[index >= 0], len(sample.units)).to(rows)
    return rows[..., index >= 0] @ units


def _targets(sample: Sample) -> Any:
    assert sample.targets is not None
    return sample.targets


def _read_weights(weights: Any) -> Float[Tensor, "m h"] | None:
    """Return weights of heads, given a table or a file."""
    if weights is None:
        return None
    if isinstance(weights, (str, PathLike)):
        weights = read_file(weights, FORMAT, "weights of heads")[0].get("weights")
    if isinstance(weights, (list, tuple)):
        with suppress(TypeError, ValueError):
            weights = torch.tensor(weights, dtype=torch.float32)
    if not isinstance(weights, Tensor) or weights.ndim != 2 or not weights.isfinite().all():
        raise OptionError(f"`weights`: got {shown(weights)}; pass a table (layers, heads) of numbers, or a file of them.")
    return weights.float()
