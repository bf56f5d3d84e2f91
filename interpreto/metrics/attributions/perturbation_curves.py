"""What a model says while units are taken out, or put in, in the order of an explanation."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interpreto.attributions.output import AttributionOutput
from interpreto.attributions.perturbations.base import check_count
from interpreto.errors import OptionError
from interpreto.metrics.attributions.base import Finding, GameMetric, Range
from interpreto.metrics.attributions.cases import Row
from interpreto.metrics.attributions.game import Answer
from interpreto.metrics.attributions.readouts import HOLDS, LOG_PROBABILITY, PROBABILITY, SCORE
from interpreto.metrics.ranking import area, first_of, steps

ERASER = (0.01, 0.05, 0.1, 0.2, 0.5)
REMOVED, KEPT, SPARED = "removed", "kept", "spared"


@dataclass(frozen=True, eq=False)
class Walk:
    """Scores along the order of a row's units; of equals, along an order and its reverse.

    Attributes:
        fractions: Share of the units that were taken, most important first.
        removed: Scores without those; None: not asked for.
        kept: Scores with those alone; None: not asked for.
        spared: Scores without as many of the least important units; None: not asked for.
        whole: Score of the untouched input.
    """

    fractions: Float[Tensor, " k"]
    removed: Float[Tensor, "o k"] | None
    kept: Float[Tensor, "o k"] | None
    spared: Float[Tensor, "o k"] | None
    whole: float

    @property
    def without(self) -> Float[Tensor, "o k"]:
        """Scores without the most important units."""
        assert self.removed is not None
        return self.removed

    @property
    def alone(self) -> Float[Tensor, "o k"]:
        """Scores with the most important units alone."""
        assert self.kept is not None
        return self.kept

    @property
    def least_first(self) -> Float[Tensor, "o k"]:
        """Scores without the least important units."""
        assert self.spared is not None
        return self.spared


class CurveMetric(GameMetric):
    """A metric of one or both curves; they are shared with every other metric of the call.

    Args:
        model: The explained model. Left as it was after every call.
        tokenizer: Its tokenizer.
        batch_size: Rows a forward pass; None: as many as a token budget holds.
        device: Where to run the model for the call; None: where it is.
        n_perturbations: At most so many steps along the order.
        max_percentage_perturbed: Where the walk ends, as a share of the units.
        measure: What is read along the way: ``"probability"`` (default), ``"log_probability"`` or ``"score"``, that of
            the explanation; see `Measures`.
        **options: See `GameMetric`.
    """

    walks: ClassVar[tuple[str, ...]] = (REMOVED,)
    reads: ClassVar[str | None] = None
    """What is read along the way, where a metric leaves no choice."""
    in_units_of_the_score: ClassVar[bool] = True
    """Whether the value range is that of a probability, and another measure has another."""

    def __init__(  # noqa: PLR0917  (the reference library's order)
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        device: Any = None,
        n_perturbations: int = 100,
        max_percentage_perturbed: int | float = 1.0,
        *,
        measure: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(model, tokenizer, batch_size, device, **options)
        share = max_percentage_perturbed
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share <= 1:
            raise OptionError(f"`max_percentage_perturbed`: got {share!r}; pass a share in (0, 1].")
        if self.reads is not None and measure not in (None, self.reads):
            raise OptionError(f"`measure`: got {measure!r}; {type(self).__name__} reads {self.reads!r}.")
        self.n_perturbations = check_count(n_perturbations, "n_perturbations")
        self.max_percentage_perturbed = float(share)
        self.measure = self.reads or read_measure(PROBABILITY if measure is None else measure)

    @property
    def measures(self) -> tuple[str, ...]:
        return (self.measure,)

    def range_of(self, explanations: Sequence[AttributionOutput]) -> Range:
        low, high = self.value_range
        if not self.in_units_of_the_score or (low is None and high is None):
            return self.value_range
        if self.measure != PROBABILITY or not self.game.measures.decides:
            return None, None
        if not any(contrasts(output) for output in explanations):
            return self.value_range
        return (-1.0, 1.0) if low == 0 else (-2.0, 2.0)  # a contrast is the difference of two probabilities

    def counts(self, u: int) -> Int[Tensor, " k"]:
        """How many units are taken at each step."""
        return steps(u, self.n_perturbations, self.max_percentage_perturbed)

    def copies(self, row: Row) -> Bool[Tensor, "p u"]:
        counts = self.counts(len(row))
        taken, most = (first_of(row.orders, k).flatten(0, 1) for k in (counts, len(row) - counts))
        copies = {REMOVED: taken, KEPT: ~taken, SPARED: ~most}
        return torch.cat([copies[walk] for walk in self.walks])

    def of(self, row: Row, answer: Answer) -> Finding:
        measure, counts = self.measures[0], self.counts(len(row))
        parts = answer.copies[measure].chunk(len(self.walks))
        curves = {walk: part.unflatten(0, (-1, len(counts))) for walk, part in zip(self.walks, parts, strict=True)}
        removed, kept, spared = map(curves.get, (REMOVED, KEPT, SPARED))
        walk = Walk(counts.double() / len(row), removed, kept, spared, answer.whole[measure])
        found = self.value(walk)
        return replace(found, details={**found.details, "fractions": walk.fractions}) if found.details else found

    @abstractmethod
    def value(self, walk: Walk) -> Finding:
        """The metric of the curves."""


class Deletion(CurveMetric):
    """Area under the score while the most important units are removed, one after the other. Lower is better.

    In [0, 1] of a probability. ``details["curves"]`` has the curve of each explanation and target, the untouched input
    first. Where attributions are equal, the mean over an order and its reverse.

    Examples:
        >>> from interpreto import Occlusion, demo
        >>> from interpreto.metrics import Deletion
        >>> model, tokenizer = demo.load_classifier()
        >>> auc, curves = Deletion(model, tokenizer).evaluate(Occlusion(model, tokenizer)("A gorgeous, moving film."))
        >>> len(curves[0][0])  # four words and two marks: none to all of them removed
        7

    References:
        Petsiuk et al., BMVC 2018, https://arxiv.org/abs/1806.07421.
    """

    higher_is_better = False
    value_range = (0.0, 1.0)

    def value(self, walk: Walk) -> Finding:
        return _area(walk, walk.without)


class Insertion(CurveMetric):
    """Area under the score while the most important units alone are put in, one after the other. Higher is better.

    In [0, 1] of a probability. For scores that add up, Deletion and Insertion add up to f(x) + f(∅).

    References:
        Petsiuk et al., BMVC 2018, https://arxiv.org/abs/1806.07421.
    """

    higher_is_better = True
    value_range = (0.0, 1.0)
    walks = (KEPT,)

    def value(self, walk: Walk) -> Finding:
        return _area(walk, walk.alone)


class MoRF(CurveMetric):
    """Area under the score while the most relevant units are removed first: `Deletion`. Lower is better.

    ``details["aopc"]`` is the mean of f(x) − f over the steps, as the paper sums it up.

    References:
        Samek et al., IEEE TNNLS 2017, https://arxiv.org/abs/1509.06321.
    """

    higher_is_better = False
    value_range = (0.0, 1.0)

    def value(self, walk: Walk) -> Finding:
        return _degradation(walk, walk.without)


class LeRF(CurveMetric):
    """Area under the score while the least relevant units are removed first. Higher is better.

    What is left after k of them are the u − k most relevant ones: the whole walk is that of `Insertion` from its other
    end, and the area the same.

    References:
        Samek et al., IEEE TNNLS 2017, https://arxiv.org/abs/1509.06321.
    """

    higher_is_better = True
    value_range = (0.0, 1.0)
    walks = (SPARED,)

    def value(self, walk: Walk) -> Finding:
        return _degradation(walk, walk.least_first)


class ABPC(CurveMetric):
    """Area between the curves: removing the least relevant first less removing the most relevant first. Higher is better.

    In [−1, 1] of a probability; 0 is what an order that knows nothing gets, whatever the model says of emptied texts:
    `Deletion` and `Insertion` alone depend on that.

    References:
        Schulz et al., ICLR 2020, https://arxiv.org/abs/2001.00396 (the area between degradation curves).
    """

    higher_is_better = True
    value_range = (-1.0, 1.0)
    walks = (REMOVED, SPARED)

    def value(self, walk: Walk) -> Finding:
        gap = walk.least_first - walk.without
        return Finding(float(area(walk.fractions, gap).mean()), {"curves": gap.mean(0)})


class BinMetric(CurveMetric):
    """A mean over shares of the units, most important first.

    Args:
        model: The explained model. Left as it was after every call.
        tokenizer: Its tokenizer.
        batch_size: Rows a forward pass; None: as many as a token budget holds.
        device: Where to run the model for the call; None: where it is.
        bins: Shares, each rounded up to whole units; ``"eraser"``: 1, 5, 10, 20 and 50 %; ``"all"``: every number of
            units from 1 on.
        **options: See `GameMetric`.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        device: Any = None,
        *,
        bins: str | Sequence[float] = "eraser",
        **options: Any,
    ) -> None:
        for name in ("n_perturbations", "max_percentage_perturbed"):
            if name in options:
                raise OptionError(f"`{name}`: {type(self).__name__} has no steps but shares; pass `bins`.")
        super().__init__(model, tokenizer, batch_size, device, **options)
        del self.n_perturbations, self.max_percentage_perturbed
        self.bins = _read_bins(bins)

    def counts(self, u: int) -> Int[Tensor, " k"]:
        if self.bins == "all":
            return torch.arange(1, u + 1)
        return torch.tensor([math.ceil(share * u - 1e-9) for share in self.bins])  # type: ignore[operator]

    def _mean(self, values: Float[Tensor, "o k"]) -> Finding:
        return Finding(float(values.mean()), {"curves": values.mean(0)})


