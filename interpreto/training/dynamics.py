"""Training dynamics: the logits of every training text by epoch, and the numbers that follow from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from interpreto.errors import OptionError
from interpreto.models.head_reader import HeadReader
from interpreto.renderable import Renderable
from interpreto.training import scores
from interpreto.training.callback import DynamicsCallback
from interpreto.training.detector import label_error_probability
from interpreto.training.files import Saved, load_pandas, read_saved, write_saved
from interpreto.training.label_errors import LabelErrors
from interpreto.training.recording import Recording, TextId
from interpreto.training.tracin import HeadGradients, head_influence, read_rates
from interpreto.validation import check_choice, check_count

if TYPE_CHECKING:
    import pandas


class TrainingDynamics(Renderable):
    """Record the logits of training texts by epoch, and compute what they say of each text and its label.

    A plain recorder for training loops of your own (`record`, or `record_model`, which runs the model), and a callback of
    ``transformers.Trainer`` (`callback`). Logits are best taken in evaluation mode at the end of each epoch.

    Args:
        texts: The texts: a sequence, whose ids are 0, 1, …, or a mapping by id; None: only ids are known.
        classes: Names of the classes; None: their numbers.

    Examples:
        >>> dynamics = TrainingDynamics(["a dull film", "a fine film"], classes=["negative", "positive"])
        >>> dynamics.record(0, [0, 1], torch.tensor([[1.0, 0.0], [2.0, 0.0]]), [0, 1])
        >>> dynamics.record(1, [0, 1], torch.tensor([[2.0, 0.0], [0.0, 1.0]]), [0, 1])
        >>> dynamics.correctness.tolist(), dynamics.forgetting_events.tolist()
        ([1.0, 0.5], [0.0, 0.0])
        >>> dynamics.area_under_margin.tolist()
        [1.5, -0.5]
        >>> dynamics.suspected_label_errors(k=1).texts
        ('a fine film',)
    """

    _subject: ClassVar[str] = "data_map"

    def __init__(self, texts: Sequence[str] | Mapping[Any, str] | None = None, *, classes: Sequence[str] | None = None) -> None:
        self._texts: dict[TextId, str] = {}
        if texts is not None:
            self._texts.update(texts if isinstance(texts, Mapping) else enumerate(texts))
        self._classes = None if classes is None else tuple(map(str, classes))
        self._recording = Recording()

    # --- Recording

    def record(
        self,
        epoch: int,
        ids: Iterable[Any] | Tensor,
        logits: Float[Tensor, "b c"] | Any,
        labels: Sequence[int] | Tensor,
        features: Float[Tensor, "b d"] | Any = None,
    ) -> None:
        """Record some texts at one epoch: all of them, or a batch.

        Args:
            epoch: Number of the epoch, from 0.
            ids: The texts: numbers or strings.
            logits: Of each text and class, ``(b, c)``.
            labels: The assigned label of each text, ``(b,)``: what the model is trained on, right or wrong.
            features: What the linear head read of each text, ``(b, d)``, for `tracin`; kept for every epoch.

        Raises:
            InputError: Shapes do not fit, or a text has another label than before.
        """
        self._recording.add(epoch, ids, logits, labels, features)

    def record_model(
        self,
        epoch: int,
        model: nn.Module,
        tokenizer: Any,
        texts: Sequence[str],
        labels: Sequence[int] | Tensor,
        *,
        features: bool = False,
        batch_size: int | None = None,
    ) -> None:
        """Run a classifier on the training texts and record its logits; ids are 0, 1, ….

        The model is in evaluation mode meanwhile, and as it was afterwards, also in the midst of a training.

        Args:
            epoch: Number of the epoch, from 0.
            model: A classifier with a linear head.
            tokenizer: Its tokenizer.
            texts: The training texts, in the same order at every epoch.
            labels: Their assigned labels.
            features: Record what the head reads too, for `tracin`.
            batch_size: Texts per pass; None: as many as a token budget holds.

        Raises:
            ModelError: The logits are not those of a linear layer.
        """
        found = HeadReader(model, tokenizer, batch_size).read(texts)
        self._texts.update(enumerate(texts))
        self.record(epoch, range(len(texts)), found.logits, labels, found.features if features else None)

    def callback(
        self,
        tokenizer: Any,
        texts: Sequence[str],
        labels: Sequence[int] | Tensor,
        *,
        features: bool = False,
        batch_size: int | None = None,
    ) -> DynamicsCallback:
        """Return a callback of ``transformers.Trainer`` that calls `record_model` at the end of each epoch.

        In a training of several processes the first one records.
        """
        return DynamicsCallback(
            lambda epoch, model: self.record_model(
                epoch, model, tokenizer, texts, labels, features=features, batch_size=batch_size
            )
        )

    # --- What was recorded

    @property
    def ids(self) -> list[TextId]:
        """Return the texts in the order of all results: that in which they were first recorded."""
        return list(self._recording.ids)

    @property
    def texts(self) -> list[str]:
        """Return the texts; a text that is not known is its id."""
        return [self._texts.get(one, str(one)) for one in self._recording.ids]

    @property
    def epochs(self) -> list[int]:
        """Return the numbers of the epochs that were recorded."""
        return self._recording.epochs

    @property
    def labels(self) -> Int[Tensor, " n"]:
        """Return the assigned labels, ``(n,)``."""
        return torch.tensor(self._recording.labels, dtype=torch.long)

    @property
    def logits(self) -> Float[Tensor, "e n c"]:
        """Return the logits by epoch and text, ``(e, n, c)``; NaN where a text was not recorded."""
        return self._recording.table()[0]

    @property
    def features(self) -> Float[Tensor, "e n d"]:
        """Return what the head read, by epoch and text, ``(e, n, d)``.

        Raises:
            OptionError: It was not recorded.
        """
        found = self._recording.table()[1]
        if found is None:
            raise OptionError("`features`: what the head reads was not recorded; pass `features` when recording.")
        return found

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the names of the classes."""
        return tuple(map(str, range(self.logits.shape[2]))) if self._classes is None else self._classes

    # --- Numbers of each text

    @property
    def confidence(self) -> Float[Tensor, " n"]:
        """Return the mean probability of the assigned label over epochs; see `scores.confidence`."""
        return scores.confidence(self.logits, self.labels)

    @property
    def variability(self) -> Float[Tensor, " n"]:
        """Return the standard deviation of the probability of the assigned label over epochs."""
        return scores.variability(self.logits, self.labels)

    @property
    def correctness(self) -> Float[Tensor, " n"]:
        """Return the share of epochs in which the assigned label is predicted."""
        return scores.correctness(self.logits, self.labels)

    @property
    def forgetting_events(self) -> Float[Tensor, " n"]:
        """Return how often each text is predicted rightly, then wrongly; infinity where it is never predicted rightly."""
        return scores.forgetting_events(scores.learned(self.logits, self.labels))

    @property
    def tidy(self) -> Float[Tensor, " n"]:
        """Return the mean number of the epochs in which the assigned label is predicted; large values are suspicious."""
        return scores.tidy_scores(scores.learned(self.logits, self.labels))

    @property
    def area_under_margin(self) -> Float[Tensor, " n"]:
        """Return the mean margin of the assigned label over epochs; small values are suspicious."""
        return scores.area_under_margin(self.logits, self.labels)

    @property
    def label_error_probability(self) -> Float[Tensor, " n"]:
        """Return the probability that the assigned label is wrong, by the library's trained detector (BHDF)."""
        return label_error_probability(self.logits, self.labels)

    def tracin(
        self, queries: TrainingDynamics | None = None, learning_rates: float | int | Sequence[float] = 1.0, *, bias: bool = True
    ) -> Tensor:
        """Return TracIn of the linear head: inner products of loss gradients, summed over the epochs.

        The gradient at the head is (p − y) hᵀ, so that inner products factor and no backward pass is needed. Needs
        ``features`` in the record.

        Args:
            queries: A record of other texts at the same epochs; None: self-influence, whose large values are suspicious.
            learning_rates: One, or one per epoch.
            bias: The head has a bias.

        Returns:
            Self-influence ``(n,)``, or the influence of each text on each query, ``(n, m)``: positive where training on the
            text lowers the query's loss.

        References:
            Pruthi et al., NeurIPS 2020, https://arxiv.org/abs/2002.08484.

        Raises:
            OptionError: Features were not recorded, the epochs differ, or rates do not fit.
        """
        if queries is not None and queries.epochs != self.epochs:
            raise OptionError(f"`queries`: were recorded at epochs {queries.epochs}, and the texts at {self.epochs}.")
        rates = read_rates(learning_rates, len(self.epochs))
        own = HeadGradients.of(self.features, self.logits, self.labels, bias=bias)
        if queries is None:
            return own.self_influence(rates)
        others = HeadGradients.of(queries.features, queries.logits, queries.labels, bias=bias)
        return head_influence(own, others, rates)

    # --- Suspected label errors

    def suspicion(self, by: str = "aum") -> Float[Tensor, " n"]:
        """Return a score of each text that is larger the more its label is suspected.

        Args:
            by: ``"aum"`` (the negative area under the margin), ``"tidy"``, ``"confidence"`` and ``"correctness"`` (1 less
                them), ``"forgetting"``, ``"bhdf"`` or ``"tracin"`` (self-influence; needs features).

        Raises:
            OptionError: There is no such score.
        """
        by = check_choice(by, "by", tuple(_SUSPICION))
        return _SUSPICION[by](self)

    def suspected_label_errors(self, k: int = 20, by: str = "aum") -> LabelErrors:
        """Return the texts whose labels are most suspicious, the most suspicious first, with the label that the model prefers.

        Args:
            k: How many.
            by: The score; see `suspicion`.

        Raises:
            OptionError: An option is out of range.
        """
        ranked = self.suspicion(by).nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
        order = ranked.argsort(dim=0, descending=True, stable=True)[: check_count(k, "k")]
        preferred = self.logits.softmax(-1).nanmean(0)
        texts, names, labels = self.texts, self.classes, self.labels
        return LabelErrors(
            ids=tuple(self.ids[i] for i in order.tolist()),
            texts=tuple(texts[i] for i in order.tolist()),
            labels=tuple(names[int(labels[i])] for i in order.tolist()),
            suggestions=tuple(names[int(preferred[i].argmax())] for i in order.tolist()),
            scores=ranked[order],
            confidence=self.confidence[order],
            correctness=self.correctness[order],
            by=by,
            n=len(texts),
        )

    # --- Tables and files

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a row per text: id, text, label, and its numbers.

        Raises:
            OptionError: pandas is not installed.
        """
        names = self.classes
        columns: dict[str, Any] = {"id": self.ids, "text": self.texts, "label": [names[i] for i in self._recording.labels]}
        for name in ("confidence", "variability", "correctness", "forgetting_events", "tidy", "area_under_margin"):
            columns[name] = getattr(self, name).tolist()
        return load_pandas().DataFrame(columns)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the record to a file, whole or not at all.

        Args:
            path: A file of safetensors; with the ending ``.parquet`` a table with a row per text, which has no features.

        Raises:
            FileError: The file cannot be written.
        """
        logits, features = self._recording.table()
        write_saved(Path(path), Saved(self.ids, self._texts, self._classes, self.epochs, logits, features, self.labels))

    @classmethod
    def load(cls, path: str | PathLike[str]) -> TrainingDynamics:
        """Read a record that `save` wrote.

        Raises:
            FileError: The file is missing, damaged, or holds something else.
        """
        saved = read_saved(Path(path))
        found = cls(saved.texts, classes=saved.classes)
        for i, epoch in enumerate(saved.epochs):
            there = ~saved.logits[i].isnan().all(-1)
            ids = [one for one, here in zip(saved.ids, there.tolist(), strict=True) if here]
            features = None if saved.features is None else saved.features[i][there]
            found.record(epoch, ids, saved.logits[i][there], saved.labels[there], features)
        return found


_SUSPICION: dict[str, Callable[[TrainingDynamics], Tensor]] = {
    "aum": lambda record: -record.area_under_margin,
    "tidy": lambda record: record.tidy,
    "confidence": lambda record: 1 - record.confidence,
    "correctness": lambda record: 1 - record.correctness,
    "forgetting": lambda record: record.forgetting_events,
    "bhdf": lambda record: record.label_error_probability,
    "tracin": lambda record: record.tracin(),
}
"""Scores by which texts can be ranked; larger values are more suspicious."""
