"""Labels of concepts: never without the score that they reached, or the words "not scored"."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

from interpreto.errors import FileError, OptionError
from interpreto.renderable import visible
from interpreto.storage import check_writable, replacing
from interpreto.validation import shown

FORMAT = "interpreto labels 1"
NOT_SCORED = "not scored"
LINES = 40
"""Labels that a ``repr`` lists."""


@dataclass(frozen=True)
class LabelScore:
    """Score of a label: how well it predicts where its concept is active, on texts that it was not made from.

    Attributes:
        name: Name of the score: ``"KeywordDetection"``.
        measure: Its measure: ``"AUC"``, ``"correlation"``, ``"accuracy"``.
        value: The score of the label.
        shuffled: The score of a label that was made from texts drawn at random in place of the concept's; NaN: none was made.
        other: The score of another concept's label.
        interval: Confidence interval of the value less that of the shuffled label (of the other one where there is none).
        chance: The score of a label that says nothing.
        texts: Number of held-out texts that it rests on.
        failed: Share of the questions to a judge that were left without an answer; they count as chance.
        judge: Name of the judge; None: there was none.
    """

    name: str
    measure: str
    value: float
    shuffled: float
    other: float
    interval: tuple[float, float]
    chance: float
    texts: int
    failed: float = 0.0
    judge: str | None = None

    @property
    def beats_controls(self) -> bool:
        """Return True if the interval of the difference to the control lies above 0."""
        return self.interval[0] > 0

    def __str__(self) -> str:
        controls = [
            f"{name} {value:.2f}"
            for name, value in (("shuffled", self.shuffled), ("another label", self.other))
            if not math.isnan(value)
        ]
        lost = f"; {100 * self.failed:.0f} % without an answer" if self.failed else ""
        return f"{self.measure} {self.value:.2f}" + (f" ({', '.join(controls)}{lost})" if controls or lost else "")


@dataclass(frozen=True)
class ConceptLabel:
    """The label of a concept.

    Attributes:
        text: The label; None where there is none.
        source: Who made it: ``"KeywordLabels"``.
        keywords: Words and their weights, which predict the concept without a judge; None: the label has none.
        score: Its score; None: it is not scored.
        evidence: Texts that it was made from.
        judge: Name of the judge that wrote it; None: none.
        control: The label that was made in the same way from texts drawn at random; None: none was.
        failure: Why there is no label, or no score.

    Examples:
        >>> ConceptLabel("digits", "me")
        'digits' [not scored]
    """

    text: str | None
    source: str
    keywords: Mapping[str, float] | None = None
    score: LabelScore | None = None
    evidence: tuple[str, ...] = ()
    judge: str | None = None
    control: ConceptLabel | None = None
    failure: str | None = None

    @property
    def verdict(self) -> str:
        """Return the score in words, or "not scored"; why, where that is known."""
        if self.score is not None:
            return str(self.score)
        return NOT_SCORED if self.failure is None else f"{NOT_SCORED}: {self.failure}"

    @property
    def shown(self) -> str | None:
        """Return the label as plots name a concept by it, its score first, so that no shortening loses it.

        Examples:
            >>> ConceptLabel("digits", "me").shown
            '[not scored] digits'
        """
        if self.text is None:
            return None
        score = NOT_SCORED if self.score is None else f"{self.score.measure} {self.score.value:.2f}"
        return f"[{score}] {self.text}"

    def __str__(self) -> str:
        name = "no label" if self.text is None else visible(self.text)
        return f"{name} [{self.verdict}]"

    def __repr__(self) -> str:
        name = "no label" if self.text is None else repr(self.text)
        return f"{name} [{self.verdict}]"


@dataclass(frozen=True, repr=False)
class ConceptLabels(Mapping[int, ConceptLabel]):
    """Labels by concept, which plots and the dashboard take as ``interpretation``.

    Attributes:
        labels: By the number of the concept.
        config: How they were made: the unit, the share of texts held out, the seed.

    Examples:
        >>> ConceptLabels({3: ConceptLabel("digits", "me")})
        ConceptLabels of 1 concept
        3  digits [not scored]
    """

    labels: Mapping[int, ConceptLabel]
    config: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, concept: int) -> ConceptLabel:
        return self.labels[concept]

    def __iter__(self) -> Iterator[int]:
        return iter(self.labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        lines = [f"{concept}  {label}" for concept, label in list(self.labels.items())[:LINES]]
        more = [f"+{len(self) - LINES} more"] if len(self) > LINES else []
        return "\n".join([f"ConceptLabels of {len(self)} concept{'s' * (len(self) != 1)}", *lines, *more])

    def texts(self) -> dict[int, str | None]:
        """Return the labels alone, without their scores: what the reference library's ``interpret`` returns."""
        return {concept: label.text for concept, label in self.labels.items()}

    def with_scores(self, scores: Mapping[int, LabelScore | None]) -> ConceptLabels:
        """Return the same labels with other scores; concepts without one there are "not scored"."""
        return replace(self, labels={c: replace(label, score=scores.get(c)) for c, label in self.labels.items()})

    def to_dataframe(self) -> Any:
        """Return a ``pandas.DataFrame`` with a row per concept.

        Its columns are ``concept``, ``label``, ``score`` (its name, or "not scored"), ``measure``, ``value``, ``shuffled``,
        ``other``, ``low`` and ``high`` of the interval, ``texts``, ``source`` and ``judge``.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        import pandas as pd  # noqa: PLC0415  (optional)  # pyright: ignore[reportMissingImports]

        return pd.DataFrame([_row(concept, label) for concept, label in self.labels.items()])

    def save(self, path: str | PathLike[str]) -> None:
        """Write the labels as JSON.

        Raises:
            FileError: the file cannot be written.
        """
        facts = {"format": FORMAT, "config": dict(self.config), "labels": {c: asdict(one) for c, one in self.labels.items()}}
        with replacing(check_writable(path)) as partial:
            partial.write_text(json.dumps(facts, ensure_ascii=False, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: str | PathLike[str]) -> ConceptLabels:
        """Read labels that `save` wrote.

        Raises:
            FileError: the file is missing, or holds something else.
        """
        try:
            facts = json.loads(Path(path).expanduser().read_text(encoding="utf-8"))
            if facts["format"] != FORMAT:
                raise ValueError(f"it holds {facts['format']!r}")
            return cls({int(c): _read(one) for c, one in facts["labels"].items()}, facts["config"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise FileError(f"`path`: {str(path)!r} cannot be read as labels ({error}).") from error


def check_labels(labels: Any) -> ConceptLabels:
    """Return labels: ours, or a dictionary of texts or of `ConceptLabel` by concept, which then are not scored.

    Raises:
        OptionError: it is something else.
    """
    if isinstance(labels, ConceptLabels):
        return labels
    if isinstance(labels, Mapping) and all(
        isinstance(c, int) and not isinstance(c, bool) and (one is None or isinstance(one, (str, ConceptLabel)))
        for c, one in labels.items()
    ):
        return ConceptLabels(
            {c: one if isinstance(one, ConceptLabel) else ConceptLabel(one, "given") for c, one in labels.items()}
        )
    raise OptionError(f"`labels`: got {shown(labels)}; pass ConceptLabels, or a dictionary of texts by concept.")


def _row(concept: int, label: ConceptLabel) -> dict[str, Any]:
    score, nan = label.score, float("nan")
    return {
        "concept": concept,
        "label": label.text,
        "score": NOT_SCORED if score is None else score.name,
        "measure": None if score is None else score.measure,
        "value": nan if score is None else score.value,
        "shuffled": nan if score is None else score.shuffled,
        "other": nan if score is None else score.other,
        "low": nan if score is None else score.interval[0],
        "high": nan if score is None else score.interval[1],
        "texts": 0 if score is None else score.texts,
        "source": label.source,
        "judge": label.judge,
    }


def _read(given: Mapping[str, Any]) -> ConceptLabel:
    """Return a label from what JSON holds of it."""
    fields = dict(given)
    score, control = fields.pop("score"), fields.pop("control")
    if score is not None:
        score = LabelScore(**{**score, "interval": tuple(score["interval"])})
    evidence = tuple(fields.pop("evidence"))
    return ConceptLabel(**fields, score=score, evidence=evidence, control=None if control is None else _read(control))
