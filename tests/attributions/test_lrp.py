"""Relevance propagation through convolutions: a loop in float64 with dense matrices, zennit's values, and sums."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from interpreto import AttnLrp, InputXGradient, Lrp, demo
from interpreto.attributions.methods.relevance import COMPOSITES, FIRST
from interpreto.errors import ModelError, OptionError
from interpreto.inputs.regions import grid
from tests.data.zennit_lrp import STORED, Vgg, picture
from tests.tiny_images import LinearImages, array, as_tensor, image_model, image_processor

SIDE = 8
EACH = grid(SIDE)  # a unit per pixel


class Residual(nn.Module):
    """Convolutions, batch normalization, max pooling, a sum of two branches, the mean over places, and two linear layers."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(5)
            self.first, self.norm = nn.Conv2d(3, 4, 3, padding=1, bias=bias), nn.BatchNorm2d(4)
            self.pool, self.branch = nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1, bias=bias)
            self.hidden, self.head = nn.Linear(4, 5, bias=bias), nn.Linear(5, 3, bias=bias)
            self.norm.running_var.uniform_(0.5, 2)
            if bias:
                self.norm.running_mean.normal_(0, 0.3)
                nn.init.normal_(self.norm.bias, 0, 0.3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.pool(self.relu(self.norm(self.first(x))))
        y = self.branch(x)
        y += x  # in place, as models of transformers do
        return self.head(self.relu(self.hidden(self.relu(y).mean((2, 3)))))


def signed_pixels(image):
    return as_tensor(image) * 2 - 1


def dense(layer, shape):
    """Return a convolution without its bias as a matrix ``(outputs, inputs)``, and its outputs' shape."""
    n = int(torch.tensor(shape).prod())
    with torch.no_grad():
        columns = nn.functional.conv2d(torch.eye(n, dtype=torch.float64).view(n, *shape), layer, padding=1)
    return columns.flatten(1).T, tuple(columns.shape[1:])


def handed(rule, x, w, b, relevance):
    """Return the relevance of inputs, by the formula of a rule for a matrix of weights; all of it in vectors."""
    parts = w * x  # (outputs, inputs)
    stable = lambda z: z + torch.where(z < 0, -1e-6, 1e-6)  # noqa: E731
    up, down = parts.clamp(min=0), parts.clamp(max=0)
    z = parts.sum(1) + b
    if rule == "epsilon":
        return (parts / stable(z)[:, None] * relevance[:, None]).sum(0)
    if rule == "gamma":
        agreeing = torch.where(z[:, None] > 0, up, down)
        biases = torch.where(z > 0, b.clamp(min=0), b.clamp(max=0))
        weighted = parts + 0.25 * agreeing
        return (weighted / stable(weighted.sum(1) + b + 0.25 * biases)[:, None] * relevance[:, None]).sum(0)
    alpha, beta = (1, 0) if rule == "plus" else (2, 1)
    positive = up / stable(up.sum(1) + b.clamp(min=0))[:, None]
    negative = down / stable(down.sum(1) + b.clamp(max=0))[:, None]
    return ((alpha * positive - beta * negative) * relevance[:, None]).sum(0)


def of_pixels(rule, x, w, relevance):
    """Return the relevance of pixels between -1 and 1; padding has no share of the flat rule."""
    read = (dense(torch.ones(4, 3, 3, 3, dtype=torch.float64), (3, SIDE, SIDE))[0] > 0).double()
    parts = read if rule == "flat" else w * x + w.clamp(min=0) - w.clamp(max=0)
    total = parts.sum(1)
    return (parts / (total + torch.where(total < 0, -1e-6, 1e-6))[:, None] * relevance[:, None]).sum(0)


def loop(model, pixels, target, composite, first):
    """Return the relevance of each pixel, layer by layer, in float64."""
    convolution, linear = COMPOSITES[composite]
    model, x = model.double(), pixels.double()
    scale = model.norm.weight / (model.norm.running_var + model.norm.eps).sqrt()
    kernel = (model.first.weight * scale[:, None, None, None]).detach()
    offset = 0 if model.first.bias is None else model.first.bias
    bias = ((offset - model.norm.running_mean) * scale + model.norm.bias).detach()
    w0, shape = dense(kernel, tuple(x.shape))
    b0 = bias[:, None].expand(4, SIDE * SIDE).flatten()
    a0 = (w0 @ x.flatten() + b0).relu()
    a1, places = nn.functional.max_pool2d(a0.view(shape), 2, return_indices=True)
    w1, _ = dense(model.branch.weight.detach(), tuple(a1.shape))
    zeros = torch.zeros(5, dtype=torch.float64)
    layers = (model.branch, 4), (model.hidden, 5), (model.head, 3)
    biases = [zeros[:n] if layer.bias is None else layer.bias.detach() for layer, n in layers]
    b1 = biases[0][:, None].expand(4, 16).flatten()
    y = w1 @ a1.flatten() + b1
    total = y + a1.flatten()
    a2 = total.relu()
    mean = a2.view(4, 16).mean(1)
    wh, wo = model.hidden.weight.detach(), model.head.weight.detach()
    ah = (wh @ mean + biases[1]).relu()
    relevance = torch.zeros(3, dtype=torch.float64)
    relevance[target] = (wo @ ah + biases[2])[target]
    relevance = handed(linear, ah, wo, biases[2], relevance)
    relevance = handed(linear, mean, wh, biases[1], relevance)
    relevance = (a2.view(4, 16) / 16 / torch.where(mean == 0, 1, mean)[:, None] * relevance[:, None]).flatten()
    shares = relevance / torch.where(total == 0, 1, total)
    relevance = shares * a1.flatten() + handed(convolution, a1.flatten(), w1, b1, shares * y)
    before = torch.zeros(4, SIDE * SIDE, dtype=torch.float64).scatter_add(1, places.flatten(1), relevance.view(4, 16)).flatten()
    found = handed(convolution, x.flatten(), w0, b0, before) if first == "same" else of_pixels(first, x.flatten(), w0, before)
    model.float()
    return found.view(3, SIDE, SIDE).sum(0)


QUICK = ("gamma", "box"), ("epsilon_plus", "same"), ("alpha_beta", "flat")


def cases(pairs):
    """Return composites with rules of pixels, most of them in the slow lane."""
    return [pair if pair in QUICK else pytest.param(*pair, marks=pytest.mark.slow) for pair in pairs]


@pytest.mark.parametrize(("composite", "first"), cases([(composite, first) for composite in COMPOSITES for first in FIRST]))
def test_relevance_is_a_loop_over_layers_in_float64(composite, first):
    model, image = Residual().eval(), array(SIDE, SIDE)
    bounds = {"bounds": (-1.0, 1.0)} if first == "box" else {}
    out = Lrp(model, signed_pixels, composite=composite, first=first, granularity=EACH, **bounds)(image, 1)[0]
    wanted = loop(model, signed_pixels(image), 1, composite, first).flatten()
    torch.testing.assert_close(out.attributions[0].double(), wanted, rtol=1e-3, atol=1e-5 * float(wanted.abs().sum()))
    torch.testing.assert_close(
        out.residual.double(), (out.base_scores - out.attributions.sum(1)).double(), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(("composite", "first"), cases(STORED))
def test_relevance_is_zennits(composite, first):
    bounds = {"bounds": (0.0, 1.0)} if first == "box" else {}
    stored = json.loads((Path(__file__).parent.parent / "data" / "zennit_lrp.json").read_text("utf-8"))
    model = Vgg().eval()
    out = Lrp(model, as_tensor, composite=composite, first=first, granularity=grid(4), **bounds)(picture(), 1)[0]
    wanted = torch.tensor(stored[f"{composite} {first}"])
    torch.testing.assert_close(out.attributions[0], wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))


SUMMING = [(composite, first) for composite in ("epsilon", "gamma", "epsilon_plus", "epsilon_gamma") for first in FIRST[:2]]


@pytest.mark.parametrize(("composite", "first"), cases(SUMMING))
def test_without_biases_the_values_sum_to_the_score(composite, first):
    model = Residual(bias=False).eval()
    out = Lrp(model, signed_pixels, composite=composite, first=first, epsilon=1e-9, granularity=EACH)(array(SIDE, SIDE), 1)[0]
    assert float(out.base_scores.abs()) > 1e-3
    assert float(out.residual.abs()) < 1e-3 * float(out.base_scores.abs()) and out.reference_scores.tolist() == [0.0]


@pytest.mark.slow
@pytest.mark.parametrize("composite", ["epsilon", "epsilon_gamma"])
def test_a_resnet_without_biases_hands_back_its_score(composite):
    import copy

    model = copy.deepcopy(image_model("resnet"))
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.zero_()
                module.bias.zero_()
            elif getattr(module, "bias", None) is not None:
                module.bias.zero_()
    out = Lrp(model, image_processor(), composite=composite, epsilon=1e-9, granularity=grid(2))([array(), array(seed=1)], 1)
    for each in out:
        assert float(each.base_scores.abs()) > 1e-2
        assert float(each.residual.abs()) < 1e-3 * float(each.base_scores.abs())


def test_a_linear_model_has_its_weights_times_the_pixels():
    model, cut = LinearImages((3, 12, 10)), grid(3, 2)
    for composite in COMPOSITES:
        found = Lrp(model, as_tensor, composite=composite, granularity=cut)(array(12, 10), [0, 1])[0]
        wanted = InputXGradient(model, as_tensor, granularity=cut)(array(12, 10), [0, 1])[0]
        torch.testing.assert_close(found.attributions, wanted.attributions)


def test_a_vision_transformer_has_the_relevance_of_attn_lrp_but_for_epsilon():
    model, processor = image_model("vit"), image_processor()
    found = Lrp(model, processor, composite="epsilon", epsilon=1e-12)(array(), 1)[0]
    wanted = AttnLrp(model, processor)(array(), 1)[0]
    torch.testing.assert_close(found.attributions, wanted.attributions, rtol=1e-3, atol=1e-5)


def test_pixels_that_are_black_have_relevance_by_the_rules_of_pixels_alone():
    model = Residual().eval()
    image = array(SIDE, SIDE)
    image[0] = 0
    flat, same = (Lrp(model, as_tensor, first=first, granularity=EACH)(image, 1)[0].attributions[0] for first in FIRST[1::-1])
    flat, same = flat[:SIDE], same[:SIDE]
    assert float(same.abs().max()) == 0 and float(flat.abs().max()) > 0


def test_the_bounds_of_pixels_are_those_of_the_processor():
    model, processor = image_model("resnet"), image_processor()
    low = -torch.tensor(processor.image_mean) / torch.tensor(processor.image_std)
    high = (1 - torch.tensor(processor.image_mean)) / torch.tensor(processor.image_std)
    own = Lrp(model, processor, first="box", granularity=grid(2))(array(), 1)[0]
    given = Lrp(model, processor, first="box", bounds=(low, high), granularity=grid(2))(array(), 1)[0]
    torch.testing.assert_close(own.attributions, given.attributions)


class Normalizing(nn.Module):
    """A model that normalizes pixels itself."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Residual()

    def forward(self, x):
        return self.inner((x - 0.5) / 0.25)


def test_what_has_no_meaning_is_refused_by_name():
    with pytest.raises(ModelError, match=r"Lrp has rules for models of images, and .* reads texts; use AttnLrp"):
        Lrp(*demo.load_classifier())
    with pytest.raises(ModelError, match=r'before its first layer.*first="same"'):
        Lrp(Normalizing(), as_tensor, first="flat")(array(SIDE, SIDE))
    assert Lrp(Normalizing(), as_tensor, granularity=EACH)(array(SIDE, SIDE))[0].attributions.shape == (1, 64)
    for options, said in (
        ({"composite": "zplus"}, "composite"),
        ({"first": "w2"}, "first"),
        ({"alpha": 0.5}, "at least 1"),
        ({"first": "box"}, "does not tell"),
        ({"bounds": (0, 1)}, "alone reads"),
        ({"first": "box", "bounds": (1.0, 0.0)}, "smaller"),
        ({"epsilon": -1.0}, "epsilon"),
    ):
        with pytest.raises(OptionError, match=said):
            Lrp(Residual(), as_tensor, **options)
