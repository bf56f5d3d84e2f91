"""The one pipeline: samples → variants → scores → attributions."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from interpreto.attributions.aggregations.base import Aggregator, Estimate, t_ratio
from interpreto.attributions.options import Settings
from interpreto.attributions.output import AttributionOutput
from interpreto.attributions.perturbations.base import (
    EmbeddingsPerturbator,
    InputPerturbator,
    Perturbator,
    UntouchedPerturbator,
    check_count,
)
from interpreto.errors import CompletenessWarning, InputError, OptionError
from interpreto.inputs.samples import EmbeddingVariants, MaskVariants, Sample
from interpreto.inputs.segmentation import read_spans, segment
from interpreto.inputs.text import InputReader, TokenizedInput, is_single
from interpreto.inputs.tokenizers import read_tokenizer
from interpreto.inputs.units import Granularity, GranularityAggregationStrategy, Span
from interpreto.models.batching import windows
from interpreto.models.embeddings import Baseline, EmbeddingSpace
from interpreto.models.forward import Forward, longest_input
from interpreto.models.gradients import ContractedGradients, GradientReducer
from interpreto.models.masking import read_replacement
from interpreto.models.report import EngineReport
from interpreto.models.scorer import Scorer, mixed, scoring
from interpreto.models.tasks import Generation, GenerationRequest, resolve_task
from interpreto.progress import tqdm

TOLERANCE = 0.05  # share of the score gap that an integral may miss before it warns


class AttributionExplainer:
    """Explains a model's outputs by the units of its input: a perturbator, the model, an aggregator.

    Args:
        model: A Hugging Face classifier or language model, or any module with its interface. Left as it was after every
            call.
        tokenizer: Its tokenizer; a fast one, to explain texts.
        batch_size: Rows a forward pass; None: as many as a token budget holds, halved when the memory runs out.
        perturbator: Which variants are scored; None: the input alone.
        aggregator: How their scores become attributions; None: the scores as they are.
        use_gradient: Read gradients at the embeddings instead of scores.
        replacement: What stands for removed units; see `Replacement`. ``"auto"``: the mask token, else ``"mean"``.
        signed: Whether the attributions have a sign.
        **options: Shared by every method; see `Options`.

    Examples:
        >>> from interpreto import AttributionExplainer, demo
        >>> from interpreto.attributions.aggregations import OcclusionAggregator
        >>> from interpreto.attributions.perturbations import OcclusionPerturbator
        >>> model, tokenizer = demo.load_classifier()
        >>> explainer = AttributionExplainer(
        ...     model, tokenizer, perturbator=OcclusionPerturbator(), aggregator=OcclusionAggregator()
        ... )
        >>> explainer("A gorgeous, moving film.")[0].target_labels
        ['positive']
    """

    exact_in_the_limit = False  # whether more steps close the gap between the scores and their sum

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        batch_size: int | None = None,
        *,
        perturbator: Perturbator | None = None,
        aggregator: Aggregator | None = None,
        use_gradient: bool = False,
        replacement: str | int = "auto",
        signed: bool = True,
        **options: Any,
    ) -> None:
        self.settings = Settings.read(options, type(self).__name__)
        self.batch_size = None if batch_size is None else check_count(batch_size, "batch_size")
        if hasattr(tokenizer, "tokenizer"):  # a processor
            tokenizer = read_tokenizer(tokenizer)
        self.tokenizer, self.signed, self.use_gradient = tokenizer, signed, use_gradient
        self.perturbator = perturbator or (InputPerturbator() if use_gradient else UntouchedPerturbator())
        self.aggregator = aggregator
        if isinstance(self.perturbator, EmbeddingsPerturbator) != use_gradient:
            raise OptionError(
                f"`use_gradient`: got {use_gradient}, but {type(self.perturbator).__name__} moves "
                f"{'units' if use_gradient else 'embeddings'}; gradients are read where embeddings are moved, and only there."
            )
        longest = longest_input(model, tokenizer)
        self.task = resolve_task(model, tokenizer, self.settings.inference_mode, self.settings.task, longest)
        self.forward = Forward(model, self.settings.device, self.settings.shortcuts.kept_logits, self.task.outputs)
        replies, ends = isinstance(self.task, Generation), not isinstance(self.task, Generation) or self.task.encodes
        self.encode = InputReader(tokenizer, longest, self.settings.truncation, replies=replies, ends=ends)
        self.replacement = None if use_gradient else read_replacement(replacement, tokenizer)
        if use_gradient or self.replacement is None or self.replacement.name in ("mean", "zero"):
            _ = self.forward.embedding  # a model without embeddings is refused here, not in the middle of a call

    def explain(
        self,
        inputs: Any,
        targets: Any = None,
        *,
        spans: Any = None,
        roles: Sequence[str] | None = None,
        aggregate: str | None = None,
        attribute_targets: bool | None = None,
        generation_kwargs: Mapping[str, Any] | None = None,
    ) -> list[AttributionOutput]:
        """Explain each input for its targets.

        Args:
            inputs: A text, a pair of texts (a tuple), a chat, a dict or `BatchEncoding` of tensors (any batch size,
                padded or not), a 1-D or 2-D tensor of ids, or a list of any of these.
            targets: Of a classifier: None (its own prediction), a class id or name for all inputs, or for each input an
                id, a name, a list of them or a 1-D tensor; a tensor ``(n, t)``. Of a language model: None (what it
                generates), a text or ids that follow the input, or a list with one of these for each input. Of both, a
                `Contrast` of two.
            spans: Character ranges ``(start, end)`` that are the units, for one input, or a list of such lists; all
                other tokens are left alone. In place of the granularity.
            roles: Of a chat, the roles whose messages are explained, such as ``("user",)``; None: all messages.
            aggregate: Rows of a generation: for each ``"token"`` of the target (default), each ``"unit"``, or one for the
                whole ``"sequence"``, whose score is the sum of the tokens' (with log-probabilities, that of the target).
            attribute_targets: Whether a target's tokens are explained by those in front of them too (default), or by
                the prompt alone.
            generation_kwargs: How the model generates where ``targets`` is None: what ``model.generate`` takes. Greedy
                and at most 64 tokens by default.

        Returns:
            One output for each input, in order.

        Raises:
            InputError, TargetError, OptionError, ModelError: with the argument, what was got and what is accepted.
        """
        request = self.task.request(
            aggregate=aggregate, attribute_targets=attribute_targets, generation_kwargs=generation_kwargs
        )
        request = replace(request, random_state=self.settings.random_state, batch_size=self.batch_size)
        encodings = self.encode(inputs, roles)
        ranges = read_spans(spans, len(encodings))
        with self.forward.session():
            aims = self.task.read_targets(targets, encodings, is_single(inputs))
            if aims is None:
                aims = self.task.own_targets(self.forward, encodings, request)
            samples = [
                self._sample(i, encoding, None if aims is None else aims[i], request, None if ranges is None else ranges[i])
                for i, encoding in enumerate(encodings)
            ]
            return self._explained(samples)

    __call__ = explain

    def report(self) -> EngineReport:
        """Return which of the engine's optimizations were active in the last call, and why others were not.

        Returns:
            An `EngineReport`: a mapping from the fields of `EngineOptions` (and ``mixed_lengths``) to entries that are true
            where the optimization saved work. Printed, it is a table.
        """
        return self.forward.log.report()

    def explain_samples(self, samples: Sequence[Sample]) -> list[AttributionOutput]:
        """Explain samples that are read already, such as those of other explanations, for what each is aimed at.

        Units, ids and targets stay as they are: the granularity of this explainer plays no part.
        """
        with self.forward.session():
            return self._explained(samples)

    def _explained(self, samples: Sequence[Sample]) -> list[AttributionOutput]:
        bar = tqdm(desc=type(self).__name__, unit=" passes", disable=not self.settings.tqdm_bar)
        options: dict[str, Any] = {"batch_size": self.batch_size, "shortcuts": self.settings.shortcuts, "on_pass": bar.update}
        with bar, scoring(self.forward, samples, self.task.read, replacement=self.replacement, **options) as scorer:
            outputs = list((self._by_gradients if self.use_gradient else self._by_masks)(scorer, samples))
        if self.exact_in_the_limit:
            for output in outputs:
                self._check_completeness(output)
        return outputs

    def _sample(
        self, i: int, encoding: TokenizedInput, target: Any, request: GenerationRequest, spans: list[Span] | None
    ) -> Sample:
        granularity = self.settings.granularity
        joined = self.task.joined(encoding, target, request)
        units = segment(joined.tokens, granularity, spans)
        if not len(units):
            raise InputError(
                f"`inputs[{i}]`: {encoding.tokens.text[:60]!r} has no unit to explain: all its tokens are special ones, "
                "or lie outside `spans`. Granularity.ALL_TOKENS explains special tokens too."
            )
        targets = (
            None if target is None else self.task.targets(joined, target, request, lambda tokens: segment(tokens, granularity))
        )
        return Sample(joined.tokens.text, joined.input_ids, units, joined.extras, targets, joined.source, joined.prompt)

    def _by_masks(self, scorer: Scorer, samples: Iterable[Sample]) -> Iterator[AttributionOutput]:
        assert self.replacement is not None
        replacement = self.replacement.ready(EmbeddingSpace(self.forward, self.tokenizer))
        variants = (self.perturbator(sample, self._generator()) for sample in samples)  # type: ignore[operator]  # a mask perturbator
        for v, outputs in scorer.masked(variants, replacement):
            sample, scores = self._aimed(v.sample, outputs)
            players = MaskVariants(sample, v.mask[:, : sample.players], v.weights, v.groups)
            yield self._output(sample, self._aggregate(scores[1:], players), scores[0])

    def _aimed(self, sample: Sample, outputs: Float[Tensor, "r t"]) -> tuple[Sample, Float[Tensor, "r t2"]]:
        """The sample with its aim, and the scores of it. Where it had none, all outputs came back, the untouched
        input's first, and the prediction is read off it: it costs no pass of its own.
        """
        if sample.targets is not None:
            return sample, outputs
        targets = self.task.predicted(outputs[0])
        ids = targets.readouts[0].ids.expand(len(outputs), -1)
        return sample.with_targets(targets), mixed(self.task.read(outputs, ids), targets.readouts[0])

    def _aggregate(self, scores: Float[Tensor, "p t"], variants: MaskVariants) -> Estimate:
        if self.aggregator is None:
            if len(scores) != variants.mask.shape[1]:
                raise OptionError(
                    f"`aggregator`: {len(scores)} copies and {variants.mask.shape[1]} units; only as many copies as units "
                    "can be attributions as they are, so pass an aggregator."
                )
            return Estimate(scores.T)
        estimate = self.aggregator.aggregate(scores, variants)
        return estimate if isinstance(estimate, Estimate) else Estimate(estimate)

    def _by_gradients(self, scorer: Scorer, samples: Sequence[Sample]) -> Iterator[AttributionOutput]:
        space = EmbeddingSpace(self.forward, self.tokenizer)
        variants = (self.perturbator(sample, space, self._generator()) for sample in samples)  # type: ignore[operator]
        limit = scorer.budget.rows or scorer.budget.tokens
        rows = scorer.budget.rows is not None
        for window in windows(variants, lambda v: len(v.points) * (1 if rows else len(v.sample)), 4 * limit):
            yield from self._gradient_window(scorer, space, window)

    def _gradient_window(
        self, scorer: Scorer, space: EmbeddingSpace, window: Sequence[EmbeddingVariants]
    ) -> Iterator[AttributionOutput]:
        """First the scores at the inputs and baselines, which also tell predictions; then the gradients."""
        inputs = [space.embed(v.sample) for v in window]
        ends = [torch.stack([x] if v.baseline is None else [x, v.baseline]) for x, v in zip(inputs, window, strict=True)]
        scores = scorer.at_points([(v.sample, end) for v, end in zip(window, ends, strict=True)])
        aimed = []
        for i, v in enumerate(window):
            sample, scores[i] = self._aimed(v.sample, scores[i])
            aimed.append(EmbeddingVariants(sample, v.points, v.direction, v.weights, v.baseline))
        kind = ContractedGradients if self.aggregator is None else self.aggregator.reducer
        reducers = [kind(v, len(v.sample.targets)) for v in aimed]  # type: ignore[arg-type]  # all are aimed now
        scorer.gradients(aimed, reducers)
        for v, reducer, score in zip(aimed, reducers, scores, strict=True):
            estimate = self._pooled(self._aggregate_gradients(reducer, v), v, score)
            yield self._output(v.sample, estimate[0], score[0], estimate[1])

    def _aggregate_gradients(self, reducer: GradientReducer, variants: EmbeddingVariants) -> Estimate:
        gradients = reducer.result()
        if self.aggregator is None:
            return Estimate(gradients.mean(0))
        estimate = self.aggregator.aggregate(gradients, variants)
        return estimate if isinstance(estimate, Estimate) else Estimate(estimate)

    def _pooled(self, estimate: Estimate, v: EmbeddingVariants, scores: Float[Tensor, "r t"]) -> tuple[Estimate, Tensor | None]:
        """Values of units out of values of tokens, and what they leave of the gap between the path's ends."""
        pool, how = v.sample.units.pool, self.strategy
        error = None
        if estimate.left_out is not None:
            parts = pool(estimate.left_out.double(), how)
            error = ((parts - parts.mean(0)).square().sum(0) * (len(parts) - 1) / len(parts)).sqrt()
            error = error * t_ratio(len(parts) - 1)
        residual, reference = None, None
        if v.baseline is not None:
            reference = scores[1]
            residual = (scores[0] - scores[1]).double() - estimate.values.double()[:, v.sample.units.free].sum(-1)
        values = pool(estimate.values, how)
        return Estimate(values, error, reference=reference), residual

    @property
    def strategy(self) -> GranularityAggregationStrategy:
        """How token values become unit values."""
        default = GranularityAggregationStrategy.SUM if self.signed else GranularityAggregationStrategy.MEAN
        return self.settings.granularity_aggregation_strategy or default

    def _output(
        self, sample: Sample, estimate: Estimate, base: Float[Tensor, " t"], residual: Tensor | None = None
    ) -> AttributionOutput:
        assert sample.targets is not None
        reference = estimate.reference
        shape = (len(sample.targets), len(sample.units))
        values = within_reach(estimate.values, sample)
        if tuple(values.shape) != shape:
            raise OptionError(
                f"`aggregator`: {type(self.aggregator).__name__} answered {tuple(estimate.values.shape)} "
                f"for {shape[0]} targets and {shape[1]} units."
            )
        if residual is None and reference is not None:
            residual = (base - reference).double() - values.double().nansum(-1)
        error = None if estimate.standard_error is None else within_reach(estimate.standard_error, sample)
        granularity, baseline = self.settings.granularity, getattr(self.perturbator, "baseline", None)
        return AttributionOutput(
            attributions=values.float(),
            sample=sample,
            target_labels=list(sample.targets.labels),
            model_task=self.task.name,
            method=type(self).__name__,
            granularity=granularity.value if isinstance(granularity, Granularity) else "custom",
            granularity_aggregation_strategy=self.strategy.value if self.use_gradient else None,
            inference_mode=self.task.mode_name,
            base_scores=base.float(),
            signed=self.signed,
            replacement=None if self.replacement is None else self.replacement.name,
            baseline=_baseline_name(baseline),
            reference_scores=None if reference is None else reference.float(),
            residual=None if residual is None else residual.float(),
            standard_error=None if error is None else error.float(),
        )

    def _check_completeness(self, output: AttributionOutput) -> None:
        """An integral that misses more than its share of the score gap says how many steps would do."""
        if output.reference_scores is None or output.residual is None:
            return
        gap = (output.base_scores - output.reference_scores).abs().clamp(min=1e-6)
        missed = float((output.residual.abs() / gap).max())
        if missed > TOLERANCE:
            steps = getattr(self.perturbator, "n_perturbations", 1)
            enough = 2 ** math.ceil(math.log2(steps * missed / TOLERANCE))
            warnings.warn(
                f"{output.method}: the attributions of {output.text[:40]!r} miss {missed:.0%} of the score gap "
                f"{float(gap.max()):.3g}. As the error falls at least as 1 / steps, n_perturbations={enough} would do; so may "
                "another `baseline`, closer to the inputs.",
                CompletenessWarning,
                stacklevel=4,
            )

    def _generator(self) -> Generator:
        """A fresh generator for each input, so that its draws do not depend on the inputs before it."""
        generator = Generator()
        if self.settings.random_state is None:
            generator.seed()
        else:
            generator.manual_seed(self.settings.random_state)
        return generator


def within_reach(values: Float[Tensor, "t x"], sample: Sample) -> Float[Tensor, "t u"]:
    """Values of units, NaN where a score cannot depend on the unit."""
    missing = len(sample.units) - values.shape[1]
    values = torch.nn.functional.pad(values, (0, missing if values.shape[1] == sample.players else 0), value=torch.nan)
    seen = torch.arange(values.shape[1]) < sample.reach[:, None]
    return values.masked_fill(~seen, torch.nan) if len(seen) == len(values) else values


class MultitaskExplainerMixin:
    """Does nothing: every explainer serves every task. Kept so that methods written for the reference library run."""


def _baseline_name(baseline: Baseline | None) -> str | None:
    if baseline is None or isinstance(baseline, str):
        return baseline
    return f"tensor {tuple(baseline.shape)}" if isinstance(baseline, Tensor) else str(float(baseline))
