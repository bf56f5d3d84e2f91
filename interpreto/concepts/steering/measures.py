"""Measures of what a model wrote under steerings: effect, fluency, repetition."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.base import ConceptExplainer
from interpreto.concepts.joint_rows import JOINT
from interpreto.concepts.splitters.classification import SplitterForClassification
from interpreto.concepts.splitters.model_with_split_points import ModelWithSplitPoints
from interpreto.concepts.steering.steering import Steering
from interpreto.concepts.steering.steps import Add, Recode, RecodeAcross
from interpreto.errors import InputError, OptionError
from interpreto.models.answers import AnswerModel
from interpreto.validation import shown

Effect = Callable[[list[str]], Any]
"""A function of texts to a number for each."""


@dataclass(frozen=True, eq=False)
class Continued:
    """Texts that were written after one prompt, as ids, and how far the distribution of their first token moved."""

    prompt: list[int]
    ids: list[tuple[int, ...]]
    divergence: list[float]


class ClassProbability:
    """Return the probability that a classifier gives a class, for each of some texts: an effect of `compare_steering`.

    Args:
        model: A classifier of texts.
        tokenizer: Its tokenizer.
        target: The class, by number or name.

    Raises:
        OptionError: there is no such class.

    Examples:
        >>> from interpreto import demo
        >>> from interpreto.concepts import ClassProbability
        >>> praise = ClassProbability(*demo.load_classifier(), "positive")
        >>> [round(value) for value in praise(["A charming film.", "A dull, sad mess."]).tolist()]
        [1, 0]
    """

    def __init__(self, model: Any, tokenizer: Any, target: int | str) -> None:
        names = {int(i): str(name) for i, name in (getattr(model.config, "id2label", None) or {}).items()}
        known = {name: i for i, name in names.items()}
        if target not in (known if isinstance(target, str) else names):
            raise OptionError(f"`target`: got {shown(target)}; the classes are {', '.join(map(repr, known))}.")
        self.target = known[target] if isinstance(target, str) else int(target)
        self.splitter = SplitterForClassification(model, tokenizer=tokenizer, truncation=True)
        self.__name__ = f"probability of {names[self.target]}"

    def __call__(self, texts: Sequence[str]) -> Float[Tensor, " n"]:
        """Return the probability of the class for each text."""
        rows, _ = self.splitter.get_activations(list(texts), tqdm_bar=False)
        with torch.no_grad():
            return self.splitter.activations_to_outputs(rows).float().softmax(-1)[:, self.target].cpu()


def effects_of(effect: Effect, texts: Sequence[Sequence[str]]) -> Float[Tensor, "p m"]:
    """Return the effect of each text; NaN where nothing was written. Each distinct text is asked for once."""
    distinct = list(dict.fromkeys(text for own in texts for text in own if text.strip()))
    given = effect(distinct) if distinct else []
    try:
        values = torch.as_tensor(given).detach().double().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"`effect`: returned {shown(given)}; return a number for each text.") from error
    if values.shape != (len(distinct),) or not bool(values.isfinite().all()):
        raise InputError(f"`effect`: returned {shown(given)} for {len(distinct)} texts; return a finite number for each.")
    known = dict(zip(distinct, values.tolist(), strict=True))
    return torch.tensor([[known.get(text, math.nan) for text in own] for own in texts], dtype=torch.float64)


def read_amounts(steering: Steering, continued: Sequence[Continued]) -> Float[Tensor, "p m"]:
    """Return the mean amount of a steering's concept in the tokens of each text, as the model reads them unsteered."""
    explainer, weights = _concept_of(steering)
    points = str(explainer.split_point).split(JOINT)
    reader: Any = ModelWithSplitPoints(steering.splitter.model, points, tokenizer=steering.splitter.tokenizer)
    found = []
    for one in continued:
        inputs = [torch.tensor([*one.prompt, *ids]) for ids in one.ids]
        read = reader.get_activations(inputs, "all_tokens", flatten_activations=False, tqdm_bar=False)
        rows = [torch.cat(parts, 1) for parts in zip(*(read[point] for point in points), strict=True)]
        found.append([_amount(explainer, weights, own[len(one.prompt) :]) for own in rows])
    return torch.tensor(found, dtype=torch.float64)


def _amount(explainer: ConceptExplainer, weights: Float[Tensor, " c"], rows: Float[Tensor, "l d"]) -> float:
    if not len(rows):
        return math.nan
    with torch.no_grad():
        codes = explainer.encode_activations(rows).double()
    return float((codes @ weights.to(codes.device)).mean())


def _concept_of(steering: Steering) -> tuple[ConceptExplainer, Float[Tensor, " c"]]:
    step = steering.steps[0]
    if isinstance(step, Recode | RecodeAcross):
        weights = torch.zeros(int(step.explainer.nb_concepts), dtype=torch.float64)
        weights[list(step.concepts)] = 1.0
        return step.explainer, weights
    if isinstance(step, Add) and step.explainer is not None and step.weights is not None:
        return step.explainer, step.weights.double()
    raise OptionError(f"`effect`: {steering} has no concept that could be read; pass a function of texts.")


def nats_of(writer: AnswerModel, continued: Sequence[Continued]) -> Float[Tensor, "p m"]:
    """Return the negative log-likelihood per token of each text under the model as it is; NaN where nothing was written."""
    distinct = {(tuple(one.prompt), ids) for one in continued for ids in one.ids if ids}
    pairs = sorted(distinct)
    values = writer.log_probabilities([p for p, _ in pairs], [ids for _, ids in pairs]).double().tolist()
    known = {pair: -value / len(pair[1]) for pair, value in zip(pairs, values, strict=True)}
    return torch.tensor(
        [[known.get((tuple(one.prompt), ids), math.nan) for ids in one.ids] for one in continued], dtype=torch.float64
    )


def distinct_pairs(ids: Sequence[int]) -> float:
    """Return the share of distinct pairs among the pairs of tokens that follow each other; NaN for less than two tokens.

    Examples:
        >>> distinct_pairs([1, 2, 1, 2, 1])
        0.5
    """
    pairs = list(pairwise(ids))
    return len(set(pairs)) / len(pairs) if pairs else math.nan
