"""Evidence: how a method questions the model. One small class for each kind; explainers do not tell them apart."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from interpreto.attributions.aggregations.base import Aggregator, Estimate, jackknife, jackknife_in_logarithms
from interpreto.attributions.links import Link, linked
from interpreto.attributions.perturbations.base import EmbeddingsPerturbator, Perturbator
from interpreto.errors import ModelError, OptionError
from interpreto.inputs.samples import EmbeddingVariants, MaskVariants, Sample
from interpreto.inputs.units import GranularityAggregationStrategy
from interpreto.models.batching import windows
from interpreto.models.gradients import ContractedGradients, GradientReducer
from interpreto.models.protocol import MakesRules, Need
from interpreto.models.scorer import finite, mixed
from interpreto.models.tasks import Classification, Task

SAMPLES_HELD = 4  # batches of points that are held at a time
OUTPUTS_READ = 4096  # of a classifier, to tell what it predicts next to the targets that are asked for
NUMBERS_HELD = 2**26  # of reduced gradients, per sample; more targets are explained in blocks


@dataclass(frozen=True, eq=False)
class Explained:
    """Attributions of one sample.

    Attributes:
        sample: With its targets, which may have been the model's prediction.
        estimate: Values of the units, or of the tokens that some score depends on.
        base: ``(t,)`` scores of the untouched input.
        residual: ``(t,)`` part of the score gap that the values leave unexplained, where it is known already.
        mode_name: Name of the score that is explained; None: that of the task.
    """

    sample: Sample
    estimate: Estimate
    base: Float[Tensor, " t"]
    residual: Float[Tensor, " t"] | None = None
    mode_name: str | None = None


@dataclass(frozen=True, eq=False)
class Parts:
    """Parts of a method, and settings that they share.

    Attributes:
        perturbator: Makes the perturbed inputs.
        aggregator: Turns their scores or gradients into attributions; None: they are attributions as they are.
        task: Reads predictions and scores.
        generator: Returns a fresh generator for each input, so that its draws do not depend on the inputs before it.
        strategy: How token values become unit values.
    """

    perturbator: Perturbator
    aggregator: Aggregator | None
    task: Task
    generator: Callable[[], Generator]
    strategy: GranularityAggregationStrategy

    def estimate(self, scores: Any, variants: Any) -> Estimate:
        """Return what the aggregator makes of scores."""
        assert self.aggregator is not None
        estimate = self.aggregator.aggregate(scores, variants)
        return estimate if isinstance(estimate, Estimate) else Estimate(estimate)

    def asked(self, sample: Sample) -> Sample:
        """Return the sample as it is run: without targets where all outputs are wanted, which tell what the model predicts."""
        return replace(sample, targets=None) if self._decides(sample) else sample

    def with_targets(self, sample: Sample, outputs: Float[Tensor, "r t"]) -> tuple[Sample, Float[Tensor, "r t2"]]:
        """Return the sample with its targets and what the model predicts, and the scores of the targets.

        Where all outputs came back, the untouched input's first, the prediction is read off it: it costs no pass of its own.

        Args:
            sample: The sample as it was given, with its targets if it had any.
            outputs: What the model returned for it as `asked`.
        """
        decides = self._decides(sample)
        if sample.targets is not None and not decides:
            return sample, outputs
        targets = self.task.predicted(outputs[0]) if sample.targets is None else sample.targets
        ids = targets.readouts[0].ids.expand(len(outputs), -1)
        prediction = self.task.prediction(outputs[0].detach()) if decides and isinstance(self.task, Classification) else None
        sample = replace(sample, targets=targets, prediction=prediction)
        return sample, finite(mixed(self.task.read(outputs, ids), targets.readouts[0]), sample)

    def _decides(self, sample: Sample) -> bool:
        """Return True for a sample of a classifier whose outputs are few enough to be read whole."""
        task = self.task
        if not isinstance(task, Classification) or task.kind == "regression" or len(task.id2label) > OUTPUTS_READ:
            return False
        return sample.targets is None or all(r.positions is None and r.suffix is None for r in sample.targets.readouts)


class Evidence(ABC):
    """A way to question a model about samples.

    Attributes:
        needs: What the model must provide.
        pools: Values are of tokens, and are pooled to units.
    """

    needs: ClassVar[Need]
    pools: ClassVar[bool] = False

    @abstractmethod
    def estimates(self, model: Any, samples: Sequence[Sample], parts: Parts) -> Iterator[Explained]:
        """Yield the attributions of each sample, in order. Called within a session of the model."""


class Scores(Evidence):
    """Scores of inputs in which units are masked.

    Args:
        link: Function of the scores that is explained in their place, where it applies; None: they are explained.
    """

    needs: ClassVar[Need] = "scores"

    def __init__(self, link: Link | None = None) -> None:
        self.link = link

    def estimates(self, model: Any, samples: Sequence[Sample], parts: Parts) -> Iterator[Explained]:
        made = (parts.perturbator(sample, parts.generator()) for sample in samples)  # type: ignore[operator]
        asked = (replace(v, sample=parts.asked(v.sample)) for v in made)
        for given, (v, outputs) in zip(samples, model.scores(asked), strict=True):
            sample, scores = parts.with_targets(given, outputs)
            assert sample.targets is not None
            scores, name = linked(self.link, scores, parts.task, sample.targets)
            players = MaskVariants(sample, v.mask[:, : sample.players], v.weights, v.groups)
            estimate = (
                self._as_they_are(scores[1:], players) if parts.aggregator is None else parts.estimate(scores[1:], players)
            )
            yield Explained(sample, estimate, scores[0], mode_name=name)

    @staticmethod
    def _as_they_are(scores: Float[Tensor, "p t"], variants: MaskVariants) -> Estimate:
        if len(scores) != variants.mask.shape[1]:
            raise OptionError(
                f"`aggregator`: {len(scores)} perturbed inputs and {variants.mask.shape[1]} units; only as many perturbed "
                "inputs as units can be attributions as they are, so pass an aggregator."
            )
        return Estimate(scores.T)


class Gradients(Evidence):
    """Gradients at the embeddings.

    Args:
        rules: Makes the rules that the backward passes follow; None: those of calculus.
        divides_score: The values divide the score itself: their reference is 0. For variants without a baseline.
        shares_residual: What the values of all tokens leave of it is shared among them, by their magnitudes.
    """

    needs: ClassVar[Need] = "gradients"
    pools: ClassVar[bool] = True

    def __init__(self, rules: MakesRules | None = None, *, divides_score: bool = False, shares_residual: bool = False) -> None:
        self.rules, self.divides_score, self.shares_residual = rules, divides_score, shares_residual

    def estimates(self, model: Any, samples: Sequence[Sample], parts: Parts) -> Iterator[Explained]:
        variants = (parts.perturbator(sample, model.space, parts.generator()) for sample in samples)  # type: ignore[operator]
        limit = SAMPLES_HELD * (model.runner.budget.rows or model.runner.budget.tokens)
        for window in windows(variants, lambda v: model.runner.cost(v.sample, len(v.points)), limit):
            yield from (self._at_inputs if self._stays(model, window, parts) else self._window)(model, window, parts)

    def _stays(self, model: Any, window: Sequence[EmbeddingVariants], parts: Parts) -> bool:
        """Return True where one pass serves scores and gradients: points are inputs, baselines are run next to them."""
        if not getattr(parts.perturbator, "stays", False):
            return False
        paired, kind = self.rules is not None and self.rules().paired, kind_of(parts)
        if any(v.baseline is not None for v in window) and not paired:
            return False
        if self.rules is not None and model.forward.low_precision:  # rules are written out, and round more than kernels do
            return False
        return all(v.sample.targets is None or len(v.sample.targets) <= _together(v, kind) for v in window)

    def _at_inputs(self, model: Any, window: Sequence[EmbeddingVariants], parts: Parts) -> Iterator[Explained]:
        """Read scores, predictions and gradients from the same passes."""
        asked = [parts.asked(v.sample) for v in window]
        for at in model.gradients_at_inputs(window, asked, parts.with_targets, kind_of(parts), self.rules):
            estimate = self._reduced(at.reducer, at.variants, parts)
            yield self.pooled(estimate, at.variants, at.variants.sample, at.ends, parts.strategy)

    def _window(self, model: Any, window: Sequence[EmbeddingVariants], parts: Parts) -> Iterator[Explained]:
        """Score the inputs and baselines first, which also tells predictions; then read the gradients."""
        inputs = [model.embed(v.sample) for v in window]
        ends = [ends_of(x, v.baseline) for x, v in zip(inputs, window, strict=True)]
        scores = model.scores_at([(parts.asked(v.sample), end) for v, end in zip(window, ends, strict=True)])
        with_targets = [parts.with_targets(v.sample, own) for v, own in zip(window, scores, strict=True)]
        aimed = [replace(v, sample=sample) for v, (sample, _) in zip(window, with_targets, strict=True)]
        values = self._values(model, aimed, parts)
        for v, (sample, own), estimate in zip(aimed, with_targets, values, strict=True):
            yield self.pooled(estimate, v, sample, own, parts.strategy)

    def _values(self, model: Any, window: Sequence[EmbeddingVariants], parts: Parts) -> list[Estimate]:
        """Return the values of tokens; of samples with very many targets, block by block."""
        kind = kind_of(parts)
        blocks = [block for v in window for block in target_blocks(v, kind)]
        reducers = [kind(v, len(v.sample.targets)) for v in blocks]  # type: ignore[arg-type]  # all have targets now
        if len(blocks) == len(window):
            model.gradients(blocks, reducers, self.rules)
            return [self._reduced(reducer, v, parts) for reducer, v in zip(reducers, blocks, strict=True)]
        found = []
        for v in window:
            own = []
            for block in target_blocks(v, kind):
                reducer = kind(block, len(block.sample.targets))  # type: ignore[arg-type]
                model.gradients([block], [reducer], self.rules)
                own.append(self._reduced(reducer, block, parts))
            found.append(joined(own))
        return found

    @staticmethod
    def _reduced(reducer: GradientReducer, v: EmbeddingVariants, parts: Parts) -> Estimate:
        reducer.warn_of_rounding()
        return Estimate(reducer.result().mean(0)) if parts.aggregator is None else parts.estimate(reducer.result(), v)

    def pooled(
        self,
        estimate: Estimate,
        v: EmbeddingVariants,
        sample: Sample,
        scores: Float[Tensor, "r t"],
        strategy: GranularityAggregationStrategy,
    ) -> Explained:
        """Return values of units out of values of tokens, and what they leave of the gap between the path's ends.

        Raises:
            ModelError: gradients have overflowed, or a function has no slope where it is asked for.
        """
        pool, error, residual, reference = sample.units.pool, None, None, None
        if not bool(estimate.values.isfinite().all()):
            raise ModelError(
                f"`model`: its gradients for {sample.text[:60]!r} are not finite (NaN or infinity); they explain nothing. "
                f"{'Another `baseline`, ' if v.baseline is not None else ''}float32 or a mask method may do."
            )
        if estimate.left_out is not None:
            whole, parts = (pool(values.double(), strategy) for values in (estimate.values, estimate.left_out))
            error = jackknife_in_logarithms(whole, parts) if estimate.in_logarithms else jackknife(parts)
        values = estimate.values
        if v.baseline is not None or self.divides_score:
            reference = torch.zeros_like(scores[0]) if v.baseline is None else scores[1:].mean(0)
            if self.shares_residual:
                values = _shared(values, scores[0] - reference)
            residual = (scores[0] - reference).double() - values.double()[:, sample.units.free].sum(-1)
        return Explained(sample, Estimate(pool(values, strategy), error, reference=reference), scores[0], residual)


def ends_of(x: Float[Tensor, "l d"], baseline: Float[Tensor, "*k l d"] | None) -> Float[Tensor, "r l d"]:
    """Return an input and the beginnings of its paths."""
    return x[None] if baseline is None else torch.cat([x[None], baseline.reshape(-1, *x.shape)])


def _shared(values: Float[Tensor, "t l"], scores: Float[Tensor, " t"]) -> Float[Tensor, "t l"]:
    """Return values that sum to the scores: what is missing is added in shares by their magnitudes."""
    magnitude = values.double().abs()
    shares = magnitude / magnitude.sum(-1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    return (values + (scores.double() - values.double().sum(-1))[:, None] * shares).to(values)


def evidence_of(perturbator: Perturbator) -> Evidence:
    """Return the evidence that a perturbator is made for: gradients where it moves embeddings, else scores."""
    return Gradients() if isinstance(perturbator, EmbeddingsPerturbator) else Scores()


def kind_of(parts: Parts) -> type[GradientReducer]:
    """Return what takes the gradients of a method."""
    return ContractedGradients if parts.aggregator is None else parts.aggregator.reducer


def _together(v: EmbeddingVariants, kind: type[GradientReducer]) -> int:
    """Return for how many targets the reduced gradients fit in memory."""
    return max(1, NUMBERS_HELD // max(1, kind.held(v)))


def target_blocks(v: EmbeddingVariants, kind: type[GradientReducer]) -> list[EmbeddingVariants]:
    """Return the variants once for each block of targets whose reduced gradients fit in memory."""
    targets = v.sample.targets
    assert targets is not None
    size = _together(v, kind)
    if size >= len(targets):
        return [v]
    starts = range(0, len(targets), size)
    return [replace(v, sample=v.sample.with_targets(targets.part(start, start + size))) for start in starts]


def joined(parts: Sequence[Estimate]) -> Estimate:
    """Return estimates of consecutive targets as one."""
    if len(parts) == 1:
        return parts[0]

    def along(name: str, dim: int) -> Tensor | None:
        values = [getattr(part, name) for part in parts]
        return None if values[0] is None else torch.cat(values, dim)

    values = along("values", 0)
    assert values is not None
    return replace(
        parts[0],
        values=values,
        standard_error=along("standard_error", 0),
        left_out=along("left_out", 1),
        reference=along("reference", 0),
    )
