"""Sources of each part of an answer: an explanation of a question about documents, with the documents' names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from interpreto.attributions.output import AttributionOutput
from interpreto.inputs.boundaries import Span
from interpreto.inputs.documents import Documents
from interpreto.renderable import Renderable


@dataclass(frozen=True)
class Source:
    """A unit of a document that an answer rests on.

    Attributes:
        unit: Number of the unit in the explanation.
        text: Its text.
        document: Number of its document, from 0.
        name: Name of its document.
        value: Its attribution.
    """

    unit: int
    text: str
    document: int
    name: str
    value: float


@dataclass(frozen=True, eq=False)
class Citations(Renderable):
    """The sources of each part of an answer, linked to their places in the documents.

    Args:
        explanation: What a method returned for the documents: a row per part of the answer (``aggregate="unit"``), or one.
        documents: The input that was explained.
        shown: Sources that are shown of each part.

    Raises:
        InputError: The documents are not in the text of the explanation.

    Examples:
        >>> from interpreto import BlackBox, Citations, ContextCite, Documents
        >>> documents = Documents("Who won?", {"race": "Ann won. Ben came second.", "weather": "It rained."})
        >>> explainer = ContextCite(BlackBox(lambda texts: [float("Ann won" in text) for text in texts]))
        >>> citations = Citations(explainer(documents, 0)[0], documents)
        >>> [(source.name, source.text) for source in citations.sources()]
        [('race', 'Ann won.')]
    """

    explanation: AttributionOutput
    documents: Documents
    shown: int = 3

    _subject: ClassVar[str] = "citations"

    def __post_init__(self) -> None:
        self.documents.places(self.explanation.text)

    @property
    def places(self) -> list[Span]:
        """Characters of each document in the text of the explanation."""
        return self.documents.places(self.explanation.text)

    def document_of(self, unit: int) -> int | None:
        """Return the number of the document that a unit is in; None for one that is in none, such as the answer's."""
        start, end = self.explanation.spans[unit]
        return next((i for i, (a, b) in enumerate(self.places) if a <= start and end <= b), None)

    def sources(self, part: int = 0) -> list[Source]:
        """Return the units of the documents that speak for a part of the answer, the largest value first.

        Args:
            part: Row of the explanation.

        Returns:
            At most ``shown`` sources, all with values above 0.
        """
        values = self.explanation.attributions[part]
        found = []
        for unit in values.nan_to_num(0.0).argsort(descending=True, stable=True).tolist():
            document, value = self.document_of(unit), float(values[unit])
            if document is not None and value > 0 and len(found) < self.shown:
                found.append(Source(unit, self.explanation.elements[unit], document, self.documents.name(document), value))
        return found
