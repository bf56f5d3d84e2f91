"""Cases: one target of one explanation, the unit of evaluation of a metric."""

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

NOTHING_TO_MASK = "nothing before the target could be masked"
"""Reason why a case without units has no value."""


@dataclass(frozen=True, eq=False)
class Case:
    """One target of one explanation.

    Attributes:
        output: The explanation.
        target: Index of the target.
        sample: The explained input, with this target alone.
        units: Indices of the units that may be masked: those with an attribution that end before the target. The target
            and what follows it are never masked.
        values: The attributions of these units.
    """

    output: AttributionOutput
    target: int
    sample: Sample
    units: Int[Tensor, " u"]
    values: Float[Tensor, " u"]

    def __len__(self) -> int:
        return len(self.units)

    @staticmethod
    def of(output: AttributionOutput, target: int) -> Case:
        """Return the case of one target of an explanation."""
        assert output.sample.targets is not None
        sample = output.sample.with_targets(output.sample.targets.only(target))
        values = output.attributions[target].double()
        units = (sample.ahead & ~values.isnan()).nonzero()[:, 0]
        return Case(output, target, sample, units, values[units])

    @cached_property
    def orders(self) -> Int[Tensor, "o u"]:
        """Return the rank of each unit, most important first; with a second row where attributions are equal."""
        return orders(self.values)

    @cached_property
    def game_key(self) -> tuple[object, ...]:
        """Equal for cases whose perturbed inputs are scored in one pass: the input, its units, and where scores are read."""
        sample = self.sample
        tensors = [sample.input_ids, sample.units.index, *(sample.extras[name] for name in sorted(sample.extras))]
        return sample.source, sample.text, *map(_bytes_of, tensors), *(() if self.is_class else self.score_key)

    @cached_property
    def score_key(self) -> tuple[object, ...]:
        """Equal for cases of one game that have equal scores: the target, and the explained score."""
        assert self.sample.targets is not None
        tensors = [t for r in self.sample.targets.readouts for t in (r.ids, r.positions, r.weights, r.suffix) if t is not None]
        return self.output.inference_mode, *map(_bytes_of, tensors)

    @property
    def is_class(self) -> bool:
        """True where the target is read from the one row of logits that the model returns per text, as every class is."""
        targets = self.sample.targets
        return (
            targets is not None
            and len(targets.readouts) == 1
            and targets.readouts[0].positions is None
            and targets.readouts[0].suffix is None
        )


def _bytes_of(tensor: Tensor) -> tuple[object, ...]:
    return tuple(tensor.shape), tensor.numpy().tobytes()


def cases_of(explanations: Sequence[AttributionOutput]) -> list[list[Case]]:
    """Return the cases of each explanation, one per target."""
    return [[Case.of(output, i) for i in range(len(output.attributions))] for output in explanations]


def read_explanations(explanations: AttributionOutput | Iterable[Any]) -> list[AttributionOutput]:
    """Return explanations as a list, also from a generator, which is read once.

    Raises:
        InputError: There is none, or something else is among them.
    """
    found = [explanations] if isinstance(explanations, AttributionOutput) else list(explanations)
    if not found:
        raise InputError("`explanations`: got none; pass what an explainer returned.")
    for i, output in enumerate(found):
        if not isinstance(output, AttributionOutput):
            raise InputError(f"`explanations[{i}]`: got {type(output).__name__}; pass what an explainer returned.")
    return found


def has_contrast(output: AttributionOutput) -> bool:
    """Return whether an output counts against one of the targets."""
    readouts = () if output.sample.targets is None else output.sample.targets.readouts
    return any(readout.weights is not None and bool((readout.weights < 0).any()) for readout in readouts)


def random_like(output: AttributionOutput, random_state: int) -> AttributionOutput:
    """Return the explanation with the values of each target shuffled; NaN stays where it is."""
    seed = zlib.crc32(output.sample.input_ids.numpy().tobytes(), random_state)  # of the input, whatever else is evaluated
    generator = torch.Generator().manual_seed(seed)
    values = output.attributions.clone()
    for row in values:
        places = (~row.isnan()).nonzero()[:, 0]
        row[places] = row[places[torch.randperm(len(places), generator=generator)]]
    return _with_values(output, values, "random")


def reversed_of(output: AttributionOutput) -> AttributionOutput:
    """Return the explanation with the order of its units reversed."""
    return _with_values(output, -output.attributions, f"reversed {output.method}")


def _with_values(output: AttributionOutput, values: Float[Tensor, "t g"], method: str) -> AttributionOutput:
    nothing = {"reference_scores": None, "residual": None, "standard_error": None}
    return replace(output, attributions=values, method=method, **nothing)
