"""Attributions of images: closed forms of a linear model, brute force, sums, and every family of models."""

from __future__ import annotations

import copy
import itertools
import math
import warnings

import pytest
import torch
from torch import nn

from interpreto import (
    Alti,
    AttentionRollout,
    AttnLrp,
    BidirectionalAttention,
    DeepLift,
    ExactShapley,
    GenericAttention,
    GradientShap,
    InputXGradient,
    IntegratedGradients,
    KernelShap,
    Lime,
    Occlusion,
    RawAttention,
    Rise,
    Saliency,
    SmoothGrad,
    Sobol,
    TransitionAttention,
    ValueZeroing,
)
from interpreto.errors import ModelError
from interpreto.inputs.regions import grid
from interpreto.models.images import ImageModel
from tests.tiny_images import FAMILIES, LinearImages, PooledImages, array, as_tensor, image_model, image_processor

SHAPE = (3, 12, 10)
LINEAR = LinearImages(SHAPE)
IMAGE = array(12, 10)
PIXELS = as_tensor(IMAGE)
CUT = grid(3, 2)
REGIONS = torch.from_numpy(CUT(IMAGE))


def summed(values):
    """Return the sums of ``(c, h, w)`` over the units of `CUT`, ``(6,)``."""
    return torch.stack([values[:, unit == REGIONS].sum() for unit in range(6)])


def effects(k: int, start) -> torch.Tensor:
    """Return what each unit of a linear model adds, from an image to `PIXELS`."""
    return summed(LINEAR.weight[k].detach() * (PIXELS - start))


MEAN = PIXELS.mean((1, 2), keepdim=True).expand(SHAPE)


@pytest.mark.parametrize("method", [Occlusion, KernelShap, ExactShapley, IntegratedGradients, DeepLift])
def test_linear_model_has_its_weights_times_the_difference(method):
    explanation = method(LINEAR, as_tensor, granularity=CUT)(IMAGE, [0, 1])[0]
    for k in (0, 1):
        torch.testing.assert_close(explanation.attributions[k], effects(k, MEAN), rtol=1e-4, atol=1e-4)


def test_lime_on_a_linear_model_has_the_same_values():
    values = Lime(LINEAR, as_tensor, granularity=CUT, n_perturbations=64)(IMAGE, 0)[0].attributions[0]
    torch.testing.assert_close(values, effects(0, MEAN), rtol=1e-3, atol=1e-3)


