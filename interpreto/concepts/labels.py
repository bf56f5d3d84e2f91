"""Labels of concepts in summaries."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from interpreto.concepts.interpretations.base import Interpretation
from interpreto.concepts.interpretations.concept_label import ConceptLabel
from interpreto.concepts.interpretations.topk_inputs import TopKInputs
from interpreto.errors import OptionError
from interpreto.inputs.samples import Sample

Label = tuple[tuple[str, float | None], ...]
"""Label of a concept: texts, each with its activation or weight where it has one."""


def read_labels(
    explainer: Any,
    interpretation: Any,
    shown: Sequence[int],
    samples: list[Sample],
    *,
    inputs: Any,
    granularity: Any,
    latent_activations: Any = None,
    k: int = 5,
) -> tuple[dict[int, Label], dict[int, str]]:
    """Return labels of concepts from an interpretation, and the scores of those that are `ConceptLabel`, in words.

    Args:
        explainer: Whose concepts they are.
        interpretation: An `Interpretation`, what its ``interpret`` returns, or None: the ``k`` units of largest activation.
            A text alone is a label too.
        shown: The concepts to name.
        samples: The data set, read at ``granularity``.
        inputs: The same, as it was given.
        granularity: The unit.
        latent_activations: Of the units, in order; None: computed.
        k: Texts per concept, without an interpretation.

    Raises:
        OptionError: the interpretation is of another explainer, or no interpretation.
    """
    wanted = list(shown)
    if isinstance(interpretation, Mapping):
        return read_words({concept: interpretation.get(concept) for concept in wanted})
    if interpretation is None:
        found = TopKInputs(explainer, granularity, k=k).interpret(samples, latent_activations, wanted)
    elif not isinstance(interpretation, Interpretation):
        raise OptionError(
            f"`interpretation`: got {type(interpretation).__name__}; pass an interpretation such as TopKInputs, what its "
            "`interpret` returns, or None."
        )
    elif interpretation.concept_explainer is not explainer:
        raise OptionError("`interpretation`: is of another concept explainer; make it with this one.")
    elif not interpretation.needs_inputs:
        found = interpretation.interpret(concepts_indices=wanted)
    elif not isinstance(interpretation, TopKInputs):
        found = interpretation.interpret([sample.text for sample in samples], None, wanted)
    elif interpretation.use_vocab:
        found = interpretation.interpret(concepts_indices=wanted)
    elif interpretation.ngrams is not None:
        found = interpretation.interpret([sample.text for sample in samples], concepts_indices=wanted)
    else:
        same = interpretation.activation_granularity == granularity
        found = interpretation.interpret(samples if same else inputs, latent_activations if same else None, wanted)
    return read_words(found)


def read_words(found: Mapping[int, Any]) -> tuple[dict[int, Label], dict[int, str]]:
    """Return labels of concepts, and the scores of those that are `ConceptLabel`, in words.

    Raises:
        OptionError: an interpretation is none.
    """
    verdicts = {concept: given.verdict for concept, given in found.items() if isinstance(given, ConceptLabel)}
    return {concept: _label(concept, given) for concept, given in found.items()}, verdicts


def _label(concept: int, given: Any) -> Label:
    """Return texts and activations, the largest first."""
    if isinstance(given, ConceptLabel):
        given = given.shown
    if given is None:
        return ()
    if isinstance(given, str):
        return ((given, None),)
    if isinstance(given, Mapping) and all(isinstance(text, str) for text in given):
        values = list(given.values())
        if all(isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value) for value in values):
            largest_first = sorted(given, key=lambda text: -float(given[text]))
            return tuple((text, float(given[text])) for text in largest_first)
    raise OptionError(
        f"`interpretation[{concept}]`: got {given!r:.60}; pass a text, a dictionary of texts and their activations, or None."
    )