class AOPCComprehensiveness(BinMetric):
    """What the score loses without the most important units, f(x) − f(x without them), over shares. Higher is better.

    In [−1, 1] of a probability: a rationale is comprehensive when nothing outside it would do.

    References:
        DeYoung et al., ACL 2020, https://arxiv.org/abs/1911.03429.
    """

    higher_is_better = True
    value_range = (-1.0, 1.0)

    def value(self, walk: Walk) -> Finding:
        return self._mean(walk.whole - walk.without)


class AOPCSufficiency(BinMetric):
    """What the score loses with the most important units alone, f(x) − f(them), over shares. Lower is better.

    In [−1, 1] of a probability; below 0 where they convince the model more than the whole text does.

    References:
        DeYoung et al., ACL 2020, https://arxiv.org/abs/1911.03429.
    """

    higher_is_better = False
    value_range = (-1.0, 1.0)
    walks = (KEPT,)

    def value(self, walk: Walk) -> Finding:
        return self._mean(walk.whole - walk.alone)


class LogOdds(BinMetric):
    """Mean of log p(x without the most important units) − log p(x), over shares. Lower is better.

    In nats; of a generated text, of all its tokens together. The logarithm shows what `AOPCComprehensiveness` hides where
    the probability is nearly 1, and weighs small probabilities heavily.

    References:
        Shrikumar et al., ICML 2017, https://arxiv.org/abs/1704.02685; Chen et al., ACL 2020,
        https://arxiv.org/abs/2004.02015.
    """

    higher_is_better = False
    reads = LOG_PROBABILITY

    def value(self, walk: Walk) -> Finding:
        return self._mean(walk.without - walk.whole)


