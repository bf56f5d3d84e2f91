"""Zero-shot classifiers: brute force on pixels with the model's own scores, sums, and labels that are embedded once."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from interpreto import (
    AttentionRollout,
    AttnLrp,
    BidirectionalAttention,
    Contrast,
    DeepLift,
    GenericAttention,
    GradCam,
    IntegratedGradients,
    KernelShap,
    LayerCam,
    Lime,
    Occlusion,
    RawAttention,
    Rise,
    Saliency,
    ScoreCam,
    SmoothGrad,
    Sobol,
    TransitionAttention,
    ValueZeroing,
    ZeroShotClassifier,
)
from interpreto.errors import InputError, ModelError, OptionError, TargetError, TokenizerError
from interpreto.inputs.regions import grid
from interpreto.metrics import Deletion
from interpreto.models.image_text import tokenized
from tests import tiny
from tests.tiny_images import PAIRED, array, image_model, image_processor, paired

LABELS = ["a cat", "the old dog barks", "the film"]
CUT = grid(2, 2)


def classifier(family, **options):
    return ZeroShotClassifier(*paired(family), LABELS, **options)


def own_scores(family, pixels):
    """Return what the model itself calls `logits_per_image`."""
    model, processor = paired(family)
    with torch.no_grad():
        return model(**tokenized(model, processor.tokenizer, LABELS, "labels"), pixel_values=pixels).logits_per_image


@pytest.mark.parametrize("family", PAIRED)
def test_occlusion_is_brute_force_with_the_models_own_scores(family):
    out = Occlusion(classifier(family), granularity=CUT)(array(), [0, 1, 2])[0]
    picture = out.sample.picture
    whole = own_scores(family, picture.pixels[None])[0]
    torch.testing.assert_close(out.base_scores, whole, rtol=1e-5, atol=1e-5)
    for unit in range(4):
        masked = torch.where(picture.regions == unit, picture.of_kind(1), picture.pixels)
        lost = whole - own_scores(family, masked[None])[0]
        torch.testing.assert_close(out.attributions[:, unit], lost, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", PAIRED)
@pytest.mark.parametrize("method", [KernelShap, IntegratedGradients, DeepLift])
def test_values_sum_to_the_gap(family, method):
    options = {"n_perturbations": 64} if method is not DeepLift else {}
    out = method(classifier(family), granularity=CUT, **options)(array(), [0, 1, 2])[0]
    gap = out.base_scores - out.reference_scores
    torch.testing.assert_close(out.attributions.sum(1), gap, rtol=1e-3, atol=1e-4)


def test_texts_are_embedded_once_and_never_for_a_perturbed_image():
    model, processor = paired("clip")
    calls = {"texts": 0, "images": 0}
    handles = [
        part.register_forward_hook(lambda *_, name=name: calls.__setitem__(name, calls[name] + 1))
        for name, part in (("texts", model.text_model), ("images", model.vision_model))
    ]
    try:
        made = ZeroShotClassifier(model, processor, LABELS)
        once = calls["texts"]
        Occlusion(made, batch_size=1)(array())
        IntegratedGradients(made, n_perturbations=4)(array(), "the film")
    finally:
        for handle in handles:
            handle.remove()
    assert once == 2  # for the labels, and for the check against the model's own scores
    assert calls["texts"] == once and calls["images"] > 17


def test_classes_are_named_by_labels_everywhere():
    made = classifier("clip")
    explainer = Occlusion(made, granularity=CUT)
    assert explainer(array(), "the film")[0].target_labels == ["the film"]
    assert explainer(array(), Contrast("a cat", "the film"))[0].target_labels == ["a cat − the film"]
    assert explainer(array(), "all")[0].target_labels == LABELS
    assert explainer(array(), labels="a cat")[0].label == "a cat"
    with pytest.raises(TargetError, match="a cat"):
        explainer(array(), "a car")
    score = Deletion(made).run(explainer(array())).score
    assert score == Deletion(made).run(explainer(array())).score


def test_names_and_templates():
    model, processor = paired("clip")
    plain = ZeroShotClassifier(model, processor, ["a picture of the film", "a picture of the dog"])
    named = ZeroShotClassifier(model, processor, {"film": "the film", "dog": "the dog"}, template="a picture of {}")
    torch.testing.assert_close(named.label_embeddings, plain.label_embeddings)
    assert named.config.id2label == {0: "film", 1: "dog"}


def test_siglip_judges_each_label_and_clip_compares_them():
    probability = Occlusion(classifier("siglip"), granularity=CUT, inference_mode="sigmoid")(array(), [0, 1, 2])[0].base_scores
    whole = own_scores("siglip", Occlusion(classifier("siglip"))(array())[0].sample.picture.pixels[None])[0]
    torch.testing.assert_close(probability, whole.sigmoid(), rtol=1e-4, atol=1e-5)
    total = Occlusion(classifier("clip"), granularity=CUT, inference_mode="softmax")(array(), "all")[0].base_scores.sum()
    assert float(total) == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("family", PAIRED)
@pytest.mark.parametrize("method", [Lime, Sobol, Rise, Saliency, SmoothGrad, AttnLrp, GradCam, LayerCam, ScoreCam])
def test_methods_of_image_models_run(family, method):
    out = method(classifier(family))([array(), array(seed=3)], "the film")
    assert all(each.attributions.shape == (1, 16) and each.attributions.isfinite().all() for each in out)


ATTENTION = [RawAttention, AttentionRollout, GenericAttention, BidirectionalAttention, TransitionAttention, ValueZeroing]


@pytest.mark.slow
@pytest.mark.parametrize("method", ATTENTION)
def test_attention_of_patches_and_no_attention_where_a_learned_query_pools(method):
    assert float(method(classifier("clip"))(array(), "the film")[0].attributions.abs().sum()) > 0
    with pytest.raises(ModelError, match=r"SiglipModel attends with weights \(1, 16\)"):
        method(classifier("siglip"))(array())


def test_the_model_is_left_as_it_was():
    model, _ = paired("clip")
    model.train()
    try:
        made = classifier("clip")
        Occlusion(made, granularity=CUT)(array())
        assert model.training and all(module.training for module in model.modules())
    finally:
        model.eval()


def test_wrong_arguments_are_refused_by_name():
    model, processor = paired("clip")
    with pytest.raises(ModelError, match=r"ViTForImageClassification.*compares images with texts"):
        ZeroShotClassifier(image_model("vit"), processor, LABELS)
    for labels in ([], "a cat", ["a cat", ""]):
        with pytest.raises(OptionError, match="`labels`"):
            ZeroShotClassifier(model, processor, labels)
    with pytest.raises(OptionError, match="'a cat' is there twice"):
        ZeroShotClassifier(model, processor, ["a cat", "a cat"])
    with pytest.raises(OptionError, match="`template`"):
        ZeroShotClassifier(model, processor, LABELS, template="a photo")
    with pytest.raises(TokenizerError, match="holds no tokenizer"):
        ZeroShotClassifier(model, image_processor(), LABELS)
    with pytest.raises(InputError, match="the model takes 16"):
        ZeroShotClassifier(model, processor, [" ".join(["film"] * 20)])
    other = SimpleNamespace(image_processor=processor.image_processor)
    assert ZeroShotClassifier(model, other, LABELS, tokenizer=tiny.wordpiece(False)).config.id2label[0] == "a cat"


@pytest.mark.slow
def test_a_folder_holds_the_model_and_its_processor(tmp_path):
    model, processor = paired("clip")
    for part in (model, processor.tokenizer, processor.image_processor):
        part.save_pretrained(tmp_path)
    found = ZeroShotClassifier.from_folder(tmp_path, LABELS)
    torch.testing.assert_close(found.label_embeddings, classifier("clip").label_embeddings, rtol=1e-4, atol=1e-5)
