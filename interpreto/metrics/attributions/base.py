"""Bases of the metrics of attributions."""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interpreto.aliases import aliases
from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.output import AttributionOutput
from interpreto.metrics.attributions.cases import NOTHING_TO_MASK, Case, cases_of, has_contrast, read_explanations
from interpreto.metrics.attributions.game import Game, Query, Scores
from interpreto.metrics.attributions.readouts import PROBABILITY
from interpreto.metrics.result import MetricResult
from interpreto.models.alternatives import ReplacedBy
from interpreto.remade import Remade

Range = tuple[float | None, float | None]
Explanations = AttributionOutput | Iterable[Any]
"""One explanation or several; read once, so that a generator does."""
Needs = Literal["explanations", "model", "explainer", "rationales"]
NO_OPTIONS = ("game", "measures", "made_with")
OLD_NAMES = {"copies": "masks", "of": "score"}


@dataclass(frozen=True)
class CaseResult:
    """The value of a metric for one case, NaN where it is undefined.

    Attributes:
        value: The number.
        details: Further quantities, by name.
        reason: Why there is no value.
    """

    value: float
    details: dict[str, Any] = field(default_factory=dict)
    reason: str = ""

    @staticmethod
    def undefined(reason: str) -> CaseResult:
        """Return a result without a value."""
        return CaseResult(math.nan, {}, reason)


class AttributionMetric(Remade, ABC):
    """A metric of explanations: the mean over the targets of each explanation, then over explanations.

    Attributes:
        needs: What the metric is made with: nothing (it reads the ``"explanations"`` alone), the explained ``"model"`` and
            its tokenizer, the ``"explainer"``, or human ``"rationales"``.
        higher_is_better: The metric's direction.
        value_range: Least and largest possible value; None where there is no bound.
        signed_only: The metric compares attributions with scores; methods that return magnitudes are skipped.
        in_score_units: The value is in units of the explained score, so that values of two inference modes are no rivals.
        combined: How the score follows from means over samples, where it is not the mean of the samples' values.
        combined_parts: The details of each case whose means `combined` is a function of.
    """

    needs: ClassVar[Needs] = "explanations"
    higher_is_better: ClassVar[bool]
    value_range: ClassVar[Range] = (None, None)
    signed_only: ClassVar[bool] = False
    in_score_units: ClassVar[bool] = False
    combined: ClassVar[Callable[[Float[Tensor, "*b p"]], Float[Tensor, "*b"]] | None] = None
    combined_parts: ClassVar[tuple[str, ...]] = ()

    @property
    def of_single_texts(self) -> bool:
        """Return True if the value of a text does not depend on the other texts of the call, so that parts can be merged."""
        return self.combined is None

    @property
    def config(self) -> dict[str, Any]:
        """Return the options by name."""
        return {
            name: type(value).__name__ if isinstance(value, AttributionExplainer) else value
            for name, value in vars(self).items()
            if not name.startswith("_") and name not in NO_OPTIONS
        }

    @abstractmethod
    def run(self, explanations: Explanations) -> MetricResult:
        """Compute the metric of explanations, whichever method made them."""

    def __call__(self, explanations: Explanations) -> MetricResult:
        """Compute the metric of explanations; the same as `run`."""
        return self.run(explanations)

    @aliases(attributions_outputs="explanations")
    def evaluate(self, explanations: Explanations) -> tuple[float, list[list[Any]]]:
        """Return the score, and for each explanation and target what it was computed from, as the reference library does."""
        result = self.run(explanations)
        name = next(iter(result.details), None)
        return result.score, [] if name is None else list(result.details[name])

    def summarize(
        self, results: Sequence[Sequence[CaseResult]], value_range: Range | None = None, **details: Any
    ) -> MetricResult:
        """Return the metric's result from those of the cases of each explanation.

        Args:
            results: For each explanation, one result per target.
            value_range: Least and largest possible value for these explanations; None: the metric's own.
            **details: Further quantities, of all explanations together.
        """
        per_target = [torch.tensor([result.value for result in own], dtype=torch.float64) for own in results]
        values = torch.stack([own.nanmean() for own in per_target])
        flat = [result for own in results for result in own]
        names = dict.fromkeys(name for result in flat for name in result.details)
        found = {name: [[result.details.get(name) for result in own] for own in results] for name in names}
        reasons = sorted({result.reason for result in flat if result.reason})
        skipped = int(values.isnan().sum())
        combined = type(self).combined
        parts = None if combined is None else _parts(results, self.combined_parts)
        return MetricResult(
            score=float(values.nanmean()) if combined is None or parts is None else float(combined(parts.nanmean(0))),
            per_sample=values,
            details={**found, "per_target": per_target, **details, **({"skipped": reasons} if reasons else {})},
            higher_is_better=self.higher_is_better,
            value_range=self.value_range if value_range is None else value_range,
            n_valid=len(values) - skipped,
            n_skipped=skipped,
            config=self.config,
            name=type(self).__name__,
            parts=parts,
            combined=combined,
        )


