"""Samples: one input, tokenized once, with everything that later stages need; and its variants."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from interpreto.inputs.pictures import Picture
from interpreto.inputs.units import Span, Units


@dataclass(frozen=True, eq=False)
class Readout:
    """One run of the model on a sample, and the scores read from it: ``score_i = Σ_k weights[i, k] · output_k``.

    Attributes:
        ids: Columns of the outputs: classes, or tokens of the vocabulary.
        positions: The position at which each column is read, counted in the sample's ids and the suffix. None: the model
            returns one row of outputs per text.
        weights: How outputs add up to scores; None: each output is a score.
        suffix: Ids that are run after the sample's own, and no part of the explanation.
        causal: The outputs at a position depend on the tokens up to it alone, as in a causal language model; what follows
            the last position read is then neither run nor explained. False where a token's outputs see the whole text, as
            in token classification, masked language models and extractive question answering. Without ``positions`` it
            plays no part.
    """

    ids: Int[Tensor, " k"]
    positions: Int[Tensor, " k"] | None = None
    weights: Float[Tensor, "t k"] | None = None
    suffix: Int[Tensor, " c"] | None = None
    causal: bool = True

    @property
    def last(self) -> int | None:
        """Return the last position that the outputs can depend on; None: they depend on the whole text."""
        return int(self.positions.max()) if self.causal and self.positions is not None else None

    def __len__(self) -> int:
        return len(self.ids) if self.weights is None else len(self.weights)

    def single(self) -> list[Readout]:
        """Return the same scores with a run of the model for each output."""
        weights = torch.eye(len(self.ids)) if self.weights is None else self.weights
        positions: list[Tensor | None] = [None] * len(self.ids) if self.positions is None else list(self.positions[:, None])
        return [
            replace(self, ids=self.ids[k : k + 1], positions=positions[k], weights=weights[:, k : k + 1])
            for k in range(len(self.ids))
        ]


@dataclass(frozen=True, eq=False)
class Targets:
    """Scores that are explained of a sample: ``t`` of them, the sums over its readouts.

    Attributes:
        readouts: Runs of the model and what is read from each; their scores are added up.
        labels: Name of each score.
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
        """Return the targets with one of the scores alone."""
        return self.part(i, i + 1)

    def part(self, start: int, end: int) -> Targets:
        """Return the targets with the scores from ``start`` to ``end`` alone."""
        readouts = []
        for readout in self.readouts:
            weights = torch.eye(len(readout.ids)) if readout.weights is None else readout.weights
            used = weights[start:end].any(0).nonzero()[:, 0]
            if not len(used):
                continue
            positions = None if readout.positions is None else readout.positions[used]
            own = None if readout.weights is None else readout.weights[start:end, used]
            readouts.append(replace(readout, ids=readout.ids[used], positions=positions, weights=own))
        return Targets(tuple(readouts), self.labels[start:end], self.spans[start:end])

    def summed(self, text: str) -> Targets:
        """Return the sum of the scores as one, which is about all their parts of the text."""
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


@dataclass(frozen=True)
class Prediction:
    """Decision of a classifier for an input.

    Attributes:
        label: Name of the predicted class; of a multi-label model, the names of all, with commas between them.
        probability: Softmax probability of the class; None where the outputs have none.
    """

    label: str
    probability: float | None = None


