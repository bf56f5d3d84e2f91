"""Each shortcut saves runs, tokens or logits, and changes no number."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch

from interpreto import Contrast, IntegratedGradients, KernelShap, Lime, Occlusion, Saliency, Sobol
from interpreto.models import EngineOptions
from interpreto.models.kv_cache import new_cache, recorded
from tests import tiny

NAMES = [field.name for field in fields(EngineOptions)]
FAMILIES = {**tiny.CAUSAL_LMS, **tiny.SEQ2SEQ}
PROMPTS = ["A long and dull story with no end in sight, she said", "The film was good and the story was not"]
TARGETS = [" but the film was so good", " at all"]
METHODS = {Occlusion: {}, KernelShap: {"n_perturbations": 60}, Saliency: {}}
pytestmark = pytest.mark.filterwarnings("ignore::interpreto.errors.CompletenessWarning")


class Watch:
    """Notes what a model is asked: rows × tokens of each pass, and logits answered."""

    def __init__(self, model):
        self.shapes, self.logits, self.pasts = [], 0, 0
        model.register_forward_hook(self.note, with_kwargs=True)

    def note(self, _module, _inputs, kwargs, output):
        self.shapes.append(tuple(kwargs["input_ids"].shape))
        self.logits += output.logits.shape[0] * output.logits.shape[1]
        past = kwargs.get("past_key_values")
        self.pasts += past is not None and len(self.shapes) > 1

    @property
    def tokens(self):
        return sum(rows * length for rows, length in self.shapes)


def explained(family, method, shortcuts, **options):
    model, tokenizer = FAMILIES[family]()
    watch = Watch(model)
    explainer = method(model, tokenizer, shortcuts=shortcuts, **METHODS.get(method, {}), **options)
    return explainer(PROMPTS, TARGETS), watch


def assert_same(a, b, bound=1e-4):
    for x, y in zip(a, b, strict=True):
        assert torch.equal(x.attributions.isnan(), y.attributions.isnan())
        scale = max(1.0, float(x.attributions.nan_to_num().abs().max()))
        assert float((x.attributions - y.attributions).nan_to_num().abs().max()) <= bound * scale
        torch.testing.assert_close(x.base_scores, y.base_scores, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", NAMES)
def test_no_shortcut_changes_a_number(name, family):
    for method in METHODS:
        options = {} if method is Saliency else {"batch_size": 6}
        fast, _ = explained(family, method, EngineOptions(), **options)
        slow, _ = explained(family, method, EngineOptions(**{name: False}), **options)
        assert_same(fast, slow)


def test_all_of_them_off_is_one_run_a_target_and_a_copy():
    off = EngineOptions(**dict.fromkeys(NAMES, False))
    for method in METHODS:
        fast, quick = explained("llama", method, EngineOptions())
        slow, watch = explained("llama", method, off)
        assert_same(fast, slow)
        assert watch.tokens > 3 * quick.tokens


@pytest.mark.parametrize("family", list(tiny.CAUSAL_LMS))
def test_the_prefix_is_run_once(family):
    model, tokenizer = FAMILIES[family]()
    watch = Watch(model)
    explainer = Occlusion(model, tokenizer, batch_size=6)
    explainer(PROMPTS[0], TARGETS[0])
    shared, tokens = watch.pasts, watch.tokens
    _, whole = explained(family, Occlusion, EngineOptions(prefix=False), batch_size=6)
    if family == "mamba":  # its state does not continue by several tokens
        assert not shared and explainer.forward.shares_prefix is None
        return
    assert explainer.forward.shares_prefix and shared >= 3 and not whole.pasts
    Watch(model)
    model, tokenizer = FAMILIES[family]()
    watch = Watch(model)
    Occlusion(model, tokenizer, batch_size=6, shortcuts=EngineOptions(prefix=False))(PROMPTS[0], TARGETS[0])
    assert tokens < 0.8 * watch.tokens


@pytest.mark.parametrize("replacement", ["mean", "zero", "drop", "attention", 9])
@pytest.mark.parametrize("family", ["llama", "mistral", "gemma3_text", "gpt_neo"])
def test_every_replacement_behind_a_prefix(family, replacement):
    fast, _ = (
        explained(family, Occlusion, EngineOptions(), batch_size=6, replacement=replacement)
        if family != "gpt_neo"
        else (None, None)
    )
    if fast is None:
        if replacement in ("drop", "attention"):
            return
        fast, _ = explained(family, Occlusion, EngineOptions(), batch_size=6, replacement=replacement)
    slow, _ = explained(family, Occlusion, EngineOptions(prefix=False), batch_size=6, replacement=replacement)
    assert_same(fast, slow)


def test_windows_shorter_than_the_prefix_are_kept():
    """Mistral and Gemma attend 8 tokens back here, in prompts of some 40."""
    for family in ("mistral", "gemma3_text"):
        model, tokenizer = FAMILIES[family]()
        prompt = " ".join(PROMPTS)
        fast = Occlusion(model, tokenizer, batch_size=8)(prompt, TARGETS[0])
        slow = Occlusion(model, tokenizer, batch_size=8, shortcuts=EngineOptions(prefix=False))(prompt, TARGETS[0])
        assert fast[0].sample.input_ids.shape[0] > 40
        assert_same(fast, slow)


def test_a_cache_that_does_not_continue_is_found_out():
    model, tokenizer = FAMILIES["llama"]()
    explainer = Occlusion(model, tokenizer, batch_size=6)
    forward, wrong = model.forward, []

    def lies(*args, past_key_values=None, **kwargs):
        if past_key_values is not None and past_key_values.get_seq_length():
            wrong.append(1)
            past_key_values = None  # a model that forgets
            kwargs["attention_mask"] = kwargs["attention_mask"][:, -kwargs["input_ids"].shape[1] :]
        return forward(*args, past_key_values=past_key_values, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "forward", lies)
        output = explainer(PROMPTS[0], TARGETS[0])
    assert len(wrong) == 1 and explainer.forward.shares_prefix is False
    assert_same(output, Occlusion(model, tokenizer)(PROMPTS[0], TARGETS[0]))


def test_an_unknown_state_is_no_prefix():
    cache = new_cache()
    assert recorded(cache, 3) is None
    cache.update(torch.zeros(1, 2, 4, 8), torch.zeros(1, 2, 4, 8), 0)
    assert recorded(cache, 4) is not None and recorded(cache, 3) is None


def test_logits_are_computed_at_targets_alone():
    for family in ("llama", "mamba", "t5"):
        outputs, watch = explained(family, Occlusion, EngineOptions(prefix=False, distinct=False))
        copies = [len(output.elements) + 1 for output in outputs]
        most = max(len(output.targets) for output in outputs)
        slack = 2 * most  # two rows measure what padding does
        assert watch.logits <= (sum(copies) + 2) * most + slack
        _, whole = explained(family, Occlusion, EngineOptions(prefix=False, distinct=False, kept_logits=False))
        assert whole.logits > 2 * watch.logits or family == "t5"


def test_wrappers_are_seen_through():
    from peft import LoraConfig, get_peft_model

    model, tokenizer = FAMILIES["llama"]()
    wanted = Occlusion(model, tokenizer, batch_size=6)(PROMPTS, TARGETS)
    wrapped = get_peft_model(FAMILIES["llama"]()[0], LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"]))
    explainer = Occlusion(wrapped, tokenizer, batch_size=6)
    assert_same(wanted, explainer(PROMPTS, TARGETS))
    assert explainer.forward.takes("logits_to_keep") and explainer.forward.shares_prefix
    compiled = torch.compile(FAMILIES["llama"]()[0], backend="eager")
    assert_same(wanted, Occlusion(compiled, tokenizer)(PROMPTS, TARGETS))
    steps = {"n_perturbations": 2}
    assert_same(
        IntegratedGradients(model, tokenizer, **steps)(PROMPTS, TARGETS),
        IntegratedGradients(wrapped, tokenizer, **steps)(PROMPTS, TARGETS),
    )


def test_half_precision_stays_half_and_is_near():
    model, tokenizer = FAMILIES["llama"]()
    wanted = Occlusion(model, tokenizer)(PROMPTS[0], TARGETS[0])[0]
    half = FAMILIES["llama"]()[0].to(torch.bfloat16)
    for method in (Occlusion, Saliency, Lime, Sobol):
        found = method(half, tokenizer)(PROMPTS[0], TARGETS[0])[0]
        assert found.attributions.dtype == torch.float32 and half.dtype == torch.bfloat16
        assert float((found.base_scores - wanted.base_scores).abs().max()) < 0.3


def test_contrasts_take_the_shortcuts_too():
    model, tokenizer = FAMILIES["llama"]()
    for contrast in (Contrast(" good", " dull"), Contrast(" so good", " very dull")):
        fast = Occlusion(model, tokenizer, batch_size=6)(PROMPTS, contrast)
        off = EngineOptions(**dict.fromkeys(NAMES, False))
        assert_same(fast, Occlusion(model, tokenizer, batch_size=6, shortcuts=off)(PROMPTS, contrast))
    watch = Watch(model)
    Occlusion(model, tokenizer)(PROMPTS[0], Contrast(torch.tensor([300]), torch.tensor([301])))
    assert len(watch.shapes) <= 5 and all(length <= 60 for _, length in watch.shapes)


def test_shortcuts_are_an_object():
    from interpreto.errors import OptionError

    with pytest.raises(OptionError, match=r"`shortcuts`: got \{'prefix': False\}; pass interpreto.models.EngineOptions"):
        Occlusion(*FAMILIES["llama"](), shortcuts={"prefix": False})
