"""Calls of the tutorials of interpreto 0.5: each runs, or `docs/moving.md` says what to write in its place."""

from __future__ import annotations

import inspect
import sys
import textwrap
from pathlib import Path

import pytest

import interpreto
from interpreto import demo
from interpreto.concepts import TopKSAEConcepts
from tests import tiny

PAGE = (Path(__file__).parent.parent / "docs" / "moving.md").read_text(encoding="utf-8")
TEXTS = ["A gorgeous, moving film.", "Dull.", "What a waste of time, and of money."]

IMPORTS = """
import pathlib

import torch
from interpreto import (AttributionExplainer, Granularity, InferenceModes, IntegratedGradients, GradientShap, KernelShap, Lime,
    ModelWithSplitPoints, Occlusion, Saliency, Sobol, SplitterForClassification, SplitterForGeneration, plot_attributions,
    plot_concepts)
from interpreto.attributions.aggregations import OcclusionAggregator
from interpreto.attributions.metrics import Deletion, Insertion
from interpreto.attributions.perturbations import LinearInterpolationPerturbator, OcclusionPerturbator
from interpreto.concepts import (ICAConcepts, NeuronsAsConcepts, NMFConcepts, PCAConcepts, SemiNMFConcepts, TopKInputs,
    TopKSAEConcepts)
from interpreto.concepts import LLMLabels
from interpreto.concepts.metrics import ConSim, FID, MSE, Sparsity, SparsityRatio, Stability
"""
TOKENS = "splitter.activation_granularities.TOKEN"

