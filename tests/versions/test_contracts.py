"""The numbers, the contracts and the tools that every supported release of transformers must have.

`make test-versions` runs this folder with the lowest, the pinned and the newest release, and with two in between. All families
and methods are tested elsewhere, with the pinned release.
"""

from __future__ import annotations

import pytest
import torch

from interpreto import BlackBox, IntegratedGradients, KernelShap, ModelWithSplitPoints, Occlusion
from interpreto.concepts import PCAConcepts
from tests import tiny
from tests.contracts.test_hands_off import assert_untouched, snapshot
from tests.reference import Reference
from tests.versions.families import LANGUAGE_MODELS

pytestmark = pytest.mark.filterwarnings("ignore::interpreto.errors.CompletenessWarning")
CLASSIFIERS = {name: tiny.CLASSIFIERS[name] for name in ("bert", "roberta")}
GENERATORS = LANGUAGE_MODELS | {"t5": tiny.SEQ2SEQ["t5"]}
FAMILIES = {f"{name} classifier": factory for name, factory in CLASSIFIERS.items()} | GENERATORS
METHODS = {
    Occlusion: {"replacement": "mean"},
    KernelShap: {"replacement": "mean", "n_perturbations": 64},  # all coalitions of six units
    IntegratedGradients: {"baseline": "mean", "n_perturbations": 4},
}
PROMPTS, TARGETS = ["A dull story", "No end"], [" fun", " at all"]


class Classifier(Reference):
    """The definitions for logits of classes, which read all units."""

    def score(self, sample, embeddings, k):
        extras = {name: value[None] for name, value in sample.inputs.items()}
        return self.model(inputs_embeds=embeddings[None], **extras).logits[0, sample.targets.readouts[0].ids[k]]

    def players(self, sample, k):
        return list(range(len(sample.units)))


def precise(family):
    """The model in float64, where steep models do not amplify rounding, its tokenizer, and a bound on relative errors.

    GPT-2 stays in float32 before transformers 4.52: in 4.46.3 its own forward raises in float64, where it fills its causal mask
    ("value cannot be converted to type float without overflow").
    """
    model, tokenizer = FAMILIES[family]()
    if family == "gpt2" and tiny.RELEASE < (4, 52):
        return model, tokenizer, 2e-4
    return model.double(), tokenizer, 1e-5


def explained(method, family, parts, inputs=PROMPTS, targets=TARGETS, **options):
    explainer = method(*parts, **METHODS[method], **options)
    return explainer(inputs, [0] * len(inputs) if "classifier" in family else targets)


def assert_near(found, wanted, bound):
    """Equal to ``bound`` of the largest value, and NaN at the same places."""
    assert torch.equal(found.isnan(), wanted.isnan())
    scale = max(1.0, float(wanted.nan_to_num().abs().max()))
    assert float((found - wanted).nan_to_num().abs().max()) <= bound * scale


@pytest.mark.parametrize("family", FAMILIES)
def test_attributions_are_those_of_their_definitions(family):
    model, tokenizer, bound = precise(family)
    reference = (Classifier if "classifier" in family else Reference)(model, tokenizer)
    for output in explained(Occlusion, family, (model, tokenizer)):
        assert_near(output.attributions, reference.occlusion(output.sample), bound)
    for output in explained(KernelShap, family, (model, tokenizer)):
        assert output.sample.players <= 6
        assert_near(output.attributions, reference.shapley(output.sample), bound)
    for output in explained(IntegratedGradients, family, (model, tokenizer)):
        assert_near(output.attributions, reference.integrated_gradients(output.sample, 4), bound)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.__name__)
