"""Activations of samples at hook points, and the model run on from them: those of plain forward hooks."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from interpreto import Occlusion
from interpreto.errors import OptionError
from interpreto.inputs.split_inputs import SplitInput
from interpreto.models.activations import ActivationRecorder
from interpreto.models.hook_points import find_hook_points
from interpreto.models.huggingface import HuggingFaceModel
from tests import tiny

TEXTS = list(tiny.SENTENCES[1:4])
FAMILIES = {
    "bert": (tiny.CLASSIFIERS["bert"], ("bert.encoder.layer.0", "bert.encoder.layer.1"), 0),
    "gpt2": (tiny.CLASSIFIERS["gpt2"], ("transformer.h.0", "transformer.h.1"), 0),
    "gpt2-lm": (tiny.CAUSAL_LMS["gpt2"], ("transformer.h.0", "transformer.h.1"), "is good"),
    "t5-encoder": (tiny.SEQ2SEQ["t5"], ("encoder.block.0", "encoder.block.1"), "is good"),
    "t5-decoder": (tiny.SEQ2SEQ["t5"], ("decoder.block.0", "decoder.block.1"), "is good"),
    "t5-across": (tiny.SEQ2SEQ["t5"], ("encoder.block.1", "decoder.block.0"), "is good"),
}


def close(found, wanted, tolerance):
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= tolerance * max(1.0, float(wanted.abs().max()))


class Setting:
    """A model, samples, two hook points, and what plain calls of the model give for each sample."""

    def __init__(self, family):
        build, names, target = FAMILIES[family]
        self.module, self.tokenizer = build()
        self.model = HuggingFaceModel(self.module, self.tokenizer)
        self.points = find_hook_points(self.module, names)
        self.samples = [each.sample for each in Occlusion(self.module, self.tokenizer)(TEXTS, target)]

    def plain(self, sample):
        """Return the activations ``(l, d)`` at the two points, each at its token's place, and the logits."""
        found = {}

        def keep(name, _module, _args, output):
            found[name] = output[0] if isinstance(output, tuple) else output

        hooks = [point.module.register_forward_hook(partial(keep, point.name)) for point in self.points]
        ids, n = sample.input_ids[None], sample.source
        given = {"input_ids": ids, **{name: value[None] for name, value in sample.inputs.items()}}
        if n:
            given = {"input_ids": ids[:, :n], "decoder_input_ids": ids[:, n:]}
        logits = self.module(**given).logits[0]
        for hook in hooks:
            hook.remove()
        wanted = []
        for point in self.points:
            whole = torch.zeros(len(sample), found[point.name].shape[-1])
            part = slice(n, None) if n and point.stack == "decoder" else slice(0, n or None)
            whole[part] = found[point.name].detach()[0]
            wanted.append(whole)
        return wanted, logits.detach()


@pytest.fixture(scope="module", params=FAMILIES)
def setting(request):
    return Setting(request.param)


def test_recorded_activations_are_those_of_a_forward_hook(setting):
    recorded = list(setting.model.record(iter(setting.samples), setting.points))
    assert [each.sample for each in recorded] == setting.samples
    assert len({len(sample) for sample in setting.samples}) > 1  # padded
    for each in recorded:
        for found, wanted in zip(each.activations, setting.plain(each.sample)[0], strict=True):
            assert not found.requires_grad
            close(found, wanted, 1e-4)


def test_the_model_run_on_from_what_was_recorded_returns_what_it_returns(setting):
    lower, upper = setting.points
    for sample in setting.samples:  # one by one: no padding
        ((_, plain), logits), (each,) = setting.plain(sample), setting.model.record([sample], [lower])
        outputs, (above,) = setting.model.run_from([sample], lower, each.activations[0][None], [upper])
        close(outputs[0], logits, 1e-5)
        close(above[0], plain, 1e-5)


def test_a_padded_batch_is_run_on_as_its_rows_are(setting):
    lower, upper = setting.points
    hidden = pad_sequence([e.activations[0] for e in setting.model.record(setting.samples, [lower])], batch_first=True)
    outputs, (above,) = setting.model.run_from(setting.samples, lower, hidden, [upper])
    for i, sample in enumerate(setting.samples):
        (_, plain), logits = setting.plain(sample)
        own = outputs[i] if outputs.ndim == 2 else outputs[i, : len(logits)]
        close(own, logits, 1e-4)
        close(above[i, : len(sample)], plain, 1e-4)


