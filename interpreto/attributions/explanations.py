"""Explanations of many inputs: a list that shows, filters, saves and summarizes itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, SupportsIndex, overload

import numpy as np
from torch import Tensor

from interpreto.attributions.global_importance import Comparison, GlobalImportance, compare, global_importance
from interpreto.attributions.output import AttributionOutput
from interpreto.attributions.serialization import packed, unpacked
from interpreto.attributions.tables import load_pandas, read_parquet, write_csv, write_parquet
from interpreto.errors import FileError, InputError, OptionError
from interpreto.renderable import Renderable
from interpreto.storage import check_writable, read_file, write_file
from interpreto.validation import check_choice, is_whole, shown

if TYPE_CHECKING:
    import pandas

FORMAT = "interpreto.explanations/1"
KEYS = ("score", "residual", "text", "method")


class Explanations(Renderable, list[AttributionOutput]):
    """A list of explanations, one per input, in the order of the inputs.

    It is an ordinary list in every way; slices, sums and copies are `Explanations` again. A notebook displays it as cards.

    Examples:
        >>> from interpreto import Occlusion, demo
        >>> explanations = Occlusion(*demo.load_classifier())(["A gorgeous film.", "A dull film.", "What a waste."])
        >>> explanations[1:]
        Explanations(2 of Occlusion: 'negative' × 2)
        >>> explanations.filter(label="positive").texts
        ['A gorgeous film.']
        >>> explanations.importance(min_count=1).top(1, "negative")[0].unit
        'dull'
    """

    _subject: ClassVar[str] = "attributions"

    @property
    def texts(self) -> list[str]:
        """Return the text of each explanation, as the model read it."""
        return [explanation.text for explanation in self]

    def __repr__(self) -> str:
        methods = " + ".join(dict.fromkeys(explanation.method for explanation in self))
        counts: dict[str, int] = {}
        for explanation in self:
            for label in explanation.target_labels:
                counts[label] = counts.get(label, 0) + 1
        common = sorted(counts, key=lambda label: -counts[label])
        named = ", ".join(f"{label!r} × {counts[label]}" for label in common[:3]) + (", …" if len(common) > 3 else "")
        return f"Explanations({len(self)} of {methods}: {named})" if self else "Explanations(0)"

    def __str__(self) -> str:
        return Renderable.__str__(self) if self else repr(self)

    @overload
    def __getitem__(self, item: SupportsIndex) -> AttributionOutput: ...
    @overload
    def __getitem__(self, item: slice | Sequence[bool] | Sequence[int] | Tensor | np.ndarray) -> Explanations: ...
    def __getitem__(self, item: Any) -> Any:
        """Return one explanation for an index; those of a slice, a list of indices, or a mask of truth values."""
        if isinstance(item, slice):
            return Explanations(list.__getitem__(self, item))
        if isinstance(item, SupportsIndex) and getattr(item, "ndim", 0) == 0 and not isinstance(item, bool):
            return list.__getitem__(self, item)
        return Explanations(list.__getitem__(self, i) for i in _positions(item, len(self)))

    def __add__(self, other: Iterable[AttributionOutput]) -> Explanations:  # type: ignore[override]  # of any list
        """Return the explanations of both."""
        return Explanations([*self, *_read(other, "other")])

    def __radd__(self, other: Iterable[AttributionOutput]) -> Explanations:
        return Explanations([*_read(other, "other"), *self])

    def copy(self) -> Explanations:
        """Return a list of the same explanations."""
        return Explanations(self)

    def show(self, path: str | PathLike[str] | None = None, *, backend: str = "auto") -> Any:
        """Show the explanations as `plot_attributions` does: cards in a notebook, text in a terminal, or a figure.

        Args:
            path: File to write as well.
            backend: ``"auto"``, ``"notebook"``, ``"terminal"`` or ``"matplotlib"``.

        Returns:
            The ``matplotlib.figure.Figure`` for ``"matplotlib"``, else None.
        """
        return self.plot(path, backend=backend)

    def filter(
        self,
        predicate: Callable[[AttributionOutput], bool] | None = None,
        *,
        label: str | None = None,
        method: str | None = None,
        containing: str | None = None,
    ) -> Explanations:
        """Return the explanations that fulfill every condition.

        Args:
            predicate: A function of an explanation.
            label: The name of one of its targets.
            method: The name of its method.
            containing: A unit that it has, in any case.
        """
        kept = []
        for explanation in self:
            units = {element.strip().casefold() for element in explanation.elements} if containing is not None else set()
            if (
                (predicate is None or predicate(explanation))
                and (label is None or label in explanation.target_labels)
                and (method is None or method == explanation.method)
                and (containing is None or containing.strip().casefold() in units)
            ):
                kept.append(explanation)
        return Explanations(kept)

    def sort_by(self, key: str | Callable[[AttributionOutput], Any] = "score", *, descending: bool = True) -> Explanations:
        """Return the explanations in another order; equal ones keep theirs.

        Args:
            key: ``"score"`` (of the first target), ``"residual"`` (the largest, without its sign), ``"text"``,
                ``"method"``, or a function of an explanation.
            descending: Largest first.

        Raises:
            OptionError: the key is unknown, or an explanation has no residual.
        """
        return Explanations(sorted(self, key=key if callable(key) else _key(key), reverse=descending))

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a table with one row per unit and target.

        Returns:
            Columns ``text_id`` (position in this list), ``text``, ``target``, ``target_id``, ``position`` (of the unit),
            ``unit``, ``start`` and ``end`` (characters of the text), ``attribution``, ``standard_error``, ``score`` (f(x)
            of the target), ``prediction`` and ``confidence`` (of a classifier: the class that it predicts, and its
            probability), ``label`` (the true class, where it was given), ``correct``, ``method``.

        Raises:
            OptionError: pandas is not installed.
        """
        pandas = load_pandas()
        parts = []
        for i, explanation in enumerate(self):
            part = explanation.to_dataframe().rename(columns={"element": "unit"})
            part.insert(0, "text_id", i)
            part.insert(1, "text", explanation.text)
            scores = [float(score) for score in explanation.base_scores for _ in explanation.elements]
            own = {name: getattr(explanation, name) for name in ("prediction", "confidence", "label", "correct", "method")}
            parts.append(part.assign(score=scores, **{name: [value] * len(part) for name, value in own.items()}))
        return pandas.concat(parts, ignore_index=True) if parts else pandas.DataFrame(columns=list(COLUMNS))

    def importance(
        self,
        by: str | Callable[[str], str] = "unit",
        min_count: int = 1,
        *,
        fold_case: bool = True,
        weighting: str = "text",
        normalize: bool = False,
    ) -> GlobalImportance:
        """Average the attributions of equal units over all texts; see `global_importance`.

        Args:
            by: ``"unit"`` for equal units, ``"word"`` for equal words without punctuation, ``"exact"`` for units that are
                equal in case too, or a function from the text of a unit to the key that it is counted under (an empty key
                leaves it out).
            min_count: Texts that a unit must occur in, for a target.
            fold_case: Count ``Good`` and ``good`` together.
            weighting: ``"text"``: each text counts once per unit; ``"occurrence"``: each occurrence does.
            normalize: Divide the values of a text by the sum of their magnitudes.

        Returns:
            For each key and target: mean attribution, its interval, mean magnitude, number of texts; it draws itself.
        """
        return global_importance(self, by, min_count, fold_case=fold_case, weighting=weighting, normalize=normalize)

    def compare(self, other: Iterable[AttributionOutput]) -> Comparison:
        """Compare with explanations of the same inputs by another method or model.

        Returns:
            The rank correlation of each text, and the units on which they disagree most.

        Raises:
            InputError: the explanations are not of the same texts, units and numbers of targets.
        """
        return compare(self, Explanations(_read(other, "other")))

    def save(self, path: str | PathLike[str]) -> None:
        """Write all explanations to one file.

        Args:
            path: A safetensors file, or a Parquet table (``.parquet``), both of which `load` reads; or a table of text
                (``.csv``), which holds the rows of `to_dataframe` alone.

        Raises:
            FileError: the file cannot be written.
            OptionError: a table needs pandas, Parquet also pyarrow.
        """
        file = check_writable(path)
        if file.suffix == ".csv":
            write_csv(self.to_dataframe(), file)
        elif file.suffix == ".parquet":
            contents = [packed(explanation.sample, *explanation.parts()) for explanation in self]
            write_parquet(self.to_dataframe(), contents, file)
        else:
            tensors, facts = {}, []
            for i, explanation in enumerate(self):
                own, of_own = packed(explanation.sample, *explanation.parts())
                tensors |= {f"{i}.{name}": value for name, value in own.items()}
                facts.append(of_own)
            write_file(file, FORMAT, tensors, {"explanations": facts})

    def to_csv(self, path: str | PathLike[str] | None = None) -> str:
        """Return the rows of `to_dataframe` as comma-separated values.

        Args:
            path: File to write them to as well.

        Raises:
            FileError: the file cannot be written.
            OptionError: pandas is not installed.
        """
        frame = self.to_dataframe()
        if path is not None:
            write_csv(frame, check_writable(path))
        return frame.to_csv(index=False)

    @staticmethod
    def load(path: str | PathLike[str]) -> Explanations:
        """Read what `save` wrote.

        Raises:
            FileError: the file is missing, damaged, or holds something else.
            OptionError: Parquet needs pyarrow.
        """
        suffix = Path(path).suffix
        if suffix == ".csv":
            raise FileError(
                f"`path`: {str(path)!r} is a table of numbers alone; read it with pandas. Files that `save` wrote with another "
                "suffix, also '.parquet', can be loaded."
            )
        found = read_parquet(path) if suffix == ".parquet" else _unpacked(path)
        return Explanations(AttributionOutput(**unpacked(tensors, facts, path)) for tensors, facts in found)


