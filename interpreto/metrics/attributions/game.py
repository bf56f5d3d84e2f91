"""The model as a game that units play: what it says when some of them are removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interpreto.attributions.perturbations.base import check_count
from interpreto.errors import OptionError
from interpreto.inference.embedding import EmbeddingSpace
from interpreto.inference.forward import Forward, longest_input
from interpreto.inference.modes import read_mode
from interpreto.inference.replacement import read_replacement
from interpreto.inference.scorer import scoring, unique_rows
from interpreto.metrics.attributions.measures import Measures
from interpreto.metrics.attributions.rows import Row
from interpreto.progress import tqdm
from interpreto.samples import MaskVariants, Sample


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
        tokenizer: Any,
        batch_size: int | None = None,
        *,
        replacement: str | int = "auto",
        device: Any = None,
        inference_mode: Any = None,
        task: Any = None,
        tqdm_bar: bool = False,
    ) -> None:
        if model is None or tokenizer is None:
            raise OptionError("`model`: this metric runs the explained model; pass it and its tokenizer.")
        self.batch_size = None if batch_size is None else check_count(batch_size, "batch_size")
        self.forward, self.tokenizer, self.tqdm_bar = Forward(model, device), tokenizer, tqdm_bar
        self.replacement = read_replacement(replacement, tokenizer)
        mode = None if inference_mode is None else read_mode(inference_mode)
        self.measures = Measures(model, tokenizer, task, longest_input(model, tokenizer), mode)
        self.space = EmbeddingSpace(self.forward, tokenizer)
        self.passes = 0

    def replaced_by(self, replacement: str | int) -> Game:
        """The same game with something else in the place of removed units."""
        game = copy(self)
        game.replacement = read_replacement(replacement, self.tokenizer)
        return game

    def __call__(self, questions: Sequence[Question]) -> list[Answer]:
        """Answers, in order."""
        if not questions:
            return []
        games: dict[tuple[object, ...], list[int]] = {}
        for i, question in enumerate(questions):
            games.setdefault(question.row.game, []).append(i)
        groups = [([questions[i] for i in members], members) for members in games.values()]
        answers: list[Answer | None] = [None] * len(questions)
        with self.forward.session(), tqdm(desc="metrics", unit=" passes", disable=not self.tqdm_bar) as bar:

            def count() -> None:
                self.passes += 1
                bar.update()

            asked = [self._asked(group) for group, _ in groups]
            samples = [variants.sample for variants in asked]
            options: dict[str, Any] = {"batch_size": self.batch_size, "replacement": self.replacement, "on_pass": count}
            with scoring(self.forward, samples, self.measures.read, **options) as scorer:
                found = scorer.masked(asked, self.replacement.ready(self.space))
                for (group, members), (_, scores) in zip(groups, found, strict=True):
                    for i, answer in zip(members, self._shared_out(group, scores), strict=True):
                        answers[i] = answer
        return [answer for answer in answers if answer is not None]

    def _asked(self, group: Sequence[Question]) -> MaskVariants:
        """What all questions about one game ask, as the copies of one sample with a score for each measure."""
        sample: Sample = group[0].row.sample
        masks = [torch.zeros(len(q.removed), len(sample.units)) for q in group]
        for mask, question in zip(masks, group, strict=True):
            mask[:, question.row.units] = question.removed.float()
        assert sample.aim is not None
        aim = self.measures.aim(sample.aim, _all_of(group), group[0].row.output.inference_mode)
        return MaskVariants(sample.aimed_at(aim), torch.cat(masks))

    def _shared_out(self, group: Sequence[Question], scores: Float[Tensor, "p1 m"]) -> list[Answer]:
        names = _all_of(group)
        parts = scores[1:].double().split([len(question.removed) for question in group])
        whole = dict(zip(names, scores[0].tolist(), strict=True))
        return [
            Answer({name: part[:, names.index(name)] for name in question.measures}, whole)
            for question, part in zip(group, parts, strict=True)
        ]


def distinct(masks: Sequence[Tensor]) -> int:
    """How many distinct copies these are, the untouched one among them."""
    filled = [mask for mask in masks if mask.shape[1]]
    if not filled:
        return 1
    every = torch.cat([torch.zeros(1, filled[0].shape[1]), *(mask.float() for mask in filled)])
    return len(unique_rows(every)[0])


def _all_of(group: Sequence[Question]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for question in group for name in question.measures))
