"""ConceptSHAP: Shapley values of concepts for what they let a classifier decide."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from interpreto.concepts.base import ConceptAutoEncoderExplainer
from interpreto.concepts.coalitions import VALUES, ConceptGame
from interpreto.concepts.concept_maps import MapTraining
from interpreto.errors import EstimateWarning, OptionError
from interpreto.renderable import Renderable
from interpreto.validation import check_choice, check_count, check_optional_count, check_positive, check_seed

EXACT = 12
"""Concepts up to which all coalitions are valued, unless a number of orders is named."""
ORDERS = 32
MAPPINGS = ("decoder", "trained")


@dataclass(frozen=True, eq=False)
class ConceptShapResult(Renderable):
    """Shapley values of concepts. They sum to ``full − empty``, exactly, also where they are sampled.

    Attributes:
        concepts: Numbers of the concepts.
        values: Shapley value of each, ``(c,)``.
        standard_error: Of each; 0 where all coalitions were valued.
        by_class: Values of the game on the texts of each class, ``(k, c)``; NaN for a class without texts.
        empty: Value without the concepts: not 0 in general.
        full: Value with all of them.
        curve: Value of the concepts of largest values together, by their number, ``(c + 1,)``.
        value: What a coalition is worth.
        n_coalitions: Number of coalitions that were valued.
        held_out: Numbers of the texts that were valued, where a map was trained on the others; None: all were.
    """

    concepts: tuple[int, ...]
    values: Float[Tensor, " c"]
    standard_error: Float[Tensor, " c"]
    by_class: Float[Tensor, "k c"]
    empty: float
    full: float
    curve: Float[Tensor, " c1"]
    value: str
    n_coalitions: int
    held_out: tuple[int, ...] | None = None

    _subject: ClassVar[str] = "concept_shap"

    def to_dataframe(self) -> Any:
        """Return a ``pandas.DataFrame`` with a row for each concept."""
        import pandas as pd  # noqa: PLC0415  # optional

        columns = {"concept": self.concepts, "value": self.values.tolist(), "standard_error": self.standard_error.tolist()}
        classes = {f"class {k}": values.tolist() for k, values in enumerate(self.by_class)}
        return pd.DataFrame({**columns, **classes})


class ConceptShap:
    """Divide what concepts let a classifier decide among them, by Shapley values (ConceptSHAP).

    A coalition of concepts is worth how well the model decides from the activations that they are mapped to. By default this
    map is the explainer's decoder. The paper trains a network for each coalition that makes the best of it;
    ``mapping="trained"`` trains one for all, as `interpreto.metrics.ConceptCompleteness` does: the better, on half of the
    texts, of the decoder and of the decoder plus a perceptron of two layers. Coalitions are valued on the other half. With
    either map a concept may lower what a coalition is worth.

    Args:
        concept_explainer: Fitted concepts with the splitter of a classifier.
        value: ``"completeness"``: share of the accuracy beyond guessing; ``"accuracy"``; ``"probability"`` or ``"logit"`` of
            the class, on average over texts.
        absent: Amount of the concepts outside a coalition: ``"zero"``, or ``"mean"`` over the texts.
        concepts: Numbers of the concepts to divide among; the others are always present. None: all.
        n_orders: Number of orders that are sampled, each with its reverse; None: all coalitions of up to 12 concepts, else
            32 orders.
        mapping: ``"decoder"``, or ``"trained"``.
        width: Hidden neurons of the perceptron.
        n_epochs: Passes over the texts that it is trained on.
        lr: Learning rate of Adam.
        batch_size: Texts per step.
        activation_granularity: The unit that the concepts were learned of; None: texts where activations have one row per
            text, else all tokens.
        random_state: Seed of the orders, and of the halves, the perceptron and its batches.

    Raises:
        OptionError: the explainer has no splitter, or an option is out of range.

    Examples:
        >>> from interpreto import SplitterForClassification, demo
        >>> from interpreto.concepts import PCAConcepts
        >>> model, tokenizer = demo.load_classifier()
        >>> splitter = SplitterForClassification(model, tokenizer=tokenizer)
        >>> texts = ["A charming film.", "Dull.", "I loved it.", "A mess."]
        >>> explainer = PCAConcepts(splitter, nb_concepts=3).fit(splitter.get_activations(texts)[0])
        >>> result = ConceptShap(explainer).run(texts)
        >>> result.full, result.concepts[int(result.values.argmax())]
        (1.0, 0)

    References:
        Yeh et al., NeurIPS 2020, https://arxiv.org/abs/1910.07969.
    """

    def __init__(
        self,
        concept_explainer: ConceptAutoEncoderExplainer,
        value: str = "completeness",
        absent: str = "zero",
        *,
        concepts: Sequence[int] | None = None,
        n_orders: int | None = None,
        mapping: str = "decoder",
        width: int = 128,
        n_epochs: int = 20,
        lr: float = 1e-3,
        batch_size: int = 32,
        activation_granularity: Any = None,
        random_state: int = 0,
    ) -> None:
        concept_explainer.own_splitter()
        self.explainer, count = concept_explainer, concept_explainer.nb_concepts
        self.value = check_choice(value, "value", VALUES)
        self.absent = check_choice(absent, "absent", ("zero", "mean"))
        self.concepts = tuple(range(count) if concepts is None else (check_count(i, "concepts", 0) for i in concepts))
        if not self.concepts or len(set(self.concepts)) < len(self.concepts) or max(self.concepts) >= count:
            raise OptionError(f"`concepts`: got {list(self.concepts)}; pass different numbers from 0 to {count - 1}.")
        self.n_orders = check_optional_count(n_orders, "n_orders")
        self.mapping = check_choice(mapping, "mapping", MAPPINGS)
        self.training = MapTraining(
            check_count(width, "width"),
            check_count(n_epochs, "n_epochs"),
            check_positive(lr, "lr"),
            check_count(batch_size, "batch_size"),
        )
        self.granularity, self.random_state = activation_granularity, check_seed(random_state)

    def run(self, inputs: Any, labels: Any = None) -> ConceptShapResult:
        """Return the Shapley values.

        Args:
            inputs: Texts, or any other form that the splitter reads.
            labels: A class for each, by number or name; None: the model's own decisions.

        Raises:
            InputError: a map is to be trained, and there is one text only.
            TaskError: the model is no classifier of texts.
        """
        game = ConceptGame(
            self.explainer,
            inputs,
            labels,
            value=self.value,
            absent=self.absent,
            players=self.concepts,
            activation_granularity=self.granularity,
        )
        held_out = game.train(self.training, self.random_state) if self.mapping == "trained" else None
        m = len(self.concepts)
        orders = None if self.n_orders is None and m <= EXACT else _orders(m, self.n_orders or ORDERS, self.random_state)
        coalitions = _all(m) if orders is None else _prefixes(orders)
        distinct, places = coalitions.unique(dim=0, return_inverse=True)
        worth = game.outcomes(distinct).worth(self.value)[places]  # (s, k + 1)
        if orders is None:
            values, error = _weights(coalitions) @ worth, torch.zeros(m, dtype=torch.float64)
        else:
            values, error = _sampled(orders, worth)
        empty, full = float(worth[0, -1]), float(worth[-1 if orders is None else m, -1])
        if math.isnan(full):
            warnings.warn(
                "ConceptShap: the model is no better than a guess on these texts, so that completeness is not defined.",
                EstimateWarning,
                stacklevel=2,
            )
        largest = _prefixes(values[:, -1].argsort(descending=True, stable=True)[None])
        if orders is None:
            curve = worth[(largest.long() * 2 ** torch.arange(m)).sum(1), -1]
        else:
            curve = game.outcomes(largest).worth(self.value)[:, -1]
        return ConceptShapResult(
            concepts=self.concepts,
            values=values[:, -1],
            standard_error=error,
            by_class=values[:, :-1].T,
            empty=empty,
            full=full,
            curve=curve,
            value=self.value,
            n_coalitions=len(distinct),
            held_out=held_out,
        )


def _all(m: int) -> Bool[Tensor, "s m"]:
    """Return all coalitions of ``m`` players, from none to all."""
    return (torch.arange(2**m)[:, None] >> torch.arange(m)) % 2 > 0


def _weights(coalitions: Bool[Tensor, "s m"]) -> Float[Tensor, "m s"]:
    """Return the weight of each coalition's worth in each player's Shapley value."""
    m, sizes = coalitions.shape[1], coalitions.sum(1).tolist()
    joined = [math.factorial(size - 1) * math.factorial(m - size) / math.factorial(m) if size else 0.0 for size in sizes]
    left = [-math.factorial(size) * math.factorial(m - size - 1) / math.factorial(m) if size < m else 0.0 for size in sizes]
    both = torch.tensor([joined, left], dtype=torch.float64)
    return torch.where(coalitions.T, both[0], both[1])


def _orders(m: int, count: int, random_state: int) -> Tensor:
    """Return random orders, each followed by its reverse, ``(2 count, m)``."""
    generator = Generator().manual_seed(random_state)
    drawn = torch.stack([torch.randperm(m, generator=generator) for _ in range(count)])
    return torch.stack([drawn, drawn.flip(1)], 1).flatten(0, 1)


def _prefixes(orders: Tensor) -> Bool[Tensor, "s m"]:
    """Return the coalitions of each order, from none to all: ``m + 1`` for each."""
    r, m = orders.shape
    first = orders.argsort(1)  # place of each player
    return (first[:, None] < torch.arange(m + 1)[:, None]).reshape(r * (m + 1), m)


def _sampled(orders: Tensor, worth: Float[Tensor, "s k"]) -> tuple[Float[Tensor, "m k"], Float[Tensor, " m"]]:
    """Return the mean gain of each player over orders, and its standard error over pairs of an order and its reverse."""
    r, m = orders.shape
    gains = worth.reshape(r, m + 1, -1).diff(dim=1)  # (r, m, k), by place
    by_player = gains.gather(1, orders.argsort(1)[..., None].expand_as(gains))
    pairs = by_player.reshape(r // 2, 2, m, -1).mean(1)
    error = pairs[..., -1].std(0) / (r // 2) ** 0.5 if r > 2 else torch.full((m,), torch.nan, dtype=torch.float64)
    return pairs.mean(0), error
