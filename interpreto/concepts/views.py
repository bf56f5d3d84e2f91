"""Results: concepts over a data set and concepts of one text. They draw themselves by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.labels import Label
from interpreto.inputs.units import Span
from interpreto.renderable import Renderable

NAME = 40  # characters of a concept's name, where it is more than one text


@dataclass(frozen=True)
class About:
    """Where the numbers come from.

    Attributes:
        explainer: The concept explainer's name.
        split_point: Where the concepts were read.
        granularity: Name of a unit of the text.
        method: Method of the effects; see `ConceptExplainer.concept_output_attribution`.
        unit: Unit of the effects.
        scale: Definition of the importances, in words.
        output: ``"class"`` or ``"token"``.
    """

    explainer: str
    split_point: str | None
    granularity: str
    method: str
    unit: str
    scale: str
    output: str


@dataclass(frozen=True, eq=False)
class Passage:
    """A text and how much of one concept is in each of its units.

    Attributes:
        text: What the model read.
        elements: Text of each unit.
        spans: Place of each unit in the text.
        activations: The concept in each unit.
    """

    text: str
    elements: tuple[str, ...]
    spans: tuple[Span, ...]
    activations: Float[Tensor, " u"]

    @property
    def peak(self) -> int:
        """Return the unit with most of the concept."""
        return int(self.activations.argmax())


def joined(words: Sequence[str]) -> str:
    """Return words as one name, without the last of them where it becomes long.

    Examples:
        >>> joined(["moving", "tender"])
        'moving · tender'
    """
    kept = list(words)
    while len(kept) > 1 and sum(map(len, kept)) > NAME:
        kept.pop()
    return " · ".join(kept)


class ConceptView(Renderable, ABC):
    """Base of `GlobalConcepts` and `LocalConcepts`: everything that is needed to draw them."""

    _subject: ClassVar[str] = "concepts"

    about: About
    outputs: tuple[str, ...]
    labels: dict[int, Label]
    shown: tuple[int, ...]
    names: dict[int, tuple[str, ...]]
    verdicts: dict[int, str]

    @abstractmethod
    def totals(self) -> tuple[Float[Tensor, "t c"], Float[Tensor, "t c"]]:
        """Return importances, and effects with their signs, of each output and concept; no effect is larger."""

    @abstractmethod
    def passages(self, concept: int) -> tuple[Passage, ...]:
        """Return the texts to read for a concept."""

    def name(self, concept: int, words: int = 3) -> str:
        """Return a concept's words, else the first of its label, fewer where they are long; its number where it has none."""
        texts = self.names.get(concept) or [text for text, _ in self.labels.get(concept, ())]
        return joined(texts[:words]) or f"concept {concept}"

    def ranked(self, output: int) -> list[int]:
        """Return the shown concepts by their importance for an output."""
        sizes, _ = self.totals()
        return sorted(self.shown, key=lambda concept: -float(sizes[output, concept]))


@dataclass(frozen=True, eq=False, repr=False)
class GlobalConcepts(ConceptView):
    """Effects of concepts on the outputs over a data set.

    Attributes:
        about: Where the numbers come from.
        outputs: Names of the outputs: classes; of a generation, every token, and then the most frequent tokens.
        importances: Mean over texts of the sum over units of the sizes of the effects: 0 or more, in `About.unit`.
        effects: Mean over texts of the sum over units of the effects, with their signs. As large as the importance where
            the concept always acts in one direction, 0 where it acts in both alike.
        counts: Number of texts of each output; of a generation, of tokens.
        labels: Of the shown concepts, texts and activations, the largest first.
        top_inputs: Of the shown concepts, the distinct texts of largest activation, the largest first.
        shown: The concepts that are drawn, by falling importance.
        texts: Size of the data set.
        names: Words that each concept prefers to the others; where empty, labels name the concepts.
        verdicts: Scores of labels, in words, of the concepts whose labels have any, or are "not scored".
    """

    about: About
    outputs: tuple[str, ...]
    importances: Float[Tensor, "t c"]
    effects: Float[Tensor, "t c"]
    counts: tuple[int, ...]
    labels: dict[int, Label]
    top_inputs: dict[int, tuple[Passage, ...]]
    shown: tuple[int, ...]
    texts: int
    names: dict[int, tuple[str, ...]] = field(default_factory=dict)
    verdicts: dict[int, str] = field(default_factory=dict)

    def totals(self) -> tuple[Float[Tensor, "t c"], Float[Tensor, "t c"]]:
        """Return importances and mean effects."""
        return self.importances, self.effects

    def passages(self, concept: int) -> tuple[Passage, ...]:
        """Return the concept's top inputs."""
        return self.top_inputs.get(concept, ())

    def __repr__(self) -> str:
        return f"GlobalConcepts({self.about.explainer}, {self.texts} texts, {len(self.outputs)} outputs, shown={self.shown})"


@dataclass(frozen=True, eq=False, repr=False)
class LocalConcepts(ConceptView):
    """Concepts of one text, their places and their effects on each output.

    Attributes:
        about: Where the numbers come from.
        text: What the model read; with what it wrote, of a generation.
        elements: Text of each unit.
        spans: Place of each unit in the text.
        outputs: Names of the outputs: classes, or the tokens that follow the prompt.
        scores: Of each output, in the unit of the score; NaN where they are not known.
        score_unit: Unit of the scores.
        activations: Amount of each concept in each unit.
        effects: Effect of each concept of each unit on each output.
        labels: Of the shown concepts, texts and activations, the largest first.
        shown: The concepts that are drawn, by falling importance.
        names: Words of the concepts from elsewhere, as `GlobalConcepts.names`; where empty, labels name the concepts.
        verdicts: As `GlobalConcepts.verdicts`.
    """

    about: About
    text: str
    elements: tuple[str, ...]
    spans: tuple[Span, ...]
    outputs: tuple[str, ...]
    scores: Float[Tensor, " t"]
    score_unit: str
    activations: Float[Tensor, "u c"]
    effects: Float[Tensor, "t u c"]
    labels: dict[int, Label]
    shown: tuple[int, ...]
    names: dict[int, tuple[str, ...]] = field(default_factory=dict)
    verdicts: dict[int, str] = field(default_factory=dict)

    @property
    def has_scores(self) -> bool:
        """Return True unless the scores of the outputs are not known, as where the numbers are the user's own."""
        return not bool(self.scores.isnan().all())

    def totals(self) -> tuple[Float[Tensor, "t c"], Float[Tensor, "t c"]]:
        """Return sums over units of the effects' sizes, and of the effects."""
        return self.effects.abs().sum(1), self.effects.sum(1)

    def passages(self, concept: int) -> tuple[Passage, ...]:
        """Return the text itself."""
        return (Passage(self.text, self.elements, self.spans, self.activations[:, concept]),)

    def __repr__(self) -> str:
        return f"LocalConcepts({self.about.explainer}, {self.text[:40]!r}, {len(self.outputs)} outputs, shown={self.shown})"
