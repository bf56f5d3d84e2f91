"""Interpret concepts by the inputs of largest activation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from numbers import Integral
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from interpreto.concepts.activations import Activations, check_finite, read_activations
from interpreto.concepts.base import ConceptExplainer
from interpreto.concepts.interpretations.base import Interpretation
from interpreto.concepts.interpretations.token_text import Surface, alone, runs_of_words, vocabulary
from interpreto.concepts.interpretations.top_k import Ranking
from interpreto.concepts.splitters.base import read_strategy
from interpreto.concepts.splitters.granularities import ActivationGranularity, read_unit
from interpreto.errors import InputError, OptionError
from interpreto.inputs.forms import is_single
from interpreto.inputs.samples import Sample
from interpreto.inputs.units import GranularityAggregationStrategy
from interpreto.progress import progress_bar
from interpreto.validation import check_batch_size, check_count, is_whole

CODES = 2**22  # concepts × rows that are held at once
WINDOW = 1024  # inputs whose activations are computed together

Labeled = Iterator[tuple[list[str], Tensor]]
"""Texts and rows of activations, some at a time."""

T = TypeVar("T")


class TopKInputs(Interpretation):
    """Interpret concepts by the ``k`` texts in which each is largest.

    The texts are the units of a data set (words, tokens, sentences, …), the whole vocabulary, or the distinct runs of words
    of a data set. Rows stream by: no more than a batch of concept activations is held.

    Args:
        concept_explainer: Fitted concepts.
        activation_granularity: The unit: see `ActivationGranularity`. None: words; whole texts where the splitter
            has one row per text. Of a vocabulary or of runs of words, ``CLS_TOKEN`` reads the class token, and anything else
            the text's own tokens.
        aggregation_strategy: How the activations of a text's tokens become one row; None: the mean.
        k: Texts per concept; fewer, where there are no more.
        use_vocab: Take every token of the vocabulary, as an input of its own, in place of a data set.
        ngrams: Take the distinct runs of consecutive words of the inputs, each as an input of its own: a number, or
            the fewest and the most. None: units as they are in the inputs.
        min_count: Least number of times that a run of words occurs.
        tqdm_bar: Show the rows done; None: after two seconds, in terminals and notebooks.
        use_unique_words: Another spelling of ``ngrams``: a number n is ``(1, n)``, True is 1.
        unique_words_kwargs: ``{"count_min_threshold": n}`` is another spelling of ``min_count=n``.
        concept_encoding_batch_size: Rows that are encoded at a time; None: as many as a budget of numbers holds.

    Raises:
        OptionError: an option is out of range, or two of them exclude each other.

    Examples:
        >>> from interpreto import ModelWithSplitPoints, demo
        >>> from interpreto.concepts import NeuronsAsConcepts
        >>> from interpreto.concepts.interpretations import TopKInputs
        >>> model, tokenizer = demo.load_classifier()
        >>> splitter = ModelWithSplitPoints(model, [1], tokenizer=tokenizer)
        >>> texts = ["A charming film.", "Dull."]
        >>> activations = splitter.get_activations(texts, activation_granularity="word")
        >>> explainer = NeuronsAsConcepts(splitter).fit(activations)
        >>> interpretation = TopKInputs(concept_explainer=explainer, activation_granularity="word", k=2)
        >>> found = interpretation.interpret(inputs=texts, latent_activations=activations, concepts_indices=[5])
        >>> list(found[5])
        ['Dull', 'charming']
    """

    activation_granularities = ActivationGranularity

    def __init__(
        self,
        concept_explainer: ConceptExplainer,
        activation_granularity: Any = None,
        aggregation_strategy: GranularityAggregationStrategy | str | None = GranularityAggregationStrategy.MEAN,
        k: int = 5,
        use_vocab: bool = False,
        *,
        ngrams: int | tuple[int, int] | None = None,
        min_count: int = 1,
        tqdm_bar: bool | None = None,
        use_unique_words: int | bool | None = None,
        unique_words_kwargs: Mapping[str, Any] | None = None,
        concept_encoding_batch_size: int | None = None,
    ) -> None:
        self.concept_explainer, self.splitter = concept_explainer, concept_explainer.splitter
        ngrams, min_count = _of_unique_words(use_unique_words, unique_words_kwargs, ngrams, min_count)
        self._surface = Surface(getattr(self.splitter, "tokenizer", None))
        self.aggregation_strategy = read_strategy(aggregation_strategy)
        self.k, self.min_count = check_count(k, "k"), check_count(min_count, "min_count")
        self.concept_encoding_batch_size = check_batch_size(concept_encoding_batch_size)
        self.use_vocab, self.ngrams, self.tqdm_bar = use_vocab, _read_sizes(ngrams), tqdm_bar
        if use_vocab and ngrams is not None:
            raise OptionError("`ngrams`: got both it and `use_vocab`; the texts are one or the other.")
        if activation_granularity is None:
            one_a_text = getattr(self.splitter, "default_granularity", None) is ActivationGranularity.SAMPLE
            activation_granularity = ActivationGranularity.SAMPLE if one_a_text else ActivationGranularity.WORD
        self.activation_granularity = read_unit(activation_granularity)

    def interpret(
        self,
        inputs: Any = None,
        latent_activations: Any = None,
        concepts_indices: Any = "all",
        *,
        concepts_activations: Tensor | None = None,
    ) -> dict[int, dict[str, float] | None]:
        """Return the texts of largest activation of each concept.

        Args:
            inputs: The data set, in any form that a splitter reads; or samples of the splitter. None with `use_vocab`, or
                where a store holds the texts.
            latent_activations: Activations of the inputs' units, in order, as the splitter gives them: a tensor, a dict by
                split point, or an `ActivationStore`, which is read a batch at a time. None: computed as the inputs are read.
            concepts_indices: Which concepts: a number, several, or ``"all"``.
            concepts_activations: Concepts ``(n, c)`` of the inputs' units that are encoded already, in place of activations.

        Returns:
            For each concept its texts and their activations, the largest first, equal texts once; None for a concept that
            is above 0 nowhere.

        Raises:
            ModelError: the concepts are not fitted.
            InputError: rows and units are of different numbers, or rows are not finite.
            FileError: the store is of another model or split point.
            OptionError: no such concept.
        """
        self.concept_explainer.check_fitted()
        if isinstance(inputs, str) and inputs == "all" and isinstance(latent_activations, (list, tuple)):
            raise InputError(
                "`inputs`: got 'all' and a list of texts; the inputs come first here: interpret(texts, activations, 'all')."
            )
        concepts = read_indices(concepts_indices, self.concept_explainer.nb_concepts)
        ranking = Ranking(len(concepts), self.k)
        with progress_bar(desc="interpretation", unit=" rows", shown=self.tqdm_bar) as bar, torch.no_grad():
            for texts, codes in self._codes(inputs, latent_activations, concepts_activations):
                ranking.add(texts, codes[:, concepts])
                bar.update(len(texts))
        return {concept: ranking.best(i) for i, concept in enumerate(concepts)}

    def _codes(self, inputs: Any, latent_activations: Any, concepts_activations: Tensor | None) -> Labeled:
        """Yield texts and concepts: those that are given, or those of rows of activations."""
        if concepts_activations is None:
            for texts, rows in self._rows(inputs, latent_activations):
                yield texts, self.concept_explainer.encode_activations(check_finite(rows))
            return
        if latent_activations is not None or self.use_vocab or self.ngrams is not None:
            raise OptionError("`concepts_activations`: are of the inputs' own units; leave out the rest, or leave them out.")
        width = self.concept_explainer.nb_concepts
        if concepts_activations.ndim != 2 or concepts_activations.shape[1] != width:
            raise InputError(f"`concepts_activations`: got shape {tuple(concepts_activations.shape)}; pass (n, {width}).")
        texts = [text for sample in self._samples(inputs) for text in self._labels(sample)]
        if len(texts) != len(concepts_activations):
            raise _mismatch("concepts_activations", len(concepts_activations), len(texts), self.activation_granularity)
        yield texts, check_finite(concepts_activations)

    def _rows(self, inputs: Any, latent_activations: Any) -> Labeled:
        size = self.concept_encoding_batch_size or max(1, CODES // self.concept_explainer.nb_concepts)
        if self.use_vocab or self.ngrams is not None:
            yield from self._of_texts(inputs, latent_activations, size)
        elif latent_activations is not None:
            yield from self._given(inputs, latent_activations, size)
        else:
            for samples in _chunks(self._samples(inputs), WINDOW):
                texts = [text for sample in samples for text in self._labels(sample)]
                yield from _in_parts(texts, self._activations(samples), size)

    def _of_texts(self, inputs: Any, latent_activations: Any, size: int) -> Labeled:
        """Yield rows of a vocabulary or of runs of words."""
        option = "use_vocab" if self.use_vocab else "ngrams"
        if latent_activations is not None:
            raise OptionError(f"`latent_activations`: with `{option}` they are those of other texts; leave them out.")
        if self.use_vocab and inputs is not None:
            raise OptionError("`inputs`: with `use_vocab` the texts are those of the vocabulary; leave them out.")
        splitter, unit = self._needed_splitter(), ActivationGranularity.SAMPLE
        if self.activation_granularity is ActivationGranularity.CLS_TOKEN:
            unit = ActivationGranularity.CLS_TOKEN
        if self.use_vocab:
            stream = vocabulary(splitter.encoder, unit)
        else:
            assert self.ngrams is not None
            texts = (sample.text for _, sample in alone(splitter.encoder, _needed(inputs), unit))
            runs = runs_of_words(texts, self.ngrams, self.min_count)
            if not runs:
                raise InputError(f"`inputs`: no run of {self.ngrams} words occurs {self.min_count} times or more.")
            stream = alone(splitter.encoder, runs, unit)
        for part in _chunks(stream, WINDOW):
            labels, samples = zip(*part, strict=True)
            yield from _in_parts(list(labels), self._activations(list(samples)), size)

    def _given(self, inputs: Any, latent_activations: Any, size: int) -> Labeled:
        """Yield rows that were computed before, with the units of the inputs, or of the store."""
        explainer = self.concept_explainer
        rows = read_activations(latent_activations, explainer.split_point, explainer.device)
        self._check_store(rows)
        if inputs is None:
            texts = self._stored_labels(rows)
        else:
            texts = chain.from_iterable(self._labels(sample) for sample in self._samples(inputs))
        done = 0
        for part in rows.source.split(size) if isinstance(rows.source, Tensor) else rows.source.batches(size):
            labels = list(islice(texts, len(part)))
            if len(labels) < len(part):
                raise _mismatch("latent_activations", rows.n, done + len(labels), self.activation_granularity)
            done += len(part)
            yield labels, part
        if more := sum(1 for _ in texts):
            raise _mismatch("latent_activations", rows.n, done + more, self.activation_granularity)

    def _check_store(self, rows: Activations) -> None:
        check_model = getattr(rows.source, "check_model", None)
        if callable(check_model) and self.splitter is not None:
            check_model(self.splitter.model, self.concept_explainer.split_point)
        stored = getattr(getattr(rows.source, "config", None), "activation_granularity", None)
        wanted = getattr(self.activation_granularity, "value", None)
        if stored is not None and wanted is not None and stored != wanted:
            raise InputError(
                f"`latent_activations`: the store's rows are of {stored!r}, and `activation_granularity` is {wanted!r}; "
                f"make TopKInputs with activation_granularity={stored!r}."
            )

    def _stored_labels(self, rows: Activations) -> Iterator[str]:
        units = getattr(rows.source, "units", None)
        if not callable(units):
            raise InputError("`inputs`: got None with activations that hold no texts; pass the inputs that they are of.")
        stored: Any = units()
        return (self._surface(unit.text) for unit in stored)

    def _samples(self, inputs: Any) -> Iterator[Sample]:
        splitter, inputs = self._needed_splitter(), _needed(inputs)
        if not is_single(inputs) and isinstance(inputs, (list, tuple)) and all(isinstance(item, Sample) for item in inputs):
            return iter(inputs)
        return splitter.iter_read(inputs, self.activation_granularity)

    def _labels(self, sample: Sample) -> list[str]:
        return [
            text if text == sample.text[a:b] and text.strip() else self._surface(text)
            for text, (a, b) in zip(sample.units.texts, sample.units.spans, strict=True)
        ]

    def _activations(self, samples: list[Sample]) -> Tensor:
        point = self.concept_explainer.split_point
        return self._needed_splitter().activations_of(samples, self.aggregation_strategy, point)

    def _needed_splitter(self) -> Any:
        if self.splitter is None:
            raise OptionError(
                "`concept_explainer`: has no splitter, so that no input can be read; load it with one "
                "(load_concepts(path, splitter=...)), or pass an ActivationStore as `latent_activations`, and no inputs."
            )
        return self.splitter


def _needed(inputs: Any) -> Any:
    if inputs is None:
        raise InputError("`inputs`: got None; pass the data set, an ActivationStore as `latent_activations`, or `use_vocab`.")
    return inputs


def _mismatch(option: str, rows: int, units: int, granularity: Any) -> InputError:
    name = getattr(granularity, "name", str(granularity))
    return InputError(
        f"`{option}`: has {rows} rows, and the inputs have {units} units at granularity {name}; pass the activations "
        "of these inputs, at this granularity."
    )


def _chunks(items: Iterator[T], size: int) -> Iterator[list[T]]:
    while chunk := list(islice(items, size)):
        yield chunk


def _in_parts(texts: list[str], rows: Tensor, size: int) -> Labeled:
    for start in range(0, len(texts), size):
        yield texts[start : start + size], rows[start : start + size]


def _read_sizes(ngrams: Any) -> tuple[int, int] | None:
    """Return the fewest and the most words of a run."""
    if ngrams is None:
        return None
    sizes = ngrams if isinstance(ngrams, tuple) else (ngrams, ngrams)
    whole = len(sizes) == 2 and all(map(is_whole, sizes))
    if not whole or not 1 <= sizes[0] <= sizes[1]:
        raise OptionError(f"`ngrams`: got {ngrams!r}; pass a number of words, or (fewest, most) with 1 <= fewest <= most.")
    return int(sizes[0]), int(sizes[1])


def _of_unique_words(words: Any, options: Mapping[str, Any] | None, ngrams: Any, min_count: Any) -> tuple[Any, Any]:
    """Return ``ngrams`` and ``min_count`` from the spellings of the reference library."""
    options = dict(options or {})
    if words is not None and words is not False:
        if ngrams is not None:
            raise OptionError("`use_unique_words`: another spelling of `ngrams`, which is given too; pass one of them.")
        ngrams = (1, 1) if words is True else (1, words)
    min_count = options.pop("count_min_threshold", min_count)
    if any(options.values()):
        raise OptionError(
            f"`unique_words_kwargs`: got {', '.join(options)}; only 'count_min_threshold' is known: choose the words by "
            "`ngrams` and `min_count`, or pass the words themselves as inputs."
        )
    return ngrams, min_count


def read_indices(indices: Any, count: int) -> list[int]:
    """Return numbers of concepts, each once."""
    if isinstance(indices, str):
        if indices != "all":
            raise OptionError(f"`concepts_indices`: got {indices!r}; pass 'all', a number or several.")
        return list(range(count))
    if isinstance(indices, (Tensor, np.ndarray)):
        indices = indices.tolist()
    items = [indices] if isinstance(indices, Integral) else indices
    if not isinstance(items, Iterable):
        raise OptionError(f"`concepts_indices`: got {indices!r}; pass 'all', a number or several.")
    items = list(items)
    for item in items:
        if isinstance(item, bool) or not isinstance(item, Integral) or not 0 <= int(item) < count:
            raise OptionError(f"`concepts_indices`: got {item!r}; there are concepts 0 to {count - 1}.")
    if not items:
        raise OptionError("`concepts_indices`: names no concept; pass 'all', a number or several.")
    return list(dict.fromkeys(int(item) for item in items))
