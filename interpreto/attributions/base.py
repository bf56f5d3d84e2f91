"""Attribution explainers: a perturbator, the model, an aggregator."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import replace
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from interpreto.aliases import aliases
from interpreto.attributions.aggregations.base import Aggregator, Estimate
from interpreto.attributions.completeness import check_completeness
from interpreto.attributions.evidence import Evidence, Explained, Parts, evidence_of
from interpreto.attributions.explanations import Explanations
from interpreto.attributions.interventions import OverDraws
from interpreto.attributions.labels import check_labels, is_one, labeled
from interpreto.attributions.options import OTHER_NAMES, Settings, check_no_hook_point
from interpreto.attributions.output import AttributionOutput
from interpreto.attributions.perturbations.base import (
    EmbeddingsPerturbator,
    InputPerturbator,
    Perturbator,
    UntouchedPerturbator,
    check_count,
)
from interpreto.attributions.reading import SampleReader
from interpreto.attributions.refinement import read_finer, read_outputs, refined
from interpreto.choices import Choice
from interpreto.errors import OptionError
from interpreto.inputs.frames import read_columns
from interpreto.inputs.image_processors import ImageProcessor
from interpreto.inputs.images import ImageReader
from interpreto.inputs.pictured import ImageTextProcessor, PicturedReader
from interpreto.inputs.samples import Sample
from interpreto.inputs.text import InputReader
from interpreto.inputs.units import Granularity, GranularityAggregationStrategy, Splitter, check_of_texts
from interpreto.models.alternatives import ReplacedBy, TextAlternatives
from interpreto.models.batching import windows
from interpreto.models.embeddings import Baseline
from interpreto.models.lengths import longest_input
from interpreto.models.protocol import require
from interpreto.models.report import EngineReport
from interpreto.models.tasks import resolve_task
from interpreto.models.text_model import TextModel
from interpreto.models.wrapping import as_model, read_model
from interpreto.progress import Passes, progress_bar

Kind = TypeVar("Kind", bound="AttributionExplainer")
SAMPLES_TOGETHER = 256  # at most, between which the model is left as it was
TOKENS_TOGETHER = 131_072  # of their perturbed inputs, about


class AttributionExplainer:
    """Explains a model's outputs by the units of its input: a perturbator, the model, an aggregator.

    Args:
        model: A Hugging Face classifier or language model, any module with its interface, a pipeline, a `BlackBox`, or a
            `ServedModel`. Left as it was after every call.
        tokenizer: Its tokenizer; a fast one, to explain texts. A `BlackBox` and a `ServedModel` need none.
        batch_size: Rows per forward pass; None: as many as a token budget holds, halved when the memory runs out.
        perturbator: Makes the perturbed inputs; None: the input alone.
        aggregator: Turns their scores into attributions; None: the scores as they are.
        device: Where to run the model for a call; None: where it is.
        use_gradient: Alias: gradients are read where the perturbator moves embeddings, and only there.
        replacement: What masked units become; see `Replacement`. ``"auto"``: the mask token, else ``"mean"``; of a
            `BlackBox`, ``"drop"``, or a text. Other texts: ``{"Dave": ["Alice", "Tom"]}``, a function from the text of a unit
            to its alternatives, or a list of texts of a background; see `TextAlternatives`.
        signed: The attributions have a sign; None: as the perturbator and the aggregator say.
        evidence: How the model is questioned; None: as the perturbator is made for.
        at: Module whose activations are explained in the place of embeddings; see `GradientOptions`.
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

    exact_in_the_limit = False  # True: more steps close the gap between the scores and their sum
    exact = False  # True: there is no gap, unless the model has an operation without a rule
    fitted: tuple[str, ...] = ()  # attributes that a fit sets
    explains_answers = False  # True: a generation is explained as a whole, by its prompt, unless a call says otherwise

    made_with: tuple[tuple[Any, ...], dict[str, Any]]
    """The arguments that the explainer was made with, as they were passed."""

    def __new__(cls: type[Kind], *args: Any, **kwargs: Any) -> Kind:
        """Keep the arguments, out of which another process makes the explainer again."""
        explainer = object.__new__(cls)
        explainer.made_with = (args, kwargs)
        return explainer

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what pickles and copies are made of: the arguments, and what a fit has found since."""
        args, kwargs = self.made_with
        return _made_again, (type(self), args, kwargs, {name: getattr(self, name) for name in self.fitted})

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Accept the names that other libraries have for the number of perturbed inputs, where a method has that option."""
        super().__init_subclass__(**arguments)
        if "__init__" in vars(cls):
            known = inspect.signature(cls.__init__).parameters
            others = {other: name for other, name in OTHER_NAMES.items() if name in known and other not in known}
            cls.__init__ = aliases(**others)(cls.__init__)

    def __init__(  # noqa: PLR0917  # in the reference's order
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        perturbator: Perturbator | None = None,
        aggregator: Aggregator | None = None,
        device: torch.device | str | int | None = None,
        *,
        use_gradient: bool | None = None,
        replacement: ReplacedBy = "auto",
        signed: bool | None = None,
        evidence: Evidence | None = None,
        at: object = None,
        **options: Any,
    ) -> None:
        self.settings = settings = Settings.read({"device": device, **options}, type(self))
        self.batch_size = None if batch_size is None else check_count(batch_size, "batch_size")
        self.perturbator = perturbator or (InputPerturbator() if use_gradient else UntouchedPerturbator())
        self.aggregator = aggregator
        moves = isinstance(self.perturbator, EmbeddingsPerturbator)
        if use_gradient is not None and moves != use_gradient:
            raise OptionError(
                f"`use_gradient`: got {use_gradient}, but {type(self.perturbator).__name__} moves "
                f"{'units' if use_gradient else 'embeddings'}; gradients are read where embeddings are moved, and only there."
            )
        self.signed = _signed(self.perturbator, aggregator) if signed is None else signed
        self.evidence = evidence_of(self.perturbator) if evidence is None else evidence
        model, self.tokenizer = read_model(model, tokenizer)
        longest = longest_input(model, self.tokenizer)
        self.task = resolve_task(model, self.tokenizer, settings.inference_mode, settings.task, longest)
        self.model: Any = as_model(
            model,
            self.tokenizer,
            device=settings.device,
            options=settings.shortcuts,
            outputs=self.task.outputs,
            at=at if self.evidence.needs == "gradients" else check_no_hook_point(at, type(self)),
        )
        require(self.model, self.evidence.needs, type(self).__name__)
        self.replacement = self.model.replacement(replacement) if self.evidence.needs == "scores" else None
        if isinstance(self.replacement, TextAlternatives):
            self.evidence = OverDraws(self.evidence)
        if moves:
            _ = self.forward.embeddings.first  # a model without embeddings is refused here, not in the middle of a call
        self.encode = self._reader(longest)

    def _reader(self, longest: int | None) -> Any:
        """Return what reads inputs."""
        granularity, generates = self.settings.granularity, self.task.generates
        if isinstance(self.model, TextModel) and self.tokenizer is None:
            return self.model.reader(check_of_texts(granularity))
        if isinstance(self.tokenizer, ImageProcessor):
            return ImageReader(self.tokenizer, granularity)
        if isinstance(self.tokenizer, ImageTextProcessor):
            cut = self.settings.truncation
            words = InputReader(self.tokenizer.tokenizer, longest, cut, replies=generates, ends=not generates)
            return PicturedReader(self.tokenizer, granularity, words)
        check_of_texts(granularity)
        ends = not generates or self.task.encodes
        reader = InputReader(self.tokenizer, longest, self.settings.truncation, replies=generates, ends=ends)
        return reader if self.task.reads is None else self.task.reads(reader)

    @property
    def use_gradient(self) -> bool:
        """Alias: True if gradients are read."""
        return self.evidence.needs == "gradients"

    @property
    def forward(self) -> Any:
        """Return the forward pass of a Hugging Face model; a `BlackBox` has none."""
        return self.model.forward

    @aliases(model_inputs="inputs", texts="inputs", target="targets")
    def explain(
        self,
        inputs: Any,
        targets: Any = None,
        *,
        labels: Any = None,
        spans: Any = None,
        roles: Sequence[str] | None = None,
        aggregate: str | None = None,
        attribute_targets: bool | None = None,
        generation_kwargs: Mapping[str, Any] | None = None,
    ) -> Explanations:
        """Explain each input for its targets.

        Args:
            inputs: A text, a pair of texts (a tuple), a chat, a dict or `BatchEncoding` of tensors (any batch size,
                padded or not), a 1-D or 2-D tensor of ids, or a list of any of these.
            targets: Of a classifier: None (its own prediction), ``"all"`` classes, a class id or name for all inputs, or for
                each input an id, a name, a list of them or a 1-D tensor; a tensor ``(n, t)``. Of a language model: None
                (what it generates), a text or ids that follow the input, or a list with one of these for each input. Of
                both, a `Contrast` of two.
            labels: True class of each input of a classifier, an id or a name: kept as `AttributionOutput.label`, which tells
                with `AttributionOutput.prediction` where the model is right. Not used in the explanation.
            spans: Character ranges ``(start, end)`` that are the units, for one input, or a list of such lists; all
                other tokens are left alone. In place of the granularity.
            roles: Of a chat, the roles whose messages are explained, such as ``("user",)``; None: all messages.
            aggregate: Rows of a generation: for each ``"token"`` of the target (default), each ``"unit"``, or one for the
                whole ``"sequence"``, whose score is the sum of the tokens' (with log-probabilities, that of the target).
            attribute_targets: Explain each token of a target by the target's tokens before it too (default), or by
                the prompt alone.
            generation_kwargs: How the model generates where ``targets`` is None: what ``model.generate`` takes. Greedy
                and at most 64 tokens by default.

        Returns:
            One `AttributionOutput` per input, in order: a list that can also be shown, filtered, saved and summarized.

        Raises:
            InputError, TargetError, OptionError, ModelError: with the argument, what was got and what is accepted.
        """
        return Explanations(
            self.stream(
                inputs,
                targets,
                labels=labels,
                spans=spans,
                roles=roles,
                aggregate=aggregate,
                attribute_targets=attribute_targets,
                generation_kwargs=generation_kwargs,
            )
        )

    __call__ = explain

    @aliases(model_inputs="inputs", texts="inputs", target="targets")
    def stream(
        self,
        inputs: Any,
        targets: Any = None,
        *,
        labels: Any = None,
        spans: Any = None,
        roles: Sequence[str] | None = None,
        aggregate: str | None = None,
        attribute_targets: bool | None = None,
        generation_kwargs: Mapping[str, Any] | None = None,
    ) -> Iterator[AttributionOutput]:
        """Return an iterator over the explanations, in order; memory does not grow with the number of inputs.

        Some inputs are read and explained together. Between two explanations the model is as it was.

        Args:
            inputs: As in `explain`; also an iterator, which is read as explanations are asked for.
            targets: As in `explain`; with an iterator of inputs, an iterable with one target for each.
            labels: As in `explain`; may be an iterator too.
            spans: As in `explain`.
            roles: As in `explain`.
            aggregate: As in `explain`.
            attribute_targets: As in `explain`.
            generation_kwargs: As in `explain`.

        Examples:
            >>> from interpreto import Occlusion, demo
            >>> lines = (f"A {word} film." for word in ("gorgeous", "dull"))
            >>> [explanation.target_labels for explanation in Occlusion(*demo.load_classifier()).stream(lines)]
            [['positive'], ['negative']]
        """
        classes = None if labels is None else check_labels(labels, inputs, self.task)
        call = {"aggregate": aggregate, "attribute_targets": attribute_targets, "generation_kwargs": generation_kwargs}
        outputs = self._outputs(self._samples(inputs, targets, spans, roles, call), _number_of(inputs))
        return outputs if classes is None else labeled(outputs, labels, is_one(inputs), classes)

    def estimates(
        self,
        inputs: Any,
        targets: Any = None,
        *,
        spans: Any = None,
        roles: Sequence[str] | None = None,
        **call: Any,
    ) -> Iterator[tuple[AttributionOutput, Estimate]]:
        """Return an iterator over explanations, each with all that its aggregator computed.

        Args:
            inputs: As in `stream`.
            targets: As in `stream`.
            spans: As in `explain`.
            roles: As in `explain`.
            **call: ``aggregate``, ``attribute_targets`` and ``generation_kwargs``, as in `explain`.
        """
        return self._outputs(self._samples(inputs, targets, spans, roles, call), _number_of(inputs), estimates=True)

    def _samples(
        self, inputs: Any, targets: Any, spans: Any, roles: Sequence[str] | None, call: Mapping[str, Any]
    ) -> Iterator[Sample]:
        """Return the samples of a call, which are read as they are asked for."""
        aggregate, attribute_targets = call.get("aggregate"), call.get("attribute_targets")
        if self.explains_answers and self.task.generates:
            aggregate = "sequence" if aggregate is None else aggregate
            attribute_targets = False if attribute_targets is None else attribute_targets
        request = self.task.request(
            aggregate=aggregate, attribute_targets=attribute_targets, generation_kwargs=call.get("generation_kwargs")
        )
        request = replace(request, random_state=self.settings.random_state, batch_size=self.batch_size)
        granularity = getattr(self.encode, "text_granularity", self.settings.granularity)
        reader = SampleReader(self.model, self.task, self.encode, granularity)
        return reader.samples(inputs, targets, spans, roles, request)

    def explain_frame(
        self,
        frame: Any,
        text: str | tuple[str, str] = "text",
        *,
        target: str | None = None,
        label: str | None = None,
        **call: Any,
    ) -> Explanations:
        """Explain the rows of a table.

        Args:
            frame: A ``pandas.DataFrame``, a ``datasets.Dataset``, or anything with ``columns`` or ``column_names``.
            text: Column of the texts; two columns are pairs of texts.
            target: Column of the targets; None: the predictions.
            label: Column of the true classes; None: they are not known.
            **call: Other arguments of `explain`.

        Returns:
            One `AttributionOutput` per row; `Explanations.to_dataframe` is a table again.

        Raises:
            InputError: there is no such column; the message lists those that there are.

        Examples:
            >>> import pandas
            >>> from interpreto import Occlusion, demo
            >>> frame = pandas.DataFrame({"text": ["A gorgeous film.", "A dull film."], "label": ["positive", "positive"]})
            >>> [one.correct for one in Occlusion(*demo.load_classifier()).explain_frame(frame, label="label")]
            [True, False]
        """
        inputs, targets, labels = read_columns(frame, text, target, label)
        return self.explain(inputs, targets, labels=labels, **call)

    def report(self) -> EngineReport:
        """Return which of the engine's optimizations were active in the last call, and why others were not.

        Returns:
            An `EngineReport`: a mapping from the fields of `EngineOptions` (and ``mixed_lengths``) to entries that are true
            where the optimization saved work. Printed, it is a table.
        """
        return self.model.log.report()

    def explain_samples(self, samples: Sequence[Sample]) -> Explanations:
        """Return explanations of samples that are read already, such as those of other explanations, for their targets.

        Units, ids and targets stay as they are: the granularity of this explainer plays no part.
        """
        return Explanations(self._outputs(samples, len(samples)))

    def refine(self, outputs: Any, granularity: Granularity | str | Splitter = Granularity.WORD, top: int = 3) -> Explanations:
        """Explain the strongest units of explanations at a finer granularity, with everything else left as it is.

        The number of passes is that of a text that consists of these units alone: of a long context, only what matters is cut
        into sentences or words. Values are this method's for the parts, while all other units are present. They do not divide
        those of the units that were cut: where values sum to a score gap, it is that of all these units together. Values
        that sum at each level are those of `PartitionShap`.

        Args:
            outputs: Explanations of this model, by any method: one, or a list.
            granularity: Size of the parts: as the option of that name.
            top: Number of units of each explanation that are cut: those of largest magnitude over all targets.

        Returns:
            One `AttributionOutput` per explanation, for the same targets.

        Raises:
            InputError, OptionError: an argument is not valid, or this method does not mask units.

        Examples:
            >>> from interpreto import Occlusion, demo
            >>> explainer = Occlusion(*demo.load_classifier(), granularity="sentence")
            >>> coarse = explainer("It rained all day. The film was wonderful. We went home by bus.")
            >>> explainer.refine(coarse, "word", top=1)[0].elements
            ['The', 'film', 'was', 'wonderful', '.']
        """
        if self.evidence.needs != "scores":
            raise OptionError(
                f"`refine`: {type(self).__name__} needs as many passes for words as for sentences; pass `granularity` when "
                "you make the explainer."
            )
        finer, top = read_finer(granularity, top)
        samples = [refined(output, finer, top) for output in read_outputs(outputs)]
        name = finer.value if isinstance(finer, Granularity) else "custom"
        return Explanations(replace(output, granularity=name) for output in self._outputs(samples, len(samples)))

    def _outputs(self, samples: Iterable[Sample], total: int | None = None, estimates: bool = False) -> Iterator[Any]:
        """Yield explanations, with their estimates if asked for; some samples at a time, so that inputs share batches."""
        parts = Parts(self.perturbator, self.aggregator, self.task, self._generator, self.strategy)
        shown = self.settings.tqdm_bar
        with progress_bar(desc=type(self).__name__, unit=" texts", total=total, shown=shown) as bar:
            passes = Passes(bar)
            model = self.model.configured(
                self.task.read, replacement=self.replacement, batch_size=self.batch_size, on_pass=passes
            )
            for some in windows(samples, _cost, TOKENS_TOGETHER):
                with model.session():
                    outputs = []
                    for explained in self.evidence.estimates(model, some, parts):
                        outputs.append((self._output(explained), explained.estimate))
                        passes.text_done()
                for output, estimate in outputs:
                    if self.exact_in_the_limit or self.exact:
                        check_completeness(output, self.exact, getattr(self.perturbator, "n_perturbations", 1))
                    yield (output, estimate) if estimates else output

    @property
    def strategy(self) -> GranularityAggregationStrategy:
        """Return how token values become unit values."""
        default = GranularityAggregationStrategy.SUM if self.signed else GranularityAggregationStrategy.MEAN
        return self.settings.granularity_aggregation_strategy or default

    def _output(self, explained: Explained) -> AttributionOutput:
        sample, estimate, base, residual = explained.sample, explained.estimate, explained.base, explained.residual
        assert sample.targets is not None
        reference = estimate.reference
        shape = (len(sample.targets), len(sample.units))
        values = within_reach(estimate.values, sample)
        if tuple(values.shape) != shape:
            raise OptionError(
                f"`aggregator`: {type(self.aggregator).__name__} returned {tuple(estimate.values.shape)} "
                f"for {shape[0]} targets and {shape[1]} units."
            )
        if residual is None and reference is not None:
            residual = (base - reference).double() - values.double().nansum(-1)
        error = None if estimate.standard_error is None else within_reach(estimate.standard_error, sample)
        granularity = getattr(self.encode, "granularity", self.settings.granularity)
        baseline = getattr(self.perturbator, "baseline", None)
        return AttributionOutput(
            attributions=values.detach().float(),
            sample=sample,
            target_labels=list(sample.targets.labels),
            model_task=self.task.name,
            method=type(self).__name__,
            granularity=granularity.value if isinstance(granularity, Choice) else "custom",
            granularity_aggregation_strategy=self.strategy.value if self.evidence.pools else None,
            inference_mode=explained.mode_name or self.task.mode_name,
            base_scores=base.float(),
            signed=self.signed,
            replacement=None if self.replacement is None else self.replacement.name,
            baseline=_baseline_name(baseline),
            reference_scores=None if reference is None else reference.float(),
            residual=None if residual is None else residual.float(),
            hook_point=self._hook_point,
            standard_error=None if error is None else error.float(),
            stopped=estimate.stopped,
        )

    @property
    def _hook_point(self) -> str | None:
        """Return the path of the module whose activations are explained; None: embeddings are, or units are masked."""
        point = getattr(getattr(self.model, "space", None), "point", None)
        return None if point is None else point.name

    def _generator(self) -> Generator:
        """Return a fresh generator for each input, so that its draws do not depend on the inputs before it."""
        generator = Generator()
        if self.settings.random_state is None:
            generator.seed()
        else:
            generator.manual_seed(self.settings.random_state)
        return generator


