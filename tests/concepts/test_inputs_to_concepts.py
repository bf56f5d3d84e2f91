"""Inputs to concepts: a model like another."""

import pytest
import torch

from interpreto import (
    GradientShap,
    InputXGradient,
    IntegratedGradients,
    KernelShap,
    Lime,
    Occlusion,
    Saliency,
    SmoothGrad,
    Sobol,
    SquareGrad,
    VarGrad,
    demo,
)
from interpreto.concepts import KMeansConcepts, NeuronsAsConcepts, PCAConcepts, SemiNMFConcepts
from interpreto.concepts.splitters import ModelWithSplitPoints, SplitterForClassification, SplitterForGeneration
from interpreto.errors import ModelError
from tests.tiny import CAUSAL_LMS, CLASSIFIERS, SENTENCES, SEQ2SEQ

MASKS = {Occlusion: {}, Lime: {"n_perturbations": 20}, KernelShap: {"n_perturbations": 40}, Sobol: {"n_token_perturbations": 4}}
GRADIENTS = [Saliency, InputXGradient, IntegratedGradients, SmoothGrad, SquareGrad, VarGrad, GradientShap]
CLASSIFICATION = ["bert", "roberta", "modernbert", "xlnet", "gpt2", "llama", "qwen3"]


def for_classification(name="bert", concepts=4):
    model, tokenizer = CLASSIFIERS[name]()
    splitter = SplitterForClassification(model, tokenizer=tokenizer)
    rows, _ = splitter.get_activations(SENTENCES)
    return PCAConcepts(splitter, nb_concepts=concepts).fit(rows)


def of_tokens(factory=CLASSIFIERS["bert"], point=0, concepts=4, kind=PCAConcepts):
    model, tokenizer = factory()
    splitter = ModelWithSplitPoints(model, point, tokenizer=tokenizer)
    return kind(splitter, nb_concepts=concepts).fit(splitter.get_activations(SENTENCES))


def assert_close(one, other, tolerance=1e-5):
    assert one.shape == other.shape
    assert (one - other).abs().max() <= tolerance * max(1.0, float(other.abs().max()))


def alone(bridge, tokenizer, texts=SENTENCES):
    with torch.no_grad():
        return torch.cat([bridge(**tokenizer(text, return_tensors="pt")).logits for text in texts])


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_outputs_of_a_classification_splitter_are_its_concepts(name):
    explainer = for_classification(name)
    expected = explainer.encode_activations(explainer.splitter.inputs_to_activations(SENTENCES))
    assert_close(alone(explainer.get_inputs_to_concepts_model(), explainer.splitter.tokenizer), expected)


@pytest.mark.parametrize(
    ("factory", "point"),
    [(CLASSIFIERS["bert"], 1), (CAUSAL_LMS["gpt2"], 0), (CAUSAL_LMS["llama"], 1), (SEQ2SEQ["t5"], "encoder.block.0")],
)
def test_outputs_of_other_splitters_are_pooled_over_the_text_s_tokens(factory, point):
    explainer = of_tokens(factory, point)
    splitter = explainer.splitter
    per_text = splitter.get_activations(SENTENCES)[explainer.split_point].split(
        [len(s.units) for s in splitter.samples(SENTENCES)]
    )
    codes = [explainer.encode_activations(rows) for rows in per_text]
    for pooling, expected in (
        ("mean", torch.stack([code.mean(0) for code in codes])),
        ("max", torch.stack([code.amax(0) for code in codes])),
    ):
        assert_close(alone(explainer.get_inputs_to_concepts_model(pooling), splitter.tokenizer), expected)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("kind", ["classification", "tokens"])
@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2", "llama"])
def test_neither_padding_nor_company_changes_anything(name, kind, side):
    explainer = for_classification(name) if kind == "classification" else of_tokens(CLASSIFIERS[name])
    bridge, tokenizer = explainer.get_inputs_to_concepts_model(), explainer.splitter.tokenizer
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token or "</s>"
    expected = alone(bridge, tokenizer)
    tokenizer.padding_side = side
    with torch.no_grad():
        assert_close(bridge(**tokenizer(SENTENCES, padding=True, return_tensors="pt")).logits, expected)


def test_a_pooler_has_one_row_a_text():
    model, tokenizer = CLASSIFIERS["bert"]()
    splitter = ModelWithSplitPoints(model, "bert.pooler", tokenizer=tokenizer)
    explainer = PCAConcepts(splitter, nb_concepts=3).fit(splitter.get_activations(SENTENCES, "sample"))
    expected = explainer.encode_activations(splitter.get_activations(SENTENCES, "sample"))
    assert_close(alone(explainer.get_inputs_to_concepts_model(), tokenizer), expected)


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama"])
@pytest.mark.parametrize("kind", ["classification", "tokens"])
def test_occlusion_is_the_concept_lost_without_a_word(kind, name):
    explainer = for_classification(name) if kind == "classification" else of_tokens(CLASSIFIERS[name])
    bridge, tokenizer = explainer.get_inputs_to_concepts_model(), explainer.splitter.tokenizer
    outputs = Occlusion(bridge, tokenizer, replacement=5)(SENTENCES[:4])
    for output, text in zip(outputs, SENTENCES, strict=False):
        assert output.attributions.shape == (4, len(output.elements))
        assert output.target_labels == [f"concept {i}" for i in range(4)]
        base = alone(bridge, tokenizer, [text])[0]
        assert_close(output.base_scores, base)
        for u in (0, len(output.elements) - 1):
            changed = torch.where(output.sample.units.index == u, 5, output.sample.input_ids)
            with torch.no_grad():
                assert_close(output.attributions[:, u], base - bridge(input_ids=changed[None]).logits[0])