@dataclass(frozen=True, eq=False)
class Sample:
    """One unpadded input and what to explain in it.

    Attributes:
        text: The input as a reader sees it; the units' spans count its characters.
        input_ids: Token ids, special ones included; of a generation, the prompt's and then the target's.
        units: Partition of the tokens into explained units.
        inputs: Other inputs of the model, by name: with one value per token, such as ``token_type_ids``.
        targets: What is explained; None while the model's own prediction has not been read.
        source: Number of tokens that an encoder reads, where a decoder reads the others; 0: one stack reads all.
        prompt: Tokens before the explained target, where the target is part of the text; None: it is not.
        prediction: What the model decides for the input; None while it has not been run, and where it decides nothing.
        picture: The image whose cells the first ids are; those of a text may follow. None: the input is a text.
        offsets: Characters of each token in the text; empty where they are not known, as in files of 0.1.
    """

    text: str
    input_ids: Int[Tensor, " l"]
    units: Units
    inputs: Mapping[str, Shaped[Tensor, "l ..."]] = field(default_factory=dict)
    targets: Targets | None = None
    source: int = 0
    prompt: int | None = None
    prediction: Prediction | None = None
    picture: Picture | None = None
    offsets: tuple[Span, ...] = ()

    def __len__(self) -> int:
        return len(self.input_ids)

    def with_targets(self, targets: Targets) -> Sample:
        """Return the same sample, explained for these targets."""
        return replace(self, targets=targets)

    @property
    def words(self) -> int:
        """Number of the first unit that is no region of an image."""
        return 0 if self.picture is None else self.picture.units

    @property
    def said(self) -> str:
        """Return what is in the text behind the names of an image's units; of a text, all of it."""
        return self.text if self.picture is None else self.text[sum(map(len, self.picture.names)) + 2 * self.words - 1 :]

    @property
    def extras(self) -> Mapping[str, Shaped[Tensor, "l ..."]]:
        """Alias of `inputs`, the name of the first edition."""
        return self.inputs

    @property
    def reach(self) -> Int[Tensor, " t"]:
        """Return how many leading units each score can depend on: of a causal model, those that begin before the readout."""
        t = 0 if self.targets is None else len(self.targets)
        if self.targets is None or any(readout.last is None for readout in self.targets.readouts):
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
        """Number of units, from the first on, that any score can depend on."""
        return len(self.units) if self.targets is None else int(self.reach.max())

    @property
    def ahead(self) -> Bool[Tensor, " u"]:
        """Units that end before everything that is read causally; a target's own tokens, and those after it, are in none."""
        readouts = [] if self.targets is None else [r for r in self.targets.readouts if r.last is not None]
        read = [int(r.positions.min()) for r in readouts if r.positions is not None]
        begins = min((position + 1 for position in read), default=len(self.input_ids))
        return last_tokens(self.units) < begins

    def render(self, mask: Float[Tensor, " u"], replacement: str | Sequence[str | None] | None = None) -> str:
        """Return the text with the masked units replaced.

        Args:
            mask: 1 where a unit is masked.
            replacement: Text that each masked unit becomes; None drops the unit with the white space before it (at the
                beginning of the text, with that after it). A text for each unit: what that unit becomes; None keeps it.
        """
        return self.renders(mask[None], replacement)[0]

    def renders(self, mask: Float[Tensor, "r u"], replacement: str | Sequence[str | None] | None = None) -> list[str]:
        """Return the text under each mask; see `render`."""
        cuts = [0, *(place for span in self.units.spans for place in span), len(self.text)]
        parts = [self.text[start:end] for start, end in itertools.pairwise(cuts)]
        gaps, units, tail = parts[:-1:2], parts[1::2], parts[-1]
        whole = [gap + unit for gap, unit in zip(gaps, units, strict=True)]
        if replacement is not None:
            others = [replacement] * len(units) if isinstance(replacement, str) else replacement
            become = [own if other is None else gap + other for own, gap, other in zip(whole, gaps, others, strict=True)]
            pairs = list(zip(whole, become, strict=True))
            return ["".join([pair[i] for pair, i in zip(pairs, row, strict=True)]) + tail for row in mask.int().tolist()]
        if any(gap.strip() or not unit or unit != unit.strip() for gap, unit in zip(gaps, units, strict=True)):
            return [self._without([i for i, masked in enumerate(row) if masked]) for row in mask.tolist()]
        kept = (mask == 0).tolist()
        texts = ("".join(itertools.compress(whole, row)) + tail for row in kept)
        return [text if not row or row[0] else text.lstrip() for text, row in zip(texts, kept, strict=True)]

    def _without(self, masked: Sequence[int]) -> str:
        """Return the text without some units, where other text is between them."""
        found, end = "", 0
        for start, stop in (self.units.spans[i] for i in masked):
            found += self.text[end:start].rstrip()
            end = stop if found else len(self.text) - len(self.text[stop:].lstrip())
        return found + self.text[end:]


def first_tokens(units: Units) -> Int[Tensor, " u"]:
    """Return the first token of each unit; units are numbered in this order."""
    position = torch.arange(len(units.index))[units.free]
    begins = torch.full((len(units),), len(units.index))
    return begins.scatter_reduce(0, units.index[units.free], position, "amin")


def last_tokens(units: Units) -> Int[Tensor, " u"]:
    """Return the last token of each unit."""
    position = torch.arange(len(units.index))[units.free]
    ends = torch.full((len(units),), -1)
    return ends.scatter_reduce(0, units.index[units.free], position, "amax")


@dataclass(frozen=True, eq=False)
class MaskVariants:
    """``p`` perturbed inputs: a sample with units masked.

    Attributes:
        mask: 1 where a unit is masked.
        weights: Weight of each perturbed input in its aggregator's regression; None: all the same.
        groups: Perturbed inputs that were drawn together share a number, for standard errors; ``-1``: enumerated, not
            drawn.
    """

    sample: Sample
    mask: Float[Tensor, "p u"]
    weights: Float[Tensor, " p"] | None = None
    groups: Int[Tensor, " p"] | None = None


@dataclass(frozen=True, eq=False)
class EmbeddingVariants:
    """``p`` perturbed inputs: a sample with its embeddings moved; gradients are read there.

    Attributes:
        points: Embeddings of each perturbed input, fed in place of the embedding layer's output.
        direction: Vectors that the gradients are contracted with, for all points or for each; None for their L2 norm.
        weights: Quadrature weights of the points, which sum to 1; None: all the same.
        baseline: Beginning of the path, or of several; the mean of their scores is recorded as the reference.
    """

    sample: Sample
    points: Float[Tensor, "p l d"]
    direction: Float[Tensor, "#p l d"] | None = None
    weights: Float[Tensor, " p"] | None = None
    baseline: Float[Tensor, "*k l d"] | None = None


Variants = MaskVariants | EmbeddingVariants
