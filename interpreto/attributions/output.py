"""Explanations of one input: the numbers, what they are about, and how they were computed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.attributions.serialization import FACTS, TENSORS, read_explanation, write_explanation
from interpreto.attributions.tables import load_pandas
from interpreto.errors import OptionError
from interpreto.inputs.samples import Sample, Targets
from interpreto.renderable import Renderable, visible

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, eq=False)
class AttributionOutput(Renderable):
    """Importance of each unit of one input for each target: all that a metric, a plot or a file needs.

    A *unit* is a feature of the explanation: a token, word, sentence or turn. ``elements``, the name of the reference
    library, are the texts of the units; ``g`` is their number and ``t`` the number of targets.

    Attributes:
        attributions: ``(t, g)`` float32 on the CPU; NaN where a target cannot depend on a unit.
        sample: The input as the model read it, its units and targets.
        target_labels: A name per target.
        model_task: The task of the model, such as ``"single-label classification"``.
        method: The explainer's class.
        granularity: Size of the units, such as ``"word"``.
        granularity_aggregation_strategy: How values of tokens became values of units; None for masks, which act on units.
        inference_mode: The score that is explained, such as ``"logits"``.
        base_scores: ``(t,)`` f(x), the scores of the input.
        signed: True where negative values speak against the target; False where values are magnitudes.
        replacement: The replacement of masked units; None for methods that mask none.
        baseline: The start of the path; None for methods without a path.
        reference_scores: ``(t,)`` scores with all units masked, or of the baseline; None for methods without either.
        residual: ``(t,)`` f(x) − reference − sum of the attributions, as the method states it; None where it states none.
        standard_error: ``(t, g)`` of methods that sample, else None.
        label: The true class of the input, where the explainer was given ``labels``; else None.
        hook_point: Module whose activations are explained, by its path; None: embeddings or units are.
        stopped: Why sampling ended, and after how many rows, where a ``tolerance`` was given: ``"tolerance reached after 96
            rows"`` or ``"budget ended after 500 rows"``; else None.
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
    label: str | None = None
    hook_point: str | None = None
    stopped: str | None = None

    @property
    def prediction(self) -> str | None:
        """Name of the class that the model predicts, whatever the targets; None for a regression and a generation."""
        return None if self.sample.prediction is None else self.sample.prediction.label

    @property
    def confidence(self) -> float | None:
        """Probability that the model gives to its prediction; None where its outputs are no probabilities."""
        return None if self.sample.prediction is None else self.sample.prediction.probability

    @property
    def correct(self) -> bool | None:
        """True if the prediction is the true label; None where either is unknown."""
        return None if self.label is None or self.prediction is None else self.prediction == self.label

    @property
    def elements(self) -> list[str]:
        """Texts of the units."""
        return list(self.sample.units.texts)

    @property
    def targets(self) -> Tensor:
        """Class or token of each row, ``(t,)``; -1 for a sum or a contrast of several."""
        return self._targets.ids

    @property
    def target_spans(self) -> list[tuple[int, int] | None]:
        """Start and end of each row's target in ``text``; None for a target outside of the text, such as a class."""
        return list(self._targets.spans)

    @property
    def _targets(self) -> Targets:
        assert self.sample.targets is not None
        return self.sample.targets

    @property
    def text(self) -> str:
        """Text that the model read; ``spans`` count its characters."""
        return self.sample.text

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Start and end of each unit in ``text``."""
        return list(self.sample.units.spans)

    @property
    def model_inputs_to_explain(self) -> dict[str, Tensor]:
        """Tensors that the model read, one row each."""
        ids = self.sample.input_ids[None]
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)} | {k: v[None] for k, v in self.sample.extras.items()}

    def sequence(self) -> AttributionOutput:
        """Return the rows of a generation summed into one, for the score of the whole target.

        Returns:
            An explanation with one row; a generation that has one row already, as it is.

        Raises:
            OptionError: The rows cannot be summed: they are classes, or magnitudes, whose sum is not the magnitude of the
                sum (``explainer(..., aggregate="sequence")`` explains the sum itself).
        """
        if self.sample.prompt is None or all(span is None for span in self.target_spans):
            if len(self.target_labels) == 1 and self.model_task.endswith("generation"):  # a contrast
                return self
            raise OptionError(f"`sequence`: the rows of a {self.model_task} are no sequence; only those of a generation are.")
        if len(self.target_labels) == 1:
            return self
        if not self.signed:
            raise OptionError(
                f"`sequence`: {self.method} returns magnitudes, and their sum is not the magnitude of the sum; "
                'call the explainer with aggregate="sequence".'
            )
        numbers: dict[str, Tensor | None] = {
            "attributions": _summed(self.attributions),
            "base_scores": self.base_scores.sum()[None],
        }
        for name in ("reference_scores", "residual"):
            value = getattr(self, name)
            numbers[name] = None if value is None else value.sum()[None]
        sample = self.sample.with_targets(self._targets.summed(self.text))
        labels = list(sample.targets.labels) if sample.targets else []
        return replace(self, sample=sample, target_labels=labels, standard_error=None, **numbers)

    def top(self, k: int = 5, target: int = 0) -> list[tuple[str, float]]:
        """Return the units of largest magnitude for one target.

        Args:
            k: Number of units at most; units that the target cannot depend on are left out.
            target: Row of the target.

        Returns:
            Texts and values, the largest first; equal ones in the order of the text.
        """
        row = self.attributions[target]
        order = row.abs().nan_to_num(-1.0).argsort(descending=True, stable=True)
        return [(self.elements[i], float(row[i])) for i in order[:k] if not row[i].isnan()]

    def to_dataframe(self) -> pandas.DataFrame:
        """Return one row per target and unit. Needs pandas (``pip install pandas``)."""
        pandas = load_pandas()
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

        Args:
            path: Where to write; what was there is replaced once the new file is complete.

        Raises:
            FileError: The file cannot be written.
        """
        numbers, facts = self.parts()
        write_explanation(path, self.sample, numbers, facts)

    def parts(self) -> tuple[dict[str, Tensor | None], dict[str, Any]]:
        """Return the numbers and the facts of the explanation by name, without the sample."""
        return {name: getattr(self, name) for name in TENSORS}, {name: getattr(self, name) for name in FACTS}

    @staticmethod
    def load(path: str | PathLike[str]) -> AttributionOutput:
        """Read what `save` wrote. Nothing in the file is run.

        Raises:
            FileError: The file is missing, holds something else, or its parts do not fit each other.
        """
        return AttributionOutput(**read_explanation(path))


def unit_name(granularity: str, count: int = 2) -> str:
    """Return what units of a granularity are called: ``"all_tokens"`` is *tokens*, ``"custom"`` *units*.

    Examples:
        >>> unit_name("word"), unit_name("all_tokens"), unit_name("all_tokens", 1), unit_name("custom")
        ('words', 'tokens', 'token', 'units')
    """
    name = {"all_tokens": "token", "custom": "unit"}.get(granularity, granularity.replace("_", " "))
    return name if count == 1 else f"{name}es" if name.endswith("ch") else f"{name}s"


def _summed(rows: Float[Tensor, "t g"]) -> Float[Tensor, "1 g"]:
    """Return the sum over the rows that can depend on a unit; NaN where none can."""
    return torch.where(rows.isnan().all(0), torch.nan, rows.nansum(0))[None]
