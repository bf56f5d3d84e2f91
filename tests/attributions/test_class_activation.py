"""Class activation maps: their identities, loops written out, and the values of captum."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from interpreto import Cam, GradCam, LayerCam, ScoreCam, demo
from interpreto.errors import ModelError, OptionError
from interpreto.inputs.regions import grid
from tests.data.grad_cam_package import LAYERS
from tests.data.zennit_lrp import Vgg, picture
from tests.tiny_images import FAMILIES, PooledImages, array, as_tensor, image_model, image_processor

IMAGE = array(16, 16)
PIXELS = as_tensor(IMAGE)[None]
MODEL = PooledImages().eval()
PLACES = grid(8)  # a unit per place of the model's maps


def maps_of_model():
    with torch.no_grad():
        return MODEL.features(PIXELS)[0]


def values(method, target=1, granularity=PLACES, **options):
    return method(MODEL, as_tensor, granularity=granularity, **options)(IMAGE, target)[0].attributions[0]


@pytest.mark.parametrize("units", [PLACES, grid(3, 5), "superpixel", "patch"])
def test_cam_and_the_bias_sum_to_the_score(units):
    out = Cam(MODEL, as_tensor, granularity=units)(IMAGE, [0, 1, 2])[0]
    bias = MODEL.head.bias.detach()
    torch.testing.assert_close(out.reference_scores, bias)
    torch.testing.assert_close(out.attributions.sum(1) + bias, out.base_scores)
    assert float(out.residual.abs().max()) < 1e-5


def test_cam_is_the_maps_weighted_by_the_head():
    cam = torch.einsum("c,chw->hw", MODEL.head.weight[1].detach(), maps_of_model())
    torch.testing.assert_close(values(Cam) * 64, cam.flatten())


def test_grad_cam_is_cam_up_to_scale_and_sign():
    torch.testing.assert_close(values(GradCam, signed=True), values(Cam))
    torch.testing.assert_close(values(GradCam), values(Cam).clamp(min=0))


@pytest.mark.slow
@pytest.mark.parametrize("family", ["resnet", "convnext"])
def test_grad_cam_is_captums_layer_grad_cam(family):
    captum = pytest.importorskip("captum.attr")
    model, processor = image_model(family), image_processor()
    name = {"resnet": "resnet.encoder.stages.1", "convnext": "convnext.encoder.stages.1"}[family]
    layer = model.get_submodule(name)
    pixels = processor(images=array(), return_tensors="pt")["pixel_values"]
    theirs = captum.LayerGradCam(lambda x: model(x).logits, layer).attribute(pixels, target=2)[0, 0].detach()
    ours = GradCam(model, processor, layer=name, signed=True, granularity=grid(*theirs.shape))(array(), 2)[0].attributions[0]
    torch.testing.assert_close(ours, theirs.flatten(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("method", [GradCam, LayerCam])
def test_maps_are_those_of_the_grad_cam_package(method, layer):
    stored = json.loads((Path(__file__).parent.parent / "data" / "grad_cam_package.json").read_text("utf-8"))
    wanted = torch.tensor(stored[f"{method.__name__} {layer}"])
    places = grid(int(len(wanted) ** 0.5))
    options = {"layer": f"layers.{layer}", **({"signed": True} if method is GradCam else {})}
    found = method(Vgg().eval(), as_tensor, granularity=places, **options)(picture(), 1)[0].attributions[0]
    assert float(wanted.abs().max()) > 0
    if layer == LAYERS[0]:  # a place per pixel
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-7)
    else:  # 6 × 6 places over 16 × 16 pixels: those at the corners of units
        own = method(Vgg().eval(), as_tensor, granularity=grid(16), **options)(picture(), 1)[0].attributions[0]
        at = [int((i + 0.5) * 16 / 6) for i in range(6)]
        torch.testing.assert_close(own.view(16, 16)[at][:, at].flatten(), wanted, rtol=1e-4, atol=1e-7)


def test_layer_cam_is_the_formula():
    x = maps_of_model().requires_grad_()
    MODEL.head(x.mean((1, 2)))[1].backward()
    torch.testing.assert_close(values(LayerCam), (x.grad.relu() * x).sum(0).relu().detach().flatten())


def test_score_cam_is_a_loop_over_channels():
    maps, weights = maps_of_model(), []
    with torch.no_grad():
        for each in maps:
            large = F.interpolate(each[None, None], size=(16, 16), mode="bilinear", align_corners=False)[0, 0]
            mask = (large - large.min()) / (large.max() - large.min())
            weights.append(MODEL(PIXELS * mask).logits[0, 1] - MODEL(PIXELS * 0).logits[0, 1])
    expected = torch.einsum("c,chw->hw", torch.stack(weights).softmax(0), maps).relu()
    torch.testing.assert_close(values(ScoreCam), expected.flatten(), rtol=1e-4, atol=1e-6)


def test_score_cam_keeps_the_strongest_channels():
    few = values(ScoreCam, channels=2)
    kept = maps_of_model().square().sum((1, 2)).argsort(descending=True)[:2]
    assert bool((few <= maps_of_model()[kept].amax(0).flatten() + 1e-6).all())


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", [GradCam, LayerCam, ScoreCam])
def test_every_family_has_maps(family, method):
    out = method(image_model(family), image_processor(), granularity="grid")([array(), array(seed=1)], 1)
    assert all(bool(each.attributions.isfinite().all()) and float(each.attributions.min()) >= 0 for each in out)


def test_a_vision_transformer_has_its_maps_in_the_block_before_the_last():
    model, processor = image_model("vit"), image_processor()
    default = GradCam(model, processor, signed=True)(array(), 0)[0].attributions
    name = next(name for name, _ in model.named_modules() if name.endswith(("layer.0", "layers.0")))
    torch.testing.assert_close(default, GradCam(model, processor, layer=name, signed=True)(array(), 0)[0].attributions)
    assert float(default.abs().max()) > 0


def test_cam_refuses_models_that_are_not_linear_in_the_mean():
    with pytest.raises(ModelError, match="not linear in the mean"):
        Cam(image_model("vit"), image_processor())(array())


def test_wrong_layers_and_models_are_refused_by_name():
    with pytest.raises(OptionError, match=r"no layer 'nowhere'; .* such as"):
        GradCam(MODEL, as_tensor, layer="nowhere")
    with pytest.raises(ModelError, match="the layer 'head'"):
        GradCam(MODEL, as_tensor, layer="head")(IMAGE)
    with pytest.raises(ModelError, match="reads texts"):
        GradCam(*demo.load_classifier())


def test_nothing_of_the_model_is_changed():
    model = PooledImages()
    model.train()
    hooks = [len(module._forward_hooks) for module in model.modules()]
    GradCam(model, as_tensor)(IMAGE)
    assert model.training and hooks == [len(module._forward_hooks) for module in model.modules()]
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