RUNS = {
    "old paths": """
        from interpreto.commons import Granularity, GranularityAggregationStrategy
        from interpreto.commons.granularity import Granularity
        from interpreto.concepts.methods import DictionaryLearningExplainer, SAEExplainer
        from interpreto.concepts.interpretations import TopKInputs""",
    "attributions": """
        outputs = Occlusion(model, tokenizer, 4, granularity=Granularity.WORD)(model_inputs=texts)
        outputs = Occlusion(model, tokenizer).explain(model_inputs=texts, targets=torch.tensor([1, 0, 1]))
        assert outputs[0].granularity == Granularity.WORD and outputs[0].inference_mode == InferenceModes.LOGITS
        assert list(Saliency(model, tokenizer).stream(model_inputs=texts[:1]))[0].elements == outputs[0].elements""",
    "an explainer of parts, by position": """
        parts = OcclusionPerturbator(), OcclusionAggregator()
        by_position = AttributionExplainer(model, tokenizer, 4, *parts, torch.device("cpu"))
        torch.testing.assert_close(by_position(texts)[0].attributions, Occlusion(model, tokenizer)(texts)[0].attributions)""",
    "options": """
        none, zero = (IntegratedGradients(model, tokenizer, baseline=b)(texts[:1])[0] for b in (None, "zero"))
        assert torch.equal(none.attributions, zero.attributions)
        GradientShap(model, tokenizer, baseline=None)(texts[:1])
        assert Sobol.samplers.LatinHypercube is Sobol.samplers.LATIN_HYPERCUBE
        assert len(list(Sobol.samplers)) == 3
        Sobol(model, tokenizer, sampler=Sobol.samplers.LatinHypercube, n_token_perturbations=8)(texts[:1])""",
    "metrics of attributions": """
        outputs = Occlusion(model, tokenizer)(texts)
        metric = Deletion(model, tokenizer)
        assert metric.evaluate(attributions_outputs=outputs)[0] == metric.run(outputs).score
        auc, scores = Insertion(model, tokenizer).evaluate(outputs)""",
    "plots": """
        output = Occlusion(model, tokenizer)(texts[0], targets=[0, 1])[0]
        plot_attributions(output, classes_names=["bad", "good"], save_path="page.html", backend="terminal")
        page = pathlib.Path("page.html").read_text(encoding="utf-8")
        assert "good" in page and "positive" not in page""",
    "generation": """
        Occlusion(language_model, its_tokenizer)(model_inputs=["A film"], targets=[" is good"])
        splitter = SplitterForGeneration(language_model, split_point=-1, tokenizer=its_tokenizer)
        tokens = splitter.get_activations(texts)
        whole = splitter.get_activations(texts, include_special_tokens=True)
        assert whole[splitter.split_point].shape == splitter.get_activations(texts, "all_tokens")[splitter.split_point].shape
        each = splitter.get_activations(texts, flatten_activations=False)[splitter.split_point]
        assert len(each) == 3 and torch.equal(torch.cat(each), tokens[splitter.split_point])
        TopKInputs(concept_explainer=NeuronsAsConcepts(splitter), activation_granularity="token").interpret(texts, tokens)
        sae = TopKSAEConcepts(splitter, nb_concepts=8, top_k=2)
        assert sae.concept_model.k == 2""",
    "splitters": f"""
        splitter = ModelWithSplitPoints(model, split_point=1, tokenizer=tokenizer, automodel=type(model), device_map="cpu")
        splitter.batch_size = 2
        splitter.to("cpu")
        for strategy in (None, splitter.aggregation_strategies.MEAN):
            rows = splitter.get_activations(texts, {TOKENS}, aggregation_strategy=strategy)[splitter.split_point]
        assert splitter.activations_of(splitter.samples(texts), None).shape == rows.shape
        each = splitter.get_activations(texts, {TOKENS}, flatten_activations=False)[splitter.split_point]
        assert torch.equal(torch.cat(each), rows)
        assert [len(own) for own in each] == [len(sample.units) for sample in splitter.samples(texts)]
        pair = splitter.get_activations(texts, flatten_activations=False, include_predicted_classes=True)
        assert pair[1].tolist() == [1, 0, 0] and len(pair[0][splitter.split_point]) == 3""",
    "concepts": """
        splitter = ModelWithSplitPoints(model, split_points=[1], tokenizer=tokenizer)
        activations = splitter.get_activations(texts, splitter.activation_granularities.WORD)
        explainer = PCAConcepts(model_with_split_points=splitter, nb_concepts=3)
        explainer.fit(activations)
        assert explainer.model_with_split_points is splitter
        codes = explainer.activations_to_concepts(activations)
        torch.testing.assert_close(explainer.inputs_to_concepts(texts, "word"), codes)
        explainer.concepts_to_activations(codes)
        SemiNMFConcepts(splitter, nb_concepts=3).fit(activations, max_iter=500)
        mean = splitter.aggregation_strategies.MEAN
        explainer.concept_output_gradient(texts, [0, 1], None, "word", mean, True, True, False, 2)
        assert MSE(explainer).compute(latent_activations=activations) == MSE(explainer).compute(activations)""",
    "interpretations": """
        splitter = ModelWithSplitPoints(model, split_points=[1], tokenizer=tokenizer)
        activations = splitter.get_activations(texts, "word")
        explainer = PCAConcepts(splitter, nb_concepts=3).fit(activations)
        top = TopKInputs(concept_explainer=explainer, activation_granularity=TopKInputs.activation_granularities.WORD, k=2)
        found = top.interpret(inputs=texts, latent_activations=activations, concepts_indices="all")
        codes = explainer.encode_activations(activations)
        assert top.interpret(inputs=texts, concepts_activations=codes, concepts_indices="all") == found
        few = TopKInputs(explainer, "word", k=2, concept_encoding_batch_size=4)
        again = few.interpret(texts, activations)
        assert {c: list(own) for c, own in again.items()} == {c: list(own) for c, own in found.items()}
        words = {"count_min_threshold": 1, "lemmatize": False, "words_to_ignore": []}
        TopKInputs(explainer, "word", use_unique_words=2, unique_words_kwargs=words).interpret(inputs=texts)""",
    "concepts of a classifier": """
        splitter = SplitterForClassification(model, tokenizer=tokenizer)
        activations, predictions = splitter.get_activations(texts)
        explainer = PCAConcepts(splitter, nb_concepts=2).fit(activations)
        explainer.concept_output_gradient(inputs=activations, targets=[0, 1])
        Occlusion(explainer.get_inputs_to_concepts_model(), tokenizer)(texts, targets=torch.arange(2))
        plot_concepts(explainer, texts[0], classes_names=["bad", "good"], save_path="page.html", backend="terminal")""",
}

RUNS["importances of one's own"] = """
    importances = {"bad": {0: -0.5, 1: 0.1}, "good": {0: 0.5, 1: 0.2}}
    labels = {0: "praise", 1: "films"}
    plot_concepts(concepts_importances=importances, concepts_labels=labels, top_k=2, save_path="page.html", backend="terminal")
    assert "praise" in pathlib.Path("page.html").read_text(encoding="utf-8")
    amounts, own = torch.rand(3, 2), torch.tensor([[0.5, -0.1]])
    plot_concepts(
        concepts_importances=own, concepts_labels=labels, sample=["A", "fine", "film"], concepts_activations=amounts,
        classes_names=["good"], backend="terminal",
    )"""
