"""The reference library's two examples, and the effect of concepts, on a real language model: SmolLM2-135M-Instruct."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from interpreto import ModelWithSplitPoints, Occlusion, SplitterForGeneration, Steering, compare_steering, demo
from interpreto.concepts import ClassProbability, ContrastiveConcept, ICAConcepts, PCAConcepts, SemiNMFConcepts
from interpreto.concepts.interpretations import TopKInputs

BLOCK, PROMPT = 15, "The capital of France is"
WORD = ModelWithSplitPoints.activation_granularities.WORD
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def smollm2():
    path = Path(__file__).parents[1] / "examples" / "language_model.py"
    spec = importlib.util.spec_from_file_location("language_model", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load()


@pytest.fixture(scope="module")
def dataset():
    return [sentence.text for sentence in demo.load_sentences("movie")[:150]]


@pytest.fixture(scope="module")
def splitter(smollm2):
    model, tokenizer = smollm2
    return ModelWithSplitPoints(model, tokenizer=tokenizer, split_points=[BLOCK])


@pytest.fixture(scope="module")
def activations(splitter, dataset):
    return splitter.get_activations(dataset, activation_granularity=WORD)


def test_words_become_concepts_that_words_describe(splitter, dataset, activations):
    explainer = ICAConcepts(splitter, nb_concepts=20).fit(activations)
    interpretation = TopKInputs(concept_explainer=explainer, activation_granularity=WORD)
    concepts = interpretation.interpret(inputs=dataset, latent_activations=activations)
    words = [word for sample in splitter.samples(dataset, WORD) for word in sample.units.texts]
    codes = explainer.encode_activations(activations[f"model.layers.{BLOCK}"])
    assert list(concepts) == list(range(20))
    assert len(words) == len(codes) > 2000
    for concept, texts in concepts.items():
        assert len(texts) == 5
        assert list(texts.values()) == sorted(texts.values(), reverse=True)
        assert max(texts.values()) == pytest.approx(float(codes[:, concept].max()), rel=1e-3)
        assert words[int(codes[:, concept].argmax())] == next(iter(texts))
        assert all(any(word in text for text in dataset) for word in texts)


def test_occlusion_tells_which_words_make_a_concept(splitter, dataset, activations):
    explainer = SemiNMFConcepts(splitter, nb_concepts=8).fit(activations)
    bridge, text = explainer.get_inputs_to_concepts_model(), dataset[0]
    (output,) = Occlusion(bridge, splitter.tokenizer, batch_size=256).explain(text, targets=torch.arange(5))
    assert output.attributions.shape == (5, len(output.elements))
    with torch.no_grad():
        whole = bridge(input_ids=output.sample.input_ids[None]).logits[0, :5]
    torch.testing.assert_close(output.base_scores, whole, atol=1e-3, rtol=1e-3)
    assert int((output.attributions.abs().amax(1) > 0).sum()) >= 3


def test_what_concepts_do_to_what_it_writes(smollm2, dataset):
    model, tokenizer = smollm2
    splitter = SplitterForGeneration(model, tokenizer=tokenizer, split_point=BLOCK, max_new_tokens=3)
    # Without concepts the mean is left, on whose way the model is smooth; towards zero its norms make steps.
    explainer = PCAConcepts(splitter, nb_concepts=8).fit(splitter.get_activations(dataset[:20]))
    (sample,) = splitter.samples(PROMPT)
    assert tokenizer.decode(sample.input_ids[sample.prompt :]).startswith(" Paris")
    (gradients,) = explainer.concept_output_gradient(PROMPT, concepts_x_gradients=False, normalization=False)
    (paths,) = explainer.concept_output_attribution(PROMPT, method="integrated_gradients", n_steps=128)
    for values in (gradients, paths):
        assert values.shape == (3, len(sample.units), 8)
        assert bool(values.isfinite().all())
        assert bool((values.abs().sum((1, 2)) > 0).all())

    def without(activations):
        concepts = explainer.encode_activations(activations)
        return activations - explainer.decode_concepts(concepts) + explainer.decode_concepts(0 * concepts)

    gap = scores(model, sample) - scores(model, sample, without)
    assert float(gap.min()) > 1
    torch.testing.assert_close(paths.sum((1, 2)), gap, rtol=1e-3, atol=1e-3)
    assert all(parameter.grad is None for parameter in model.parameters())


def scores(model, sample, edit=lambda activations: activations):
    """Log-probabilities of what was written, with the activations of its free tokens edited by a hook of our own."""
    free = sample.units.free

    def change(_module, _inputs, output):
        changed = output.clone()
        changed[0, free] = edit(output[0, free])
        return changed

    handle = model.model.layers[BLOCK].register_forward_hook(change)
    with torch.no_grad():
        logs = model(input_ids=sample.input_ids[None]).logits[0].log_softmax(-1)
    handle.remove()
    written = torch.arange(sample.prompt, len(sample.input_ids))
    return logs[written - 1, sample.input_ids[written]]


def test_a_direction_of_pairs_moves_what_it_writes_and_random_ones_do_not(smollm2):
    """That of tutorial 8: a share of positive continuations moves by 0.3 at less than 0.6 nats per token."""
    pleased = [
        "I loved every minute of this film",
        "The acting was wonderful and moving",
        "What a beautiful, joyful story",
        "The meal was delicious and the staff were kind",
        "It was the best day of my life",
        "This is a great product, and I am delighted",
        "The music was lovely and made me smile",
        "She was proud and full of hope",
    ]
    displeased = [
        "I hated every minute of this film",
        "The acting was terrible and boring",
        "What an ugly, miserable story",
        "The meal was disgusting and the staff were rude",
        "It was the worst day of my life",
        "This is an awful product, and I am furious",
        "The music was horrible and made me cry",
        "She was ashamed and full of despair",
    ]
    prompts = ["The film was", "I went to the restaurant and", "When I think of my job, I", "The book is", "My neighbor is"]
    prompts += ["The weather today", "The hotel room was", "Our trip to the coast", "The new phone", "Last night's concert"]
    model, tokenizer = smollm2
    concept = ContrastiveConcept(ModelWithSplitPoints(model, 14, tokenizer=tokenizer), "mean").fit(pleased, displeased)
    assert concept.agreement == 1.0
    steering = Steering.add(concept, 0, unit=float(concept.get_dictionary().norm()))
    positive = ClassProbability(*demo.load_classifier(), "positive")
    found = compare_steering(model, prompts, steering, [1], effect=positive, max_new_tokens=20, n_random=10)
    assert float(found.change[1]) >= 0.3 and float(found.cost[1]) <= 0.6
    assert found.suggested == 1.0 and float(found.control_change[:, 1].abs().max()) < float(found.change[1])
