"""The one pipeline: samples → variants → scores → attributions."""

from __future__ import annotations

import difflib
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, TypedDict

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from tqdm.auto import tqdm

from interpreto.attributions.aggregations.base import Aggregator, Estimate
from interpreto.attributions.output import AttributionOutput
from interpreto.attributions.perturbations.base import (
    EmbeddingsPerturbator,
    InputPerturbator,
    Perturbator,
    UntouchedPerturbator,
    check_count,
)
from interpreto.encoding import Encoder, Encoding, is_single
from interpreto.errors import CompletenessWarning, InputError, OptionError
from interpreto.granularity import (
    Granularity,
    GranularityAggregationStrategy,
    Span,
    Splitter,
    read_granularity,
    read_member,
    segment,
)
from interpreto.inference.batching import Budget, windows
from interpreto.inference.embedding import Baseline, EmbeddingSpace
from interpreto.inference.forward import Forward, longest_input
from interpreto.inference.gradients import ContractedGradients, GradientReducer
from interpreto.inference.modes import InferenceModes, Mode, mode_name, read_mode
from interpreto.inference.replacement import read_replacement
from interpreto.inference.scorer import Scorer
from interpreto.samples import EmbeddingVariants, MaskVariants, Sample
from interpreto.tasks import Task, resolve_task

TOKENS_A_PASS = {"cpu": 2048, "cuda": 32768}  # measured on a CPU: more gains nothing; a first guess for GPUs
TOLERANCE = 0.05  # share of the score gap that an integral may miss before it warns
LINEAR = ("sum", "mean")


class Options(TypedDict, total=False):
    """What every method takes, by keyword.

    granularity: What is explained: a `Granularity`, its name, or a function that cuts a text into character ranges.
    granularity_aggregation_strategy: How gradients of tokens become values of units. None: the sum for signed values,
        the mean for norms. Mask methods act on units and take none.
    inference_mode: The explained score: an `InferenceModes`, its name, or a function of the logits, row by row.
    device: Where to run the model for the call; None: where it is.
    random_state: Seed of every draw, for each input alone, so that results do not depend on company; None: fresh ones.
    tqdm_bar: Show the forward passes done.
    task: What the model does, when its config does not say: ``"single-label"``, ``"multi-label"``, ``"regression"``.
    truncation: Explain the beginning of texts that are longer than the model takes, instead of refusing them.
    """

    granularity: Granularity | str | Splitter
    granularity_aggregation_strategy: GranularityAggregationStrategy | str | None
    inference_mode: InferenceModes | str | Mode
    device: torch.device | str | None
    random_state: int | None
    tqdm_bar: bool
    task: str | Task | None
    truncation: bool


@dataclass(frozen=True)
class Settings:
    """Options, read."""

    granularity: Any = Granularity.WORD
    granularity_aggregation_strategy: Any = None
    inference_mode: Any = InferenceModes.LOGITS
    device: Any = None
    random_state: int | None = 0
    tqdm_bar: bool = False
    task: Any = None
    truncation: bool = False

    @staticmethod
    def read(options: dict[str, Any], method: str) -> Settings:
        known = [f.name for f in fields(Settings)]
        for name in options:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f" Did you mean `{near[0]}`?" if near else ""
                raise OptionError(f"`{name}`: {method} has no such option; those of every method are {', '.join(known)}.{hint}")
        strategy = options.get("granularity_aggregation_strategy")
        if strategy is not None:
            strategy = read_member(GranularityAggregationStrategy, strategy, "granularity_aggregation_strategy")
        seed = options.get("random_state", 0)
        if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool) or seed < 0):
            raise OptionError(f"`random_state`: got {seed!r}; pass a whole number of at least 0, or None for fresh draws.")
        return Settings(
            **options
            | {
                "granularity": read_granularity(options.get("granularity", Granularity.WORD)),
                "granularity_aggregation_strategy": strategy,
                "inference_mode": read_mode(options.get("inference_mode", InferenceModes.LOGITS)),
            }
        )


