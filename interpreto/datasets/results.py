"""Explanations of a data set, read from its files as they are asked for."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from os import PathLike
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

import torch
from safetensors import SafetensorError

from interpreto.attributions.explanations import Explanations
from interpreto.attributions.global_importance import GlobalImportance
from interpreto.attributions.output import AttributionOutput
from interpreto.attributions.serialization import unpacked
from interpreto.attributions.tables import from_bytes, load_pandas
from interpreto.datasets.checks import Checked, check_files
from interpreto.datasets.conditions import Conditions
from interpreto.datasets.importance import Attributed, ImportanceSums
from interpreto.datasets.manifest import Manifest, read_manifest
from interpreto.datasets.shards import SHARDS, Entry, Failure, present, read_shard
from interpreto.errors import FileError, InputError
from interpreto.storage import local_folder
from interpreto.validation import check_count, check_seed, is_whole, shown

if TYPE_CHECKING:
    import pandas

EXAMPLES = 500  # explanations whose occurrences a chart of importances shows
PAGE = 200  # explanations on a page
LIGHT = ("text", "method", "targets", "units", "starts", "ends", "attributions", "signed")


class ExplanationDataset(Sequence[AttributionOutput]):
    """Explanations that `explain_dataset` wrote: a sequence larger than memory, in the order of the inputs.

    Texts that failed are not among them; see `failures`. Where there are none, and the run is complete, an explanation's
    place is the number of its input.

    Args:
        path: Folder of the data set; it may still be written to: what was complete when it was opened is read.

    Attributes:
        path: The folder.
        manifest: What was explained, and how.

    Raises:
        FileError: there is no data set, or its manifest is damaged.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = local_folder(path)
        self.manifest: Manifest = read_manifest(self.path)
        found = present(self.path, self.manifest.shards(), self.manifest.run)
        self._entries: list[Entry] = sorted(found.values(), key=lambda entry: entry.start)
        self._conditions = Conditions()
        self._kept: dict[int, list[int]] = {}
        self._counted: list[int] | None = None

    def __repr__(self) -> str:
        method = self.manifest.explainer["method"]
        done = f"{len(self._entries)} of {self.manifest.n_shards} shards"
        if self._conditions:
            conditions = f"{self._conditions.count} conditions on {self.n_explained} explanations"
            return f"ExplanationDataset({conditions} by {method}, {done})"
        return f"ExplanationDataset({self.n_explained} explanations by {method}, {self.n_failures} failures, {done})"

    @property
    def n_explained(self) -> int:
        """Return the number of explanations in the files, whatever is filtered."""
        return sum(entry.explained for entry in self._entries)

    @property
    def n_failures(self) -> int:
        """Return the number of texts that failed."""
        return sum(entry.failures for entry in self._entries)

    @property
    def shards(self) -> list[Entry]:
        """Return the shards that are there, with the ranges of their inputs, sizes and digests."""
        return list(self._entries)

    def shards_of(self, start: int, stop: int) -> list[Entry]:
        """Return the shards that hold inputs from number ``start`` to ``stop``, which is left out."""
        first = bisect_right(self._entries, start, key=lambda entry: entry.stop)
        last = bisect_left(self._entries, stop, key=lambda entry: entry.start)
        return self._entries[first:last]

    @property
    def is_complete(self) -> bool:
        """Return True if every shard is there."""
        return len(self._entries) == self.manifest.n_shards

    @property
    def is_filtered(self) -> bool:
        """Return True if only explanations that fulfill conditions are read."""
        return bool(self._conditions)

    @property
    def bytes(self) -> int:
        """Return the size of the shards."""
        return sum(entry.bytes for entry in self._entries)

    @property
    def failures(self) -> list[Failure]:
        """Return the texts that could not be explained, with their errors; only shards that have some are read."""
        found = []
        for entry in self._entries:
            if entry.failures:
                columns = read_shard(self.path, entry, ("id", "text", "error", "message")).to_pydict()
                rows = zip(*columns.values(), strict=True)
                found += [Failure(*row) for row in rows if row[2] is not None]
        return found

    def __len__(self) -> int:
        return self._ends[-1] if self._entries else 0

    def __iter__(self) -> Iterator[AttributionOutput]:
        for i in range(len(self._entries)):
            yield from self._read(i, self._rows(i))

    @overload
    def __getitem__(self, item: SupportsIndex) -> AttributionOutput: ...
    @overload
    def __getitem__(self, item: slice | Sequence[int]) -> Explanations: ...
    def __getitem__(self, item: Any) -> Any:
        """Return the explanation at a place, or those of a slice or of a list of places; only their shards are read."""
        if isinstance(item, slice):
            return self._at(range(*item.indices(len(self))))
        if isinstance(item, (list, tuple, torch.Tensor)):
            return self._at([self._place(int(i)) for i in item])
        return self._at([self._place(item)])[0]

    def ids(self) -> Iterator[int]:
        """Yield the number of the input of each explanation."""
        for i, entry in enumerate(self._entries):
            yield from (entry.start + row for row in self._rows(i))

    def of_inputs(self, start: int, stop: int) -> Iterator[tuple[int, AttributionOutput]]:
        """Yield the explanations of inputs from number ``start`` to ``stop``, which is left out, with their numbers."""
        first = bisect_right(self._entries, start, key=lambda entry: entry.stop)
        for i, entry in enumerate(self.shards_of(start, stop), first):
            rows = [row for row in self._rows(i) if start <= entry.start + row < stop]
            yield from zip((entry.start + row for row in rows), self._read(i, rows), strict=True)

    def filter(
        self,
        predicate: Callable[[AttributionOutput], bool] | None = None,
        *,
        label: str | None = None,
        method: str | None = None,
        containing: str | None = None,
        correct: bool | None = None,
    ) -> ExplanationDataset:
        """Return the explanations that fulfill every condition: the same files, read through the conditions.

        Args:
            predicate: A function of an explanation; the slowest, since each one is read whole.
            label: The name of one of its targets.
            method: The name of its method.
            containing: A unit that it has, in any case.
            correct: Whether the model's prediction is the true label.
        """
        found = ExplanationDataset.__new__(ExplanationDataset)
        vars(found).update(vars(self))
        asked = {"label": label, "method": method, "containing": containing, "correct": correct}
        found._conditions = self._conditions.also(predicate, asked)
        found._kept, found._counted = {}, None
        return found

    def sample(self, n: int, random_state: int = 0) -> Explanations:
        """Return a random sample without replacement, in the order of the inputs; all of them where there are fewer.

        Args:
            n: Number of explanations.
            random_state: Seed.
        """
        n, total = check_count(n, "n"), len(self)
        if n >= total:
            return self[:]
        generator = torch.Generator().manual_seed(check_seed(random_state))
        places: set[int] = set()
        while len(places) < n:
            places.update(torch.randint(total, (n - len(places),), generator=generator).tolist())
        return self._at(sorted(places))

    def importance(
        self,
        by: str | Callable[[str], str] = "unit",
        min_count: int = 1,
        *,
        fold_case: bool = True,
        weighting: str = "text",
        normalize: bool = False,
        examples: int = EXAMPLES,
    ) -> GlobalImportance:
        """Average the attributions of equal units over all texts, as `Explanations.importance`, one shard at a time.

        Means, intervals and counts are those of all explanations. Single occurrences, which charts show, are those of a
        random sample.

        Args:
            by: As in `Explanations.importance`.
            min_count: As there.
            fold_case: As there.
            weighting: As there.
            normalize: As there.
            examples: Explanations whose occurrences are kept; 0: none.

        Returns:
            For each unit and target: mean attribution, its interval, mean magnitude, number of texts; it draws itself.
        """
        sums = ImportanceSums(by, fold_case, weighting, normalize)
        for i in range(len(self._entries)):
            for explanation in self._attributed(i):
                sums.add(explanation)
        shown_ones = self.sample(examples) if check_count(examples, "examples", 0) else ()
        return sums.result(min_count, shown_ones)

    def tables(self) -> Iterator[pandas.DataFrame]:
        """Yield the table of each shard: the columns of `Explanations.to_dataframe`, with the input's number as ``text_id``."""
        for i, entry in enumerate(self._entries):
            rows = self._rows(i)
            table = Explanations(self._read(i, rows)).to_dataframe()
            numbers = [entry.start + row for row in rows]
            yield table.assign(text_id=[numbers[place] for place in table["text_id"]])

    def to_pandas(self) -> pandas.DataFrame:
        """Return one table with a row per unit and target; filter first where that is larger than memory.

        Returns:
            The columns of `Explanations.to_dataframe`; ``text_id`` is the number of the input.

        Raises:
            OptionError: pandas is not installed.
        """
        pandas = load_pandas()
        parts = [table for table in self.tables() if len(table)]
        return pandas.concat(parts, ignore_index=True) if parts else Explanations().to_dataframe()

    def to_html(self, path: str | PathLike[str] | None = None, *, n: int = PAGE, random_state: int = 0) -> str:
        """Return a page of a random sample.

        Args:
            path: File to write the page to as well.
            n: Number of explanations.
            random_state: Seed of the sample.

        Raises:
            InputError: there is no explanation.
            FileError: the file cannot be written.
        """
        if not len(self):
            raise InputError("`to_html`: there is no explanation; look at `failures`, or at the conditions.")
        return self.sample(n, random_state).to_html(path)

    def _repr_html_(self) -> str | None:
        return self.sample(PAGE)._repr_html_() if len(self) else None

    def verify(self, data: Any = None) -> Checked:
        """Check every file against the digest that was taken when it was written, and the ids within.

        Args:
            data: The data that were explained: each shard's inputs are compared with them; None: they are not.

        Returns:
            What is missing, damaged or of other inputs; true if nothing is. Damaged files are deleted by hand, and the call
            that wrote them is repeated.
        """
        return check_files(self.path, self.manifest, self._entries, data)

    @property
    def _ends(self) -> list[int]:
        """Return the number of explanations up to the end of each shard."""
        if self._counted is None:
            counts = (
                (len(self._rows(i)) for i in range(len(self._entries)))
                if self._conditions
                else (entry.explained for entry in self._entries)
            )
            self._counted = list(accumulate(counts))
        return self._counted

    def _place(self, item: Any) -> int:
        if not is_whole(item) or not -len(self) <= int(item) < len(self):
            if is_whole(item):
                raise IndexError(f"{item} is not the place of one of {len(self)} explanations.")
            raise InputError(f"`dataset[...]`: got {shown(item)}; pass an index, a slice or a list of indices.")
        return int(item) % len(self)

    def _at(self, places: Sequence[int]) -> Explanations:
        """Return the explanations at places; each shard is read once."""
        of_shards: dict[int, list[tuple[int, int]]] = {}
        for order, place in enumerate(places):
            i = bisect_right(self._ends, place)
            of_shards.setdefault(i, []).append((order, place - (self._ends[i - 1] if i else 0)))
        found: list[Any] = [None] * len(places)
        for i, wanted in of_shards.items():
            rows = self._rows(i)
            read = self._read(i, [rows[own] for _, own in wanted])
            for (order, _), explanation in zip(wanted, read, strict=True):
                found[order] = explanation
        return Explanations(found)

    def _rows(self, i: int) -> Sequence[int]:
        """Return the rows of a shard that are explanations, and fulfill the conditions."""
        entry = self._entries[i]
        if not self._conditions and not entry.failures:
            return range(entry.stop - entry.start)
        if i not in self._kept:
            columns = read_shard(self.path, entry, ("error", *self._conditions.columns)).to_pydict()
            kept = [row for row, error in enumerate(columns["error"]) if error is None and self._conditions.keep(columns, row)]
            if self._conditions.predicates:
                read = self._read(i, kept)
                kept = [row for row, own in zip(kept, read, strict=True) if self._conditions.fulfilled(own)]
            self._kept[i] = kept
        return self._kept[i]

    def _read(self, i: int, rows: Sequence[int]) -> Iterator[AttributionOutput]:
        """Yield explanations of one shard."""
        if not rows:
            return
        entry = self._entries[i]
        content = read_shard(self.path, entry, ("explanation",))["explanation"]
        for row in rows:
            yield self._explanation(content[row].as_py(), entry)

    def _explanation(self, content: bytes, entry: Entry) -> AttributionOutput:
        place = self.path / SHARDS
        try:
            return AttributionOutput(**unpacked(*from_bytes(content), place))
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise FileError(
                f"`path`: the explanations of inputs {entry.start} to {entry.stop} in {str(place)!r} cannot be read ({error})."
            ) from error

    def _attributed(self, i: int) -> Iterator[Attributed]:
        """Yield what a mean needs of the explanations of one shard."""
        rows = self._rows(i)
        if not rows:
            return
        columns = read_shard(self.path, self._entries[i], LIGHT).to_pydict()
        for row in rows:
            text, method, targets, units, starts, ends, values, signed = (columns[name][row] for name in LIGHT)
            u = len(units)
            split = [values[k * u : (k + 1) * u] for k in range(len(targets))]
            yield Attributed(text, units, list(zip(starts, ends, strict=True)), targets, split, signed, method)
