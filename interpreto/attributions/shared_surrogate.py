"""One linear surrogate of many texts: a coefficient per word and target, by ridge regression over the masks of all texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpreto.attributions.aggregations.base import Aggregator, Estimate
from interpreto.attributions.aggregations.linear_regression import LinearRegressionAggregator
from interpreto.attributions.base import AttributionExplainer
from interpreto.errors import OptionError
from interpreto.inputs.samples import MaskVariants
from interpreto.validation import is_number, shown

PRECISION = 1e-12  # of conjugate gradients, as a share of the right-hand side


@dataclass(frozen=True, eq=False)
class _WithGram(Estimate):
    """Coefficients of a surrogate, with the matrix of its normal equations.

    Attributes:
        gram: ``(u, u)`` weighted products of the presence of units, which are centered.
    """

    gram: Float[Tensor, "u u"] | None = None


class _KeepsGram(Aggregator):
    def __init__(self, inner: LinearRegressionAggregator) -> None:
        self.inner = inner

    def aggregate(self, scores: Float[Tensor, "p t"], variants: MaskVariants) -> Estimate:
        found = self.inner.aggregate(scores, variants)
        present, weights = 1 - variants.mask.double(), self.inner.weights(variants.mask)[:, None]
        centered = present - (weights / weights.sum() * present).sum(0)
        own = {field.name: getattr(found, field.name) for field in fields(found)}
        return _WithGram(**own, gram=centered.T @ (weights * centered))


@dataclass(frozen=True, eq=False)
class TextSurrogate:
    """The normal equations of one text: ``gram @ coefficients == moment``.

    Attributes:
        words: Text of each unit.
        gram: ``(u, u)`` weighted products of the presence of units, which are centered.
        moments: ``(u,)`` right-hand side, by target.
    """

    words: list[str]
    gram: Float[Tensor, "u u"]
    moments: dict[str, Float[Tensor, " u"]]


def text_surrogates(explainer: Any, inputs: Any, targets: Any) -> Iterator[TextSurrogate]:
    """Explain texts, and return an iterator over what their surrogates were fit to.

    Raises:
        OptionError: The explainer fits no linear surrogate, or explains a generation.
    """
    aggregator = getattr(explainer, "aggregator", None)
    if not isinstance(explainer, AttributionExplainer) or not isinstance(aggregator, LinearRegressionAggregator):
        raise OptionError(
            f"`explainer`: got {type(explainer).__name__}; pass a Lime or GLime, whose masks are regressed together."
        )
    if explainer.task.generates:
        raise OptionError(
            "`explainer`: is of a language model, each of whose texts has targets of its own; pass a classifier's."
        )
    keeps = copy(explainer)
    keeps.aggregator = _KeepsGram(aggregator)
    for output, estimate in keeps.estimates(inputs, targets):
        assert isinstance(estimate, _WithGram) and estimate.gram is not None
        moments = estimate.values.double() @ estimate.gram
        yield TextSurrogate(output.elements, estimate.gram, dict(zip(output.target_labels, moments, strict=True)))


def shared_coefficients(
    texts: list[tuple[Int[Tensor, " _"], Float[Tensor, "_ _"], Float[Tensor, " _"]]], n_words: int, strength: float
) -> Float[Tensor, " w"]:
    """Return the coefficients that fit all texts: ``argmin Σ ω (y − b − zᵀw)² + β ‖w‖²``, b of each text's own.

    By conjugate gradients, which hold nothing of words by words.

    Args:
        texts: Word of each unit, normal equations and right-hand side of each text.
        n_words: Number of words.
        strength: β.
    """

    def applied(w: Tensor) -> Tensor:
        return _summed([(own, gram @ w[own]) for own, gram, _ in texts], n_words) + strength * w

    moment = _summed([(own, right) for own, _, right in texts], n_words)
    found, residual = torch.zeros_like(moment), moment
    direction, size = moment, float(moment @ moment)
    least = PRECISION**2 * size
    for _ in range(10 * n_words):
        if size <= least:
            break
        image = applied(direction)
        step = size / float(direction @ image)
        found, residual = found + step * direction, residual - step * image
        before, size = size, float(residual @ residual)
        direction = residual + size / before * direction
    return found


def _summed(parts: list[tuple[Tensor, Tensor]], n_words: int) -> Float[Tensor, " w"]:
    total = torch.zeros(n_words, dtype=torch.float64)
    for own, values in parts:
        total.index_add_(0, own, values)
    return total


def fit_shared(
    surrogates: Iterator[TextSurrogate], strength: float, key: Callable[[str], str], forms: dict[str, str]
) -> dict[tuple[str, str], tuple[float, int]]:
    """Return the coefficient of each word and target, with the number of texts that have both.

    Args:
        surrogates: The texts.
        strength: Weight of the squared coefficients.
        key: Text under which units are counted as one word.
        forms: Filled with the first spelling of each word.

    Raises:
        OptionError: The strength is no number from 0 on.
    """
    if not is_number(strength) or not 0 <= strength < float("inf"):
        raise OptionError(f"`strength`: got {shown(strength)}; pass a number from 0 on.")
    by_target: dict[str, list[tuple[Tensor, Tensor, Tensor]]] = {}
    places: dict[str, int] = {}
    counts: dict[tuple[str, str], int] = {}
    for one in surrogates:
        keys = [key(text.strip()) for text in one.words]
        for word, text in zip(keys, one.words, strict=True):
            forms.setdefault(word, text.strip())
            places.setdefault(word, len(places))
        own = torch.tensor([places[word] for word in keys], dtype=torch.long)
        for label, moment in one.moments.items():
            by_target.setdefault(label, []).append((own, one.gram, moment))
            for word in set(keys):
                counts[word, label] = counts.get((word, label), 0) + 1
    found: dict[tuple[str, str], tuple[float, int]] = {}
    for label, texts in by_target.items():
        values = shared_coefficients(texts, len(places), strength).tolist()
        found |= {(word, label): (values[i], counts[word, label]) for word, i in places.items() if (word, label) in counts}
    return found
