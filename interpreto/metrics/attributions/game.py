"""The model as a cooperative game: scores of inputs with some of their units masked."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interpreto.errors import InputError, MismatchWarning, OptionError
from interpreto.inputs.samples import MaskVariants, Readout, Targets
from interpreto.metrics.attributions.cases import Case
from interpreto.metrics.attributions.readouts import LOG_PROBABILITY, PROBABILITY, SCORE, Measures
from interpreto.models.alternatives import ReplacedBy
from interpreto.models.lengths import longest_input
from interpreto.models.modes import InferenceModes, read_mode
from interpreto.models.scorer import unique_rows
from interpreto.models.text_model import TextModel
from interpreto.models.wrapping import as_model, read_model
from interpreto.progress import progress_bar
from interpreto.remade import Remade
from interpreto.validation import check_batch_size, shown

SAME_MODEL_TOLERANCE = 0.02
"""Relative difference (absolute below 1) that a score may have on two devices or in two number formats."""


@dataclass(frozen=True, eq=False)
class Query:
    """Perturbed inputs of a case that a metric needs scores of.

    Attributes:
        case: The explanation and its target.
        masks: True where a unit of the case is masked.
        measures: What is read of each perturbed input; see `Measures`.
    """

    case: Case
    masks: Bool[Tensor, "p u"]
    measures: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of the perturbed inputs of a `Query`.

    Attributes:
        masked: For each measure, a score per perturbed input.
        full: For each measure, the score of the input itself.
    """

    masked: Mapping[str, Float[Tensor, " p"]]
    full: Mapping[str, float]

    @property
    def copies(self) -> Mapping[str, Float[Tensor, " p"]]:
        """Old name of `masked`."""
        return self.masked

    @property
    def whole(self) -> Mapping[str, float]:
        """Old name of `full`."""
        return self.full


