"""The calls of attribution methods: inputs in, explanations out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import replace
from typing import Any

from interpreto.aliases import aliases
from interpreto.attributions.aggregations.base import Estimate
from interpreto.attributions.evidence import Evidence
from interpreto.attributions.explanations import Explanations
from interpreto.attributions.labels import check_labels, is_one, labeled
from interpreto.attributions.output import AttributionOutput
from interpreto.attributions.refinement import read_finer, read_outputs, refined
from interpreto.errors import OptionError
from interpreto.inputs.frames import read_columns
from interpreto.inputs.samples import Sample
from interpreto.inputs.units import Granularity, Splitter
from interpreto.models.report import EngineReport


class Calls(ABC):
    """Define what every attribution method can be asked for.

    Attributes:
        model: The model, as the engine runs it.
        task: Reads predictions and scores.
        evidence: How the model is questioned.
    """

    model: Any
    task: Any
    evidence: Evidence

    @abstractmethod
    def _samples(
        self, inputs: Any, targets: Any, spans: Any, roles: Sequence[str] | None, call: Mapping[str, Any]
    ) -> Iterator[Sample]:
        """Return the samples of a call, which are read as they are asked for."""

    @abstractmethod
    def _outputs(self, samples: Iterable[Sample], total: int | None = None, estimates: bool = False) -> Iterator[Any]:
        """Yield explanations, with their estimates if asked for."""

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


def _number_of(inputs: Any) -> int | None:
    """Return the number of inputs, for the progress; None where it shows only as they are read."""
    if is_one(inputs):
        return 1
    return len(inputs) if isinstance(inputs, Sized) and not isinstance(inputs, Mapping) else None