class DecisionFlip(CurveMetric):
    """Share of the units, most important first, whose removal turns the model's decision; 1 if nothing does. Lower is better.

    ``details["flipped"]`` tells for each row whether anything did: a 1 may be either. A target that is not the model's
    decision has none to turn, and is skipped; so is every output of a regression.

    References:
        Serrano and Smith, ACL 2019, https://arxiv.org/abs/1906.03731.
    """

    higher_is_better = False
    value_range = (0.0, 1.0)
    reads = HOLDS
    in_units_of_the_score = False

    def value(self, walk: Walk) -> Finding:
        kind = self.game.measures
        if not kind.decides:
            return Finding.none("a regression decides nothing")
        if not kind.several_hold and abs(walk.whole - 1) > 1e-6:
            return Finding.none("the target is not what the model decides")
        flips = (walk.without - walk.whole).abs() > 1e-6
        first = torch.where(flips.any(1), walk.fractions[flips.float().argmax(1)], 1.0)
        return Finding(float(first.mean()), {"curves": walk.without.mean(0), "flipped": bool(flips.any(1).all())})


class Monotonicity(CurveMetric):
    """Share of the steps at which the score does not fall while units come in, least important first. Higher is better.

    In [0, 1]; 1: each unit that an explanation says speaks for the target raises its score, or leaves it. The units come
    in from the emptied text, so that the copies are those of `Deletion`, backwards. ``details["monotone"]``: whether none
    fell, which is the paper's own verdict.

    Args:
        tolerance: A fall up to this is none.

    References:
        Arya et al., 2019, https://arxiv.org/abs/1909.03012.
    """

    higher_is_better = True
    value_range = (0.0, 1.0)
    in_units_of_the_score = False

    def __init__(
        self, model: Any, tokenizer: Any = None, *arguments: Any, tolerance: int | float = 1e-6, **options: Any
    ) -> None:
        super().__init__(model, tokenizer, *arguments, **options)
        if isinstance(tolerance, bool) or not isinstance(tolerance, (int, float)) or tolerance < 0:
            raise OptionError(f"`tolerance`: got {tolerance!r}; pass a number of at least 0.")
        self.tolerance = float(tolerance)

    def value(self, walk: Walk) -> Finding:
        rising = -walk.without.diff(dim=1) >= -self.tolerance
        mean = walk.without.mean(0).flip(0)
        return Finding(float(rising.double().mean()), {"curves": mean, "monotone": bool(rising.all())})


