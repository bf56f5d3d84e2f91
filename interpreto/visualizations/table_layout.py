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
    return [_row(i, group[0]) for i, group in enumerate(groups)]


def _row(position: int, explanation: AttributionOutput) -> TextRow:
    target = shown_target(explanation)
    prediction, label = getattr(explanation, "prediction", None), getattr(explanation, "label", None)
    return TextRow(position, explanation.text, target, prediction, label, float(explanation.base_scores[target]))


def shown_target(explanation: AttributionOutput) -> int:
    """Return the row of the predicted class where it is explained, else the row of the largest score."""
    prediction = getattr(explanation, "prediction", None)
    if prediction in explanation.target_labels:
        return explanation.target_labels.index(prediction)
    return 0 if is_generation(explanation) else int(explanation.base_scores.nan_to_num(-1e30).argmax())


def score_name(groups: Sequence[Sequence[AttributionOutput]]) -> str:
    """Return the name of the score of all explanations."""
    names = {score_unit(explanation) for group in groups for explanation in group}
    return names.pop() if len(names) == 1 else "score"
