"""The model as a game that units play: what it says when some of them are removed."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interpreto.attributions.perturbations.base import check_count
from interpreto.errors import InputError, MismatchWarning, OptionError
from interpreto.inputs.samples import MaskVariants, Readout, Targets
from interpreto.metrics.attributions.cases import Row
from interpreto.metrics.attributions.readouts import LOG_PROBABILITY, PROBABILITY, SCORE, Measures
from interpreto.models.black_box import BlackBox
from interpreto.models.forward import longest_input
from interpreto.models.modes import InferenceModes, read_mode
from interpreto.models.scorer import unique_rows
from interpreto.models.tasks import Task
from interpreto.models.wrapping import as_model, read_model
from interpreto.progress import tqdm


@dataclass(frozen=True, eq=False)
class Question:
    """Copies of a row's input that a metric wants scored.

    Attributes:
        row: Whose input.
        removed: True where one of the row's units is taken out.
        measures: What is wanted of each copy.
    """

    row: Row
    removed: Bool[Tensor, "p u"]
    measures: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Answer:
    """Scores of the copies of a `Question`.

    Attributes:
        copies: For each measure, a number for each copy.
        whole: For each measure, that of the untouched input.
    """

    copies: Mapping[str, Float[Tensor, " p"]]
    whole: Mapping[str, float]


class Game:
    """Scores of inputs without some of their units.

    Copies of all rows share batches; equal copies, of whichever metric and explanation, run once.

    Args:
        model: The explained model. Left as it was after every call.
        tokenizer: Its tokenizer.
        batch_size: Rows a forward pass; None: as many as a token budget holds.
        replacement: What stands for removed units; see `Replacement`.
        device: Where to run the model; None: where it is.
        inference_mode: The explained score, where it is a function of the user's.
        task: What the model does, when its config does not say.
        tqdm_bar: Show the forward passes done.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        *,
        replacement: str | int = "auto",
        device: Any = None,
        inference_mode: Any = None,
        task: Any = None,
        tqdm_bar: bool = False,
    ) -> None:
        if model is None:
            raise OptionError("`model`: this metric runs the explained model; pass it and its tokenizer.")
        model, self.tokenizer = read_model(model, tokenizer)
        self.batch_size = None if batch_size is None else check_count(batch_size, "batch_size")
        mode = None if inference_mode is None else read_mode(inference_mode)
        self.measures = Measures(model, self.tokenizer, task, longest_input(model, self.tokenizer), mode)
        outputs = task.outputs if isinstance(task, Task) else None
        self.model: Any = as_model(model, self.tokenizer, device=device, outputs=outputs)
        self.replacement, self.tqdm_bar = self.model.replacement(replacement), tqdm_bar
        self.passes = 0

    @property
    def forward(self) -> Any:
        """The forward pass of a Hugging Face model; a `BlackBox` has none."""
        return self.model.forward

    @property
    def source(self) -> Any:
        """The module, or the `BlackBox`."""
        return self.model if isinstance(self.model, BlackBox) else self.model.forward.model

    def replaced_by(self, replacement: str | int) -> Game:
        """The same game with something else in the place of removed units."""
        game = copy(self)
        game.replacement = self.model.replacement(replacement)
        return game

    def __call__(self, questions: Sequence[Question]) -> list[Answer]:
        """Answers, in order."""
        if not questions:
            return []
        groups = [_Group(self.measures, [questions[i] for i in members], members) for members in _by_game(questions)]
        answers: list[Answer | None] = [None] * len(questions)
        with tqdm(desc="metrics", unit=" passes", disable=not self.tqdm_bar) as bar:

            def count() -> None:
                self.passes += 1
                bar.update()

            model = self.model.configured(
                self.measures.read, replacement=self.replacement, batch_size=self.batch_size, on_pass=count
            )
            with model.session():
                found = model.scores(self._readable(group.variants) for group in groups)
                for group, (_, scores) in zip(groups, found, strict=True):
                    for i, answer in zip(group.members, group.shared_out(scores), strict=True):
                        answers[i] = answer
        done = [answer for answer in answers if answer is not None]
        _warn_of_other_models(questions, done)
        return done

    def _readable(self, variants: MaskVariants) -> MaskVariants:
        config, ids = getattr(self.source, "config", None), variants.sample.input_ids
        size = getattr(config, "vocab_size", None)
        if isinstance(size, int) and len(ids) and int(ids.max()) >= size:
            raise InputError(
                f"`explanations`: {variants.sample.text[:40]!r} has token {int(ids.max())}, and this model knows {size}; "
                "pass the model that was explained."
            )
        return variants


