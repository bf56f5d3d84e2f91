"""Every operation with a rule is linear in the input's step, with the exact difference to the baseline."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from interpreto.errors import CompletenessWarning
from interpreto.models import secants
from interpreto.models.deep_lift_rules import DeepLiftRules
from interpreto.models.relevance_rules import LrpRules
from interpreto.models.secants import Pairs
from interpreto.models.watching import watching
from tests import tiny

WEIGHT = torch.linspace(0.5, 2.0, 6, dtype=torch.float64)
OPERATIONS = {
    "gelu": F.gelu,
    "tanh": torch.tanh,
    "relu": lambda x: x.relu(),
    "exp": lambda x: (0.3 * x).exp(),
    "log": lambda x: (x.square() + 1).log(),
    "sqrt": lambda x: torch.sqrt(x.square() + 1),
    "a power": lambda x: x.pow(3),
    "a negative power": lambda x: (x.square() + 1) ** -0.5,
    "clamped": lambda x: x.clamp(-0.5, 0.5),
    "product": lambda x: x * x.flip(1),
    "matrix product": lambda x: x @ x.transpose(1, 2),
    "einsum": lambda x: torch.einsum("bij,bkj->bik", x, x),
    "quotient": lambda x: x / (x.flip(1).square() + 1),
    "one over": lambda x: 2.0 / (x.square() + 1),
    "softmax": lambda x: x.softmax(-1),
    "softmax along another dimension": lambda x: F.softmax(3 * x, dim=1),
    "log softmax": lambda x: F.log_softmax(x, -1),
    "log of a sum": lambda x: torch.logsumexp(x, -1),
    "layer norm": lambda x: F.layer_norm(x, (6,), WEIGHT, WEIGHT - 1),
    "root mean square norm": lambda x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6),
    "normalized": lambda x: F.normalize(x, dim=-1),
    "cosine similarity": lambda x: F.cosine_similarity(x, x.flip(1), dim=-1),
    "cosine similarity with a constant": lambda x: torch.cosine_similarity(x, torch.ones_like(x), dim=-1),
    "largest of the tokens": lambda x: x.amax(1),
    "largest coordinate": lambda x: torch.amax(x, -1, keepdim=True),
    "attention": lambda x: F.scaled_dot_product_attention(x[:, None], x.flip(1)[:, None], x[:, None], is_causal=True),
}


class Operation(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_difference_is_divided_exactly(name):
    torch.manual_seed(0)
    pair = torch.randn(4, 3, 6, dtype=torch.float64)
    pair[2, 0] = pair[0, 0]  # equal in a token, where the slope is the derivative
    pair.requires_grad_()
    model, rules = Operation(OPERATIONS[name]), DeepLiftRules()
    plain = model(pair.detach())
    with watching(model, rules):
        value = model(pair)
    torch.testing.assert_close(value.detach(), plain, atol=1e-9, rtol=1e-9)
    direction = torch.zeros_like(value)
    direction[:2] = torch.randn(value[:2].shape, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(value, pair, direction)
    step = pair.detach()[:2] - pair.detach()[2:]
    wanted = (direction[:2] * (plain[:2] - plain[2:])).sum()
    torch.testing.assert_close((gradient[:2] * step).sum(), wanted, atol=1e-8, rtol=1e-8)
    assert not gradient[2:].any()


def test_two_factors_share_a_product_equally():
    """½(b + b′)Δa + ½(a + a′)Δb: the Shapley values of the game of two factors."""
    a, b = (torch.tensor(values, dtype=torch.float64).requires_grad_() for values in ([3.0, 1.0], [5.0, 2.0]))
    value = secants.product(Pairs(), torch.mul, a, b)
    of_a, of_b = torch.autograd.grad(value[0], (a, b))
    assert value.tolist() == [15.0, 2.0]
    assert float(of_a[0] * 2) == 0.5 * (5 + 2) * 2 and float(of_b[0] * 3) == 0.5 * (3 + 1) * 3


def test_scores_that_are_masked_have_no_share():
    low = torch.tensor([[1.0, -torch.inf, 0.0], [0.5, -torch.inf, 2.0]]).requires_grad_()
    value = secants.softmax(Pairs(), low, -1)
    (gradient,) = torch.autograd.grad(value[0, 0], low)
    assert value.isfinite().all() and gradient.isfinite().all() and value[0, 1] == 0


def test_a_function_without_rule_is_linear_along_the_difference():
    pair = torch.randn(2, 5, 4, dtype=torch.float64).requires_grad_()
    value = secants.along_difference(Pairs(), pair, pair.detach().sort(-1).values.square())
    (gradient,) = torch.autograd.grad(value[0].sum(), pair)
    found = (gradient[0] * (pair[0] - pair[1])).sum(-1).detach()
    torch.testing.assert_close(found, (value[0] - value[1]).sum(-1).detach())  # token by token


def test_pairs_are_found_where_a_model_keeps_its_batch():
    assert Pairs(4).dimension(torch.zeros(4, 3)) == 0
    assert Pairs(4).dimension(torch.zeros(12, 3)) == 0  # rows and tokens in one dimension
    assert Pairs(4).dimension(torch.zeros(3, 4)) is None
    assert Pairs(4, leads=False).dimension(torch.zeros(3, 4)) == 1
    first, second = Pairs(4, leads=False).halves(torch.arange(8).reshape(2, 4))
    assert first.tolist() == [[0, 1], [4, 5]] and second.tolist() == [[2, 3], [6, 7]]


def test_experts_are_closed():
    """The experts of a token may be others for its baseline; the difference belongs to the token."""
    model, _ = tiny.CAUSAL_LMS["mixtral"]()
    torch.manual_seed(0)
    pair = torch.randn(2, 5, 32).requires_grad_()
    block = next(module for module in model.modules() if hasattr(module, "experts"))
    plain = block(pair.detach())
    plain = plain[0] if isinstance(plain, tuple) else plain
    with watching(model, DeepLiftRules()):
        value = block(pair)
    value = value[0] if isinstance(value, tuple) else value
    (gradient,) = torch.autograd.grad(value[0].sum(), pair)
    torch.testing.assert_close(value.detach(), plain)
    found = (gradient[0] * (pair[0] - pair[1]).detach()).sum(-1)
    torch.testing.assert_close(found, (plain[0] - plain[1]).sum(-1), atol=1e-5, rtol=1e-4)


def test_the_largest_value_is_shared_by_the_places_of_both():
    """From (1, 2) to (3, 0) the largest rises by 1: ¾ of the first step, 2, and ¼ of the second, −2."""
    pair = torch.tensor([[[3.0, 0.0]], [[1.0, 2.0]]], dtype=torch.float64).requires_grad_()
    value = secants.maximum(Pairs(), pair, -1)
    (gradient,) = torch.autograd.grad(value[0].sum(), pair)
    assert value[:, 0].tolist() == [3.0, 2.0] and gradient[0, 0].tolist() == [0.75, 0.25]
    assert float((gradient[0] * (pair[0] - pair[1]).detach()).sum()) == 1.0


@pytest.mark.parametrize("rules", [DeepLiftRules, LrpRules])
def test_functions_without_a_rule_are_told_by_name(rules):
    model, own = Operation(lambda x: torch.prod(x, -1) + x.sum(-1)), rules()
    with watching(model, own):
        model(torch.randn(2, 3, 6, requires_grad=True))
    with pytest.warns(CompletenessWarning, match="The model calls torch.prod, for which this method has no rule"):
        own.warn_of_missed()
    model, own = Operation(lambda x: F.normalize(x, dim=-1) @ x.transpose(1, 2)), rules()
    with watching(model, own):
        model(torch.randn(2, 3, 6, requires_grad=True))
    assert not own.missed


def test_relevance_passes_normalized_vectors_whole():
    """Lengths are constants, so that relevance is the value itself; its plain gradient × input is 0."""
    x = torch.randn(2, 3, 6, dtype=torch.float64).requires_grad_()
    for operation in (
        lambda x: F.normalize(x, dim=-1)[..., 0],
        lambda x: F.cosine_similarity(x, x.flip(1), dim=-1),
        lambda x: torch.cosine_similarity(x, torch.ones_like(x), dim=-1),
        lambda x: (x / x.norm(dim=-1, keepdim=True))[..., 0],
    ):
        model = Operation(operation)
        (plain,) = torch.autograd.grad(model(x).sum(), x)
        assert float((plain * x).detach().sum().abs()) < 1e-9
        with watching(model, LrpRules()):
            value = model(x)
        torch.testing.assert_close(value, model(x))
        (gradient,) = torch.autograd.grad(value.sum(), x)
        torch.testing.assert_close((gradient * x).sum(), value.sum())


@pytest.mark.parametrize("function", [torch.exp, torch.tanh, F.gelu])
def test_looking_at_the_values_changes_no_slope(function):
    """On a GPU nothing is looked at: the derivative is computed everywhere, and chosen where points are close."""
    a = torch.linspace(-3, 3, 61, dtype=torch.float64)
    b = torch.where(torch.arange(61) % 3 == 0, a, a + 0.5)  # every third pair is one point
    b[1::3] = a[1::3] * (1 + 1e-9)

    def derivative(at):
        point = at.detach().requires_grad_()
        with torch.enable_grad():
            return torch.autograd.grad(function(point).sum(), point)[0]

    arguments = derivative, a, b, function(a) - function(b)
    wanted, found = secants._rise_where_needed(*arguments), secants._rise_everywhere(*arguments)
    torch.testing.assert_close(found, wanted, rtol=1e-14, atol=0)
    torch.testing.assert_close(found[::3], derivative(a[::3]), rtol=1e-14, atol=0)
