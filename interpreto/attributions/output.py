"""What an explanation is: numbers, what they speak about, and how they were made."""

from __future__ import annotations

import json
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.errors import FileError
from interpreto.granularity import Units
from interpreto.samples import Sample

if TYPE_CHECKING:
    import pandas

FORMAT = "interpreto.attribution/1"


@dataclass(frozen=True, eq=False)
class AttributionOutput:
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
        """Ids of the explained outputs, ``(t,)``."""
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

    def to_html(self, path: str | PathLike[str] | None = None) -> str:
        """A self-contained page; written to ``path`` too, when given."""
        from interpreto.visualizations.attributions import to_html  # noqa: PLC0415  (not needed to explain)

        return to_html([self], path)

    def _repr_html_(self) -> str:
        from interpreto.visualizations.attributions import to_fragment  # noqa: PLC0415

        return to_fragment([self])

    def plot(self) -> None:
        """Show the explanation: in a notebook as HTML, elsewhere in the terminal."""
        from interpreto.visualizations.attributions import plot_attributions  # noqa: PLC0415

        plot_attributions(self)

    def __str__(self) -> str:
        from interpreto.visualizations.terminal import to_text  # noqa: PLC0415

        return to_text(self)

    def __repr__(self) -> str:
        best = ", ".join(f"{element!r} {value:+.3g}" for element, value in self.top(3))
        return f"AttributionOutput({self.method}, {self.target_labels}, {len(self.elements)} {self.granularity}s: {best})"

    def save(self, path: str | PathLike[str]) -> None:
        """Write one safetensors file, with everything that is not a tensor as JSON in its header."""
        from safetensors.torch import save_file  # noqa: PLC0415

        tensors = {name: value for name in TENSORS if (value := getattr(self, name)) is not None}
        tensors |= {"input_ids": self.sample.input_ids, "unit_index": self.sample.units.index, "targets": self.targets}
        tensors |= {f"extras.{name}": value for name, value in self.sample.extras.items()}
        facts = {name: getattr(self, name) for name in FACTS}
        facts |= {"format": FORMAT, "text": self.text, "elements": self.elements, "spans": self.spans}
        save_file({k: v.contiguous() for k, v in tensors.items()}, str(path), metadata={"interpreto": json.dumps(facts)})

    @staticmethod
    def load(path: str | PathLike[str]) -> AttributionOutput:
        """Read what `save` wrote.

        Raises:
            FileError: when the file is missing or holds something else.
        """
        tensors, facts = _read(Path(path))
        try:
            extras = {k.removeprefix("extras."): v for k, v in tensors.items() if k.startswith("extras.")}
            spans = tuple((int(a), int(b)) for a, b in facts["spans"])
            units = Units(tensors["unit_index"], tuple(facts["elements"]), spans)
            sample = Sample(facts["text"], tensors["input_ids"], units, extras, tensors["targets"])
            values = {name: tensors[name] for name in TENSORS if name in tensors}
            return AttributionOutput(sample=sample, **values, **{name: facts[name] for name in FACTS})
        except (KeyError, TypeError) as error:
            raise FileError(f"`path`: {str(path)!r} holds an incomplete explanation ({error}).") from error


TENSORS = ("attributions", "base_scores", "reference_scores", "residual", "standard_error")
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


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415

    if not path.is_file():
        raise FileError(f"`path`: there is no file {str(path)!r}.")
    try:
        with safe_open(str(path), framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get("interpreto", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
    except (SafetensorError, json.JSONDecodeError) as error:
        raise FileError(f"`path`: {str(path)!r} cannot be read as an explanation ({error}).") from error
    found = facts.get("format") if isinstance(facts, dict) else None
    if found != FORMAT:
        raise FileError(f"`path`: {str(path)!r} holds {found or 'no explanation'!r}; this version reads {FORMAT!r}.")
    return tensors, facts
