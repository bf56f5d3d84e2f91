"""What an explanation is: numbers, what they speak about, and how they were made."""

from __future__ import annotations

from dataclasses import dataclass, replace
from os import PathLike
from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.errors import FileError, OptionError
from interpreto.inputs.samples import Readout, Sample, Targets
from interpreto.inputs.units import Units
from interpreto.renderable import Renderable, visible
from interpreto.storage import read_file, write_file

if TYPE_CHECKING:
    import pandas

FORMAT = "interpreto.attribution/2"


@dataclass(frozen=True, eq=False)
class AttributionOutput(Renderable):
    """The importance of each unit of one input for each target. All that a metric, a plot or a file needs.

    Attributes:
        attributions: ``(t, g)`` float32 on the CPU; NaN where a target cannot depend on an element.
        sample: The input as the model read it, its units and targets.
        target_labels: A name for each target.
        model_task: What the model does, such as ``"single-label classification"``.
        method: The explainer's class.
        granularity: What an element is, such as ``"word"``.
        granularity_aggregation_strategy: How token values became element values; None for masks, which act on elements.
        inference_mode: The score that is explained, such as ``"logits"``.
        base_scores: ``(t,)`` f(x), the scores of the input.
        signed: Whether a negative value speaks against the target; else values are magnitudes.
        replacement: What stood for removed elements, where some were.
        baseline: Where a path began, where there was one.
        reference_scores: ``(t,)`` scores with everything removed, or of the baseline, where the method has one.
        residual: ``(t,)`` what the attributions leave unexplained of f(x) − reference.
        standard_error: ``(t, g)``, where the method samples.
    """

    _subject: ClassVar[str] = "attributions"

    attributions: Float[Tensor, "t g"]
    sample: Sample
    target_labels: list[str]
    model_task: str
    method: str
    granularity: str
    granularity_aggregation_strategy: str | None
    inference_mode: str
    base_scores: Float[Tensor, " t"]
    signed: bool = True
    replacement: str | int | None = None
    baseline: str | None = None
    reference_scores: Float[Tensor, " t"] | None = None
    residual: Float[Tensor, " t"] | None = None
    standard_error: Float[Tensor, "t g"] | None = None

    @property
    def elements(self) -> list[str]:
        """The text of each unit."""
        return list(self.sample.units.texts)

    @property
    def targets(self) -> Tensor:
        """The class or token that each row is about, ``(t,)``; -1 for a sum or a contrast of several."""
        return self._aim.ids

    @property
    def target_spans(self) -> list[tuple[int, int] | None]:
        """Characters of each row's own part of ``text``; None where it has none, as a class has."""
        return list(self._aim.spans)

    @property
    def _aim(self) -> Targets:
        assert self.sample.targets is not None
        return self.sample.targets

    @property
    def text(self) -> str:
        """What the model read; ``spans`` count its characters."""
        return self.sample.text

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Characters of each element in ``text``."""
        return list(self.sample.units.spans)

    @property
    def model_inputs_to_explain(self) -> dict[str, Tensor]:
        """The tensors that the model read, one row each."""
        ids = self.sample.input_ids[None]
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)} | {k: v[None] for k, v in self.sample.extras.items()}

    def sequence(self) -> AttributionOutput:
        """A generation's rows summed into one, for the score of the whole target.

        Raises:
            OptionError: when the rows cannot be summed: classes, or magnitudes, whose sum is not that of the sum
                (``explainer(..., aggregate="sequence")`` explains the sum itself).
        """
        if all(span is None for span in self.target_spans):
            raise OptionError(f"`sequence`: the rows of a {self.model_task} are no sequence; only a generation's are.")
        if not self.signed:
            raise OptionError(
                f"`sequence`: {self.method} answers magnitudes, and their sum is not the magnitude of the sum; "
                'call the explainer with aggregate="sequence".'
            )
        numbers: dict[str, Tensor | None] = {
            "attributions": _summed(self.attributions),
            "base_scores": self.base_scores.sum()[None],
        }
        for name in ("reference_scores", "residual"):
            value = getattr(self, name)
            numbers[name] = None if value is None else value.sum()[None]
        sample = self.sample.with_targets(self._aim.summed(self.text))
        labels = list(sample.targets.labels) if sample.targets else []
        return replace(self, sample=sample, target_labels=labels, standard_error=None, **numbers)

    def top(self, k: int = 5, target: int = 0) -> list[tuple[str, float]]:
        """The ``k`` elements of largest magnitude for one target (its row), with their values."""
        row = self.attributions[target]
        order = row.abs().nan_to_num(-1.0).argsort(descending=True, stable=True)
        return [(self.elements[i], float(row[i])) for i in order[:k] if not row[i].isnan()]

    def to_dataframe(self) -> pandas.DataFrame:
        """One row for each target and element. Needs pandas (``pip install "interpreto[notebook]"``)."""
        import pandas  # noqa: PLC0415  (optional)

        rows = []
        for i, label in enumerate(self.target_labels):
            for j, element in enumerate(self.elements):
                error = None if self.standard_error is None else float(self.standard_error[i, j])
                start, end = self.spans[j]
                value = float(self.attributions[i, j])
                rows.append((label, int(self.targets[i]), j, element, start, end, value, error))
        names = ["target", "target_id", "position", "element", "start", "end", "attribution", "standard_error"]
        return pandas.DataFrame(rows, columns=names)

    def __repr__(self) -> str:
        best = ", ".join(f"{element!r} {value:+.3g}" for element, value in self.top(3))
        size = f"{len(self.elements)} {unit_name(self.granularity, len(self.elements))}"
        return visible(f"AttributionOutput({self.method}, {self.target_labels}, {size}: {best})").replace("\n", "␊")

    def save(self, path: str | PathLike[str]) -> None:
        """Write one safetensors file, with everything that is not a tensor as JSON in its header.

        Raises:
            FileError: there is no such folder, or a folder has that name.
        """
        tensors = {name: value for name in TENSORS if (value := getattr(self, name)) is not None}
        tensors |= {"input_ids": self.sample.input_ids, "unit_index": self.sample.units.index}
        tensors |= {f"extras.{name}": value for name, value in self.sample.extras.items()}
        for i, readout in enumerate(self._aim.readouts):
            parts = {name: getattr(readout, attribute) for name, attribute in READOUT.items()}
            tensors |= {f"reading.{i}.{name}": value for name, value in parts.items() if value is not None}
        facts = {name: getattr(self, name) for name in FACTS}
        facts |= {"text": self.text, "elements": self.elements, "spans": self.spans}
        facts |= {"target_spans": self.target_spans, "source": self.sample.source, "prompt": self.sample.prompt}
        facts |= {"causal": [readout.causal for readout in self._aim.readouts]}
        write_file(path, FORMAT, tensors, facts)

    @staticmethod
    def load(path: str | PathLike[str]) -> AttributionOutput:
        """Read what `save` wrote.

        Raises:
            FileError: when the file is missing or holds something else.
        """
        tensors, facts = read_file(path, FORMAT, "an explanation")
        try:
            extras = {k.removeprefix("extras."): v for k, v in tensors.items() if k.startswith("extras.")}
            spans = tuple((int(a), int(b)) for a, b in facts["spans"])
            units = Units(tensors["unit_index"], tuple(facts["elements"]), spans)
            targets = Targets(
                _readings(tensors, facts.get("causal")), tuple(facts["target_labels"]), tuple(map(_span, facts["target_spans"]))
            )
            places = {"source": facts["source"], "prompt": facts["prompt"]}
            sample = Sample(facts["text"], tensors["input_ids"], units, extras, targets, **places)
            values = {name: tensors[name] for name in TENSORS if name in tensors}
            return AttributionOutput(sample=sample, **values, **{name: facts[name] for name in FACTS})
        except (KeyError, TypeError) as error:
            raise FileError(f"`path`: {str(path)!r} holds an incomplete explanation ({error}).") from error


def unit_name(granularity: str, count: int = 2) -> str:
    """Return what units of a granularity are called: ``"all_tokens"`` is *tokens*, ``"custom"`` *units*.

    Examples:
        >>> unit_name("word"), unit_name("all_tokens"), unit_name("all_tokens", 1), unit_name("custom")
        ('words', 'tokens', 'token', 'units')
    """
    name = {"all_tokens": "token", "custom": "unit"}.get(granularity, granularity.replace("_", " "))
    return name if count == 1 else f"{name}s"


TENSORS = ("attributions", "base_scores", "reference_scores", "residual", "standard_error")
READOUT = {"ids": "ids", "at": "positions", "mix": "weights", "tail": "suffix"}  # names in files: attributes
FACTS = (
    "target_labels",
    "model_task",
    "method",
    "granularity",
    "granularity_aggregation_strategy",
    "inference_mode",
    "signed",
    "replacement",
    "baseline",
)


def _summed(rows: Float[Tensor, "t g"]) -> Float[Tensor, "1 g"]:
    """The sum of the rows that see an element; NaN where none does."""
    return torch.where(rows.isnan().all(0), torch.nan, rows.nansum(0))[None]


def _readings(tensors: dict[str, Tensor], causal: list[bool] | None) -> tuple[Readout, ...]:
    count = len([name for name in tensors if name.startswith("reading.") and name.endswith(".ids")])
    return tuple(
        Readout(
            tensors[f"reading.{i}.ids"],
            **{attribute: tensors.get(f"reading.{i}.{name}") for name, attribute in READOUT.items() if name != "ids"},
            causal=causal is None or bool(causal[i]),
        )
        for i in range(count)
    )


def _span(value: list[int] | None) -> tuple[int, int] | None:
    return None if value is None else (int(value[0]), int(value[1]))
