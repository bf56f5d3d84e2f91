"""Concepts whose importances the user computed: data in, a view out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.labels import read_words
from interpreto.concepts.views import About, GlobalConcepts, LocalConcepts
from interpreto.errors import OptionError
from interpreto.validation import check_count, shown


def given_concepts(
    importances: Any,
    interpretation: Any = None,
    *,
    sample: Any = None,
    activations: Any = None,
    class_names: Any = None,
    k_concepts: int = 10,
    unit: str = "importance",
) -> GlobalConcepts | LocalConcepts:
    """Return a view of importances that the user computed: TCAV's, Shapley values, coefficients of a model of his own.

    Args:
        importances: ``(c,)``, ``(t, c)`` for several outputs, or a dictionary of values by concept, or of such dictionaries
            by output. Of one text also ``(t, u, c)``, the effect of each concept in each unit.
        interpretation: Labels of the concepts: `ConceptLabels`, what an ``interpret`` returned, or texts by concept.
        sample: Units of one text, as a list of texts; None: the importances are those of a data set.
        activations: Amount of each concept in each unit, ``(u, c)``; needed for one text.
        class_names: Names of the outputs, in order; None: those of the dictionary, else their numbers.
        k_concepts: Number of concepts that are shown.
        unit: Unit of the importances, in words.

    Raises:
        OptionError: the shapes do not fit, or values are not finite.

    Examples:
        >>> found = given_concepts({"negative": {0: -0.5, 7: 0.2}, "positive": {0: 0.5}}, {0: "praise"})
        >>> found.outputs, found.shown, found.name(0), tuple(found.effects.shape)
        (('negative', 'positive'), (0, 7), 'praise', (2, 8))
    """
    outputs, values = _read(importances)
    width = values.shape[-1]
    names = _names(outputs, values.shape[0], class_names)
    if interpretation is not None and not isinstance(interpretation, Mapping):
        raise OptionError(
            f"`interpretation`: got {type(interpretation).__name__}; with importances of your own pass labels by concept, "
            "as what its `interpret` returns."
        )
    labels, verdicts = read_words(dict(interpretation or {}))
    about = About("given", None, "unit", "given", unit, f"|{unit}|", "class")
    k_concepts = check_count(k_concepts, "k_concepts")
    if sample is None:
        if values.ndim == 3 or activations is not None:
            raise OptionError("`sample`: effects of units, and activations, are of one text; pass its units as a list.")
        order = values.abs().amax(0).argsort(descending=True, stable=True)
        shown_concepts = tuple(c for c in order.tolist() if float(values[:, c].abs().max()) > 0)[:k_concepts]
        return GlobalConcepts(
            about, names, values.abs(), values, (1,) * len(names), labels, {}, shown_concepts, 0, verdicts=verdicts
        )
    units = _units(sample)
    amounts = _amounts(activations, len(units), width)
    effects = values if values.ndim == 3 else _spread(values, amounts)
    if effects.shape[1] != len(units):
        raise OptionError(f"`importances`: are of {effects.shape[1]} units, and the text has {len(units)}.")
    starts = [sum(len(own) + 1 for own in units[:i]) for i in range(len(units))]
    spans = tuple((start, start + len(own)) for start, own in zip(starts, units, strict=True))
    order = effects.abs().sum(1).amax(0).argsort(descending=True, stable=True)
    return LocalConcepts(
        about=about,
        text=" ".join(units),
        elements=units,
        spans=spans,
        outputs=names,
        scores=torch.full((len(names),), torch.nan),
        score_unit=unit,
        activations=amounts,
        effects=effects,
        labels=labels,
        shown=tuple(order[:k_concepts].tolist()),
        verdicts=verdicts,
    )


def _read(importances: Any) -> tuple[tuple[str, ...] | None, Tensor]:
    """Return names of outputs, where there are any, and values ``(t, c)`` or ``(t, u, c)``."""
    if isinstance(importances, Mapping) and importances:
        nested = all(isinstance(own, Mapping) for own in importances.values())
        rows = importances if nested else {"importance": importances}
        try:
            concepts = [int(concept) for own in rows.values() for concept in own]
            if not concepts or min(concepts) < 0:
                raise ValueError
            values = torch.zeros(len(rows), max(concepts) + 1)
            for i, own in enumerate(rows.values()):
                for concept, value in own.items():
                    values[i, int(concept)] = float(value)
        except (TypeError, ValueError) as error:
            raise OptionError(f"`importances`: got {shown(importances)}; pass numbers by the number of a concept.") from error
        return tuple(str(name) for name in rows), _finite(values)
    try:
        values = torch.as_tensor(importances).detach().float().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise OptionError(f"`importances`: got {shown(importances)}; pass numbers (c,), (t, c) or (t, u, c).") from error
    if values.ndim == 1:
        values = values[None]
    if values.ndim not in (2, 3) or not values.numel():
        raise OptionError(f"`importances`: got shape {tuple(values.shape)}; pass (c,), (t, c) or, of one text, (t, u, c).")
    return None, _finite(values)


def _finite(values: Tensor) -> Tensor:
    if not bool(values.isfinite().all()):
        raise OptionError("`importances`: some are not finite; leave these concepts out.")
    return values


def _names(outputs: tuple[str, ...] | None, count: int, class_names: Any) -> tuple[str, ...]:
    given = list(class_names.values()) if isinstance(class_names, Mapping) else class_names
    if given is not None:
        if isinstance(given, str) or len(given) != count or not all(isinstance(name, str) for name in given):
            raise OptionError(f"`class_names`: got {shown(class_names)}; pass {count} names, one per output.")
        return tuple(given)
    return outputs if outputs is not None else ("importance",) if count == 1 else tuple(str(i) for i in range(count))


def _units(sample: Any) -> tuple[str, ...]:
    units = sample.split() if isinstance(sample, str) else sample
    if not isinstance(units, Sequence) or not units or not all(isinstance(one, str) for one in units):
        raise OptionError(f"`sample`: got {shown(sample)}; pass the units of one text as a list of texts.")
    return tuple(units)


def _amounts(activations: Any, units: int, concepts: int) -> Float[Tensor, "u c"]:
    if activations is None:
        raise OptionError("`activations`: of one text they are needed, to show where each concept is; pass (u, c).")
    values = torch.as_tensor(activations).detach().float().cpu()
    if tuple(values.shape) != (units, concepts):
        raise OptionError(f"`activations`: got shape {tuple(values.shape)}; pass ({units}, {concepts}).")
    return values


def _spread(values: Float[Tensor, "t c"], amounts: Float[Tensor, "u c"]) -> Float[Tensor, "t u c"]:
    """Return importances of a text as effects of its units, in the shares of the amounts; they sum to the importances."""
    sizes = amounts.abs()
    totals = sizes.sum(0)
    shares = torch.where(totals > 0, sizes / totals.clamp(min=1e-30), 1 / len(amounts))
    return values[:, None] * shares
