"""The training texts that are nearest to others in a representation space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from interpreto.errors import InputError
from interpreto.training.files import load_pandas
from interpreto.training.recording import read_rows
from interpreto.validation import check_choice, check_count

if TYPE_CHECKING:
    import pandas

Metric = Literal["cosine", "euclidean"]


@dataclass(frozen=True, eq=False)
class Neighbors:
    """The nearest training texts of some queries, the nearest first; ``m`` queries, ``k`` neighbors.

    Attributes:
        indices: Numbers of the training texts, ``(m, k)``.
        values: Cosines, or Euclidean distances, ``(m, k)``.
        texts: The training texts of each query.
        labels: Their labels; None where they were not given.
        metric: ``"cosine"`` or ``"euclidean"``.
    """

    indices: Int[Tensor, "m k"]
    values: Float[Tensor, "m k"]
    texts: tuple[tuple[str, ...], ...]
    labels: tuple[tuple[Any, ...], ...] | None
    metric: str

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a row for each query and neighbor.

        Raises:
            OptionError: pandas is not installed.
        """
        columns: dict[str, Any] = {"query": [], "rank": [], "index": [], "text": [], self.metric: []}
        if self.labels is not None:
            columns["label"] = [label for row in self.labels for label in row]
        for i, texts in enumerate(self.texts):
            columns["query"] += [i] * len(texts)
            columns["rank"] += range(1, len(texts) + 1)
            columns["text"] += texts
            columns["index"] += self.indices[i].tolist()
            columns[self.metric] += self.values[i].tolist()
        return load_pandas().DataFrame(columns)


class NearestTexts:
    """Find the training texts whose activations are nearest to those of others.

    Args:
        activations: A row per training text, ``(n, d)``: ``SplitterForClassification(...).inputs_to_activations(texts)``,
            or any embeddings.
        texts: The training texts.
        labels: Their labels, for the tables.
        metric: ``"cosine"``, or ``"euclidean"`` distance.

    Raises:
        InputError: Numbers of rows, texts and labels differ.
        OptionError: The metric is unknown.

    Examples:
        >>> rows = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
        >>> NearestTexts(rows, ["a", "b", "c"])(torch.tensor([[0.0, 5.0]]), k=2).texts
        (('b', 'c'),)
    """

    def __init__(
        self,
        activations: Float[Tensor, "n d"] | Any,
        texts: Sequence[str],
        labels: Sequence[Any] | Tensor | None = None,
        *,
        metric: str = "cosine",
    ) -> None:
        self.metric = check_choice(metric, "metric", ("cosine", "euclidean"))
        self._rows = read_rows(activations, "activations", len(texts))
        if labels is not None and len(labels) != len(texts):
            raise InputError(f"`labels`: got {len(labels)}; pass one for each of {len(texts)} texts.")
        self.texts = tuple(texts)
        self.labels = None if labels is None else tuple(labels.tolist() if isinstance(labels, Tensor) else labels)

    def __call__(self, activations: Float[Tensor, "m d"] | Any, k: int = 5) -> Neighbors:
        """Return the nearest training texts of each query; the first of several that are as near.

        Args:
            activations: A row per query, ``(m, d)``.
            k: How many; fewer where there are fewer.
        """
        queries = read_rows(activations, "activations", len(activations))
        if queries.shape[1] != self._rows.shape[1]:
            raise InputError(f"`activations`: got width {queries.shape[1]}; the training texts have {self._rows.shape[1]}.")
        if self.metric == "cosine":
            found = normalize(queries, dim=-1) @ normalize(self._rows, dim=-1).T
        else:
            found = -torch.cdist(queries, self._rows, compute_mode="donot_use_mm_for_euclid_dist")
        order = found.argsort(dim=-1, descending=True, stable=True)[:, : check_count(k, "k")]
        values = found.gather(1, order)
        rows = order.tolist()
        texts = tuple(tuple(self.texts[i] for i in row) for row in rows)
        labels = None if self.labels is None else tuple(tuple(self.labels[i] for i in row) for row in rows)
        return Neighbors(order, values if self.metric == "cosine" else -values, texts, labels, self.metric)