def test_batches_and_order_change_nothing(method, family):
    model, tokenizer, bound = precise(family)
    prompts, targets = ["The worst movie I have seen this year", *PROMPTS], [" so good", *TARGETS]
    many = explained(method, family, (model, tokenizer), prompts[::-1], targets[::-1])[::-1]
    for prompt, target, together in zip(prompts, targets, many, strict=True):
        alone = explained(method, family, (model, tokenizer), [prompt], [target], batch_size=1)[0]
        assert alone.elements == together.elements and alone.target_labels == together.target_labels
        assert_near(together.attributions, alone.attributions, bound)
        assert_near(together.base_scores, alone.base_scores, bound)


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_is_changed(family):
    model, tokenizer = FAMILIES[family]()
    model.train()
    next(iter(model.children())).eval()
    next(model.parameters()).requires_grad_(False)
    before = snapshot(model, tokenizer)
    for method in METHODS:
        explained(method, family, (model, tokenizer))
        assert_untouched(before, snapshot(model, tokenizer))


@pytest.mark.parametrize("truncates", [True, False])
@pytest.mark.parametrize("family", ["gpt2", "llama", "t5"])
def test_the_settings_of_a_tokenizers_backend_are_kept(family, truncates):
    model, tokenizer = FAMILIES[family]()
    if truncates:
        tokenizer.backend_tokenizer.enable_truncation(max_length=5)
    else:
        tokenizer.backend_tokenizer.enable_padding(pad_id=0, pad_token="<unk>", length=9)
    before = tokenizer.backend_tokenizer.to_str()
    Occlusion(model, tokenizer)("A dull story with no end in sight", " at all, she said, but good")
    assert tokenizer.backend_tokenizer.to_str() == before


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_activations_are_those_of_a_hook(family):
    model, tokenizer = tiny.CLASSIFIERS[family]()
    splitter = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
    ((path, found),) = splitter.get_activations(PROMPTS, "all_tokens").items()
    rows = []

    def keep(_module, _inputs, output):
        rows.append((output[0] if isinstance(output, tuple) else output)[0])

    handle = model.get_submodule(path).register_forward_hook(keep)
    with torch.no_grad():
        for text in PROMPTS:
            model(**tokenizer(text, return_tensors="pt"))
    handle.remove()
    assert_near(found, torch.cat(rows), 1e-5)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_effects_of_concepts_are_those_of_edited_activations(family):
    model, tokenizer = tiny.CLASSIFIERS[family]()
    splitter = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
    explainer = PCAConcepts(splitter, nb_concepts=4).fit(splitter.get_activations(tiny.SENTENCES, "token"))
    (gradients,) = explainer.concept_output_gradient(
        PROMPTS[:1], activation_granularity="token", concepts_x_gradients=False, normalization=False
    )
    (sample,) = splitter.samples(PROMPTS[0], "token")

    def logits(unit, moved):
        def edit(_module, _inputs, output):
            hidden = (output[0] if isinstance(output, tuple) else output).clone()
            hidden[0, sample.units.index == unit] += moved
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        handle = model.get_submodule(explainer.split_point).register_forward_hook(edit)
        with torch.no_grad():
            found = model(**tokenizer(PROMPTS[0], return_tensors="pt")).logits[0]
        handle.remove()
        return found

    step = 1e-2
    wanted = torch.zeros_like(gradients)
    for unit in range(gradients.shape[1]):
        for concept, direction in enumerate(explainer.get_dictionary()):
            wanted[:, unit, concept] = (logits(unit, step * direction) - logits(unit, -step * direction)) / (2 * step)
    assert_near(gradients, wanted, 1e-2)  # a finite difference


def test_a_black_box_equals_the_same_model_through_hugging_face():
    model, tokenizer = tiny.CLASSIFIERS["bert"]()

    def scores(texts):
        with torch.no_grad():
            return [model(**tokenizer(text, return_tensors="pt")).logits[0].tolist() for text in texts]

    text = "the film was not good"
    options = {"replacement": "drop", "granularity": "word"}
    for method in (Occlusion, KernelShap):
        inside, outside = method(model, tokenizer, **options)(text, 0)[0], method(BlackBox(scores), **options)(text, 0)[0]
        assert inside.elements == outside.elements
        assert_near(outside.attributions, inside.attributions, 1e-5)