def read_measure(value: str) -> str:
    known = (PROBABILITY, LOG_PROBABILITY, SCORE)
    if value not in known:
        raise OptionError(f"`measure`: got {value!r}; pass one of {', '.join(map(repr, known))}.")
    return value


def contrasts(output: AttributionOutput) -> bool:
    """Whether anything counts against a target."""
    readouts = () if output.sample.targets is None else output.sample.targets.readouts
    return any(readout.weights is not None and bool((readout.weights < 0).any()) for readout in readouts)


def _area(walk: Walk, curve: Float[Tensor, "o k"]) -> Finding:
    return Finding(float(area(walk.fractions, curve).mean()), {"curves": curve.mean(0)})


def _degradation(walk: Walk, curve: Float[Tensor, "o k"]) -> Finding:
    found = _area(walk, curve)
    return Finding(found.value, {**found.details, "aopc": float((walk.whole - curve).mean())})


def _read_bins(bins: str | Sequence[float]) -> str | tuple[float, ...]:
    if isinstance(bins, str):
        if bins not in ("eraser", "all"):
            raise OptionError(f"`bins`: got {bins!r}; pass 'eraser', 'all', or shares in (0, 1].")
        return ERASER if bins == "eraser" else bins
    shares = tuple(float(share) for share in bins)
    if not shares or not all(0 < share <= 1 for share in shares):
        raise OptionError(f"`bins`: got {list(bins)}; pass shares in (0, 1].")
    return shares
