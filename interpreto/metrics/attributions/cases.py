"""One target of one explanation: what a metric judges."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpreto.attributions.output import AttributionOutput
from interpreto.errors import InputError
from interpreto.inputs.samples import Sample
from interpreto.metrics.ranking import orders


@dataclass(frozen=True, eq=False)
class Row:
    """One target of one explanation.

    Attributes:
        output: The explanation.
        target: Which of its targets.
        sample: Its input, aimed at this target alone.
        units: Units that may be removed: those with an attribution that end in front of the target. What the target is
            read from, and what follows it, stays.
        values: Their attributions.
    """

    output: AttributionOutput
    target: int
    sample: Sample
    units: Int[Tensor, " u"]
    values: Float[Tensor, " u"]

    def __len__(self) -> int:
        return len(self.units)

    @staticmethod
    def of(output: AttributionOutput, target: int) -> Row:
        assert output.sample.targets is not None
        sample = output.sample.with_targets(output.sample.targets.only(target))
        values = output.attributions[target].double()
        units = (sample.ahead & ~values.isnan()).nonzero()[:, 0]
        return Row(output, target, sample, units, values[units])

    @cached_property
    def orders(self) -> Int[Tensor, "o u"]:
        """The place of each unit, most important first; a second row where some are equal; see `orders`."""
        return orders(self.values)

    @cached_property
    def game(self) -> tuple[object, ...]:
        """What is the same for rows whose copies are scored by one pass: the input, its units, and where scores are read."""
        sample = self.sample
        tensors = [sample.input_ids, sample.units.index, *(sample.extras[name] for name in sorted(sample.extras))]
        return sample.source, *map(_bytes_of, tensors), *(() if self.of_classes else self.scored)

    @cached_property
    def scored(self) -> tuple[object, ...]:
        """What is the same for rows of a game whose copies score alike: the target, and the explained score."""
        assert self.sample.targets is not None
        tensors = [t for r in self.sample.targets.readouts for t in (r.ids, r.positions, r.weights, r.suffix) if t is not None]
        return self.output.inference_mode, *map(_bytes_of, tensors)

    @property
    def of_classes(self) -> bool:
        """Whether the target is read off the one row of logits that the model answers for a text, as every class is."""
        targets = self.sample.targets
        return (
            targets is not None
            and len(targets.readouts) == 1
            and targets.readouts[0].positions is None
            and targets.readouts[0].suffix is None
        )


def _bytes_of(tensor: Tensor) -> tuple[object, ...]:
    return tuple(tensor.shape), tensor.numpy().tobytes()


def rows_of(explanations: Sequence[AttributionOutput]) -> list[list[Row]]:
    """The rows of each explanation."""
    return [[Row.of(output, i) for i in range(len(output.attributions))] for output in explanations]


def read_explanations(explanations: AttributionOutput | Iterable[Any]) -> list[AttributionOutput]:
    """Explanations as a list, also from a generator, which is read once.

    Raises:
        InputError: there is none, or something else is among them.
    """
    found = [explanations] if isinstance(explanations, AttributionOutput) else list(explanations)
    if not found:
        raise InputError("`explanations`: got none; pass what an explainer answered.")
    for i, output in enumerate(found):
        if not isinstance(output, AttributionOutput):
            raise InputError(f"`explanations[{i}]`: got {type(output).__name__}; pass what an explainer answered.")
    return found


def random_like(output: AttributionOutput, random_state: int) -> AttributionOutput:
    """The explanation with each row's values in random places, NaN where it has NaN: as large, and knowing nothing."""
    seed = zlib.crc32(output.sample.input_ids.numpy().tobytes(), random_state)  # of its own, whatever else is judged
    generator = torch.Generator().manual_seed(seed)
    values = output.attributions.clone()
    for row in values:
        places = (~row.isnan()).nonzero()[:, 0]
        row[places] = row[places[torch.randperm(len(places), generator=generator)]]
    return _instead(output, values, "random")


def reversed_of(output: AttributionOutput) -> AttributionOutput:
    """The explanation with its order reversed: what is right, upside down."""
    return _instead(output, -output.attributions, f"reversed {output.method}")


def _instead(output: AttributionOutput, values: Float[Tensor, "t g"], method: str) -> AttributionOutput:
    nothing = {"reference_scores": None, "residual": None, "standard_error": None}
    return replace(output, attributions=values, method=method, **nothing)
