"""COCKATIEL from texts to words: the concepts of a class, their importance, and the words that carry them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.attributions.explanations import Explanations
from interpreto.attributions.methods import Occlusion
from interpreto.concepts.dictionaries.nmf import Cockatiel
from interpreto.concepts.output_names import Names
from interpreto.concepts.outputs import single_targets, task_of
from interpreto.concepts.sobol import sobol_importance
from interpreto.concepts.splitters import SplitterForClassification
from interpreto.errors import InputError
from interpreto.inputs.units import Granularity
from interpreto.renderable import Renderable
from interpreto.validation import check_count


@dataclass(frozen=True, eq=False)
class CockatielResult(Renderable):
    """Concepts of the texts of a class, the most important first.

    Attributes:
        target: Name of the class.
        explainer: The fitted concepts, in their own order.
        concepts: Their numbers, the most important first.
        importance: Total Sobol index of each, in this order, ``(c,)``.
        standard_error: Of each, over the texts.
        excerpts: Of each, the excerpts with most of it.
        words: Of each, how much of the concept each word of these excerpts carries (`Occlusion`).
        n_texts: Number of texts of the class.
        n_excerpts: Number of excerpts that the concepts were learned of.
    """

    target: str
    explainer: Cockatiel
    concepts: tuple[int, ...]
    importance: Float[Tensor, " c"]
    standard_error: Float[Tensor, " c"]
    excerpts: tuple[tuple[str, ...], ...]
    words: tuple[Explanations, ...]
    n_texts: int
    n_excerpts: int

    _subject: ClassVar[str] = "cockatiel"


def cockatiel(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    target: str | int,
    nb_concepts: int = 10,
    *,
    n_excerpts: int = 3,
    n_masks: int = 32,
    random_state: int = 0,
) -> CockatielResult:
    """Explain a class of a classifier by concepts: what its texts have in common, what decides, and in which words.

    Of the texts that the model puts in the class, the sentences are read where the classification head reads; their
    activations are factorized (NMF of the positive part); concepts are ranked by the share of the logit's variance that each
    is part of, on the whole texts; and each is traced back to the words of its excerpts by masking them.

    Args:
        model: A classifier.
        tokenizer: Its tokenizer.
        texts: Texts, of this class and others.
        target: The class, by name or number.
        nb_concepts: Number of concepts.
        n_excerpts: Excerpts of each concept.
        n_masks: Masks of the importances; see `sobol_importance`.
        random_state: Seed of the factorization and the masks.

    Raises:
        InputError: fewer excerpts of the class than concepts.
        ModelError: the input of the classification head cannot be found.

    Examples:
        >>> from interpreto import cockatiel, demo
        >>> model, tokenizer = demo.load_classifier()
        >>> texts = [sentence.text for sentence in demo.load_sentences(split="held-out")[:60]]
        >>> result = cockatiel(model, tokenizer, texts, "positive", nb_concepts=3)
        >>> len(result.concepts), [len(excerpts) for excerpts in result.excerpts]
        (3, [3, 3, 3])

    References:
        Jourdan et al., Findings of ACL 2023, https://arxiv.org/abs/2305.06754.
    """
    check_count(nb_concepts, "nb_concepts")
    check_count(n_excerpts, "n_excerpts")
    splitter = SplitterForClassification(model, tokenizer=tokenizer)
    task = task_of(splitter)
    (number,) = single_targets(task, target, ["one"])
    _, predictions = splitter.get_activations(list(texts))
    own = [text for text, prediction in zip(texts, predictions.tolist(), strict=True) if prediction == number]
    excerpts = list(dict.fromkeys(text[a:b] for text in own for a, b in Granularity.SENTENCE.split(text)))
    if len(excerpts) < nb_concepts:
        raise InputError(
            f"`texts`: {len(own)} of {len(texts)} are of class {target!r}, with {len(excerpts)} sentences; {nb_concepts} "
            "concepts need at least as many."
        )
    rows, _ = splitter.get_activations(excerpts)
    explainer = Cockatiel(splitter, nb_concepts=nb_concepts, random_state=random_state, force_relu=True).fit(rows)
    found = sobol_importance(explainer, own, number, n_masks, random_state=random_state)
    order = found.values.nan_to_num(0.0).argsort(descending=True, stable=True)
    amounts = explainer.encode_activations(rows)
    best = [amounts[:, k].argsort(descending=True, stable=True)[:n_excerpts].tolist() for k in order.tolist()]
    shown = tuple(tuple(excerpts[i] for i in places) for places in best)
    occlusion = Occlusion(explainer.get_inputs_to_concepts_model(), splitter.tokenizer)
    return CockatielResult(
        target=Names(None, task).of_class(int(number or 0)),
        explainer=explainer,
        concepts=tuple(order.tolist()),
        importance=found.values[order],
        standard_error=found.standard_error[order],
        excerpts=shown,
        words=tuple(occlusion(list(own), torch.tensor([k])) for own, k in zip(shown, order.tolist(), strict=True)),
        n_texts=len(own),
        n_excerpts=len(excerpts),
    )
