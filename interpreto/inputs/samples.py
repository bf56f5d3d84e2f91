"""A sample: one input, tokenized once, with everything later stages need; and its variants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interpreto.inputs.units import Span, Units


@dataclass(frozen=True, eq=False)
class Readout:
    """One run of the model on a sample, and the scores read off it: ``score_i = Σ_k weights[i, k] · output_k``.

    Attributes:
        ids: Columns of the logits: classes, or tokens of the vocabulary.
        positions: The token after which each column is read, counted in the sample's ids and the suffix; what follows the last
            of them is not run. None: the model answers one row of logits a text.
        weights: How outputs add up to scores; None: each output is a score.
        suffix: Ids that are run after the sample's own, and no part of the explanation.
    """

    ids: Int[Tensor, " k"]
    positions: Int[Tensor, " k"] | None = None
    weights: Float[Tensor, "t k"] | None = None
    suffix: Int[Tensor, " c"] | None = None

    def __len__(self) -> int:
        return len(self.ids) if self.weights is None else len(self.weights)

    def single(self) -> list[Readout]:
        """The same scores, with a run of the model for each output."""
        weights = torch.eye(len(self.ids)) if self.weights is None else self.weights
        positions: list[Tensor | None] = [None] * len(self.ids) if self.positions is None else list(self.positions[:, None])
        return [Readout(self.ids[k : k + 1], positions[k], weights[:, k : k + 1], self.suffix) for k in range(len(self.ids))]


@dataclass(frozen=True, eq=False)
class Targets:
    """What is explained of a sample: ``t`` scores, which are the sums over its readouts.

    Attributes:
        readouts: Runs of the model and what is read off each; their scores are added up.
        labels: What each score is called.
        spans: Characters of each score's own part of the text; None where it has none, as a class has.
    """

    readouts: tuple[Readout, ...]
    labels: tuple[str, ...]
    spans: tuple[Span | None, ...]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def ids(self) -> Int[Tensor, " t"]:
        """Return the class or token id of each score; -1 where a score combines several."""
        first = self.readouts[0]
        if len(self.readouts) > 1 or first.weights is not None:
            return torch.full((len(self),), -1)
        return first.ids

    def only(self, i: int) -> Targets:
        """One of the scores alone."""
        readouts = []
        for readout in self.readouts:
            weights = torch.eye(len(readout.ids)) if readout.weights is None else readout.weights
            used = weights[i].nonzero()[:, 0]
            if not len(used):
                continue
            positions = None if readout.positions is None else readout.positions[used]
            own = None if readout.weights is None else readout.weights[i : i + 1, used]
            readouts.append(Readout(readout.ids[used], positions, own, readout.suffix))
        return Targets(tuple(readouts), self.labels[i : i + 1], self.spans[i : i + 1])

    def summed(self, text: str) -> Targets:
        """The sum of the scores as one, which is about all their parts of the text."""
        readouts = []
        for readout in self.readouts:
            weights = torch.eye(len(readout.ids)) if readout.weights is None else readout.weights
            readouts.append(replace(readout, weights=weights.sum(0, keepdim=True)))
        own = [span for span in self.spans if span is not None]
        if not own:
            return Targets(tuple(readouts), (" + ".join(self.labels),), (None,))
        span = min(a for a, _ in own), max(b for _, b in own)
        whole = text[span[0] : span[1]]
        return Targets(tuple(readouts), (whole.strip() or repr(whole),), (span,))


@dataclass(frozen=True, eq=False)
class Sample:
    """One unpadded input and what to explain in it.

    Attributes:
        text: What the model read, as a reader sees it; the units' spans count its characters.
        input_ids: Token ids, special ones included; of a generation, the prompt's and then the target's.
        units: Partition of the tokens into explained units.
        extras: Other inputs of the model with one value a token, such as ``token_type_ids``.
        targets: What is explained; None while the model's own prediction has not been read.
        source: Tokens that an encoder reads, where a decoder reads the others; 0: one stack reads all.
        prompt: Tokens in front of the explained target, where the target is part of the text; None: it is not.
    """

    text: str
    input_ids: Int[Tensor, " l"]
    units: Units
    extras: Mapping[str, Int[Tensor, " l"]] = field(default_factory=dict)
    targets: Targets | None = None
    source: int = 0
    prompt: int | None = None

    def __len__(self) -> int:
        return len(self.input_ids)

    def with_targets(self, targets: Targets) -> Sample:
        """The same sample, explained for this."""
        return replace(self, targets=targets)

    @property
    def reach(self) -> Int[Tensor, " t"]:
        """How many units, from the first on, each score can depend on: those that begin before what it reads."""
        t = 0 if self.targets is None else len(self.targets)
        if self.targets is None or any(readout.positions is None for readout in self.targets.readouts):
            return torch.full((t,), len(self.units))
        last = torch.full((t,), -1)
        for readout in self.targets.readouts:
            assert readout.positions is not None
            used = torch.eye(len(readout.ids)).bool() if readout.weights is None else readout.weights != 0
            last = torch.maximum(last, torch.where(used, readout.positions, -1).amax(1))
        begins = first_tokens(self.units)
        return (begins[None] <= last[:, None]).sum(1)

    @property
    def players(self) -> int:
        """How many units, from the first on, any score can depend on."""
        return len(self.units) if self.targets is None else int(self.reach.max())

    @property
    def ahead(self) -> Bool[Tensor, " u"]:
        """Which units end in front of everything that is read: a target's own tokens, and those behind it, are in none."""
        units, places = (
            self.units,
            [] if self.targets is None else [r.positions for r in self.targets.readouts if r.positions is not None],
        )
        begins = min((int(positions.min()) + 1 for positions in places), default=len(self.input_ids))
        return last_tokens(units) < begins


def first_tokens(units: Units) -> Int[Tensor, " u"]:
    """The first token of each unit; units are numbered in this order."""
    position = torch.arange(len(units.index))[units.free]
    begins = torch.full((len(units),), len(units.index))
    return begins.scatter_reduce(0, units.index[units.free], position, "amin")


def last_tokens(units: Units) -> Int[Tensor, " u"]:
    """The last token of each unit."""
    position = torch.arange(len(units.index))[units.free]
    ends = torch.full((len(units),), -1)
    return ends.scatter_reduce(0, units.index[units.free], position, "amax")


@dataclass(frozen=True, eq=False)
class MaskVariants:
    """``p`` copies of a sample with units removed.

    Attributes:
        mask: 1 where a unit is removed.
        weights: What a copy counts for in its aggregator's regression; None: all the same.
        groups: Copies that were drawn together share a number, for standard errors; ``-1``: not drawn, enumerated.
    """

    sample: Sample
    mask: Float[Tensor, "p u"]
    weights: Float[Tensor, " p"] | None = None
    groups: Int[Tensor, " p"] | None = None


@dataclass(frozen=True, eq=False)
class EmbeddingVariants:
    """``p`` copies of a sample with its embeddings moved; their gradients are read.

    Attributes:
        points: Embeddings of each copy, fed in place of the embedding layer's output.
        direction: What the gradients are contracted with, for all copies or for each; None for their L2 norm.
        weights: Quadrature weights of the copies, which sum to 1; None: all the same.
        baseline: Where a path begins; its score is recorded as the reference.
    """

    sample: Sample
    points: Float[Tensor, "p l d"]
    direction: Float[Tensor, "#p l d"] | None = None
    weights: Float[Tensor, " p"] | None = None
    baseline: Float[Tensor, "l d"] | None = None


Variants = MaskVariants | EmbeddingVariants
