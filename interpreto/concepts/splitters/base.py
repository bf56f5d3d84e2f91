"""The interface of splitters, which concept explainers, interpretations and the store use."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from interpreto.concepts.splitters.granularities import ActivationGranularity, read_strategy
from interpreto.concepts.splitters.results import Activations
from interpreto.concepts.splitters.storable import Storable
from interpreto.errors import OptionError
from interpreto.inputs.samples import Sample
from interpreto.inputs.split_inputs import SplitInput
from interpreto.inputs.text import InputReader
from interpreto.inputs.units import GranularityAggregationStrategy
from interpreto.models.activations import ActivationRecorder, WindowActivations
from interpreto.models.batching import Budget
from interpreto.models.hook_points import HookPoint, find_hook_points
from interpreto.models.interventions import Edit
from interpreto.models.nnsight import NNsightTracing, wrapped
from interpreto.validation import check_batch_size

PROBE = "It is so, and it was so."


class ModelSplitter(Storable):
    """A model with split points: activations are read at them, and the model is run downstream of them.

    No call changes the model or the tokenizer, and the activations of an input do not depend on the other inputs. Long
    texts are refused, never cut silently.
    """

    activation_granularities = ActivationGranularity
    aggregation_strategies = GranularityAggregationStrategy

    def __init__(self, recorder: ActivationRecorder, reader: InputReader | None = None) -> None:
        self._recorder = recorder
        self.reader = recorder.reader if reader is None else reader

    @property
    def recorder(self) -> ActivationRecorder:
        """Return what runs the model."""
        return self._recorder

    @property
    def encoder(self) -> InputReader:
        """Return `reader`, which has had this name."""
        return self.reader

    @property
    def model(self) -> nn.Module:
        return self._recorder.model

    @property
    def tokenizer(self) -> Any:
        return self._recorder.tokenizer

    @property
    def device(self) -> torch.device:
        """Return the device on which the model is run: its own."""
        return self._recorder.forward.device

    @property
    def batch_size(self) -> int | None:
        """Return the number of texts per pass; None: as many as a token budget holds. Can be set."""
        return self._recorder.budget.rows

    @batch_size.setter
    def batch_size(self, batch_size: int | None) -> None:
        self._recorder.budget = Budget(check_batch_size(batch_size), self._recorder.budget.tokens)

    @property
    def split_points(self) -> list[str]:
        """Return the paths of the modules where activations are read."""
        return [point.name for point in self._recorder.hook_points]

    @property
    def split_point(self) -> str:
        """Return the path of the only split point.

        Raises:
            OptionError: there are several.
        """
        return self.hook_point(None).name

    def to(self, device: torch.device | str) -> ModelSplitter:
        """Move the user's model to a device, as ``model.to(device)`` does, and return the splitter."""
        self.model.to(device)
        return self

    @cached_property
    def nnsight_model(self) -> Any:
        """Return the model wrapped by ``nnsight.NNsight``, for traces of your own; with ``backend="nnsight"``, the splitter's.

        nnsight leaves its controllers in the modules of a model that was once wrapped.

        Examples:
            >>> import nnsight
            >>> from interpreto import ModelWithSplitPoints, demo
            >>> model, tokenizer = demo.load_classifier()
            >>> splitter = ModelWithSplitPoints(model, 1, tokenizer=tokenizer, backend="nnsight")
            >>> net = splitter.nnsight_model
            >>> with net.trace(**tokenizer("A charming film.", return_tensors="pt")):
            ...     attention = nnsight.save(net.bert.encoder.layer[1].attention.output)
            >>> tuple(attention[0].shape[-2:])
            (6, 128)
        """
        tracing = self._recorder.tracing
        return tracing.net if isinstance(tracing, NNsightTracing) else wrapped(self.model)

    @property
    def nnsight(self) -> Any:
        """Return `nnsight_model`, which has had this name."""
        return self.nnsight_model

    @abstractmethod
    def iter_samples(self, inputs: Any, activation_granularity: Any) -> Iterator[Sample]:
        """Yield inputs, one after the other, with the units that their rows of activations represent."""

    def iter_read(self, inputs: Any, activation_granularity: Any) -> Iterator[Sample]:
        """Yield samples as `iter_samples` does, but without the parts that their activations do not depend on."""
        return self.iter_samples(inputs, activation_granularity)

    @abstractmethod
    def batch_activations(self, samples: Sequence[Sample], split_point: str | None = None) -> Tensor:
        """Return the activations of one batch before pooling: ``(b, l, d)``, padded on the right, or ``(b, d)``."""

    @abstractmethod
    def activations_of(
        self,
        samples: Sequence[Sample],
        aggregation_strategy: GranularityAggregationStrategy | str | None = GranularityAggregationStrategy.MEAN,
        split_point: str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Float[Tensor, "u d"]:
        """Return the activations ``(u, d)`` of all units of any number of samples, in order."""

    @abstractmethod
    def edited_outputs(self, inputs: Any, edit: Edit, split_point: str | None = None) -> Float[Tensor, "b ..."]:
        """Return logits ``(b, c)`` or ``(b, l, v)`` of one batch whose activations go through ``edit``.

        ``edit`` takes activations ``(b, l, d)``, padded on the right, or ``(b, d)``. The outputs are differentiable in the
        changes of ``edit``; no gradient reaches the parameters or earlier layers. ``inputs`` may be samples. The logits of
        an encoder-decoder are those of the decoder's tokens.
        """

    @abstractmethod
    def outputs_from(self, samples: Sequence[Sample], hidden: Tensor, split_point: str | None = None) -> Float[Tensor, "b ..."]:
        """Return the logits of one batch downstream of given activations, and differentiable in them alone.

        ``hidden`` has the shape that `batch_activations` returns for these samples.
        """

    @abstractmethod
    def editing(self, edit: Edit, split_point: str | None = None) -> AbstractContextManager[None]:
        """Return a context manager in which every pass of the model, also in ``generate``, goes through ``edit``.

        ``edit`` takes the activations of a pass at the split point, ``(b, l, d)``, or ``(b, d)`` where there is one vector
        per text, and returns others of the same shape. With a cache, a pass of ``generate`` after the first holds one token
        per text. The model is this thread's alone meanwhile.
        """

    @abstractmethod
    def of_batch(
        self, inputs: Mapping[str, Any], inside: Bool[Tensor, "b l"], last: Int[Tensor, " b"], split_point: str | None = None
    ) -> tuple[Float[Tensor, "r d"], Int[Tensor, " r"]]:
        """Return the activations of a batch of the model's own arguments, and the number of the text of each row.

        Differentiable in the embeddings. There is one row per token ``inside``, or one per text; ``last`` is the last token
        of each text. Call `batch_activations` first, which determines the layout of the module's activations.
        """

    def samples(self, inputs: Any, activation_granularity: Any = None) -> list[Sample]:
        """Return the inputs as samples, with one unit per row of activations, in order.

        ``activation_granularity=None``: tokens, or texts where there is one row of activations per text.
        """
        return list(self.iter_samples(inputs, self._unit(activation_granularity)))

    @contextmanager
    def session(self, samples: Sequence[Sample]) -> Iterator[bool]:
        """Context manager that prepares the model for samples; yields True if unequal lengths may share a batch."""
        rows = [SplitInput.of(sample) for sample in samples]
        with self._recorder.session(rows):
            yield self._recorder.may_mix(rows)

    def budget(self, batch_size: int | None = None) -> Budget:
        """Return the budget of a batch of ``batch_size`` texts; None: the splitter's own."""
        return (
            self._recorder.budget if batch_size is None else Budget(check_batch_size(batch_size), self._recorder.budget.tokens)
        )

    def hook_point(self, split_point: str | None) -> HookPoint:
        """Return the hook point of a split point; None: of the only one.

        Raises:
            OptionError: there is no such split point, or there are several.
        """
        points = {point.name: point for point in self._recorder.hook_points}
        if split_point is None and len(points) == 1:
            return self._recorder.hook_points[0]
        if split_point not in points:
            raise OptionError(f"`split_point`: got {split_point!r}; pass one of {', '.join(map(repr, points))}.")
        return points[split_point]

    def _given_samples(self, inputs: Any) -> list[Sample]:
        """Return samples as they are, and other inputs as samples."""
        if isinstance(inputs, Sequence) and inputs and all(isinstance(item, Sample) for item in inputs):
            return list(inputs)
        return self.samples(inputs)


class TokenSplitter(ModelSplitter):
    """A splitter whose activations belong to tokens, and are pooled into units."""

    @abstractmethod
    def iter_samples(self, inputs: Any, activation_granularity: Any) -> Iterator[Sample]:
        """Yield inputs, one after the other, with the units that their rows of activations represent."""

    def batch_activations(self, samples: Sequence[Sample], split_point: str | None = None) -> Tensor:
        return self._recorder.hidden_of([SplitInput.of(sample) for sample in samples], self.hook_point(split_point))

    def activations_of(
        self,
        samples: Sequence[Sample],
        aggregation_strategy: GranularityAggregationStrategy | str | None = GranularityAggregationStrategy.MEAN,
        split_point: str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Float[Tensor, "u d"]:
        where = self._recorder.hook_points.index(self.hook_point(split_point))
        readouts = self._recorder.read(map(SplitInput.of, samples), read_strategy(aggregation_strategy), dtype=dtype)
        return _one_after_the_other([reading.activations[where] for reading in readouts])

    def of_batch(
        self, inputs: Mapping[str, Any], inside: Bool[Tensor, "b l"], last: Int[Tensor, " b"], split_point: str | None = None
    ) -> tuple[Float[Tensor, "r d"], Int[Tensor, " r"]]:
        hidden = self._recorder.of_inputs(self.hook_point(split_point), inputs)
        inside = inside.to(hidden.device)
        if hidden.ndim == 2:
            return hidden, torch.arange(len(hidden), device=hidden.device)
        return hidden[inside], inside.nonzero()[:, 0]

    def edited_outputs(self, inputs: Any, edit: Edit, split_point: str | None = None) -> Float[Tensor, "b ..."]:
        rows = [SplitInput.of(sample) for sample in self._given_samples(inputs)]
        return self._recorder.edited(rows, self.hook_point(split_point), edit)

    def outputs_from(self, samples: Sequence[Sample], hidden: Tensor, split_point: str | None = None) -> Float[Tensor, "b ..."]:
        return self._recorder.run_on([SplitInput.of(sample) for sample in samples], self.hook_point(split_point), hidden)[0]

    def activations_from(
        self, samples: Sequence[Sample], hidden: Tensor, split_point: str | None, to: Sequence[str | int]
    ) -> dict[str, Tensor]:
        """Return activations at further places, downstream of given activations, and differentiable in them alone.

        Args:
            samples: The texts of a batch.
            hidden: Of the shape that `batch_activations` returns for these samples at the split point.
            split_point: Where ``hidden`` is given; None: the only split point.
            to: Paths of modules, or numbers of blocks, that the model reaches after the split point.

        Returns:
            Activations ``(b, l, d)``, or ``(b, d)`` where there are no tokens, by path.

        Raises:
            OptionError: the model reaches one of them before the split point, or has no such module.
        """
        points = find_hook_points(self.model, to)
        rows = [SplitInput.of(sample) for sample in samples]
        _, found = self._recorder.run_on(rows, self.hook_point(split_point), hidden, points)
        return {point.name: values for point, values in zip(points, found, strict=True)}

    def editing(self, edit: Edit, split_point: str | None = None) -> AbstractContextManager[None]:
        return self._recorder.editing(self.hook_point(split_point), edit, self.probe_row())

    def probe_row(self) -> SplitInput:
        """Return a short text, or an empty image, as the model reads it, by which a module's layout is found."""
        (sample, *_) = self.iter_samples([getattr(self.reader, "probe", PROBE)], ActivationGranularity.ALL_TOKENS)
        return SplitInput.of(sample)

    def _joined(self, readouts: Sequence[WindowActivations]) -> Activations:
        return Activations(
            {
                name: _one_after_the_other([reading.activations[i] for reading in readouts])
                for i, name in enumerate(self.split_points)
            }
        )


def counted(row: SplitInput, counts: list[int]) -> SplitInput:
    """Return a row, after its number of units was added to ``counts``."""
    counts.append(row.u)
    return row


def of_each(activations: Activations, counts: Sequence[int]) -> dict[str, list[Tensor]]:
    """Return activations by split point, of each input apart: ``(g, d)`` each."""
    return {name: list(rows.split(list(counts))) for name, rows in activations.items()}


def _one_after_the_other(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
