"""Rows of a data set that all media share: text, prediction, true label, score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from interpreto.attributions.output import AttributionOutput
from interpreto.visualizations.text_layout import is_generation, score_unit

MANY = 12
"""Texts from which on a list of explanations is shown as a table."""


@dataclass(frozen=True)
class TextRow:
    """One text of a data set.

    Attributes:
        position: Position of its explanations in the page.
        text: The text.
        target: Row of the target whose values color the text.
        prediction: Name of the predicted class; None where it is unknown, or no class.
        label: Name of the true class; None where it is unknown.
        score: Score of the target, or the confidence of the prediction.
    """

    position: int
    text: str
    target: int
    prediction: str | None
    label: str | None
    score: float

    @property
    def is_right(self) -> bool | None:
        """Return whether the prediction is the true label; None where either is unknown."""
        return None if self.prediction is None or self.label is None else self.prediction == self.label


def text_rows(groups: Sequence[Sequence[AttributionOutput]]) -> list[TextRow]:
    """Return a row per text, from the first of its explanations."""
    confident = has_confidence(groups)
    return [_row(i, group[0], confident) for i, group in enumerate(groups)]


def _row(position: int, own: AttributionOutput, confident: bool) -> TextRow:
    target = shown_target(own)
    score = own.confidence if confident and own.confidence is not None else float(own.base_scores[target])
    return TextRow(position, own.text, target, own.prediction, own.label, score)


def has_confidence(groups: Sequence[Sequence[AttributionOutput]]) -> bool:
    """Return whether the probability of every prediction is known."""
    return all(group[0].confidence is not None for group in groups)


def mistakes(explanations: Sequence[AttributionOutput]) -> dict[int, str]:
    """Return a remark on each explanation whose text the model gets wrong, by position."""
    return {i: f"wrong: said {own.prediction}, is {own.label}" for i, own in enumerate(explanations) if own.correct is False}


def shown_target(explanation: AttributionOutput) -> int:
    """Return the row of the predicted class where it is explained, else the row of the largest score."""
    if explanation.prediction in explanation.target_labels:
        return explanation.target_labels.index(explanation.prediction)
    return 0 if is_generation(explanation) else int(explanation.base_scores.nan_to_num(-1e30).argmax())


def score_name(groups: Sequence[Sequence[AttributionOutput]]) -> str:
    """Return the name of the score of all rows."""
    if has_confidence(groups):
        return "confidence"
    names = {score_unit(explanation) for group in groups for explanation in group}
    return names.pop() if len(names) == 1 else "score"
