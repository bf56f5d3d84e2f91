"""What every metric of attributions is."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Bool
from torch import Tensor

from interpreto.attributions.output import AttributionOutput
from interpreto.metrics.attributions.cases import Row, read_explanations, rows_of
from interpreto.metrics.attributions.game import Answer, Game, Question
from interpreto.metrics.result import MetricResult

Range = tuple[float | None, float | None]
Explanations = AttributionOutput | Iterable[Any]
"""What an explainer answered: one explanation or several; read once, so that a generator does."""


@dataclass(frozen=True)
class Finding:
    """A metric's value for one row, NaN where it has none, and what it came from.

    Attributes:
        value: The number.
        details: What else was found, by name.
        why: Why there is no value.
    """

    value: float
    details: dict[str, Any] = field(default_factory=dict)
    why: str = ""

    @staticmethod
    def none(why: str) -> Finding:
        return Finding(math.nan, {}, why)


class AttributionMetric(ABC):
    """A number that says how good explanations are. The mean over the targets of each explanation, then over explanations."""

    higher_is_better: ClassVar[bool]
    value_range: ClassVar[Range] = (None, None)
    signed_only: ClassVar[bool] = False
    """Whether it compares attributions with scores: magnitudes have no place there, and are skipped."""

    @property
    def config(self) -> dict[str, Any]:
        """The options, by name."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_") and name != "game"}

    @abstractmethod
    def run(self, explanations: Explanations) -> MetricResult:
        """The metric on explanations, whichever method made them."""

    def evaluate(self, explanations: Explanations) -> tuple[float, list[list[Any]]]:
        """The score, and for each explanation and target what it was computed from, as the reference library answers."""
        result = self.run(explanations)
        name = next(iter(result.details), None)
        return result.score, [] if name is None else list(result.details[name])

    __call__ = evaluate

    def range_of(self, explanations: Sequence[AttributionOutput]) -> Range:
        """Least and largest possible value for these explanations."""
        return self.value_range

    def result(
        self, findings: Sequence[Sequence[Finding]], explanations: Sequence[AttributionOutput] = (), **details: Any
    ) -> MetricResult:
        """The answer, of the findings for each row of each explanation."""
        per_row = [torch.tensor([finding.value for finding in row], dtype=torch.float64) for row in findings]
        values = torch.stack([row.nanmean() for row in per_row])
        flat = [finding for row in findings for finding in row]
        names = dict.fromkeys(name for finding in flat for name in finding.details)
        found = {name: [[finding.details.get(name) for finding in row] for row in findings] for name in names}
        reasons = sorted({finding.why for finding in flat if finding.why})
        skipped = int(values.isnan().sum())
        return MetricResult(
            score=float(values.nanmean()),
            per_sample=values,
            details={**found, "per_target": per_row, **details, **({"skipped": reasons} if reasons else {})},
            higher_is_better=self.higher_is_better,
            value_range=self.range_of(explanations),
            n_valid=len(values) - skipped,
            n_skipped=skipped,
            config=self.config,
            name=type(self).__name__,
        )


class GameMetric(AttributionMetric):
    """A metric that asks what the model says without some units.

    Args:
        model: The explained model. Left as it was after every call.
        tokenizer: Its tokenizer.
        batch_size: Rows a forward pass; None: as many as a token budget holds.
        device: Where to run the model for the call; None: where it is.
        replacement: What stands for removed units; see `Replacement`. ``"auto"``: the mask token, else ``"mean"``.
        inference_mode: The explained score, where it is a function of yours; else the explanations say what they are of.
        task: What the model does, when its config does not say.
        tqdm_bar: Show the forward passes done.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        device: Any = None,
        *,
        replacement: str | int = "auto",
        inference_mode: Any = None,
        task: Any = None,
        tqdm_bar: bool = False,
    ) -> None:
        more: dict[str, Any] = {"replacement": replacement, "inference_mode": inference_mode, "task": task}
        self.game = Game(model, tokenizer, batch_size, device=device, tqdm_bar=tqdm_bar, **more)
        self.replacement = self.game.replacement.name

    @property
    @abstractmethod
    def measures(self) -> tuple[str, ...]:
        """What is read off the model; see `Measures`."""

    @abstractmethod
    def copies(self, row: Row) -> Bool[Tensor, "p u"]:
        """The copies that a row needs, True where a unit is removed."""

    @abstractmethod
    def of(self, row: Row, answer: Answer) -> Finding:
        """The value of a row, of the scores of its copies."""

    def run(self, explanations: Explanations) -> MetricResult:
        return run_together([self], read_explanations(explanations), self.game)[0]


def run_together(metrics: Sequence[GameMetric], explanations: Sequence[AttributionOutput], game: Game) -> list[MetricResult]:
    """Several metrics of the same explanations from one sweep of the model: equal copies run once."""
    found = findings_together(metrics, explanations, game)
    return [metric.result(findings, explanations) for metric, (findings, _) in zip(metrics, found, strict=True)]


def findings_together(
    metrics: Sequence[GameMetric], explanations: Sequence[AttributionOutput], game: Game
) -> list[tuple[list[list[Finding]], list[list[Question]]]]:
    """For each metric, its findings for each row of each explanation, and what it asked about each explanation."""
    rows = rows_of(explanations)
    asked: list[tuple[int, int, Row]] = []
    questions: list[Question] = []
    findings: list[list[list[Finding]]] = [[[] for _ in rows] for _ in metrics]
    own_questions: list[list[list[Question]]] = [[[] for _ in rows] for _ in metrics]
    for m, metric in enumerate(metrics):
        for e, own in enumerate(rows):
            for row in own:
                why = _no_value(metric, row)
                findings[m][e].append(Finding.none(why))
                if not why:
                    questions.append(Question(row, metric.copies(row), metric.measures))
                    asked.append((m, e, row))
                    own_questions[m][e].append(questions[-1])
    for (m, e, row), answer in zip(asked, game(questions), strict=True):
        findings[m][e][row.target] = metrics[m].of(row, answer)
    return list(zip(findings, own_questions, strict=True))


def _no_value(metric: AttributionMetric, row: Row) -> str:
    if not len(row):
        return "nothing stands in front of the target that could be removed"
    if metric.signed_only and not row.output.signed:
        return f"{row.output.method} answers magnitudes, which no score is the sum of"
    return ""
