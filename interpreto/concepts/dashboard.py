"""A dashboard of concepts: what each is, where it is active, and what it does, for any number of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.base import ConceptExplainer
from interpreto.concepts.distinctive_words import DistinctiveWords
from interpreto.concepts.histograms import Histogram, Histograms
from interpreto.concepts.labels import Label, read_labels
from interpreto.concepts.summaries import Tally, kept_inputs
from interpreto.concepts.summary_call import WINDOW, SummaryCall
from interpreto.concepts.views import About, Passage, joined
from interpreto.inputs.samples import Sample
from interpreto.renderable import Renderable
from interpreto.validation import check_count

QUANTILES = 5
NEAREST = 5
ALIKE = 0.05
"""Cosine below which two directions are no neighbors."""
CHUNK = 48
"""Units of a long text that are shown together."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Texts of one quantile of a concept's activations.

    Attributes:
        low: Lower end of the quantile, from 0 to 1, among the texts in which the concept is above 0.
        high: Upper end.
        passages: The texts, the largest activation first; of the highest quantile, the largest of all.
    """

    low: float
    high: float
    passages: tuple[Passage, ...]


@dataclass(frozen=True, eq=False)
class ConceptProfile:
    """Profile of one concept: its activations, its texts, its neighbors.

    Attributes:
        concept: Its number.
        words: Words that it prefers to the other concepts, or its label's texts.
        density: Share of the units in which it is above 0.
        mean: Mean activation over units.
        peak: Largest activation.
        histogram: Counts of its activations.
        neighbors: Concepts of the most similar directions, with their cosines; fewer where none are similar.
        examples: Texts by quantile, the highest first.
        verdict: The score of its label in words, or "not scored"; None where its name is no label.
    """

    concept: int
    words: tuple[str, ...]
    density: float
    mean: float
    peak: float
    histogram: Histogram
    neighbors: tuple[tuple[int, float], ...]
    examples: tuple[Examples, ...]
    verdict: str | None = None

    @property
    def name(self) -> str:
        """Return the first words, else the number."""
        return joined(self.words[:3]) or f"concept {self.concept}"


@dataclass(frozen=True, eq=False, repr=False)
class ConceptDashboard(Renderable):
    """Profiles of concepts with their effects on the outputs over a data set; it draws itself.

    Attributes:
        about: Where the numbers come from.
        outputs: Names of the outputs: classes; of a generation, every token, and then the most frequent tokens.
        importances: Mean over texts of the sum over units of the sizes of the effects, in `About.unit`.
        effects: Mean over texts of the sum over units of the effects, with their signs.
        profiles: One per concept, by its number.
        texts: Number of texts.
        units: Number of units.
    """

    _subject: ClassVar[str] = "dashboard"

    about: About
    outputs: tuple[str, ...]
    importances: Float[Tensor, "t c"]
    effects: Float[Tensor, "t c"]
    profiles: tuple[ConceptProfile, ...]
    texts: int
    units: int

    def names(self) -> dict[int, str]:
        """Return the name of each concept, which other methods take as ``interpretation``."""
        return {profile.concept: profile.name for profile in self.profiles}

    def ranked(self) -> list[int]:
        """Return the places of the profiles by falling importance, the largest over outputs."""
        sizes = self.importances.amax(0)
        return sorted(range(len(self.profiles)), key=lambda place: -float(sizes[place]))

    def to_dataframe(self) -> Any:
        """Return a ``pandas.DataFrame`` with a row per concept.

        Its columns are ``concept``, ``name``, ``label score`` where the names are labels, ``density``, ``mean``, ``peak``, and
        per output its importance and effect.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        import pandas as pd  # noqa: PLC0415  (optional)  # pyright: ignore[reportMissingImports]

        rows: list[dict[str, Any]] = []
        for place, profile in enumerate(self.profiles):
            row: dict[str, Any] = {"concept": profile.concept, "name": profile.name}
            if any(one.verdict is not None for one in self.profiles):
                row["label score"] = profile.verdict
            row |= {key: getattr(profile, key) for key in ("density", "mean", "peak")}
            for output, name in enumerate(self.outputs):
                row[f"importance: {name}"] = float(self.importances[output, place])
                row[f"effect: {name}"] = float(self.effects[output, place])
            rows.append(row)
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        return f"ConceptDashboard({self.about.explainer}, {len(self.profiles)} concepts, {self.texts} texts)"