def _unpacked(path: str | PathLike[str]) -> Iterator[tuple[dict[str, Tensor], dict[str, Any]]]:
    """Yield the tensors and the facts of each explanation of a safetensors file."""
    tensors, facts = read_file(path, FORMAT, "explanations")
    described = facts.get("explanations")
    if not isinstance(described, list) or not all(isinstance(of_own, dict) for of_own in described):
        raise FileError(f"`path`: {str(path)!r} holds no list of explanations.")
    parts: list[dict[str, Any]] = [{} for _ in described]
    for name, value in tensors.items():
        number, _, own = name.partition(".")
        if not number.isdecimal() or int(number) >= len(parts):
            raise FileError(f"`path`: {str(path)!r} has an unexpected tensor {name!r}.")
        parts[int(number)][own] = value
    yield from zip(parts, described, strict=True)


COLUMNS = (
    *("text_id", "text", "target", "target_id", "position", "unit", "start", "end"),
    *("attribution", "standard_error", "score", "prediction", "confidence", "label", "correct", "method"),
)


def _read(explanations: Any, name: str) -> list[AttributionOutput]:
    found = [explanations] if isinstance(explanations, AttributionOutput) else list(explanations)
    for i, explanation in enumerate(found):
        if not isinstance(explanation, AttributionOutput):
            raise InputError(f"`{name}[{i}]`: got {type(explanation).__name__}; pass a list of AttributionOutput.")
    return found


def _positions(item: Any, n: int) -> list[int]:
    """Return the positions that a list of indices or a mask of ``n`` truth values selects."""
    values = item.tolist() if hasattr(item, "tolist") else list(item)
    if values and all(isinstance(value, bool) for value in values):
        if len(values) != n:
            raise InputError(f"`explanations[mask]`: got {len(values)} truth values for {n} explanations.")
        return [i for i, value in enumerate(values) if value]
    if not all(is_whole(value) for value in values):
        raise InputError(f"`explanations[...]`: got {shown(item)}; pass an index, a slice, indices or a mask.")
    return [int(value) for value in values]


def _key(name: str) -> Callable[[AttributionOutput], Any]:
    check_choice(name, "key", KEYS)
    if name == "score":
        return lambda explanation: float(explanation.base_scores[0])
    return _residual if name == "residual" else lambda explanation: getattr(explanation, name)


def _residual(explanation: AttributionOutput) -> float:
    if explanation.residual is None:
        raise OptionError(f"`key`: {explanation.method} has no residual; sort by 'score', 'text' or a function.")
    return float(explanation.residual.abs().max())