def _made_again(kind: type, args: tuple[Any, ...], kwargs: dict[str, Any], fitted: dict[str, Any]) -> Any:
    """Return an explainer as it was pickled."""
    explainer = kind(*args, **kwargs)
    for name, value in fitted.items():
        setattr(explainer, name, value)
    return explainer


def _number_of(inputs: Any) -> int | None:
    """Return the number of inputs, for the progress; None where it shows only as they are read."""
    if is_one(inputs):
        return 1
    return len(inputs) if isinstance(inputs, Sized) and not isinstance(inputs, Mapping) else None


def within_reach(values: Float[Tensor, "t x"], sample: Sample) -> Float[Tensor, "t u"]:
    """Return values of units, NaN where a score cannot depend on the unit."""
    missing = len(sample.units) - values.shape[1]
    values = torch.nn.functional.pad(values, (0, missing if values.shape[1] == sample.players else 0), value=torch.nan)
    seen = torch.arange(values.shape[1]) < sample.reach[:, None]
    return values.masked_fill(~seen, torch.nan) if len(seen) == len(values) else values


class MultitaskExplainerMixin:
    """Does nothing: every explainer serves every task. Kept so that methods written for the reference library run."""


def _cost(sample: Sample) -> int:
    """Return about how many tokens the perturbed inputs of a sample have, so that a window holds at most so many samples."""
    return max(len(sample) * max(len(sample.units), 64), TOKENS_TOGETHER // SAMPLES_TOGETHER)


def _signed(perturbator: Perturbator, aggregator: Aggregator | None) -> bool:
    """Return False where a part makes magnitudes: norms of gradients, or an aggregator that says so."""
    norms = isinstance(perturbator, EmbeddingsPerturbator) and not getattr(perturbator, "input_x_gradient", True)
    return getattr(aggregator, "signed", not norms)


def _baseline_name(baseline: Baseline | None) -> str | None:
    if baseline is None or isinstance(baseline, str):
        return baseline
    return f"tensor {tuple(baseline.shape)}" if isinstance(baseline, Tensor) else str(float(baseline))