class AttributionExplainer:
    """Explains a model's outputs by the units of its input: a perturbator, the model, an aggregator.

    Args:
        model: A Hugging Face classifier, or any module with its interface. Left as it was after every call.
        tokenizer: Its tokenizer; a fast one, to explain texts.
        batch_size: Rows a forward pass; None: as many as a token budget holds, halved when the memory runs out.
        perturbator: Which variants are scored; None: the input alone.
        aggregator: How their scores become attributions; None: the scores as they are.
        use_gradient: Read gradients at the embeddings instead of scores.
        replacement: What stands for removed units; see `Replacement`. ``"auto"``: the mask token, else ``"mean"``.
        signed: Whether the attributions have a sign.
        **options: Shared by every method; see `Options`.

    Example:
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
        self.tokenizer, self.signed, self.use_gradient = tokenizer, signed, use_gradient
        self.perturbator = perturbator or (InputPerturbator() if use_gradient else UntouchedPerturbator())
        self.aggregator = aggregator
        if isinstance(self.perturbator, EmbeddingsPerturbator) != use_gradient:
            raise OptionError(
                f"`use_gradient`: got {use_gradient}, but {type(self.perturbator).__name__} moves "
                f"{'units' if use_gradient else 'embeddings'}; gradients are read where embeddings are moved, and only there."
            )
        self.task = resolve_task(model, self.settings.inference_mode, self.settings.task)
        self.forward = Forward(model, self.settings.device)
        self.encode = Encoder(tokenizer, longest_input(model, tokenizer), self.settings.truncation)
        self.replacement = None if use_gradient else read_replacement(replacement, tokenizer)
        if use_gradient or self.replacement is None or self.replacement.name in ("mean", "zero"):
            _ = self.forward.embedding  # a model without embeddings is refused here, not in the middle of a call

    def explain(self, inputs: Any, targets: Any = None, *, spans: Any = None) -> list[AttributionOutput]:
        """Explain each input for its targets.

        Args:
            inputs: A text, a pair of texts (a tuple), a chat, a dict or `BatchEncoding` of tensors (any batch size,
                padded or not), a 1-D or 2-D tensor of ids, or a list of any of these.
            targets: None (the model's own prediction), a class id or name for all inputs, or for each input an id, a
                name, a list of them or a 1-D tensor; a tensor ``(n, t)``.
            spans: Character ranges ``(start, end)`` that are the units, for one input, or a list of such lists; all
                other tokens are left alone. In place of the granularity.

        Returns:
            One output for each input, in order.

        Raises:
            InputError, TargetError, OptionError, ModelError: with the argument, what was got and what is accepted.
        """
        encodings = self.encode(inputs)
        samples = self._samples(encodings, _read_spans(spans, len(encodings)))
        aims = self.task.read_targets(targets, len(samples), is_single(inputs))
        if aims is not None:
            samples = [sample.aimed_at(aim) for sample, aim in zip(samples, aims, strict=True)]
        with self._running(samples) as scorer:
            outputs = list((self._by_gradients if self.use_gradient else self._by_masks)(scorer, samples))
        if self.exact_in_the_limit:
            for output in outputs:
                self._check_completeness(output)
        return outputs

    __call__ = explain

    def _samples(self, encodings: Sequence[Encoding], spans: list[list[Span]] | None) -> list[Sample]:
        samples = []
        for i, encoding in enumerate(encodings):
            units = segment(encoding.tokens, self.settings.granularity, None if spans is None else spans[i])
            if not len(units):
                raise InputError(
                    f"`inputs[{i}]`: {encoding.tokens.text[:60]!r} has no unit to explain: all its tokens are special ones, "
                    "or lie outside `spans`. Granularity.ALL_TOKENS explains special tokens too."
                )
            samples.append(Sample(encoding.tokens.text, encoding.input_ids, units, encoding.extras))
        return samples

    @contextmanager
    def _running(self, samples: Sequence[Sample]) -> Iterator[Scorer]:
        """Within, the model is ready, and a scorer runs it under a progress bar."""
        used = {int(i) for sample in samples for i in sample.input_ids.tolist()}
        if self.replacement is not None and self.replacement.token_id is not None:
            used.add(self.replacement.token_id)
        bar = tqdm(desc=type(self).__name__, unit=" passes", disable=not self.settings.tqdm_bar)
        with self.forward.session(used), bar:
            tokens = TOKENS_A_PASS["cuda" if self.forward.device.type == "cuda" else "cpu"]
            yield Scorer(self.forward, Budget(self.batch_size, tokens), self.task.read, bar.update)

    def _by_masks(self, scorer: Scorer, samples: Iterable[Sample]) -> Iterator[AttributionOutput]:
        assert self.replacement is not None
        replacement = self.replacement.ready(EmbeddingSpace(self.forward, self.tokenizer))
        variants = (self.perturbator(sample, self._generator()) for sample in samples)  # type: ignore[operator]  # a mask perturbator
        for v, outputs in scorer.masked(variants, replacement):
            sample, scores = self._aimed(v.sample, outputs)
            yield self._output(sample, self._aggregate(scores[1:], v), scores[0])

    def _aimed(self, sample: Sample, outputs: Float[Tensor, "r t"]) -> tuple[Sample, Float[Tensor, "r t2"]]:
        """The sample with its targets, and the scores for them. Where there were none, all outputs came back, the
        untouched input's first, and the prediction is read off it: it costs no pass of its own.
        """
        if sample.targets is not None:
            return sample, outputs
        sample = sample.aimed_at(self.task.predicted(outputs[0]))
        return sample, self.task.read(outputs, [sample] * len(outputs))

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
        inputs = [space.embed(v.sample.input_ids) for v in window]
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
        if residual is None and reference is not None:
            residual = (base - reference).double() - estimate.values.double().sum(-1)
        shape = (len(sample.targets), len(sample.units))
        if tuple(estimate.values.shape) != shape:
            raise OptionError(
                f"`aggregator`: {type(self.aggregator).__name__} answered {tuple(estimate.values.shape)} "
                f"for {shape[0]} targets and {shape[1]} units."
            )
        granularity, baseline = self.settings.granularity, getattr(self.perturbator, "baseline", None)
        return AttributionOutput(
            attributions=estimate.values.float(),
            sample=sample,
            target_labels=[self.task.label(int(target)) for target in sample.targets],
            model_task=self.task.name,
            method=type(self).__name__,
            granularity=granularity.value if isinstance(granularity, Granularity) else "custom",
            granularity_aggregation_strategy=self.strategy.value if self.use_gradient else None,
            inference_mode=mode_name(self.settings.inference_mode),
            base_scores=base.float(),
            signed=self.signed,
            replacement=None if self.replacement is None else self.replacement.name,
            baseline=_baseline_name(baseline),
            reference_scores=None if reference is None else reference.float(),
            residual=None if residual is None else residual.float(),
            standard_error=None if estimate.standard_error is None else estimate.standard_error.float(),
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
                stacklevel=3,
            )

    def _generator(self) -> Generator:
        """A fresh generator for each input, so that its draws do not depend on the inputs before it."""
        generator = Generator()
        if self.settings.random_state is None:
            generator.seed()
        else:
            generator.manual_seed(self.settings.random_state)
        return generator


class MultitaskExplainerMixin:
    """Does nothing: every explainer serves every task. Kept so that methods written for the reference library run."""


def _read_spans(spans: Any, n: int) -> list[list[Span]] | None:
    """One list of character ranges for each input."""
    if spans is None:
        return None
    rows = list(spans)
    if n == 1 and rows and all(len(row) == 2 and all(isinstance(i, int) for i in row) for row in rows):
        rows = [rows]
    if len(rows) != n:
        raise InputError(f"`spans`: got {len(rows)} lists for {n} inputs; pass one list of (start, end) for each.")
    return [[(int(a), int(b)) for a, b in row] for row in rows]


def _baseline_name(baseline: Baseline | None) -> str | None:
    if baseline is None or isinstance(baseline, str):
        return baseline
    return f"tensor {tuple(baseline.shape)}" if isinstance(baseline, Tensor) else str(float(baseline))
