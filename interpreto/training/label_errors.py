"""Texts whose labels are suspected to be wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from jaxtyping import Float
from torch import Tensor

from interpreto.renderable import Renderable
from interpreto.training.files import load_pandas
from interpreto.training.recording import TextId

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, eq=False)
class LabelErrors(Renderable):
    """The most suspicious texts of a training set, the most suspicious first; ``k`` of them.

    Attributes:
        ids: Of the texts.
        texts: The texts.
        labels: Names of the labels that they were trained with.
        suggestions: Names of the classes that the model preferred, on average over epochs. Read them before you believe them.
        scores: Of the suspicion, ``(k,)``, in the unit of the score.
        confidence: Mean probability of the assigned label, ``(k,)``.
        correctness: Share of epochs in which the assigned label was predicted, ``(k,)``.
        by: The score.
        n: Number of texts that were ranked.
    """

    ids: tuple[TextId, ...]
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    suggestions: tuple[str, ...]
    scores: Float[Tensor, " k"]
    confidence: Float[Tensor, " k"]
    correctness: Float[Tensor, " k"]
    by: str
    n: int

    _subject: ClassVar[str] = "label_errors"

    def __len__(self) -> int:
        return len(self.ids)

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a row per text, the most suspicious first.

        Raises:
            OptionError: pandas is not installed.
        """
        columns = {
            "id": self.ids,
            "text": self.texts,
            "label": self.labels,
            "suggestion": self.suggestions,
            self.by: self.scores.tolist(),
            "mean confidence": self.confidence.tolist(),
            "share of epochs right": self.correctness.tolist(),
        }
        return load_pandas().DataFrame(columns)
