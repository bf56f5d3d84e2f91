"""Report on a classifier and a labeled data set: is it right, when is it not, why, and can the explanations be trusted."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any, ClassVar

import torch

from interpreto.attributions import methods
from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.explanations import Explanations
from interpreto.attributions.global_importance import GlobalImportance, least_count
from interpreto.attributions.output import AttributionOutput
from interpreto.errors import InputError, InterpretoError, ModelError, OptionError, TaskError
from interpreto.inputs.labeled_texts import LabeledTexts, read_labeled_texts
from interpreto.metrics.benchmark import Benchmark
from interpreto.metrics.benchmark_table import BenchmarkTable
from interpreto.metrics.classification import ClassificationQuality
from interpreto.metrics.report_facts import called, data_facts, model_facts, model_name, version_facts
from interpreto.metrics.text_concepts import TextConcepts, text_concepts
from interpreto.models.tasks import Classification
from interpreto.models.text_model import TextModel
from interpreto.registry import TEXT_METHODS, find_method
from interpreto.renderable import Renderable
from interpreto.validation import check_choice, check_count, check_seed, shown

FEW_CLASSES = 2
"""Classes up to which every class of every text is explained; of more, the prediction, and of a mistake the true class."""
OPTIONAL = ("reference_scores", "residual", "standard_error")
METRICS = ("ABPC", "Deletion")
"""Metrics of faithfulness; both read the same perturbed inputs."""


@dataclass(frozen=True, eq=False)
class Report(Renderable):
    """A classifier on a labeled data set: what it gets right, and by which words and concepts.

    Attributes:
        model: Name of the model.
        data: The texts and labels.
        quality: Predictions compared with labels.
        explanations: An explanation per text, in order.
        importance: Words that matter, by class.
        faithfulness: Area between perturbation curves of the explanations and of random orders; None where it was left out.
        concepts: Concepts of what the classification head reads; None where they were left out.
        run: What was run: names and values.
        remarks: Parts that could not be computed, and why.
    """

    _subject: ClassVar[str] = "report"

    model: str
    data: LabeledTexts
    quality: ClassificationQuality
    explanations: Explanations
    importance: GlobalImportance
    faithfulness: BenchmarkTable | None
    concepts: TextConcepts | None
    run: tuple[tuple[str, str], ...]
    remarks: tuple[str, ...] = ()

    @property
    def method(self) -> str:
        """Return the name of the method of the explanations."""
        return self.importance.method

    def mistakes(self, k: int = 10) -> list[int]:
        """Return the positions of the mistakes of largest confidence."""
        order = self.quality.confidences.nan_to_num(0.0).argsort(descending=True, stable=True).tolist()
        return [i for i in order if not self.quality.right[i]][: check_count(k, "k")]

    def __repr__(self) -> str:
        accuracy = self.quality.accuracy
        return f"Report({self.model} on {self.data.source}: {accuracy.hits} of {accuracy.n} right, {self.method})"


def report(
    model: Any,
    data: Any,
    tokenizer: Any = None,
    *,
    text: str | None = None,
    label: str | None = None,
    method: str | type[AttributionExplainer] | None = None,
    max_texts: int | None = 1000,
    n_faithfulness: int = 200,
    nb_concepts: int = 6,
    random_state: int = 0,
    batch_size: int | None = None,
    on_step: Callable[[str], object] | None = None,
    **options: Any,
) -> Report:
    """Report on a classifier and a labeled data set; ``to_html("report.html")`` of the result is one self-contained page.

    Args:
        model: A classifier, as every method takes it.
        data: A file (``.csv``, ``.tsv``, ``.jsonl``, ``.json`` or ``.parquet``), a table, or (text, label) pairs; see
            `read_labeled_texts`.
        tokenizer: The tokenizer; None: the model's own, where it can be found.
        text: Column of the texts; None: found by its name.
        label: Column of the labels, which are names or ids of classes; None: found by its name.
        method: Name or class of the attribution method; None: integrated gradients, from the embedding of the mask token
            where there is one.
        max_texts: Number of texts at most, a random sample of the data; None: all.
        n_faithfulness: Texts whose explanations are compared with random orders; 0: none.
        nb_concepts: Number of concepts of the last hidden layer; 0: none.
        random_state: Seed of all draws.
        batch_size: Rows per forward pass; None: as many as a token budget holds.
        on_step: Called with the name of each step as it begins.
        **options: Of the method, such as ``granularity`` or ``baseline``; see `Options`.

    Returns:
        The report, which draws itself.

    Raises:
        FileError, InputError: The data cannot be read, or a label is no class of the model.
        OptionError: There is no such method or option.
        TaskError: The model is no single-label classifier.

    Examples:
        >>> from interpreto import demo, report
        >>> model, tokenizer = demo.load_classifier()
        >>> data = [("A gorgeous film.", "positive"), ("A dull film.", "negative"), ("What a waste.", "positive")]
        >>> report(model, data, tokenizer, method="occlusion", n_faithfulness=0, nb_concepts=0)
        Report(BertForSequenceClassification on pairs: 2 of 3 right, Occlusion)
    """
    began, step = time.monotonic(), on_step or (lambda _: None)
    step("reading the data")
    check_count(n_faithfulness, "n_faithfulness", least=0)
    check_count(nb_concepts, "nb_concepts", least=0)
    everything = read_labeled_texts(data, text, label)
    used = everything.sample(max_texts, check_seed(random_state))
    cls = _method(method)
    explainer = cls(model, tokenizer, batch_size, random_state=random_state, **options)
    if method is None and getattr(explainer.tokenizer, "mask_token", None) is not None:
        options = {"baseline": "mask", **options}
        explainer = cls(model, tokenizer, batch_size, random_state=random_state, **options)
    names = _classes(explainer)
    labels = _labels(used, names)
    step(f"explaining {len(used):,} texts")
    explanations = _explained(explainer, used, labels, len(names))
    quality = ClassificationQuality.of(
        names, [str(e.prediction) for e in explanations], labels, [e.confidence for e in explanations]
    )
    remarks: list[str] = []
    step("comparing the explanations with random orders")
    faithfulness = _attempt(
        "Faithfulness", n_faithfulness, remarks, lambda n: _faithfulness(explainer, explanations, n, random_state)
    )
    step("looking for concepts")
    concepts = _attempt("Concepts", nb_concepts, remarks, lambda c: _concepts(explainer, used, names, c, random_state))
    by = "word" if explanations[0].granularity in ("word", "token") else "unit"
    importance = explanations.importance(by, min_count=least_count(len(used)))
    run = (
        *model_facts(explainer.model),
        *data_facts(everything, used),
        ("Method", called(cls, options)),
        ("Seed", str(random_state)),
        *version_facts(),
        ("Computed", f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC, in {time.monotonic() - began:.0f} s"),
    )
    name = model_name(explainer.model)
    return Report(name, used, quality, explanations, importance, faithfulness, concepts, run, tuple(remarks))


def _method(method: str | type[AttributionExplainer] | None) -> type[AttributionExplainer]:
    if isinstance(method, type) and issubclass(method, AttributionExplainer):
        return method
    found = find_method("integrated-gradients" if method is None else str(method))
    if found not in TEXT_METHODS:
        check_choice(method, "method", [known.slug for known in TEXT_METHODS])
        raise OptionError(f"`method`: got {shown(method)}.")  # not reached
    assert found is not None
    return getattr(methods, found.name)


def _classes(explainer: AttributionExplainer) -> list[str]:
    """Return the names of the classes, in order.

    Raises:
        TaskError: The model is no classifier, or has several labels per text.
    """
    task = explainer.task
    if not isinstance(task, Classification) or task.kind not in ("single-label", "scores") or not task.id2label:
        raise TaskError(
            f"`model`: its task is {task.name}; a report compares one predicted class per text with its label, so pass a "
            "single-label classifier whose classes have names."
        )
    return [task.id2label[i] for i in sorted(task.id2label)]


def _labels(data: LabeledTexts, names: Sequence[str]) -> list[str]:
    """Return the class of each label: its name in any case, else its id.

    Raises:
        InputError: A label is no class.
    """
    folded = {name.casefold(): name for name in names}
    read: dict[str | int, str] = {}
    for value in dict.fromkeys(data.labels):
        found = folded.get(str(value).casefold())
        if found is None and str(value).isdecimal() and int(value) < len(names):
            found = names[int(value)]
        if found is None:
            raise InputError(
                f"`label`: {shown(value)} in column {data.label_column!r} is no class of the model; it has "
                f"{', '.join(map(repr, names[:20]))} (ids 0 to {len(names) - 1})."
            )
        read[value] = found
    return [read[value] for value in data.labels]


def _explained(explainer: AttributionExplainer, data: LabeledTexts, labels: Sequence[str], c: int) -> Explanations:
    """Explain every class where there are two, else the predictions, and where they are wrong the true classes too."""
    texts = list(data.texts)
    if c <= FEW_CLASSES:
        return explainer(texts, [list(range(c))] * len(texts), labels=list(labels))
    found = explainer(texts, labels=list(labels))
    wrong = [i for i, explanation in enumerate(found) if not explanation.correct]
    if wrong:
        pairs = [[str(found[i].prediction), labels[i]] for i in wrong]
        again = explainer([texts[i] for i in wrong], pairs, labels=[labels[i] for i in wrong])
        by_place = dict(zip(wrong, again, strict=True))
        found = Explanations(by_place.get(i, explanation) for i, explanation in enumerate(found))
    return found


def _attempt(name: str, wanted: int, remarks: list[str], compute: Callable[[int], Any]) -> Any:
    """Return what is computed; None where it is not wanted or not possible, with a remark."""
    if not wanted:
        remarks.append(f"{name}: left out, as asked.")
        return None
    try:
        return compute(wanted)
    except (InterpretoError, ImportError) as error:
        remarks.append(f"{name}: left out. {error}")
        return None


def _faithfulness(explainer: AttributionExplainer, explanations: Explanations, most: int, random_state: int) -> BenchmarkTable:
    """Return the area between perturbation curves of the predictions' explanations, and of random orders."""
    generator = torch.Generator().manual_seed(random_state)
    picked = sorted(torch.randperm(len(explanations), generator=generator)[:most].tolist())
    chosen = [_of_prediction(explanations[i]) for i in picked]
    benchmark = Benchmark(
        _model(explainer),
        explainer.tokenizer,
        list(METRICS),
        explainer.batch_size,
        baselines=("random",),
        random_state=random_state,
    )
    return benchmark.run({chosen[0].method: chosen})


def _concepts(
    explainer: AttributionExplainer, data: LabeledTexts, names: Sequence[str], c: int, random_state: int
) -> TextConcepts:
    model = _model(explainer)
    if isinstance(model, TextModel):
        raise ModelError(f"`model`: {model.name} has no activations, in which concepts are found.")
    return text_concepts(model, explainer.tokenizer, data.texts, names, c, random_state=random_state)


def _model(explainer: AttributionExplainer) -> Any:
    """Return the model as a metric takes it."""
    return explainer.model if isinstance(explainer.model, TextModel) else explainer.forward.model


def _of_prediction(explanation: AttributionOutput) -> AttributionOutput:
    """Return the explanation of the prediction alone."""
    i = explanation.target_labels.index(str(explanation.prediction))
    assert explanation.sample.targets is not None
    numbers = {name: getattr(explanation, name) for name in ("attributions", "base_scores", *OPTIONAL)}
    return replace(
        explanation,
        sample=explanation.sample.with_targets(explanation.sample.targets.only(i)),
        target_labels=[explanation.target_labels[i]],
        **{name: None if value is None else value[i : i + 1] for name, value in numbers.items()},
    )