@pytest.mark.parametrize("method", MASKS)
@pytest.mark.parametrize("kind", ["classification", "tokens"])
def test_every_method_that_perturbs(kind, method):
    explainer = for_classification() if kind == "classification" else of_tokens()
    bridge = explainer.get_inputs_to_concepts_model()
    for replacement in ("auto", "mean", "attention", "drop", "pad") if method is Occlusion else ("auto",):
        (output,) = method(bridge, explainer.splitter.tokenizer, replacement=replacement, **MASKS[method])(
            SENTENCES[2], targets=torch.arange(3)
        )
        assert output.attributions.shape == (3, len(output.elements))
        assert output.attributions.isfinite().all()
        assert output.attributions.abs().max() > 0


def test_kernel_shap_is_efficient():
    explainer = of_tokens()
    (output,) = KernelShap(explainer.get_inputs_to_concepts_model(), explainer.splitter.tokenizer)(SENTENCES[1])
    assert_close(output.attributions.sum(1), (output.base_scores - output.reference_scores).float(), 1e-4)


@pytest.mark.filterwarnings("ignore::interpreto.errors.CompletenessWarning")  # few steps
@pytest.mark.parametrize("method", GRADIENTS)
@pytest.mark.parametrize("name", ["bert", "llama"])
def test_every_method_that_differentiates(name, method):
    for explainer in (for_classification(name), of_tokens(CLASSIFIERS[name])):
        bridge = explainer.get_inputs_to_concepts_model()
        options = {} if method in (Saliency, InputXGradient) else {"n_perturbations": 4}
        outputs = method(bridge, explainer.splitter.tokenizer, **options)(SENTENCES[1:3], targets=[[0, 3], [1]])
        for output in outputs:
            assert output.attributions.isfinite().all()
            assert output.attributions.abs().max() > 0


def test_input_x_gradient_is_that_of_plain_autograd():
    explainer = of_tokens()
    model, tokenizer = explainer.splitter.model, explainer.splitter.tokenizer
    (output,) = InputXGradient(explainer.get_inputs_to_concepts_model(), tokenizer, granularity="token")(SENTENCES[3], [2])
    encoded = tokenizer(SENTENCES[3], return_tensors="pt")
    embeddings = model.get_input_embeddings()(encoded["input_ids"]).detach().requires_grad_()
    states = model.bert(
        inputs_embeds=embeddings, attention_mask=encoded["attention_mask"], output_hidden_states=True
    ).hidden_states
    concept = explainer.encode_activations(states[1][0, 1:-1]).mean(0)[2]
    (gradient,) = torch.autograd.grad(concept, embeddings)
    assert_close(output.attributions[0], (gradient * embeddings)[0, 1:-1].sum(-1).detach())


@pytest.mark.parametrize(("family", "point"), [("t5", "encoder.block.0"), ("bart", "model.encoder.layers.0")])
def test_gradients_of_an_encoder_decoder_are_in_what_its_encoder_reads(family, point):
    explainer = of_tokens(SEQ2SEQ[family], point)
    tokenizer, encoder = explainer.splitter.tokenizer, explainer.splitter.model.get_encoder()
    bridge = explainer.get_inputs_to_concepts_model()
    (output,) = InputXGradient(bridge, tokenizer, granularity="all_tokens")(SENTENCES[3], [2])
    ids = output.sample.input_ids[None]
    embeddings = encoder.get_input_embeddings()(ids).detach().requires_grad_()
    states = encoder(inputs_embeds=embeddings, output_hidden_states=True).hidden_states[1][0]
    inside = ~torch.isin(ids[0], torch.tensor(tokenizer.all_special_ids))
    concept = explainer.encode_activations(states[inside]).mean(0)[2]
    (gradient,) = torch.autograd.grad(concept, embeddings)
    assert_close(output.attributions[0], (gradient * embeddings)[0].sum(-1).detach())


def test_integrated_gradients_are_complete():
    explainer = of_tokens()
    (output,) = IntegratedGradients(
        explainer.get_inputs_to_concepts_model(), explainer.splitter.tokenizer, n_perturbations=128
    )(SENTENCES[3])
    assert output.residual.abs().max() < 0.02 * (output.base_scores - output.reference_scores).abs().max()