RUNS["labels by a language model"] = """
    from interpreto.commons.llm_interface import LLMInterface, OpenAILLM, Role
    from interpreto.concepts import LLMLabels

    class Mine(LLMInterface):
        def generate(self, prompt):
            assert prompt[0][0] == Role.SYSTEM and prompt[1][0] == Role.USER
            return "films"

    many = [f"{text} {i}" for text in texts for i in range(30)]
    splitter = ModelWithSplitPoints(model, split_points=[1], tokenizer=tokenizer)
    activations = splitter.get_activations(many, "word")
    explainer = NeuronsAsConcepts(splitter)
    labeler = LLMLabels(
        concept_explainer=explainer, activation_granularity=LLMLabels.activation_granularities.WORD, llm_interface=Mine(),
        sampling_method=LLMLabels.sampling_methods.TOP, k_examples=20, k_context=3,
    )
    found = labeler.interpret(inputs=many, latent_activations=activations, concepts_indices=[0, 1])
    assert found.texts() == {0: "films", 1: "films"}
    assert "sk-" not in repr(OpenAILLM(api_key="sk-1", model="gpt-4.1-nano", num_try=5))"""
RUNS["probes"] = """
    from interpreto.concepts.probes import LinearRegressionProbe, LogisticRegressionProbe, MeansDiffProbe, ProbeExplainer

    rows = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    labels = torch.stack([rows[:, 0] > 0, rows[:, 1] > 0], 1).float()
    for probe in (LinearRegressionProbe(l2=0.1), LogisticRegressionProbe(l2=0.1), MeansDiffProbe()):
        explainer = ProbeExplainer(None, concept_model=probe)
        explainer.fit(rows, labels)
        assert explainer.is_fitted and explainer.activations_to_concepts(rows).shape == (40, 2)"""
RUNS["simulatability"] = """
    from interpreto.concepts.metrics import ConSim

    many = [f"{text} {i}" for text in texts for i in range(12)]
    explainer = NeuronsAsConcepts(ModelWithSplitPoints(model, split_points=[1], tokenizer=tokenizer))
    found = ConSim(explainer, {0: "films"}, lambda chat: "positive", ["negative", "positive"], n_exam=6).run(many)
    assert 0 <= found.score <= 1 and set(found.details["by_class"]) <= {"negative", "positive"}"""

NAMED = {  # what does not run: what the page names
    "Occlusion(model, tokenizer, 4, Granularity.WORD)": "`Occlusion(model, tokenizer, 4, Granularity.WORD)`",
    "OcclusionPerturbator(inputs_embedder=model.get_input_embeddings())": "`Perturbator(inputs_embedder)`",
    "LinearInterpolationPerturbator(model.get_input_embeddings())": "`Perturbator(inputs_embedder)`",
    "AttributionExplainer(model, tokenizer, 4, None, None)(texts)": "perturbator=None, aggregator=None",
    "IntegratedGradients(model, tokenizer, input_x_gradient=False)": "`IntegratedGradients(input_x_gradient=…)`",
    "Lime(model, tokenizer, kernel_width=None)": "`Lime(kernel_width=None)`",
    "Occlusion(model, tokenizer).device": "`explainer.device`",
    "Occlusion(model, tokenizer).granularity": "`explainer.granularity`",
    "Occlusion(model, tokenizer).to('cpu')": "`explainer.to(…)`",
    "Occlusion(model, tokenizer)(texts)[0].classes": "`output.classes`",
    "from interpreto.typing import ModelInputs": "`interpreto.typing`",
    "from interpreto.attributions.base import ModelTask": "`ModelTask`",
    "from interpreto import get_version": "`get_version()`",
    "from interpreto.commons import DistanceFunctions": "`DistanceFunctions`",
    "Granularity.PART_SENTENCE": "`Granularity.PART_SENTENCE`",
    "Granularity.DEFAULT": "`Granularity.DEFAULT`",
    "plot_attributions(Occlusion(model, tokenizer)(texts), custom_css='')": "custom_css=",
    "plot_concepts(concepts_importances=torch.ones(3), concept_color='red')": "`concept_color`",
    "ModelWithSplitPoints(model, [1], tokenizer=tokenizer, torch_dtype=torch.float32)": "torch_dtype=",
    "splitter.get_latent_shape()": "`splitter.get_latent_shape()`",
    "splitter.inputs_to_activations(texts)": "`splitter.inputs_to_activations(texts)`",
    "splitter.get_activations(texts, pad_side='left')": "`pad_side`",
    "splitter.get_activations(texts, forward_kwargs={'truncation': True})": "`forward_kwargs`",
    "activations, _ = splitter.get_activations(texts)": "`activations, _ = splitter.get_activations(texts)`",
    "TopKInputs(NeuronsAsConcepts(splitter)).interpret('all', texts)": '`interpret("all", texts)`',
    "TopKInputs(NeuronsAsConcepts(splitter), unique_words_kwargs={'lemmatize': True})": "`lemmatize`",
    "TopKSAEConcepts(splitter, encoder_module='linear')": "`encoder_module`",
    "TopKSAEConcepts(splitter).fit(torch.ones(9, 128), use_amp=False)": "use_amp=",
    "Stability(3, 4)": "`Stability(3, 4)`",
    "from interpreto.concepts.probes import LinearSVMProbe": "`LinearSVMProbe`",
    "from interpreto.concepts.probes import SklearnProbeExplainer": "`SklearnProbeExplainer`",
    "OcclusionPerturbator().perturb": "`Perturbator.perturb`",
    "Occlusion(model, tokenizer).inference_wrapper": "`explainer.inference_wrapper`",
    "from interpreto.attributions.aggregations.linear_regression import Kernels": "`Kernels`",
    "interpreto.GranularityAggregationStrategy.MEAN.unfold": "`.unfold`",
    "from interpreto import AttributionVisualization": "`AttributionVisualization`",
    "from interpreto.concepts import MSELoss": "`MSELoss`",
    "from interpreto.concepts.metrics import ConceptMatchingAlgorithm as A; A.COSINE_HUNGARIAN(1, 2)": "COSINE_HUNGARIAN(a, b)",
    "LLMLabels(concept_explainer=NeuronsAsConcepts(splitter), llm_interface=print, use_vocab=True)": "`use_vocab`",
    "ConSim(splitter, print, ['a', 'b']).select_examples(texts, [0, 1, 0])": "`ConSim(splitter, user_llm, classes)`",
    "from interpreto.concepts.metrics.consim import PromptTypes": "`PromptTypes`",
}


