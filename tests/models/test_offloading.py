"""Models whose parameters accelerate keeps elsewhere and brings for a call: the same numbers."""

from __future__ import annotations

import copy

import pytest
import torch

from interpreto import InputXGradient, Occlusion
from interpreto.concepts import PCAConcepts
from interpreto.concepts.splitters import ModelWithSplitPoints
from interpreto.models.devices import device_of
from interpreto.models.forward import Forward
from tests.tiny import CAUSAL_LMS, CLASSIFIERS, SENTENCES

accelerate = pytest.importorskip("accelerate")
FEW = SENTENCES[1:4]


def by_cpu_offload(model, _folder):
    accelerate.cpu_offload(model, execution_device=torch.device("cpu"))


def by_disk(model, folder):
    accelerate.disk_offload(model, str(folder), execution_device=torch.device("cpu"))


def by_a_device_map(model, folder):
    places = {name: "disk" for name, _ in model.named_children()}
    accelerate.dispatch_model(model, places, main_device="cpu", offload_dir=str(folder), force_hooks=True)


WAYS = [by_cpu_offload, by_disk, by_a_device_map]


def both(factory, offload, folder):
    model, tokenizer = factory()
    away = copy.deepcopy(model)
    offload(away, folder)
    assert next(away.parameters()).device.type == "meta"
    return model, away, tokenizer


@pytest.mark.parametrize("offload", WAYS)
@pytest.mark.parametrize("factory", [CLASSIFIERS["bert"], CAUSAL_LMS["llama"]])
def test_attributions(factory, offload, tmp_path):
    model, away, tokenizer = both(factory, offload, tmp_path)
    assert Forward(away).device == torch.device("cpu")
    targets = ["great", "a film", "so"] if factory is CAUSAL_LMS["llama"] else None
    for method in (Occlusion, InputXGradient):
        for here, there in zip(method(model, tokenizer)(FEW, targets), method(away, tokenizer)(FEW, targets), strict=True):
            torch.testing.assert_close(there.attributions, here.attributions, atol=1e-5, rtol=1e-4, equal_nan=True)
            assert float(here.attributions.nan_to_num().abs().max()) > 0
    assert next(away.parameters()).device.type == "meta"


@pytest.mark.parametrize("offload", WAYS)
@pytest.mark.parametrize("factory", [CLASSIFIERS["bert"], CAUSAL_LMS["llama"]])
def test_activations_and_gradients_of_concepts(factory, offload, tmp_path):
    model, away, tokenizer = both(factory, offload, tmp_path)
    found = []
    for each in (model, away):
        splitter = ModelWithSplitPoints(each, 0, tokenizer=tokenizer)
        explainer = PCAConcepts(splitter, nb_concepts=3).fit(splitter.get_activations(SENTENCES))
        found.append((splitter.get_activations(FEW), explainer.concept_output_gradient(FEW)))
    (name,) = found[0][0]
    torch.testing.assert_close(found[1][0][name], found[0][0][name], atol=1e-5, rtol=1e-4)
    for here, there in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(there, here, atol=1e-4, rtol=1e-3)
        assert float(here.abs().max()) > 0


def test_a_hook_among_several_says_where():
    layer = torch.nn.Linear(2, 2, device="meta")
    assert device_of(layer) == torch.device("meta")
    accelerate.hooks.add_hook_to_module(layer, accelerate.hooks.ModelHook())
    accelerate.hooks.add_hook_to_module(layer, accelerate.hooks.AlignDevicesHook(), append=True)
    assert device_of(layer) == torch.device("meta")
    layer._hf_hook.hooks[1].execution_device = "cpu"
    assert device_of(layer) == torch.device("cpu")
    assert device_of(torch.nn.ReLU()) is None