def test_what_is_run_on_depends_on_the_activations_given(setting):
    lower, upper = setting.points
    (each,) = setting.model.record(setting.samples[:1], [lower])
    hidden = each.activations[0][None].clone().requires_grad_()
    outputs, (above,) = setting.model.run_from(setting.samples[:1], lower, hidden, [upper])
    for values in (outputs, above):
        (gradient,) = torch.autograd.grad(values.square().sum(), hidden, retain_graph=True)
        assert gradient.isfinite().all() and gradient.abs().max() > 0
    turned, _ = setting.model.run_from(setting.samples[:1], lower, hidden.detach().flip(-1))
    assert not turned.requires_grad and (turned - outputs).abs().max() > 1e-4


def test_activations_with_gradients_keep_the_graph(setting):
    recorded = list(setting.model.record(setting.samples, setting.points, gradients=True))
    plain = list(setting.model.record(setting.samples, setting.points))
    for one, other in zip(recorded, plain, strict=True):
        for found, wanted in zip(one.activations, other.activations, strict=True):
            close(found.detach(), wanted, 1e-5)
    weight = next(p for p in setting.points[0].module.parameters() if p.ndim == 2)
    (gradient,) = torch.autograd.grad(sum(each.activations[0].square().sum() for each in recorded), weight)
    assert gradient.abs().max() > 0 and weight.grad is None


def test_the_model_is_as_it_was_between_two_recorded_samples():
    setting = Setting("bert")
    setting.module.train()
    hooks = [len(module._forward_hooks) for module in setting.module.modules()]
    for _ in setting.model.record(setting.samples, setting.points):
        assert setting.module.training and hooks == [len(module._forward_hooks) for module in setting.module.modules()]


def test_a_point_below_is_refused_by_name():
    setting = Setting("bert")
    lower, upper = setting.points
    (each,) = setting.model.record(setting.samples[:1], [upper])
    for point in (lower, upper):
        with pytest.raises(OptionError, match=f"^`to`: '{point.name}' is not reached after '{upper.name}'; choose"):
            setting.model.run_from(setting.samples[:1], upper, each.activations[0][None], [point])


@pytest.mark.parametrize("family", ["bert", "gpt2-lm"])
def test_traces_of_nnsight_record_and_run_on_as_hooks_do(family):
    pytest.importorskip("nnsight")
    setting = Setting(family)
    (lower, upper), rows = setting.points, [SplitInput.of(sample) for sample in setting.samples]
    hooks, traces = (ActivationRecorder(setting.module, setting.tokenizer, [lower], None, b) for b in ("hooks", "nnsight"))
    recorded = [pad_sequence([h for (h,) in each.record(rows)], batch_first=True) for each in (hooks, traces)]
    close(*recorded, 1e-5)
    for one, other in zip(*(each.run_on(rows, lower, 0.5 * recorded[0], [upper]) for each in (hooks, traces)), strict=True):
        for a, b in zip(one, other, strict=True):
            close(b, a, 1e-5)


def test_activations_are_those_that_a_module_gave_where_a_block_adds_into_them():
    model, tokenizer = tiny.CAUSAL_LMS["falcon"]()
    names = ["transformer.h.0.mlp", "transformer.h.1.mlp"]
    ids, wanted = tokenizer(TEXTS[0], return_tensors="pt").input_ids[0], []
    model.transformer.h[0].mlp.register_forward_hook(lambda _, __, output: wanted.append(output.clone()))
    row = SplitInput(ids, torch.zeros_like(ids), 1, {})
    recorder = ActivationRecorder(model, tokenizer, find_hook_points(model, names), None, "hooks")
    ((first, second),) = recorder.record([row])
    assert torch.equal(first, wanted[-1][0]) and not torch.equal(first, second)
    with torch.inference_mode():
        assert torch.equal(recorder.record([row])[0][0], first)