def test_gradients_of_a_linear_model_are_its_weights():
    weights = LINEAR.weight[0].detach()
    norms = torch.stack([weights[:, unit == REGIONS].norm() for unit in range(6)])
    torch.testing.assert_close(Saliency(LINEAR, as_tensor, granularity=CUT)(IMAGE, 0)[0].attributions[0], norms)
    torch.testing.assert_close(SmoothGrad(LINEAR, as_tensor, granularity=CUT)(IMAGE, 0)[0].attributions[0], norms)
    products = InputXGradient(LINEAR, as_tensor, granularity=CUT)(IMAGE, 0)[0].attributions[0]
    torch.testing.assert_close(products, summed(weights * PIXELS), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("replacement", ["mean", "blur", "zero", "noise"])
def test_occlusion_is_brute_force_on_pixels(replacement):
    model, cut = PooledImages(), grid(2, 3)
    explanation = Occlusion(model, as_tensor, granularity=cut, replacement=replacement)(IMAGE, [0, 1, 2])[0]
    assert explanation.replacement == replacement
    picture = explanation.sample.picture
    other = picture.of_kind(["own", "mean", "blur", "zero", "noise"].index(replacement))
    regions = torch.from_numpy(cut(IMAGE))
    with torch.no_grad():
        whole = model.eval()(PIXELS[None]).logits[0]
        for unit in range(6):
            masked = torch.where(regions == unit, other, PIXELS)
            lost = whole - model(masked[None]).logits[0]
            torch.testing.assert_close(explanation.attributions[:, unit], lost, rtol=1e-4, atol=1e-5)


def test_exact_shapley_is_the_sum_over_orders():
    model, cut = PooledImages(), grid(1, 3)
    found = ExactShapley(model, as_tensor, granularity=cut, replacement="zero")(IMAGE, 1)[0].attributions[0]
    regions, values = torch.from_numpy(cut(IMAGE)), torch.zeros(3)

    def score(kept):
        with torch.no_grad():
            return model.eval()(torch.where(torch.isin(regions, torch.tensor(kept)), PIXELS, 0.0)[None]).logits[0, 1]

    for order in itertools.permutations(range(3)):
        for i, unit in enumerate(order):
            values[unit] += (score(list(order[: i + 1])) - score(list(order[:i]))) / math.factorial(3)
    torch.testing.assert_close(found, values, rtol=1e-4, atol=1e-5)


SLOW = [name if name == "vit" else pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES]


@pytest.mark.parametrize("family", SLOW)
@pytest.mark.parametrize("method", [KernelShap, IntegratedGradients, DeepLift])
def test_values_sum_to_the_gap_in_every_family(family, method):
    options = {"n_perturbations": 256} if method is not DeepLift else {}
    if method is IntegratedGradients:
        options["baseline"] = "blur"
    out = method(image_model(family), image_processor(), granularity=grid(3), **options)(array(), [0, 1, 2])[0]
    gap = out.base_scores - out.reference_scores
    close = 1e-5 if method is KernelShap else 5e-2 * float(gap.abs().max()) if method is IntegratedGradients else 1e-4
    torch.testing.assert_close(out.attributions.sum(1), gap, rtol=1e-3, atol=close)


@pytest.mark.parametrize("family", ["resnet", pytest.param("mobilenet", marks=pytest.mark.slow)])
def test_deep_lift_divides_the_whole_gap_of_a_cnn_up_to_rounding(family):
    model = image_model(family)
    for run, share in ((model, 1e-5), (copy.deepcopy(model).double(), 1e-9)):
        out = DeepLift(run, image_processor(64), granularity=grid(3))(array(), [0, 1, 2])[0]
        gap = float((out.base_scores - out.reference_scores).abs().max())
        assert gap > 0.1 and float(out.residual.abs().max()) < share * gap


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", [Sobol, Rise, GradientShap, AttnLrp])
def test_methods_without_a_sum_run_in_every_family(family, method):
    out = method(image_model(family), image_processor(), granularity=grid(2))([array(), array(seed=3)])
    assert all(each.attributions.isfinite().all() and each.attributions.shape == (1, 4) for each in out)


ATTENTION = [RawAttention, AttentionRollout, GenericAttention, BidirectionalAttention, TransitionAttention, ValueZeroing]


@pytest.mark.slow
@pytest.mark.parametrize("family", ["vit", "deit", "beit", "dinov2"])
@pytest.mark.parametrize("method", ATTENTION)
def test_attention_has_a_value_per_patch(family, method):
    out = method(image_model(family), image_processor())(array())[0]
    assert out.attributions.shape == (1, 16)
    assert float(out.attributions.min()) >= 0 and float(out.attributions.abs().sum()) > 0


def test_rollout_rows_sum_to_one_with_the_class_token():
    model, processor = image_model("vit"), image_processor()
    with torch.no_grad():
        maps = _maps(model, processor(images=array(), return_tensors="pt")["pixel_values"])
    row = torch.eye(17)
    for each in maps:
        row = (each + torch.eye(17)) / 2 @ row
    torch.testing.assert_close(row.sum(1), torch.ones(17))
    found = AttentionRollout(model, processor)(array())[0].attributions[0]
    torch.testing.assert_close(found, row[0, 1:], rtol=1e-4, atol=1e-6)
    assert float(found.sum()) < 1  # the class token keeps a share of itself


def _maps(model, pixels):
    """Return the attention of each layer, mean over heads, from the weights."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        return [each[0].mean(0) for each in model(pixels, output_attentions=True).attentions]
    finally:
        model.set_attn_implementation(before)


def test_attention_of_patches_is_averaged_in_larger_units():
    model, processor = image_model("vit"), image_processor()
    patches = AttentionRollout(model, processor)(array())[0].attributions.view(4, 4)
    quarters = AttentionRollout(model, processor, granularity=grid(2))(array())[0].attributions[0]
    expected = patches.unfold(0, 2, 2).unfold(1, 2, 2).mean((2, 3)).flatten()
    torch.testing.assert_close(quarters, expected)


@pytest.mark.parametrize(("family", "reason"), [("swin", "windows"), ("resnet", "no attention"), ("convnext", "no attention")])
def test_models_without_maps_of_patches_are_refused_by_name(family, reason):
    model = image_model(family)
    with pytest.raises(ModelError, match=rf"{type(model).__name__}.*{reason}"):
        AttentionRollout(model, image_processor())(array())


def test_alti_runs_on_a_vision_transformer():
    assert Alti(image_model("vit"), image_processor())(array())[0].attributions.shape == (1, 16)


def test_deep_lift_takes_max_pooling_and_activations_in_place():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1), nn.Conv2d(4, 4, 3), nn.ReLU(True)
            )
            self.head = nn.Linear(4, 2)

        def forward(self, x):
            return self.head(nn.functional.max_pool2d(self.body(x), 2).mean((2, 3)))

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Net()
    for start in ("mean", "zero", "blur"):
        out = DeepLift(model, as_tensor, baseline=start, granularity=CUT)(IMAGE, [0, 1])[0]
        torch.testing.assert_close(out.attributions.sum(1), out.base_scores - out.reference_scores, rtol=1e-4, atol=1e-6)
    assert model.body[1].inplace and model.body[4].inplace


@pytest.mark.slow
def test_deep_lift_is_shaps_on_a_network_with_max_pooling():
    shap = pytest.importorskip("shap")

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.relu, self.pool = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2)
            self.head = nn.Linear(4 * 5 * 4, 2)

        def forward(self, x):
            return self.head(self.pool(self.relu(self.conv(x))).flatten(1))

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Net().eval()
    ours = DeepLift(model, as_tensor, baseline="zero", granularity=CUT)(IMAGE, 1)[0].attributions[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # shap's own
        theirs = shap.DeepExplainer(model, torch.zeros(1, *SHAPE)).shap_values(PIXELS[None])
    torch.testing.assert_close(ours, summed(torch.from_numpy(theirs[0, ..., 1])).float(), rtol=1e-4, atol=1e-6)


def test_images_of_different_sizes_share_a_call():
    model = PooledImages()
    images = [array(12, 10), array(20, 30, seed=2), array(12, 10, seed=3)]
    together = IntegratedGradients(model, as_tensor, granularity=grid(2))(images, 0)
    for image, own in zip(images, together, strict=True):
        alone = IntegratedGradients(model, as_tensor, granularity=grid(2))(image, 0)[0]
        torch.testing.assert_close(own.attributions, alone.attributions, rtol=1e-4, atol=1e-6)
    masked = Occlusion(model, as_tensor, granularity=grid(2))(images, 0)
    alone = Occlusion(model, as_tensor, granularity=grid(2))(images[1], 0)[0]
    torch.testing.assert_close(masked[1].attributions, alone.attributions, rtol=1e-4, atol=1e-6)


def test_the_model_is_left_as_it_was():
    model = image_model("resnet")
    model.train()
    try:
        flags = [module.training for module in model.modules()]
        before = {name: value.clone() for name, value in model.state_dict().items()}
        DeepLift(model, image_processor())(array())
        Occlusion(model, image_processor(), granularity="grid")(array())
        assert flags == [module.training for module in model.modules()]
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    finally:
        model.eval()


def test_an_image_model_keeps_the_config_of_the_user_untouched():
    model = image_model("vit")
    before = model.config.to_dict()
    Occlusion(model, image_processor())(array())
    assert model.config.to_dict() == before and not isinstance(model, ImageModel)