def test_without_a_differentiable_encoder_gradients_say_why_and_masks_work():
    model, tokenizer = CLASSIFIERS["bert"]()
    splitter = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
    explainer = KMeansConcepts(splitter, nb_concepts=3, temperature=0.0).fit(splitter.get_activations(SENTENCES))
    bridge = explainer.get_inputs_to_concepts_model()
    with pytest.raises(ModelError, match="such as Occlusion"):
        Saliency(bridge, tokenizer)(SENTENCES[1])
    assert Occlusion(bridge, tokenizer)(SENTENCES[1])[0].attributions.isfinite().all()


def test_a_text_of_special_tokens_alone_has_concepts():
    explainer = of_tokens()
    tokenizer = explainer.splitter.tokenizer
    bridge = explainer.get_inputs_to_concepts_model()
    ids = torch.tensor([[tokenizer.cls_token_id, tokenizer.sep_token_id]])
    for mask in (torch.ones_like(ids), torch.zeros_like(ids)):
        with torch.no_grad():
            assert bridge(input_ids=ids, attention_mask=mask).logits.isfinite().all()


def test_nothing_of_the_model_is_changed():
    explainer = for_classification("llama")
    model, tokenizer = explainer.splitter.model, explainer.splitter.tokenizer
    model.train()
    config, names = model.config.to_dict(), dict(model.config.id2label)
    bridge = explainer.get_inputs_to_concepts_model()
    Occlusion(bridge, tokenizer)(SENTENCES[:3])
    InputXGradient(bridge, tokenizer)(SENTENCES[:3])
    assert model.config.to_dict() == config
    assert model.config.id2label == names
    assert all(module.training for module in model.modules())
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_a_generation_splitter_is_only_read():
    model, tokenizer = CAUSAL_LMS["gpt2"]()
    splitter = SplitterForGeneration(model, 1, tokenizer, max_new_tokens=2)
    explainer = NeuronsAsConcepts(splitter).fit(splitter.get_activations(SENTENCES[:2]))
    bridge = explainer.get_inputs_to_concepts_model()
    model.generate = lambda *_, **__: pytest.fail("the model wrote")
    (output,) = Occlusion(bridge, tokenizer)(SENTENCES[3], targets=[0, 31])
    assert output.attributions.shape == (2, len(output.elements))


@pytest.mark.parametrize("targets", [torch.tensor([3, 1]), [3, 1], (3, 1), ["concept 3", "concept 1"]])
def test_concepts_asked_for_are_those_of_every_input(targets):
    model, tokenizer = demo.load_classifier()
    splitter = ModelWithSplitPoints(model, [1], tokenizer=tokenizer)
    explainer = PCAConcepts(splitter, nb_concepts=4).fit(splitter.get_activations(SENTENCES))
    occlusion = Occlusion(explainer.get_inputs_to_concepts_model(), tokenizer)
    for few in (SENTENCES[:1], SENTENCES[:2], SENTENCES[:3]):
        outputs = occlusion(few, targets=targets)
        assert [output.targets.tolist() for output in outputs] == [[3, 1]] * len(few)
    by_input = occlusion(SENTENCES[:2], targets=torch.tensor([[0], [2]]))
    assert [output.targets.tolist() for output in by_input] == [[0], [2]]


def test_the_second_example_of_the_reference_on_the_embedded_classifier():
    model, tokenizer = demo.load_classifier()
    texts = [sentence.text for sentence in demo.load_sentences("movie")[:200]]
    splitter = SplitterForClassification(model, tokenizer=tokenizer, batch_size=64)
    activations, predictions = splitter.get_activations(texts, tqdm_bar=False)
    concept_explainer = SemiNMFConcepts(splitter, nb_concepts=20)
    concept_explainer.fit(activations)
    bridge = concept_explainer.get_inputs_to_concepts_model()
    (output,) = Occlusion(bridge, splitter.tokenizer, batch_size=256).explain(texts[0], targets=torch.arange(5))
    assert output.attributions.shape == (5, len(output.elements))
    assert output.target_labels == [f"concept {i}" for i in range(5)]
    codes = concept_explainer.encode_activations(activations[:1])[0, :5]
    assert_close(output.base_scores.float(), codes, 1e-3)
    assert predictions.shape == (200,)


@pytest.mark.slow
def test_the_second_example_on_many_sentences():
    model, tokenizer = demo.load_classifier()
    texts = [sentence.text for sentence in demo.load_sentences()[::5]]
    splitter = SplitterForClassification(model, tokenizer=tokenizer)
    activations, _ = splitter.get_activations(texts)
    explainer = SemiNMFConcepts(splitter, nb_concepts=20).fit(activations)
    bridge, few = explainer.get_inputs_to_concepts_model(), texts[::100]
    outputs = Occlusion(bridge, splitter.tokenizer, batch_size=256).explain(few, targets=torch.arange(5))
    codes = explainer.encode_activations(activations[::100])[:, :5]
    assert len(outputs) == 11
    for output, code in zip(outputs, codes, strict=True):
        assert_close(output.base_scores.float(), code, 1e-3)
        assert output.attributions.abs().max() > 0