class GameMetric(AttributionMetric):
    """A metric of the model's scores of perturbed inputs.

    Subclasses say which units are masked (`masks`) and turn scores into a value (`score`). The model runs once for all
    metrics and explanations of a call.

    Attributes:
        measures: Quantities read of each perturbed input; see `Measures`.
        of_probability: The value range is that of a probability, so that another measure, or a contrast, has another range.

    Args:
        model: The explained model, or a `Game` to share. Unchanged after every call.
        tokenizer: Its tokenizer.
        batch_size: Rows per forward pass; None: as many as a token budget holds.
        device: Where to run the model for the call; None: where it is.
        replacement: What replaces masked units; see `Replacement`. ``"auto"``: the mask token, else ``"mean"``.
        inference_mode: The explained score, where it is a function of yours; else the explanations tell.
        task: The model's task, where its config does not tell.
        tqdm_bar: Show the progress; None: after two seconds, in terminals and notebooks.
    """

    needs = "model"
    measures: tuple[str, ...]
    of_probability: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        """Accept the names of the first edition, ``copies`` for `masks` and ``of`` for `score`, with a warning."""
        super().__init_subclass__(**options)
        for old, new in OLD_NAMES.items():
            if old in vars(cls) and new not in vars(cls):
                message = f"`{cls.__name__}.{old}` is `{new}` now; the old name goes with the next release."
                warnings.warn(message, DeprecationWarning, stacklevel=2)
                setattr(cls, new, vars(cls)[old])

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        device: Any = None,
        *,
        replacement: ReplacedBy = "auto",
        inference_mode: Any = None,
        task: Any = None,
        tqdm_bar: bool | None = None,
    ) -> None:
        more: dict[str, Any] = {"replacement": replacement, "inference_mode": inference_mode, "task": task}
        self.game = Game.of(model, tokenizer, batch_size, device=device, tqdm_bar=tqdm_bar, **more)
        self.replacement = self.game.replacement.name

    @abstractmethod
    def masks(self, case: Case) -> Bool[Tensor, "p u"]:
        """Return the perturbed inputs that a case needs, True where a unit is masked."""

    @abstractmethod
    def score(self, case: Case, scores: Scores) -> CaseResult:
        """Return the value of a case from the scores of its perturbed inputs."""

    def run(self, explanations: Explanations) -> MetricResult:
        return run_together([self], read_explanations(explanations), self.game)[0]


def run_together(metrics: Sequence[GameMetric], explanations: Sequence[AttributionOutput], game: Game) -> list[MetricResult]:
    """Compute several metrics of the same explanations in one sweep of the model: equal perturbed inputs run once."""
    found = score_together(metrics, explanations, game)
    return [
        metric.summarize(results, range_of(metric, explanations)) for metric, (results, _) in zip(metrics, found, strict=True)
    ]


def score_together(
    metrics: Sequence[GameMetric], explanations: Sequence[AttributionOutput], game: Game
) -> list[tuple[list[list[CaseResult]], list[list[Query]]]]:
    """Return for each metric the results of the cases of each explanation, and its queries about each explanation."""
    cases = cases_of(explanations)
    results: list[list[list[CaseResult]]] = [[[] for _ in cases] for _ in metrics]
    by_explanation: list[list[list[Query]]] = [[[] for _ in cases] for _ in metrics]
    queries: list[Query] = []
    asked: list[tuple[int, int]] = []
    for m, metric in enumerate(metrics):
        for e, own in enumerate(cases):
            for case in own:
                reason = _undefined(metric, case)
                results[m][e].append(CaseResult.undefined(reason))
                if not reason:
                    queries.append(Query(case, metric.masks(case), metric.measures))
                    asked.append((m, e))
                    by_explanation[m][e].append(queries[-1])
    for (m, e), query, scores in zip(asked, queries, game(queries), strict=True):
        results[m][e][query.case.target] = metrics[m].score(query.case, scores)
    return list(zip(results, by_explanation, strict=True))


def score_cases(
    explanations: Sequence[AttributionOutput], score: Callable[[list[Case]], list[CaseResult]]
) -> list[list[CaseResult]]:
    """Return the results of all cases that have units, scored together; the others are undefined."""
    cases = cases_of(explanations)
    asked = [case for own in cases for case in own if len(case)]
    found = dict(zip(map(id, asked), score(asked), strict=True))
    empty = CaseResult.undefined(NOTHING_TO_MASK)
    return [[found.get(id(case), empty) for case in own] for own in cases]


def range_of(metric: GameMetric, explanations: Sequence[AttributionOutput]) -> Range:
    """Return the least and largest possible value of a metric for these explanations."""
    low, high = metric.value_range
    if not metric.of_probability or (low is None and high is None):
        return metric.value_range
    if metric.measures[0] != PROBABILITY or not metric.game.measures.decides:
        return None, None
    if not any(map(has_contrast, explanations)):
        return metric.value_range
    return (-1.0, 1.0) if low == 0 else (-2.0, 2.0)  # a contrast is the difference of two probabilities


def _undefined(metric: AttributionMetric, case: Case) -> str:
    """Return why a case has no value; empty where it may have one."""
    if not len(case):
        return NOTHING_TO_MASK
    return magnitudes(case.output) if metric.signed_only and not case.output.signed else ""


def magnitudes(output: AttributionOutput) -> str:
    """Return why a method of magnitudes cannot be compared with scores."""
    return f"{output.method} returns magnitudes, which do not add up to a score"


def _parts(results: Sequence[Sequence[CaseResult]], names: Sequence[str]) -> Float[Tensor, "n p"]:
    """Return the mean of some details over the targets of each explanation; NaN where no target has them."""
    columns = [[[r.details[name] for r in own if name in r.details] for own in results] for name in names]
    means = [[sum(own) / len(own) if own else math.nan for own in column] for column in columns]
    return torch.tensor(means, dtype=torch.float64).T


def __getattr__(name: str) -> Any:
    if name != "Finding":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn("`Finding` is `CaseResult` now; the old name goes with the next release.", DeprecationWarning, stacklevel=2)
    return CaseResult