class _Group:
    """All questions about one game, as the copies of one sample with a score for each target and measure.

    Attributes:
        members: The questions' places among all.
        variants: The copies.
    """

    def __init__(self, measures: Measures, questions: Sequence[Question], members: Sequence[int]) -> None:
        self.questions, self.members = questions, members
        self._columns: dict[tuple[object, ...], dict[str, int]] = {}
        rows: dict[tuple[object, ...], list[Question]] = {}
        for question in questions:
            rows.setdefault(question.row.scored, []).append(question)
        aims: list[Targets] = []
        for key, about in rows.items():
            row = about[0].row
            assert row.sample.targets is not None
            mode = row.output.inference_mode
            names = dict.fromkeys(name for question in about for name in question.measures)
            if row.of_classes and measures.knows(mode):
                names[SCORE] = None  # one more column of logits that are there: it tells whether the model is the explained one
            before = sum(map(len, aims))
            self._columns[key] = {name: before + i for i, name in enumerate(names)}
            aims.append(measures.targets(row.sample.targets, tuple(names), mode))
        sample = questions[0].row.sample
        self.variants = MaskVariants(sample.with_targets(_beside_each_other(aims)), torch.cat([_mask(q) for q in questions]))

    def shared_out(self, scores: Float[Tensor, "p1 m"]) -> list[Answer]:
        """The answer to each question, of the scores of all copies."""
        whole = scores[0].tolist()
        parts = scores[1:].double().split([len(question.removed) for question in self.questions])
        columns = [self._columns[question.row.scored] for question in self.questions]
        return [
            Answer({name: part[:, own[name]] for name in question.measures}, {name: whole[i] for name, i in own.items()})
            for question, part, own in zip(self.questions, parts, columns, strict=True)
        ]


def copies_of(questions: Sequence[Question]) -> int:
    """How many copies of texts these questions send through the model, the untouched ones among them."""
    return sum(_distinct([_mask(questions[i]) for i in members]) for members in _by_game(questions))


def _by_game(questions: Sequence[Question]) -> list[list[int]]:
    games: dict[tuple[object, ...], list[int]] = {}
    for i, question in enumerate(questions):
        games.setdefault(question.row.game, []).append(i)
    return list(games.values())


def _mask(question: Question) -> Float[Tensor, "p u"]:
    mask = torch.zeros(len(question.removed), len(question.row.sample.units))
    mask[:, question.row.units] = question.removed.float()
    return mask


def _distinct(masks: Sequence[Tensor]) -> int:
    return len(unique_rows(torch.cat([torch.zeros_like(masks[0][:1]), *masks]))[0])


def _beside_each_other(aims: Sequence[Targets]) -> Targets:
    """Aims at classes as one."""
    if len(aims) == 1:
        return aims[0]
    readouts = [targets.readouts[0] for targets in aims]
    weights = torch.block_diag(*(torch.eye(len(r.ids)) if r.weights is None else r.weights for r in readouts))
    labels = tuple(label for targets in aims for label in targets.labels)
    return Targets((Readout(torch.cat([r.ids for r in readouts]), weights=weights),), labels, (None,) * len(labels))


def _warn_of_other_models(questions: Sequence[Question], answers: Sequence[Answer]) -> None:
    """Explanations carry f(x): where it is another number here, the model, or the text, is another one."""
    for question, answer in zip(questions, answers, strict=True):
        row = question.row
        explained, found = float(row.output.base_scores[row.target]), _explained_score(row, answer.whole)
        if found is not None and abs(found - explained) > OTHER * max(1.0, abs(explained)):
            warnings.warn(
                f"{row.output.text[:40]!r} was explained where f(x) = {explained:.4g}, and the metric's model answers "
                f"{found:.4g}: was another model explained?",
                MismatchWarning,
                stacklevel=3,
            )
            return


def _explained_score(row: Row, whole: Mapping[str, float]) -> float | None:
    """f(x) in the explanation's own terms, where what was asked for tells it."""
    targets, mode = row.sample.targets, row.output.inference_mode
    if SCORE in whole:
        return whole[SCORE]
    if (
        targets is None
        or len(targets.readouts) != 1
        or len(targets.readouts[0].ids) > 1
        or mode != InferenceModes.LOG_SOFTMAX.value
    ):
        return None
    if LOG_PROBABILITY in whole:
        return whole[LOG_PROBABILITY]
    return math.log(whole[PROBABILITY]) if whole.get(PROBABILITY, 0.0) > 0 else None


OTHER = 0.02  # of a score, or of 1 where that is more: as far apart may two devices and two number formats be