class Game(Remade):
    """Scores of inputs with some of their units masked.

    Perturbed inputs of all cases share batches; equal ones, of whichever metric and explanation, are run once.

    Args:
        model: The explained model. Unchanged after every call.
        tokenizer: Its tokenizer.
        batch_size: Rows per forward pass; None: as many as a token budget holds.
        replacement: What replaces masked units; see `Replacement`.
        device: Where to run the model; None: where it is.
        inference_mode: The explained score, where it is a function of the user's.
        task: The model's task, where its config does not tell.
        tqdm_bar: Show the progress; None: after two seconds, in terminals and notebooks.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        *,
        replacement: ReplacedBy = "auto",
        device: Any = None,
        inference_mode: Any = None,
        task: Any = None,
        tqdm_bar: bool | None = None,
    ) -> None:
        if model is None:
            raise OptionError("`model`: this metric runs the explained model; pass it and its tokenizer.")
        model, self.tokenizer = read_model(model, tokenizer)
        self.batch_size = check_batch_size(batch_size)
        mode = None if inference_mode is None else read_mode(inference_mode)
        self.measures = Measures(model, self.tokenizer, task, longest_input(model, self.tokenizer), mode)
        self.model: Any = as_model(model, self.tokenizer, device=device, outputs=self.measures.task.outputs)
        self.replacement, self.tqdm_bar = self.model.replacement(_check_one(replacement)), tqdm_bar
        self.passes = 0

    @property
    def forward(self) -> Any:
        """Return the forward pass of a Hugging Face model; a `BlackBox` has none."""
        return self.model.forward

    @property
    def _module(self) -> Any:
        return self.model if isinstance(self.model, TextModel) else self.model.forward.model

    @staticmethod
    def of(model: Any, tokenizer: Any = None, batch_size: int | None = None, **options: Any) -> Game:
        """Return the game of a model; a game that is passed for the model is returned as it is, to be shared."""
        return model if isinstance(model, Game) else Game(model, tokenizer, batch_size, **options)

    def replaced_by(self, replacement: str | int) -> Game:
        """Return the same game with another replacement of masked units."""
        args, kwargs = self.made_with
        game = Game.__new__(Game, *args, **{**kwargs, "replacement": replacement})
        vars(game).update({**vars(self), "made_with": game.made_with, "replacement": self.model.replacement(replacement)})
        return game

    def __call__(self, queries: Sequence[Query]) -> list[Scores]:
        """Return the scores of each query, in order.

        Raises:
            InputError: An input has tokens that the model does not know.
        """
        if not queries:
            return []
        groups = [_Group(self.measures, [queries[i] for i in members], members) for members in _by_game(queries)]
        by_query: dict[int, Scores] = {}
        with progress_bar(desc="metrics", unit=" passes", shown=self.tqdm_bar) as bar:

            def count() -> None:
                self.passes += 1
                bar.update()

            variants = [self._checked(group.variants) for group in groups]
            model = self.model.configured(
                self.measures.read, replacement=self.replacement, batch_size=self.batch_size, on_pass=count
            )
            with model.session():
                found = model.scores(variants)
                for group, (_, scores) in zip(groups, found, strict=True):
                    by_query.update(zip(group.members, group.split(scores), strict=True))
        done = [by_query[i] for i in range(len(queries))]
        _warn_of_other_models(queries, done)
        return done

    def _checked(self, variants: MaskVariants) -> MaskVariants:
        config, ids = getattr(self._module, "config", None), variants.sample.input_ids
        size = getattr(config, "vocab_size", None)
        if isinstance(size, int) and len(ids) and int(ids.max()) >= size:
            raise InputError(
                f"`explanations`: {variants.sample.text[:40]!r} has token {int(ids.max())}, and this model knows {size}; "
                "pass the model that was explained."
            )
        return variants


def _check_one(replacement: Any) -> str | int:
    if not isinstance(replacement, str | int):
        raise OptionError(
            f"`replacement`: got {shown(replacement)}; a metric masks units in one way: pass a name, a token id, or, where "
            "the model reads texts, a text. Explainers alone average over other texts."
        )
    return replacement


class _Group:
    """All queries of one game, as the perturbed inputs of one sample with a score per target and measure.

    Attributes:
        members: Indices of the queries among all.
        variants: The perturbed inputs.
    """

    def __init__(self, measures: Measures, queries: Sequence[Query], members: Sequence[int]) -> None:
        self.queries, self.members = queries, members
        self._columns: dict[tuple[object, ...], dict[str, int]] = {}
        by_target: dict[tuple[object, ...], list[Query]] = {}
        for query in queries:
            by_target.setdefault(query.case.score_key, []).append(query)
        read: list[Targets] = []
        for key, about in by_target.items():
            case = about[0].case
            assert case.sample.targets is not None
            mode = case.output.inference_mode
            names = dict.fromkeys(name for query in about for name in query.measures)
            if case.is_class and measures.knows(mode):
                names[SCORE] = None  # one more column of logits that are there: it tells whether the model is the explained one
            before = sum(map(len, read))
            self._columns[key] = {name: before + i for i, name in enumerate(names)}
            read.append(measures.targets(case.sample.targets, tuple(names), mode))
        sample = queries[0].case.sample
        self.variants = MaskVariants(sample.with_targets(_joined(read)), torch.cat([_full_mask(q) for q in queries]))

    def split(self, scores: Float[Tensor, "p1 m"]) -> list[Scores]:
        """Return the scores of each query, from those of all perturbed inputs."""
        full = scores[0].tolist()
        parts = scores[1:].double().split([len(query.masks) for query in self.queries])
        columns = [self._columns[query.case.score_key] for query in self.queries]
        return [
            Scores({name: part[:, own[name]] for name in query.measures}, {name: full[i] for name, i in own.items()})
            for query, part, own in zip(self.queries, parts, columns, strict=True)
        ]


def rows_of(queries: Sequence[Query]) -> int:
    """Return the number of rows that the queries send through the model, the inputs themselves included."""
    return sum(_distinct([_full_mask(queries[i]) for i in members]) for members in _by_game(queries))


def _by_game(queries: Sequence[Query]) -> list[list[int]]:
    games: dict[tuple[object, ...], list[int]] = {}
    for i, query in enumerate(queries):
        games.setdefault(query.case.game_key, []).append(i)
    return list(games.values())


def _full_mask(query: Query) -> Float[Tensor, "p u"]:
    """Return the masks of a query over all units of its sample."""
    mask = torch.zeros(len(query.masks), len(query.case.sample.units))
    mask[:, query.case.units] = query.masks.float()
    return mask


def _distinct(masks: Sequence[Tensor]) -> int:
    return len(unique_rows(torch.cat([torch.zeros_like(masks[0][:1]), *masks]))[0])


def _joined(targets: Sequence[Targets]) -> Targets:
    """Return several targets of classes as one readout."""
    if len(targets) == 1:
        return targets[0]
    readouts = [own.readouts[0] for own in targets]
    weights = torch.block_diag(*(torch.eye(len(r.ids)) if r.weights is None else r.weights for r in readouts))
    labels = tuple(label for own in targets for label in own.labels)
    return Targets((Readout(torch.cat([r.ids for r in readouts]), weights=weights),), labels, (None,) * len(labels))


def _warn_of_other_models(queries: Sequence[Query], scores: Sequence[Scores]) -> None:
    """Warn where f(x) of an explanation differs from the model's: the model, or the text, is another one."""
    for query, own in zip(queries, scores, strict=True):
        case = query.case
        explained, found = float(case.output.base_scores[case.target]), _explained_score(case, own.full)
        if found is not None and abs(found - explained) > SAME_MODEL_TOLERANCE * max(1.0, abs(explained)):
            warnings.warn(
                f"{case.output.text[:40]!r} was explained where f(x) = {explained:.4g}, and the metric's model returns "
                f"{found:.4g}: was another model explained?",
                MismatchWarning,
                stacklevel=3,
            )
            return


def _explained_score(case: Case, full: Mapping[str, float]) -> float | None:
    """Return f(x) in the explanation's own units, where the measures that were read determine it."""
    targets, mode = case.sample.targets, case.output.inference_mode
    if SCORE in full:
        return full[SCORE]
    if (
        targets is None
        or len(targets.readouts) != 1
        or len(targets.readouts[0].ids) > 1
        or mode != InferenceModes.LOG_SOFTMAX.value
    ):
        return None
    if LOG_PROBABILITY in full:
        return full[LOG_PROBABILITY]
    return math.log(full[PROBABILITY]) if full.get(PROBABILITY, 0.0) > 0 else None
