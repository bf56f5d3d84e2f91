"""Concepts of image models: patches and places of maps as rows, exact outputs, importances, and top patches."""

from __future__ import annotations

import base64
import json
import re

import numpy as np
import pytest
import torch

from interpreto import ModelWithSplitPoints, plot_patches
from interpreto.concepts import NeuronsAsConcepts, NMFConcepts, sobol_importance
from interpreto.concepts.interpretations import TopPatches, concept_maps
from interpreto.errors import FileError, InputError, ModelError, OptionError
from interpreto.visualizations.patches import patches_to_html
from tests import tiny
from tests.tiny_images import PooledImages, array, as_tensor, image_model, image_processor

IMAGES = [array(), array(seed=2), array(seed=3)]
POINTS = {
    "vit": 0,
    "beit": 0,
    "dinov2": 0,
    "swin": "swin.encoder.layers.0",
    "resnet": "resnet.encoder.stages.0",
    "convnext": "convnext.encoder.stages.0",
}
SLOW = [name if name in ("vit", "resnet") else pytest.param(name, marks=pytest.mark.slow) for name in POINTS]


def pixels():
    return image_processor()(images=IMAGES, return_tensors="pt")["pixel_values"]


def test_rows_are_the_models_own_hidden_states():
    model = image_model("vit")
    splitter = ModelWithSplitPoints(model, [0, 1], tokenizer=image_processor())
    activations, classes = splitter.get_activations(IMAGES, include_predicted_classes=True)
    with torch.no_grad():
        output = model(pixel_values=pixels(), output_hidden_states=True)
    for i, name in enumerate(splitter.split_points):
        torch.testing.assert_close(activations[name].view(3, 16, -1), output.hidden_states[i + 1][:, 1:], rtol=1e-4, atol=1e-5)
    assert classes.tolist() == output.logits.argmax(-1).tolist()
    name, states = splitter.split_points[0], output.hidden_states[1]
    tokens = splitter.get_activations(IMAGES, "all_tokens")[name].view(3, 17, -1)
    torch.testing.assert_close(tokens, torch.cat([states[:, 1:], states[:, :1]], 1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(splitter.get_activations(IMAGES, "cls_token")[name], states[:, 0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(splitter.get_activations(IMAGES, "sample")[name], states[:, 1:].mean(1), rtol=1e-4, atol=1e-5)


def test_rows_of_maps_go_from_left_to_right_and_down():
    model = image_model("resnet")
    splitter = ModelWithSplitPoints(model, POINTS["resnet"], tokenizer=image_processor())
    found = []
    handle = model.resnet.encoder.stages[0].register_forward_hook(lambda _m, _i, out: found.append(out))
    try:
        with torch.no_grad():
            model(pixel_values=pixels())
    finally:
        handle.remove()
    (own,) = splitter.get_activations(IMAGES).values()
    torch.testing.assert_close(own.view(3, -1, own.shape[1]), found[0].flatten(2).transpose(1, 2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", SLOW)
def test_the_model_run_on_from_its_activations_returns_its_logits(family):
    model = image_model(family)
    splitter = ModelWithSplitPoints(model, POINTS[family], tokenizer=image_processor())
    samples = splitter.samples(IMAGES)
    hidden = splitter.batch_activations(samples)
    with torch.no_grad():
        logits = model(pixel_values=pixels()).logits
    torch.testing.assert_close(splitter.outputs_from(samples, hidden), logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(splitter.edited_outputs(IMAGES, lambda h: h), logits, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(
        splitter.edited_outputs(IMAGES, lambda h: h + torch.linspace(-1, 1, h.shape[-1])), logits, atol=1e-5
    )
    with splitter.editing(lambda h: h * 0), torch.no_grad():
        emptied = model(pixel_values=pixels()).logits
    torch.testing.assert_close(emptied, splitter.edited_outputs(IMAGES, lambda h: h * 0), rtol=1e-4, atol=1e-5)


def test_gradients_of_concepts_are_those_of_finite_differences():
    splitter = ModelWithSplitPoints(image_model("resnet"), POINTS["resnet"], tokenizer=image_processor())
    concepts = NMFConcepts(splitter, nb_concepts=3, force_relu=True).fit(splitter.get_activations(IMAGES))
    options = {"concepts_x_gradients": False, "normalization": False}
    found = concepts.concept_output_gradient(IMAGES[:1], targets=[1], **options)[0][0]
    samples = splitter.samples(IMAGES[:1])
    hidden = splitter.batch_activations(samples)
    step = 1e-2 * concepts.get_dictionary()[2]
    moved = hidden.clone()
    moved[0, 5] += step
    change = splitter.outputs_from(samples, moved)[0, 1] - splitter.outputs_from(samples, hidden)[0, 1]
    torch.testing.assert_close(found[5, 2], change.detach() / 1e-2, rtol=5e-2, atol=1e-4)


@pytest.mark.slow
def test_sobol_importance_of_concepts_of_images():
    splitter = ModelWithSplitPoints(image_model("resnet"), POINTS["resnet"], tokenizer=image_processor())
    concepts = NMFConcepts(splitter, nb_concepts=2, force_relu=True).fit(splitter.get_activations(IMAGES))
    values = sobol_importance(concepts, IMAGES, 1, n_masks=16).values
    assert values.shape == (2,) and bool((values >= 0).all())


def test_top_patches_are_the_largest_of_each_image():
    splitter = ModelWithSplitPoints(image_model("vit"), 0, tokenizer=image_processor())
    activations = splitter.get_activations(IMAGES)
    neurons = NeuronsAsConcepts(splitter).fit(activations)
    rows = activations[splitter.split_point].view(3, 16, -1)
    found = TopPatches(neurons, k=2).interpret(IMAGES, [4, 7])
    for concept, patches in found.items():
        best, places = rows[..., concept].max(1)
        order = best.argsort(descending=True)[:2]
        assert [patch.image for patch in patches] == order.tolist()
        names = [f"row {int(places[i]) // 4 + 1}, column {int(places[i]) % 4 + 1}" for i in order]
        assert [patch.unit for patch in patches] == names
        top, left = 8 * (int(places[order[0]]) // 4), 8 * (int(places[order[0]]) % 4)
        assert patches[0].box == (top, left, top + 8, left + 8)
        assert np.array_equal(patches[0].crop(), patches[0].picture.shown[top : top + 8, left : left + 8].numpy())
    every = TopPatches(neurons, k=3, per_image=16).interpret(IMAGES, 4)[4]
    torch.testing.assert_close(torch.tensor([patch.activation for patch in every]), rows[..., 4].flatten().topk(3).values)


def test_maps_have_the_value_of_each_patch_at_its_pixels():
    splitter = ModelWithSplitPoints(image_model("vit"), 0, tokenizer=image_processor())
    activations = splitter.get_activations(IMAGES[:1])
    (maps,) = concept_maps(NeuronsAsConcepts(splitter).fit(activations), IMAGES[0])
    expected = activations[splitter.split_point].T.view(-1, 4, 4).repeat_interleave(8, 1).repeat_interleave(8, 2)
    torch.testing.assert_close(maps, expected)


def test_a_figure_has_a_row_per_concept_with_its_crops_and_maps(tmp_path):
    pytest.importorskip("matplotlib")
    splitter = ModelWithSplitPoints(image_model("vit"), 0, tokenizer=image_processor())
    neurons = NeuronsAsConcepts(splitter).fit(splitter.get_activations(IMAGES))
    figure = plot_patches(neurons, IMAGES, [1, 2], over=IMAGES[0], k=2, margin=4, names={2: "edges"}, path=tmp_path / "c.png")
    titles = {text for axes in figure.axes for text in (axes.get_title("left"), axes.get_title())}
    assert {"concept 1", "edges"} <= titles and (tmp_path / "c.png").stat().st_size > 1000


def test_a_page_has_crops_and_maps_of_the_images_that_they_lie_in(tmp_path):
    splitter = ModelWithSplitPoints(image_model("vit"), 0, tokenizer=image_processor())
    neurons = NeuronsAsConcepts(splitter).fit(splitter.get_activations(IMAGES))
    page = patches_to_html(neurons, IMAGES, [1, 2], over=IMAGES[0], k=2, path=tmp_path / "c.html", title="Edges & corners")
    assert (tmp_path / "c.html").read_text("utf-8") == page and "Edges &amp; corners" in page
    data = json.loads(re.search(r'<script type="application/json">(.*?)</script>', page, re.DOTALL).group(1))
    top = TopPatches(neurons, 2).interpret(IMAGES, [1, 2])
    assert [one["id"] for one in data["concepts"]] == [1, 2] and data["images"][-1]["title"] == "further image 1"
    for one in data["concepts"]:
        for (at, unit, value, box), patch in zip(one["patches"], top[one["id"]], strict=True):
            assert data["images"][at]["units"][unit] == patch.unit and tuple(box) == patch.box
            amounts = np.frombuffer(base64.b64decode(one["maps"][at]), "<f4")
            assert amounts[unit] == pytest.approx(patch.activation, rel=1e-4) == pytest.approx(value, rel=1e-6)
    with pytest.raises(FileError):
        patches_to_html(neurons, IMAGES, path=tmp_path / "nowhere" / "c.html")


def test_plain_modules_and_refusals():
    splitter = ModelWithSplitPoints(PooledImages(), "features", tokenizer=as_tensor)
    assert splitter.get_activations(array(12, 10))["features"].shape == (6 * 5, 6)
    with pytest.raises(InputError, match="no class token"):
        splitter.get_activations(array(12, 10), "cls_token")
    with pytest.raises(OptionError, match="which texts have"):
        splitter.get_activations(array(12, 10), "sentence")
    both = ModelWithSplitPoints(
        image_model("convnext"), ["convnext.encoder.stages.0", "convnext.encoder.stages.1"], tokenizer=image_processor()
    )
    with pytest.raises(ModelError, match="a splitter for each"):
        both.get_activations(IMAGES)
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    of_texts = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
    words = NeuronsAsConcepts(of_texts).fit(of_texts.get_activations(["A film."]))
    with pytest.raises(OptionError, match="TopKInputs"):
        TopPatches(words).interpret(["A film."])
