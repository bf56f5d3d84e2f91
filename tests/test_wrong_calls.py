"""Calls that users get wrong: each does what was meant, or is an error of ours that names the remedy."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import pipeline

import interpreto
from interpreto import (
    Consensus,
    ExactShapley,
    IntegratedGradients,
    KernelShap,
    Lime,
    ModelWithSplitPoints,
    Occlusion,
    SmoothGrad,
    demo,
    plot_attributions,
)
from interpreto.attributions.options import OTHER_NAMES
from interpreto.concepts import NMFConcepts, PCAConcepts, TopKInputs, load_concepts
from interpreto.errors import InterpretoError
from interpreto.metrics import Benchmark, Deletion
from tests import tiny

TEXT = "A gorgeous film."


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """What the calls use: a classifier, a language model, explainers, concepts, a folder of each model."""
    model, tokenizer = demo.load_classifier()
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    lm, lm_tokenizer = tiny.CAUSAL_LMS["gpt2"]()
    splitter = ModelWithSplitPoints(model, [1], tokenizer=tokenizer)
    activations = splitter.get_activations([TEXT, "Dull."], "word")
    explainer = Occlusion(model, tokenizer)
    return SimpleNamespace(
        model=model,
        tokenizer=tokenizer,
        pipe=pipeline("text-classification", model=model, tokenizer=tokenizer),
        folder=folder,
        lm=lm,
        lm_tokenizer=lm_tokenizer,
        explain=explainer,
        output=explainer(TEXT)[0],
        splitter=splitter,
        activations=activations,
        concepts=PCAConcepts(splitter, nb_concepts=2).fit(activations),
        frame=pd.DataFrame({"text": [TEXT, "Dull."], "label": ["positive", "negative"]}),
    )


RIGHT = {
    "a folder in place of the model": lambda g: Occlusion(g.folder)(TEXT),
    "a folder as text": lambda g: Occlusion(str(g.folder))(TEXT),
    "a folder twice": lambda g: Occlusion(str(g.folder), str(g.folder))(TEXT),
    "a pipeline": lambda g: Occlusion(g.pipe)(TEXT),
    "a pipeline and None": lambda g: Occlusion(g.pipe, None)(TEXT),
    "a model that came from a folder, alone": lambda g: Occlusion(type(g.model).from_pretrained(g.folder))(TEXT),
    "load": lambda g: Occlusion(*interpreto.load(g.folder))(TEXT),
    "load a pipeline": lambda g: Occlusion(*interpreto.load(g.pipe))(TEXT),
    "a series": lambda g: g.explain(g.frame["text"]),
    "a series of names": lambda g: g.explain(g.frame["text"], g.frame["label"]),
    "an array of texts": lambda g: g.explain(np.array([TEXT, "Dull."])),
    "a generator": lambda g: g.explain(text for text in (TEXT, "Dull.")),
    "columns of a frame": lambda g: g.explain.explain_frame(g.frame, text="text", label="label"),
    "a numpy integer": lambda g: g.explain(TEXT, np.int64(1)),
    "an array of targets": lambda g: g.explain([TEXT, "Dull."], np.array([1, 0])),
    "all classes": lambda g: g.explain(TEXT, "all"),
    "target": lambda g: g.explain(TEXT, target="positive"),
    "texts": lambda g: g.explain(texts=[TEXT]),
    "n_samples": lambda g: KernelShap(g.model, g.tokenizer, n_samples=64)(TEXT),
    "nsamples": lambda g: KernelShap(g.model, g.tokenizer, nsamples=64)(TEXT),
    "num_samples": lambda g: Lime(g.model, g.tokenizer, num_samples=64)(TEXT),
    "max_evals": lambda g: KernelShap(g.model, g.tokenizer, max_evals=64)(TEXT),
    "n_steps": lambda g: IntegratedGradients(g.model, g.tokenizer, n_steps=4)(TEXT),
    "n_samples of SmoothGrad": lambda g: SmoothGrad(g.model, g.tokenizer, n_samples=4)(TEXT),
    "progress": lambda g: Occlusion(g.model, g.tokenizer, progress=False)(TEXT),
    "show_progress": lambda g: Occlusion(g.model, g.tokenizer, show_progress=False)(TEXT),
    "seed": lambda g: Lime(g.model, g.tokenizer, seed=3)(TEXT),
    "device auto": lambda g: Occlusion(g.model, g.tokenizer, device="auto")(TEXT),
    "a device of torch": lambda g: Occlusion(g.model, g.tokenizer, device=torch.device("cpu"))(TEXT),
    "granularity in capitals": lambda g: Occlusion(g.model, g.tokenizer, granularity="WORD")(TEXT),
    "a path to a splitter": lambda g: ModelWithSplitPoints(g.pipe, [1]),
    "a benchmark of a pipeline's parts": lambda g: Benchmark(g.model, g.tokenizer, metrics=["Deletion"]).run(
        [g.explain], [TEXT]
    ),
    "one output as a list": lambda g: plot_attributions([g.output], backend="terminal"),
    "one output": lambda g: plot_attributions(g.output, backend="terminal"),
    "a frame of the results": lambda g: g.explain([TEXT, "Dull."]).to_dataframe(),
}
"""Calls that work."""

WRONG = {
    "tokenizer and model swapped": (lambda g: Occlusion(g.tokenizer, g.model), "model comes first"),
    "no folder": (lambda g: Occlusion("/no/such/folder"), "there is no folder"),
    "no folder to load": (lambda g: interpreto.load("./missing"), "there is no folder"),
    "a number in place of a model": (lambda g: Occlusion(3, g.tokenizer), "pass a"),
    "no tokenizer anywhere": (lambda g: Occlusion(tiny.CLASSIFIERS["bert"]()[0]), "`tokenizer`"),
    "a tokenizer's folder that is not there": (lambda g: Occlusion(g.model, "/no/folder"), "there is no folder"),
    "an absent device": (lambda g: Occlusion(g.model, g.tokenizer, device="cuda:99")(TEXT), "no such device"),
    "a device's number that is absent": (lambda g: Occlusion(g.model, g.tokenizer, device=99)(TEXT), "no such device"),
    "a word as a device": (lambda g: Occlusion(g.model, g.tokenizer, device="gpu")(TEXT), "auto"),
    "a data frame": (lambda g: g.explain(g.frame), r"\['text'\]|explain_frame"),
    "three texts in a tuple": (lambda g: g.explain((TEXT, "Dull.", "Fine.")), "list"),
    "a dictionary of text": (lambda g: g.explain({"text": TEXT}), "input_ids|text"),
    "a number as a text": (lambda g: g.explain(3), "text"),
    "None as a text": (lambda g: g.explain([None]), "text"),
    "no text": (lambda g: g.explain(""), "text|empty|unit"),
    "bytes": (lambda g: g.explain(b"A film."), "text"),
    "a class that is not there": (lambda g: g.explain(TEXT, "positiv"), "Did you mean 'positive'"),
    "a class's number that is not there": (lambda g: g.explain(TEXT, 7), "class 7"),
    "a target per text, one too few": (lambda g: g.explain([TEXT, "Dull."], ["positive"]), "targets"),
    "a float as a target": (lambda g: g.explain(TEXT, 0.5), "class"),
    "words": (lambda g: Occlusion(g.model, g.tokenizer, granularity="words"), "Did you mean 'word'"),
    "probability": (lambda g: Occlusion(g.model, g.tokenizer, inference_mode="probability"), "'softmax'"),
    "a replacement that is not there": (lambda g: Occlusion(g.model, g.tokenizer, replacement="blank"), "replacement"),
    "a misspelled option": (lambda g: KernelShap(g.model, g.tokenizer, n_perturbation=9), "Did you mean `n_perturbations`"),
    "an option of another method": (lambda g: Occlusion(g.model, g.tokenizer, n_samples=9), "its own are replacement"),
    "both names of an option": (lambda g: KernelShap(g.model, g.tokenizer, n_samples=9, n_perturbations=9), "another spelling"),
    "too few samples": (lambda g: KernelShap(g.model, g.tokenizer, n_perturbations=3)(TEXT), "pass at least"),
    "no samples": (lambda g: Lime(g.model, g.tokenizer, n_perturbations=0), "n_perturbations"),
    "a batch of none": (lambda g: Occlusion(g.model, g.tokenizer, batch_size=0), "batch_size"),
    "a baseline that is not there": (lambda g: IntegratedGradients(g.model, g.tokenizer, baseline="black"), "baseline"),
    "too many units for all coalitions": (lambda g: ExactShapley(g.model, g.tokenizer)("word " * 30), "coalitions"),
    "generation of a classifier": (lambda g: g.explain(TEXT, generation_kwargs={"max_new_tokens": 3}), "generation_kwargs"),
    "a class of a language model": (lambda g: Occlusion(g.lm, g.lm_tokenizer)("the film", 10**9), "token|vocabulary|ids|text"),
    "a backend that is not there": (lambda g: g.output.plot(backend="html"), "backend"),
    "a folder that is not there for a page": (lambda g: g.output.to_html("/no/folder/a.html"), "folder"),
    "a file that is not there": (lambda g: interpreto.AttributionOutput.load("/no/file"), "file"),
    "a frame without such a column": (lambda g: g.explain.explain_frame(g.frame, text="txt"), "text"),
    "a split point that is not there": (lambda g: ModelWithSplitPoints(g.model, [99], tokenizer=g.tokenizer), "split"),
    "concepts that are not fitted": (lambda g: PCAConcepts(g.splitter).encode_activations(torch.zeros(1, 128)), "fit"),
    "negative activations for NMF": (
        lambda g: NMFConcepts(g.splitter, nb_concepts=2).fit(g.activations),
        "force_relu|negative",
    ),
    "more concepts than dimensions": (lambda g: PCAConcepts(g.splitter, nb_concepts=999).fit(g.activations), "concepts"),
    "a concept that is not there": (lambda g: TopKInputs(g.concepts).interpret([TEXT], concepts_indices=[9]), "concept"),
    "a file of no concepts": (lambda g: load_concepts("/no/file"), "file|folder"),
    "a metric that is not there": (lambda g: Benchmark(g.model, g.tokenizer, metrics=["Delition"]), "Did you mean"),
    "a metric of texts": (lambda g: Deletion(g.model, g.tokenizer)([TEXT]), "explan|Attribution"),
    "a consensus of one": (lambda g: Consensus([g.explain]), "two or more"),
    "an unknown task": (lambda g: Occlusion(g.model, g.tokenizer, task="classify"), "task"),
    "an unknown task to load": (lambda g: interpreto.load(g.folder, task="classify"), "task"),
    "explain_frame of a list": (lambda g: g.explain.explain_frame([TEXT]), "frame"),
}
"""Calls that are refused, and what the message says."""


@pytest.mark.parametrize("call", RIGHT.values(), ids=RIGHT)
def test_it_does_what_was_meant(given, call):
    call(given)


@pytest.mark.parametrize(("call", "remedy"), WRONG.values(), ids=WRONG)
def test_it_names_the_remedy(given, call, remedy):
    with pytest.raises(InterpretoError) as caught:
        call(given)
    assert re.search(remedy, str(caught.value)), str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("name", [name for name, present in OTHER_NAMES.items() if present == "n_perturbations"])
def test_another_name_of_an_option_sets_it(given, name):
    own = KernelShap(given.model, given.tokenizer, n_perturbations=64)(TEXT)[0]
    explainer = KernelShap(given.model, given.tokenizer, **{name: 64})
    assert explainer.perturbator.n_perturbations == 64
    assert torch.equal(explainer(TEXT)[0].attributions, own.attributions)


def test_what_is_found_or_read_otherwise_explains_the_same(given):
    own = given.output.attributions
    for call in ("a folder in place of the model", "a pipeline", "load", "texts", "progress", "device auto"):
        assert torch.allclose(RIGHT[call](given)[0].attributions, own, atol=1e-6), call
    assert [one.target_labels for one in RIGHT["a series of names"](given)] == [["positive"], ["negative"]]
    assert RIGHT["all classes"](given)[0].target_labels == ["negative", "positive"]


def test_there_are_more_than_those_of_the_first_walk():
    assert len(RIGHT) + len(WRONG) >= 71