@pytest.fixture(scope="module")
def names():
    language_model, its_tokenizer = tiny.chat_lm()
    model, tokenizer = demo.load_classifier()
    scope = {
        "language_model": language_model,
        "its_tokenizer": its_tokenizer,
        "model": model,
        "tokenizer": tokenizer,
        "texts": TEXTS,
        "splitter": interpreto.ModelWithSplitPoints(model, [1], tokenizer=tokenizer),
    }
    exec(IMPORTS, scope)
    return scope


@pytest.mark.parametrize("call", RUNS)
@pytest.mark.filterwarnings("ignore:.*moved to.*:DeprecationWarning")
def test_calls_of_the_tutorials_run(call, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(textwrap.dedent(RUNS[call]), dict(names))
    for name in [name for name in sys.modules if name.startswith(("interpreto.concepts.methods", "interpreto.commons"))]:
        del sys.modules[name]  # old paths warn at their first import, which other tests wait for


@pytest.mark.parametrize("call", NAMED)
def test_what_does_not_run_is_on_the_page(call, names):
    assert NAMED[call] in PAGE
    with pytest.raises(Exception):  # noqa: B017, PT011  # of any kind: some are Python's own
        exec(call, dict(names))


def test_defaults_on_the_page_are_those_of_the_library():
    def default(function, name):
        return inspect.signature(function).parameters[name].default

    rows = {tuple(cell.strip() for cell in row.split("|")[1:4]) for row in PAGE.splitlines() if row.startswith("| ")}
    here = {option: now for option, _, now in rows}
    counts = {default(interpreto.IntegratedGradients, "n_perturbations")}
    for method in (interpreto.SmoothGrad, interpreto.SquareGrad, interpreto.VarGrad, interpreto.GradientShap):
        counts.add(method(*demo.load_classifier()).perturbator.n_perturbations)
    assert counts == {int(here["`n_perturbations` of SmoothGrad, SquareGrad, VarGrad, IntegratedGradients, GradientShap"])}
    assert str(default(interpreto.Lime, "kernel_width")) == here["`kernel_width` of Lime"]
    assert f'`"{default(interpreto.IntegratedGradients, "baseline")}"`' == here["`baseline` of IntegratedGradients"]
    assert str(default(TopKSAEConcepts, "nb_concepts")) == here["`nb_concepts`"]
    training = [default(TopKSAEConcepts.fit, name) for name in ("batch_size", "lr", "clip_grad")]
    assert [float(value) for value in here["SAE training: `batch_size`, `lr`, `clip_grad`"].split(",")] == training
    assert str(default(interpreto.SplitterForGeneration, "max_new_tokens")) == here["`max_new_tokens` of SplitterForGeneration"]
