"""Attribution explainers: a perturbator, the model, an aggregator."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from interpreto.aliases import aliases
from interpreto.attributions.aggregations.base import Aggregator
from interpreto.attributions.calls import Calls
from interpreto.attributions.completeness import check_completeness
from interpreto.attributions.evidence import Evidence, Explained, Parts, evidence_of
from interpreto.attributions.interventions import OverDraws
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
from interpreto.choices import Choice
from interpreto.errors import OptionError
from interpreto.inputs.image_processors import ImageProcessor
from interpreto.inputs.images import ImageReader
from interpreto.inputs.pictured import ImageTextProcessor, PicturedReader
from interpreto.inputs.pictured_chats import ImageChatProcessor, ImageChatReader
from interpreto.inputs.samples import Sample
from interpreto.inputs.text import InputReader
from interpreto.inputs.units import GranularityAggregationStrategy, check_of_texts
from interpreto.models.alternatives import ReplacedBy, TextAlternatives
from interpreto.models.batching import windows
from interpreto.models.embeddings import Baseline
from interpreto.models.lengths import longest_input
from interpreto.models.protocol import require
from interpreto.models.tasks import resolve_task
from interpreto.models.text_model import TextModel
from interpreto.models.wrapping import as_model, read_model
from interpreto.progress import Passes, progress_bar

Kind = TypeVar("Kind", bound="AttributionExplainer")
SAMPLES_TOGETHER = 256  # at most, between which the model is left as it was
TOKENS_TOGETHER = 131_072  # of their perturbed inputs, about


class AttributionExplainer(Calls):
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
        if isinstance(self.tokenizer, ImageChatProcessor):
            return ImageChatReader(self.tokenizer, granularity, longest)
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

    def _outputs(self, samples: Iterable[Sample], total: int | None = None, estimates: bool = False) -> Iterator[Any]:
        """Yield explanations, with their estimates if asked for; some samples at a time, so that inputs share batches."""
        parts = Parts(self.perturbator, self.aggregator, self.task, self._generator, self.strategy)
        shown = self.settings.tqdm_bar
        with progress_bar(desc=type(self).__name__, unit=" texts", total=total, shown=shown) as bar:
            passes = Passes(bar)
            model = self.model.configured(
                self.task.read, replacement=self.replacement, batch_size=self.batch_size, on_pass=passes
            )
            for some in windows(samples, self._cost, TOKENS_TOGETHER):
                with model.session():
                    outputs = []
                    for explained in self.evidence.estimates(model, some, parts):
                        outputs.append((self._output(explained), explained.estimate))
                        passes.text_done()
                for output, estimate in outputs:
                    if self.exact_in_the_limit or self.exact:
                        check_completeness(output, self.exact, getattr(self.perturbator, "n_perturbations", 1))
                    yield (output, estimate) if estimates else output

    def _cost(self, sample: Sample) -> int:
        """Return about how many tokens the perturbed inputs of a sample have, so that a window is bounded."""
        copies = max(len(sample.units), 64) if self.evidence.needs == "scores" else 1  # others bound what they hold themselves
        return max(len(sample) * copies, TOKENS_TOGETHER // SAMPLES_TOGETHER)

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


def within_reach(values: Float[Tensor, "t x"], sample: Sample) -> Float[Tensor, "t u"]:
    """Return values of units, NaN where a score cannot depend on the unit."""
    missing = len(sample.units) - values.shape[1]
    values = torch.nn.functional.pad(values, (0, missing if values.shape[1] == sample.players else 0), value=torch.nan)
    seen = torch.arange(values.shape[1]) < sample.reach[:, None]
    return values.masked_fill(~seen, torch.nan) if len(seen) == len(values) else values


class MultitaskExplainerMixin:
    """Does nothing: every explainer serves every task. Kept so that methods written for the reference library run."""


def _signed(perturbator: Perturbator, aggregator: Aggregator | None) -> bool:
    """Return False where a part makes magnitudes: norms of gradients, or an aggregator that says so."""
    norms = isinstance(perturbator, EmbeddingsPerturbator) and not getattr(perturbator, "input_x_gradient", True)
    return getattr(aggregator, "signed", not norms)


def _baseline_name(baseline: Baseline | None) -> str | None:
    if baseline is None or isinstance(baseline, str):
        return baseline
    return f"tensor {tuple(baseline.shape)}" if isinstance(baseline, Tensor) else str(float(baseline))
