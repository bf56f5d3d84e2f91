"""Hierarchical refinement: cut the units that matter most into smaller ones."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.attributions.output import AttributionOutput
from interpreto.errors import InputError, OptionError
from interpreto.inputs.regions import ImageGranularity
from interpreto.inputs.samples import Sample
from interpreto.inputs.segmentation import Tokens, segment
from interpreto.inputs.units import Granularity, Splitter, read_granularity
from interpreto.validation import check_count, shown


def read_outputs(outputs: object) -> list[AttributionOutput]:
    """Return explanations, given one or several.

    Raises:
        InputError: it is something else.
    """
    found = [outputs] if isinstance(outputs, AttributionOutput) else list(outputs) if isinstance(outputs, list) else None
    if not found or not all(isinstance(output, AttributionOutput) for output in found):
        raise InputError(f"`outputs`: got {shown(outputs)}; pass what an explainer returned.")
    return found


def refined(output: AttributionOutput, granularity: Granularity | Splitter, top: int) -> Sample:
    """Return the sample of an explanation, of which only parts of the strongest units are units.

    Args:
        output: The explanation. A unit's strength is its largest magnitude over the targets.
        granularity: Size of the parts.
        top: Number of units that are cut.

    Raises:
        InputError: the explanation comes from a file of 0.1, which does not hold the characters of tokens.
        OptionError: the granularity is that of all tokens, or cuts a unit into nothing.
    """
    sample = output.sample
    if len(sample.offsets) != len(sample.input_ids):
        raise InputError(
            f"`outputs`: the explanation of {sample.text[:40]!r} was read from a file that does not hold where its tokens "
            "are; explain the input again."
        )
    chosen = strongest(output.attributions, top)
    kept = torch.isin(sample.units.index, chosen)
    segments = []
    for unit in chosen.tolist():
        own = [sample.offsets[i] for i in (sample.units.index == unit).nonzero()[:, 0].tolist()]
        segments.append((min(a for a, _ in own), max(b for _, b in own)))
    tokens = Tokens(
        sample.text,
        sample.offsets,
        tuple(sample.text[a:b] for a, b in sample.offsets),
        tuple((~kept).tolist()),
        tuple(segments),
    )
    units = segment(tokens, granularity)
    if not len(units):
        raise OptionError(f"`granularity`: {shown(granularity)} leaves no unit of {sample.text[:40]!r}; pass a coarser one.")
    return replace(sample, units=units)


def strongest(values: Float[Tensor, "t u"], top: int) -> Tensor:
    """Return the numbers of the units of largest magnitude, in the order of the text; those out of reach are left out."""
    strength = values.abs().nan_to_num(-1.0).amax(0)
    order = strength.argsort(descending=True, stable=True)[:top]
    return order[strength[order] >= 0].sort().values


def read_finer(granularity: Granularity | str | Splitter, top: object) -> tuple[Granularity | Splitter, int]:
    """Return how units are cut, and how many of them.

    Raises:
        OptionError: one of them is out of range.
    """
    found = read_granularity(granularity)
    if isinstance(found, ImageGranularity):
        raise OptionError(f"`granularity`: got {found.value!r}; only units of texts are cut.")
    if found is Granularity.ALL_TOKENS:
        raise OptionError("`granularity`: got 'all_tokens', and special tokens are in no unit; pass 'token'.")
    return found, check_count(top, "top")
