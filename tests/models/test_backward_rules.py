"""Backward rules: relevance equal to the reference implementation's, DeepLift complete, nothing of the model changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
from safetensors import safe_open

from interpreto.models.deep_lift_rules import DeepLiftRules
from interpreto.models.relevance_rules import LrpRules
from interpreto.models.watching import watching

REFERENCE = Path(__file__).parents[1] / "data" / "attnlrp_reference.safetensors"
FAMILIES = ("llama", "qwen2", "qwen3", "gemma3", "gpt2")
BIAS_FREE = FAMILIES[:-1]

pytestmark = pytest.mark.filterwarnings("ignore")  # configs of another release


@pytest.fixture(scope="module", params=FAMILIES)
def setting(request):
    """A model of the reference file, embeddings of its ids, and the relevance that lxt 2.1 computed."""
    name = request.param
    with safe_open(REFERENCE, "pt") as file:
        kind, config = json.loads(file.metadata()[name])
        values = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    of_class = getattr(transformers, kind)
    facts = {key: value for key, value in json.loads(config).items() if key != "transformers_version"}
    model = of_class(of_class.config_class.from_dict(facts)).eval()
    start = f"{name}/weights/"
    model.load_state_dict({key.removeprefix(start): value for key, value in values.items() if key.startswith(start)})
    embeddings = model.get_input_embeddings()(values["input_ids"]).detach()
    return name, model, embeddings, values[f"{name}/relevance"], values[f"{name}/logit"]


def relevance(model, embeddings, rules):
    given = embeddings.clone().requires_grad_()
    with watching(model, rules):
        logit = model(inputs_embeds=given).logits[0, -1, 7]
    (gradient,) = torch.autograd.grad(logit, given)
    return logit.detach(), (given.detach() * gradient).sum(-1)[0]


def test_relevance_is_that_of_lxt(setting):
    _, model, embeddings, wanted, logit = setting
    found, values = relevance(model, embeddings, LrpRules())
    torch.testing.assert_close(found, logit, atol=1e-6, rtol=0)
    torch.testing.assert_close(values, wanted, atol=1e-6, rtol=0)


def test_frozen_attention_conserves_the_logit_of_models_without_biases(setting):
    name, model, embeddings, _, _ = setting
    logit, values = relevance(model, embeddings, LrpRules("frozen"))
    if name in BIAS_FREE:
        assert float(values.sum()) == pytest.approx(float(logit), abs=1e-5)
    else:
        assert abs(float(values.sum() - logit)) > 1e-3  # biases and positions keep their share


def test_deep_lift_sums_to_the_difference(setting):
    _, model, embeddings, _, _ = setting
    baseline = model.get_input_embeddings().weight.mean(0).detach().expand_as(embeddings)
    pair = torch.cat([embeddings, baseline]).requires_grad_()
    with watching(model, DeepLiftRules()):
        logits = model(inputs_embeds=pair).logits[:, -1, 7]
    (gradient,) = torch.autograd.grad(logits[0], pair)
    total = ((pair[0] - pair[1]) * gradient[0]).sum()
    gap = logits[0] - logits[1]
    assert float(total.detach()) == pytest.approx(float(gap.detach()), abs=1e-5 * max(1.0, abs(float(gap.detach()))))


@pytest.mark.parametrize("rules", [LrpRules, DeepLiftRules])
def test_the_model_is_as_before_also_after_an_exception(setting, rules):
    _, model, embeddings, _, _ = setting

    def plain():
        given = embeddings.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model(inputs_embeds=given).logits[0, -1, 7], given)
        return gradient

    before, needed = plain(), [parameter.requires_grad for parameter in model.parameters()]
    with watching(model, rules()):
        model(inputs_embeds=torch.cat([embeddings, embeddings]))
    with pytest.raises(ZeroDivisionError), watching(model, rules()):
        raise ZeroDivisionError
    assert torch.equal(plain(), before)
    assert [parameter.requires_grad for parameter in model.parameters()] == needed
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