def concept_dashboard(
    concept_explainer: ConceptExplainer,
    inputs: Any,
    targets: Any = None,
    *,
    interpretation: Any = None,
    k_inputs: int = 3,
    method: str = "gradient_x_concept",
    activation_granularity: Any = None,
    class_names: Any = None,
    inference_mode: Any = None,
    batch_size: int | None = None,
) -> ConceptDashboard:
    """Compute a profile of every concept over a data set: activations, examples by quantile, effects, neighbors.

    Args:
        concept_explainer: Fitted concepts with a splitter.
        inputs: The data set, in any form that the splitter reads.
        targets: See `ConceptAutoEncoderExplainer.concept_output_gradient`; None: every class, or what the model writes.
        interpretation: What concepts mean, for their names: any `Interpretation`, such as `KeywordLabels`, what its
            ``interpret`` returns, or texts by concept. None: the words that each concept prefers to the others
            (`DistinctiveWords`).
        k_inputs: Texts per quantile.
        method: Definition of the effects; see `ConceptAutoEncoderExplainer.concept_output_attribution`.
        activation_granularity: The unit; None: words, or texts where the splitter has one row per text.
        class_names: Names of the classes, by id, in place of the model's.
        inference_mode: The score; see `InferenceModes`.
        batch_size: Texts per pass; None: as the splitter has it.

    Returns:
        The dashboard, whose ``to_html`` is one self-contained page for thousands of concepts; a link that ends in ``#c12``
        opens it at concept 12.

    Raises:
        ModelError: The concepts are not fitted.
        OptionError, InputError, TargetError, TaskError: What cannot be shown as asked.

    Examples:
        >>> from interpreto import SplitterForClassification, demo
        >>> from interpreto.concepts import SemiNMFConcepts, concept_dashboard
        >>> model, tokenizer = demo.load_classifier()
        >>> splitter = SplitterForClassification(model, tokenizer=tokenizer)
        >>> texts = [sentence.text for sentence in demo.load_sentences()[:40]]
        >>> explainer = SemiNMFConcepts(splitter, nb_concepts=3).fit(splitter.get_activations(texts)[0])
        >>> concept_dashboard(explainer, texts)
        ConceptDashboard(SemiNMFConcepts, 3 concepts, 40 texts)
    """
    asked = {"names": class_names, "mode": inference_mode, "batch_size": batch_size}
    call = SummaryCall.of(concept_explainer, activation_granularity, method, **asked)
    k_inputs, inputs = check_count(k_inputs, "k_inputs"), kept_inputs(inputs)
    found = _Survey(concept_explainer.nb_concepts)
    for window in call.windows(inputs, targets):
        found.add(window, call.effects(window), call)
    outputs, _, importances, effects = found.tally.means(call.downstream.generates)
    labels: dict[int, Label] | None = None
    verdicts: dict[int, str] = {}
    if interpretation is not None:
        shown = range(concept_explainer.nb_concepts)
        labels, verdicts = read_labels(
            concept_explainer, interpretation, shown, found.samples, inputs=inputs, granularity=call.unit
        )
    return ConceptDashboard(
        about=call.about(len(found.samples)),
        outputs=outputs,
        importances=importances,
        effects=effects,
        profiles=_profiles(found, call, labels, verdicts, k_inputs),
        texts=len(found.samples),
        units=found.histograms.rows,
    )


class _Survey:
    """One pass over the data set: of every text its largest activations, of every concept the counts."""

    def __init__(self, concepts: int) -> None:
        self.samples: list[Sample] = []
        self.tally, self.words, self.histograms = Tally(), DistinctiveWords(concepts), Histograms(concepts)
        self.sums = torch.zeros(concepts, dtype=torch.double)
        self._peaks: list[Tensor] = []

    def add(self, window: list[Sample], effects: Sequence[Tensor], call: SummaryCall) -> None:
        """Take some texts into account."""
        self.samples += window
        for sample, values in zip(window, effects, strict=True):
            self.tally.add(call.naming(sample, len(values)), values)
        codes = call.codes(window)
        rows = torch.cat(codes)
        self.words.add([text for sample in window for text in sample.units.texts], rows)
        self.histograms.add(rows)
        self.sums += rows.double().sum(0)
        self._peaks += [part.amax(0) for part in codes]

    def peaks(self) -> Float[Tensor, "n c"]:
        """Return the largest activation of each concept in each text; equal texts after the first have none."""
        peaks, seen = torch.stack(self._peaks), set()
        for i, sample in enumerate(self.samples):
            if sample.text in seen:
                peaks[i] = -torch.inf
            seen.add(sample.text)
        return peaks


