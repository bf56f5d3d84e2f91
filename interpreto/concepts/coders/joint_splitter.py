"""Several places of a model, or of two models, as one split point: read in one pass, and set together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interpreto.concepts.joint_rows import JOINT
from interpreto.concepts.splitters.base import PROBE, ModelSplitter, TokenSplitter, read_strategy
from interpreto.errors import ModelError, OptionError
from interpreto.inputs.samples import Sample
from interpreto.inputs.split_inputs import SplitInput
from interpreto.inputs.units import GranularityAggregationStrategy
from interpreto.models.activations import ActivationRecorder
from interpreto.models.interventions import Edit
from interpreto.models.several_edits import in_order, outputs_through

OTHER = "other:"
"""Before the names of places of a second model."""


class JointSplitter(ModelSplitter):
    """Reads several places in one pass per model, one after the other in each row, and sets those that are written.

    Outputs are those of the first model when the written places hold what they are given: what the model would compute
    there from earlier ones is replaced.

    Args:
        splitters: A splitter with all places of a model; or two, of models that read the same tokens.
        places: The places in order; those of the second model begin with ``other:``.
        written: The places that are set, among them.

    Raises:
        OptionError: a place is no split point of its splitter, or the models read texts as other tokens.
    """

    def __init__(self, splitters: Sequence[TokenSplitter], places: Sequence[str], written: Sequence[str]) -> None:
        self.splitters: tuple[TokenSplitter, ...] = tuple(splitters)
        self.places = tuple(places)
        for splitter in self.splitters:
            if not isinstance(splitter, TokenSplitter):
                raise OptionError("`splitter`: concepts of several places need ModelWithSplitPoints or SplitterForGeneration.")
        super().__init__(self.splitters[0].recorder, self.splitters[0].reader)
        self.default_granularity = self.splitters[0].default_granularity
        for place in self.places:
            splitter, name = self.home(place)
            if name not in splitter.split_points:
                there = ", ".join(map(repr, splitter.split_points))
                raise OptionError(f"`split_point`: got {name!r}; the splitter has {there}.")
        self.written = tuple(place for place in places if place in written and not place.startswith(OTHER))
        if len(self.splitters) > 1:
            _check_tokens(*self.splitters[:2])

    @property
    def split_points(self) -> list[str]:
        """Return the joint split point, and the places of the first model."""
        return [self.name, *self.splitters[0].split_points]

    @property
    def name(self) -> str:
        """Return the name of the joint split point."""
        return JOINT.join(self.places)

    def home(self, place: str) -> tuple[TokenSplitter, str]:
        """Return the splitter of a place, and its name there.

        Raises:
            OptionError: there is no second model.
        """
        if not place.startswith(OTHER):
            return self.splitters[0], place
        if len(self.splitters) < 2:
            raise OptionError(f"`splitter`: {place!r} is of a second model; pass a pair of splitters.")
        return self.splitters[1], place.removeprefix(OTHER)

    def get_activations(
        self,
        inputs: Any,
        activation_granularity: Any = None,
        aggregation_strategy: GranularityAggregationStrategy | str | None = GranularityAggregationStrategy.MEAN,
        *,
        dtype: torch.dtype | None = None,
    ) -> dict[str, Float[Tensor, "n d"]]:
        """Return the activations of all units of the inputs by place, on the CPU, in one pass per model."""
        return self._by_place(self.samples(inputs, activation_granularity), aggregation_strategy, dtype)

    def iter_samples(self, inputs: Any, activation_granularity: Any) -> Iterator[Sample]:
        return self.splitters[0].iter_samples(inputs, activation_granularity)

    def batch_activations(self, samples: Sequence[Sample], split_point: str | None = None) -> Tensor:
        if split_point not in (None, self.name):
            return self.splitters[0].batch_activations(samples, split_point)
        rows = [SplitInput.of(sample) for sample in samples]
        found: dict[str, Tensor] = {}
        for number, splitter in enumerate(self.splitters):
            found |= {OTHER * number + name: hidden for name, hidden in _hidden(splitter.recorder, rows).items()}
        parts = [found[place] for place in self.places]
        if len({part.ndim for part in parts}) > 1:
            raise OptionError(f"`split_point`: of {self.name!r}, some give one vector per text, and others one per token.")
        return torch.cat([part.to(parts[0]) for part in parts], -1)

    def activations_of(
        self,
        samples: Sequence[Sample],
        aggregation_strategy: GranularityAggregationStrategy | str | None = GranularityAggregationStrategy.MEAN,
        split_point: str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Float[Tensor, "u d"]:
        if split_point not in (None, self.name):
            return self.splitters[0].activations_of(samples, aggregation_strategy, split_point, dtype)
        found = self._by_place(list(samples), aggregation_strategy, dtype)
        return torch.cat([found[place].to(found[self.places[0]].dtype) for place in self.places], 1)

    def edited_outputs(self, inputs: Any, edit: Edit, split_point: str | None = None) -> Float[Tensor, "b ..."]:
        samples = self._given_samples(inputs)
        return self.outputs_from(samples, edit(self.batch_activations(samples, split_point)), split_point)

    def outputs_from(self, samples: Sequence[Sample], hidden: Tensor, split_point: str | None = None) -> Float[Tensor, "b ..."]:
        if split_point not in (None, self.name):
            return self.splitters[0].outputs_from(samples, hidden, split_point)
        rows, recorder = [SplitInput.of(sample) for sample in samples], self.splitters[0].recorder
        points = [self.splitters[0].hook_point(name) for name in self.written]
        parts = dict(zip(self.places, self._parts(hidden), strict=True))

        def fixed(_: Tensor, given: Tensor) -> Tensor:
            return given

        edits = [(point, partial(fixed, given=parts[point.name])) for point in in_order(recorder, rows[0], points)]
        return outputs_through(recorder, rows, edits)

    @contextmanager
    def editing(self, edit: Edit, split_point: str | None = None) -> Iterator[None]:
        """Context manager in which every pass of the first model goes through ``edit``, also in ``generate``.

        Raises:
            OptionError: several places are written, or one of a second model is read.
        """
        first = self.splitters[0]
        if split_point not in (None, self.name):
            with first.editing(edit, split_point):
                yield
            return
        read = [place for place in self.places if place not in self.written]
        if len(self.written) != 1 or any(place.startswith(OTHER) for place in read):
            raise OptionError(
                f"`split_point`: {self.name!r} cannot be edited while the model runs: what is written depends on places that "
                "are not reached yet. Add the directions of a concept instead: Steering.add."
            )
        seen: dict[str, Tensor] = {}

        def note(hidden: Tensor, place: str) -> Tensor:
            seen[place] = hidden
            return hidden

        def write(hidden: Tensor) -> Tensor:
            joint = torch.cat([*(seen[place].to(hidden) for place in read), hidden], -1)
            return edit(joint)[..., joint.shape[-1] - hidden.shape[-1] :]

        with ExitStack() as stack:
            for place in read:
                stack.enter_context(first.editing(partial(note, place=place), place))
            stack.enter_context(first.editing(write, self.written[0]))
            yield

    def of_batch(
        self, inputs: Mapping[str, Any], inside: Bool[Tensor, "b l"], last: Int[Tensor, " b"], split_point: str | None = None
    ) -> tuple[Float[Tensor, "r d"], Int[Tensor, " r"]]:
        first, *others = self.splitters
        if others:
            raise OptionError("`splitter`: concepts of two models are no function of one model's embeddings.")
        parts = [first.of_batch(inputs, inside, last, place) for place in self.places]
        return torch.cat([rows for rows, _ in parts], 1), next(texts for _, texts in parts)

    def _by_place(
        self,
        samples: list[Sample],
        strategy: GranularityAggregationStrategy | str | None,
        dtype: torch.dtype | None,
    ) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for number, splitter in enumerate(self.splitters):
            read = list(splitter.recorder.read(map(SplitInput.of, samples), read_strategy(strategy), dtype=dtype))
            for i, name in enumerate(splitter.split_points):
                place = OTHER * number + name
                if place in self.places:
                    found[place] = torch.cat([window.activations[i] for window in read])
        return {place: found[place] for place in self.places}

    def _parts(self, hidden: Tensor) -> list[Tensor]:
        """Return the activations of each place apart."""
        widths = [self._width(place) for place in self.places]
        return list(hidden.split(widths, dim=-1))

    def _width(self, place: str) -> int:
        """Return the width of a place, found on a short text once."""
        if not hasattr(self, "_widths"):
            rows = [self.splitters[0].probe_row()]
            self._widths = {
                OTHER * number + name: int(hidden.shape[-1])
                for number, splitter in enumerate(self.splitters)
                for name, hidden in _hidden(splitter.recorder, rows).items()
            }
        return self._widths[place]


def _hidden(recorder: ActivationRecorder, rows: list[SplitInput]) -> dict[str, Tensor]:
    """Return the activations of a batch at all places of a recorder, in one pass."""
    with recorder.session(rows):
        if not recorder.may_mix(rows):
            raise ModelError("`inputs`: this model's outputs change with padding; pass texts of one length together.")
        hidden, _ = recorder.hidden(rows)
    return {point.name: values for point, values in zip(recorder.hook_points, hidden, strict=True)}


def _check_tokens(first: TokenSplitter, second: TokenSplitter) -> None:
    """Refuse two models that read a plain sentence as different tokens."""
    ids = [next(iter(splitter.iter_samples([PROBE], "all_tokens"))).input_ids for splitter in (first, second)]
    if not torch.equal(*ids):
        raise OptionError(
            "`splitter`: the two models read texts as different tokens, so that their rows are of different units."
        )