def _profiles(
    found: _Survey, call: SummaryCall, labels: dict[int, Label] | None, verdicts: dict[int, str], k_inputs: int
) -> tuple[ConceptProfile, ...]:
    peaks = found.peaks()
    chosen = by_quantile(peaks, k_inputs)
    passages = _passages(call, found.samples, chosen)
    neighbors = nearest(call.downstream.explainer.get_dictionary().detach().float().cpu())
    words = found.words.names() if labels is None else {c: tuple(text for text, _ in label) for c, label in labels.items()}
    profiles = []
    for concept, groups in enumerate(chosen):
        histogram = found.histograms.of(concept)
        examples = tuple(
            Examples(1 - (i + 1) / QUANTILES, 1 - i / QUANTILES, tuple(passages[place, concept] for place in places))
            for i, places in enumerate(groups)
            if places
        )
        profiles.append(
            ConceptProfile(
                concept=concept,
                words=words.get(concept, ()),
                density=sum(histogram.above) / max(found.histograms.rows, 1),
                mean=float(found.sums[concept]) / max(found.histograms.rows, 1),
                peak=float(peaks[:, concept].max()),
                histogram=histogram,
                neighbors=neighbors[concept],
                examples=examples,
                verdict=verdicts.get(concept),
            )
        )
    return tuple(profiles)


def by_quantile(peaks: Float[Tensor, "n c"], k: int) -> list[list[list[int]]]:
    """Return, of each concept, the places of up to ``k`` texts of each quantile of the texts in which it is above 0.

    Of the highest quantile the largest; of the others, texts that are evenly spaced by rank.

    Examples:
        >>> by_quantile(torch.tensor([[0.0], [5.0], [4.0], [3.0], [2.0], [1.0]]), k=2)
        [[[1], [2], [3], [4], [5]]]
    """
    order = peaks.argsort(dim=0, descending=True, stable=True).T.tolist()
    active = (peaks > 0).sum(0).tolist()
    return [[_picked(places[:count], i, k) for i in range(QUANTILES)] for places, count in zip(order, active, strict=True)]


def _picked(places: list[int], quantile: int, k: int) -> list[int]:
    start, end = (-(-len(places) * i // QUANTILES) for i in (quantile, quantile + 1))  # rounded up: the highest has a text
    part = places[start:end]
    if quantile == 0:
        return part[:k]
    return [part[len(part) * (2 * i + 1) // (2 * k)] for i in range(k)] if len(part) > k else part


def nearest(directions: Float[Tensor, "c d"]) -> list[tuple[tuple[int, float], ...]]:
    """Return, of each direction, the others of largest cosine, with it; a part of the rows is compared at a time.

    Examples:
        >>> nearest(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, -1.0]]))[0]
        ((1, 0.7071...),)
    """
    unit = torch.nn.functional.normalize(directions, dim=1)
    found: list[tuple[tuple[int, float], ...]] = []
    for start in range(0, len(unit), 512):
        cosines = unit[start : start + 512] @ unit.T
        rows = torch.arange(len(cosines))
        cosines[rows, start + rows] = -torch.inf
        values, places = cosines.topk(min(NEAREST, len(unit)), dim=1)
        pairs = zip(values.tolist(), places.tolist(), strict=True)
        found += [tuple((at, value) for value, at in zip(*pair, strict=True) if value >= ALIKE) for pair in pairs]
    return found


def _passages(call: SummaryCall, samples: Sequence[Sample], chosen: list[list[list[int]]]) -> dict[tuple[int, int], Passage]:
    """Return the passages of texts and concepts, with the activations of some texts in memory at a time."""
    wanted: dict[int, list[int]] = {}
    for concept, groups in enumerate(chosen):
        for place in (place for group in groups for place in group):
            wanted.setdefault(place, []).append(concept)
    found, places = {}, sorted(wanted)
    for start in range(0, len(places), WINDOW):
        part = places[start : start + WINDOW]
        for place, codes in zip(part, call.codes([samples[i] for i in part]), strict=True):
            text, units = samples[place].text, samples[place].units
            for concept in wanted[place]:
                whole = Passage(text, tuple(units.texts), tuple(units.spans), codes[:, concept].clone())
                found[place, concept] = around_peak(whole)
    return found


def around_peak(whole: Passage) -> Passage:
    """Return a text, or of a long one the part of `CHUNK` units in which the concept is largest."""
    if len(whole.elements) <= CHUNK:
        return whole
    first = whole.peak // CHUNK * CHUNK
    part = slice(first, first + CHUNK)
    start, end = min(a for a, _ in whole.spans[part]), max(b for _, b in whole.spans[part])
    moved = tuple((a - start, b - start) for a, b in whole.spans[part])
    return Passage(whole.text[start:end], whole.elements[part], moved, whole.activations[part])
