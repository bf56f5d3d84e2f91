"""Each optimization saves runs, tokens, logits or backward passes, and changes no number."""

from __future__ import annotations

import functools
import warnings
from dataclasses import fields

import pytest
import torch

from interpreto import Contrast, IntegratedGradients, KernelShap, Lime, Occlusion, Saliency, Sobol
from interpreto.errors import OptimizationWarning, OptionError
from interpreto.models import EngineOptions
from interpreto.models.forward import CACHE_ARGUMENTS
from interpreto.models.kv_cache import new_cache, recorded
from tests import tiny

NAMES = [field.name for field in fields(EngineOptions)]
FAMILIES = {**tiny.CAUSAL_LMS, **tiny.SEQ2SEQ}
ALONE = ["mamba"]  # its state does not continue by several tokens
if tiny.RELEASE < (4, 53):
    ALONE.append("gemma3_text")  # its masks presume a cache that forgets what left the window
SHARING = [family for family in tiny.CAUSAL_LMS if family not in ALONE]
PROMPTS = ["A long and dull story with no end in sight, she said", "The film was good and the story was not"]
TARGETS = [" but the film was so good", " at all"]
METHODS = {
    Occlusion: {"batch_size": 6},
    KernelShap: {"n_perturbations": 60, "batch_size": 6},
    Saliency: {},
}
pytestmark = pytest.mark.filterwarnings("ignore::interpreto.errors.CompletenessWarning")


class Watch:
    """Notes what a model is asked: rows × tokens of each pass, and logits answered."""

    def __init__(self, model):
        self.shapes, self.logits, self.pasts = [], 0, 0
        model.register_forward_hook(self.note, with_kwargs=True)

    def note(self, _module, _inputs, kwargs, output):
        self.shapes.append(tuple(kwargs["input_ids"].shape))
        self.logits += output.logits.shape[0] * output.logits.shape[1]
        past = next((kwargs[name] for name in CACHE_ARGUMENTS if kwargs.get(name) is not None), None)
        self.pasts += past is not None and len(self.shapes) > 1

    @property
    def tokens(self):
        return sum(rows * length for rows, length in self.shapes)


def explained(family, method, options=EngineOptions(), **changed):  # noqa: B008  (frozen)
    """The explanations, what the model was asked, and which optimizations were active."""
    model, tokenizer = FAMILIES[family]()
    watch = Watch(model)
    explainer = method(model, tokenizer, shortcuts=options, **METHODS.get(method, {}) | changed)
    return explainer(PROMPTS, TARGETS), watch, explainer.report()


@functools.cache
def by_default(family, method):
    return explained(family, method)


def assert_same(a, b, bound=1e-4):
    for x, y in zip(a, b, strict=True):
        assert torch.equal(x.attributions.isnan(), y.attributions.isnan())
        scale = max(1.0, float(x.attributions.nan_to_num().abs().max()))
        assert float((x.attributions - y.attributions).nan_to_num().abs().max()) <= bound * scale
        torch.testing.assert_close(x.base_scores, y.base_scores, rtol=1e-4, atol=1e-4)


def methods_of(name, family):
    """The methods that an optimization speeds up; `shared_backward` is of gradients, `prefix` and `distinct` of masks."""
    if name == "prefix":
        return [Occlusion, KernelShap] if family in SHARING else []
    if name == "distinct":
        return [KernelShap]
    return [Saliency] if name == "shared_backward" else list(METHODS)


@pytest.mark.parametrize(("family", "name"), [(f, n) for f in FAMILIES for n in NAMES if methods_of(n, f)])
def test_no_optimization_changes_a_number(family, name):
    for method in methods_of(name, family):
        fast, _, used = by_default(family, method)
        slow, _, left = explained(family, method, EngineOptions(**{name: False}))
        assert used[name] and not left[name] and left[name].reason == "switched off by EngineOptions"
        assert_same(fast, slow)


def test_all_of_them_off_is_one_run_a_target_and_a_copy():
    off = EngineOptions(**dict.fromkeys(NAMES, False))
    for method in METHODS:
        fast, quick, used = by_default("llama", method)
        slow, watch, left = explained("llama", method, off)
        assert any(used.values()) and not any(left[name] for name in NAMES)
        assert_same(fast, slow)
        assert watch.tokens > (2.4 if method is Saliency else 2.5) * quick.tokens  # whose scores come with its gradients


@pytest.mark.parametrize("family", SHARING)
def test_the_prefix_is_run_once(family):
    counts = {}
    for prefix in (True, False):
        model, tokenizer = FAMILIES[family]()
        watch = Watch(model)
        explainer = Occlusion(model, tokenizer, batch_size=6, shortcuts=EngineOptions(prefix=prefix))
        explainer(PROMPTS[0], TARGETS[0])
        assert bool(explainer.report()["prefix"]) is prefix and (watch.pasts >= 3 if prefix else not watch.pasts)
        counts[prefix] = watch.tokens
    assert counts[True] < 0.8 * counts[False]


class Hidden(torch.nn.Module):
    """A language model whose forward does not name the cache."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.config, self.generation_config = inner, inner.config, inner.generation_config
        self.get_input_embeddings, self.can_generate = inner.get_input_embeddings, inner.can_generate

    def forward(self, input_ids, attention_mask):
        return self.inner(input_ids=input_ids, attention_mask=attention_mask)


class Raising(Hidden):
    """A language model that raises where it is given a plain cache, as hybrids do."""

    def forward(self, input_ids, attention_mask, use_cache=False, past_key_values=None):
        if use_cache:
            raise IndexError("list index out of range")
        return self.inner(input_ids=input_ids, attention_mask=attention_mask)


@pytest.mark.parametrize(("kind", "reason"), [(Hidden, "no key-value cache"), (Raising, "IndexError: list index out of range")])
def test_a_model_that_cannot_share_says_so_once_and_is_run_whole(kind, reason):
    model, tokenizer = FAMILIES["llama"]()
    wanted = Occlusion(model, tokenizer, batch_size=6)(PROMPTS, TARGETS)
    other = kind(model)
    explainer = Occlusion(other, tokenizer, batch_size=6)
    with pytest.warns(OptimizationWarning, match=f"{kind.__name__}: .*{reason}.*each is run whole") as caught:
        assert_same(explainer(PROMPTS, TARGETS), wanted)
    assert len(caught) == 1 and reason in explainer.report()["prefix"].reason
    with warnings.catch_warnings():
        warnings.simplefilter("error", OptimizationWarning)
        for again in (explainer, Occlusion(other, tokenizer, batch_size=6)):
            assert_same(again(PROMPTS, TARGETS), wanted)


def test_a_full_memory_is_no_reason_not_to_share():
    model, tokenizer = FAMILIES["llama"]()
    explainer = Occlusion(model, tokenizer, batch_size=6)

    def full(*_inputs, **_arguments):
        raise torch.OutOfMemoryError("full")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "forward", full)
        with pytest.raises(torch.OutOfMemoryError):
            explainer(PROMPTS[0], TARGETS[0])
    assert explainer.forward.shares_prefix is None
    explainer(PROMPTS[0], TARGETS[0])
    assert explainer.report()["prefix"]


@pytest.mark.parametrize("replacement", ["mean", "zero", "drop", "attention", 9])
@pytest.mark.parametrize("family", ["llama", "mistral", "gemma3_text", "gpt_neo"])
def test_every_replacement_behind_a_prefix(family, replacement):
    fast, _, used = explained(family, Occlusion, replacement=replacement)
    slow, _, _ = explained(family, Occlusion, EngineOptions(prefix=False), replacement=replacement)
    assert bool(used["prefix"]) is (family in SHARING)
    assert_same(fast, slow)


@pytest.mark.parametrize("family", ["gpt2", "qwen2"])
def test_a_dropped_word_whose_follower_begins_alike_moves_what_is_read(family):
    """ " at all": without " at", " a" still follows " not"; "t" is predicted after " not" none the less."""
    output = explained(family, Occlusion, replacement="drop")[0][1]
    assert output.target_labels[:2] == [" a", "t"] and output.elements[-2:] == ["at", "all"]
    ids, kept = output.sample.input_ids, output.sample.units.index != len(output.elements) - 2
    prompt = int((~kept).nonzero()[0])
    assert torch.equal(ids[kept][: prompt + 1], ids[: prompt + 1])
    model, _ = FAMILIES[family]()
    with torch.no_grad():
        before, behind = model(ids[None]).logits[0, prompt - 1 : prompt + 1].log_softmax(-1)[:, ids[prompt + 1]]
    torch.testing.assert_close(output.attributions[1, -2], behind - before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", ["mistral", "gemma3_text"])
def test_windows_shorter_than_the_prefix_are_kept(family):
    """Mistral and Gemma attend 8 tokens back here, in prompts of some 40."""
    model, tokenizer = FAMILIES[family]()
    prompt = " ".join(PROMPTS)
    explainer = Occlusion(model, tokenizer, batch_size=8)
    fast = explainer(prompt, TARGETS[0])
    assert bool(explainer.report()["prefix"]) is (family in SHARING) and fast[0].sample.input_ids.shape[0] > 40
    assert_same(fast, Occlusion(model, tokenizer, batch_size=8, shortcuts=EngineOptions(prefix=False))(prompt, TARGETS[0]))


def test_a_cache_that_does_not_continue_is_found_out():
    model, tokenizer = FAMILIES["llama"]()
    explainer = Occlusion(model, tokenizer, batch_size=6)
    forward, name, wrong = model.forward, explainer.forward.cache_argument, []

    def lies(*args, **kwargs):
        past = kwargs.get(name)
        if past is not None and past.get_seq_length():
            wrong.append(1)
            kwargs[name] = None  # a model that forgets
            kwargs["attention_mask"] = kwargs["attention_mask"][:, -kwargs["input_ids"].shape[1] :]
        return forward(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "forward", lies)
        with pytest.warns(OptimizationWarning, match="differ from those of the whole text"):
            output = explainer(PROMPTS[0], TARGETS[0])
    assert len(wrong) == 1 and explainer.forward.shares_prefix is False and not explainer.report()["prefix"]
    assert_same(output, Occlusion(model, tokenizer)(PROMPTS[0], TARGETS[0]))


def test_an_unknown_state_is_no_prefix():
    cache = new_cache()
    assert recorded(cache, 3) is None
    cache.update(torch.zeros(1, 2, 4, 8), torch.zeros(1, 2, 4, 8), 0)
    assert recorded(cache, 4) is not None and recorded(cache, 3) is None


def test_logits_are_computed_at_targets_alone():
    for family in ("llama", "mamba", "t5"):
        outputs, watch, used = explained(family, Occlusion, EngineOptions(prefix=False, distinct=False), batch_size=None)
        copies = [len(output.elements) + 1 for output in outputs]
        most = max(len(output.targets) for output in outputs)
        slack = 2 * most  # two rows measure what padding does
        assert used["kept_logits"] and watch.logits <= (sum(copies) + 2) * most + slack
        off = EngineOptions(prefix=False, distinct=False, kept_logits=False)
        _, whole, left = explained(family, Occlusion, off, batch_size=None)
        assert not left["kept_logits"] and (whole.logits > 2 * watch.logits or family == "t5")


def test_wrappers_are_seen_through():
    from peft import LoraConfig, get_peft_model

    model, tokenizer = FAMILIES["llama"]()
    wanted = Occlusion(model, tokenizer, batch_size=6)(PROMPTS, TARGETS)
    wrapped = get_peft_model(FAMILIES["llama"]()[0], LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"]))
    explainer = Occlusion(wrapped, tokenizer, batch_size=6)
    assert_same(wanted, explainer(PROMPTS, TARGETS))
    assert explainer.report()["kept_logits"] and explainer.report()["prefix"]
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
        explainer = Occlusion(model, tokenizer, batch_size=6)
        fast = explainer(PROMPTS, contrast)
        assert explainer.report()["prefix"]
        off = EngineOptions(**dict.fromkeys(NAMES, False))
        assert_same(fast, Occlusion(model, tokenizer, batch_size=6, shortcuts=off)(PROMPTS, contrast))
    watch = Watch(model)
    Occlusion(model, tokenizer)(PROMPTS[0], Contrast(torch.tensor([300]), torch.tensor([301])))
    assert len(watch.shapes) <= 5 and all(length <= 60 for _, length in watch.shapes)


def test_shortcuts_are_an_object():
    with pytest.raises(OptionError, match=r"`shortcuts`: got \{'prefix': False\}; pass interpreto.models.EngineOptions"):
        Occlusion(*FAMILIES["llama"](), shortcuts={"prefix": False})


def test_the_report_says_what_the_last_call_saved():
    model, tokenizer = FAMILIES["llama"]()
    explainer = Occlusion(model, tokenizer, batch_size=6)
    assert not any(explainer.report().values())
    explainer(PROMPTS, TARGETS)
    assert list(explainer.report()) == [*NAMES, "mixed_lengths", "tolerance"] and explainer.report()["prefix"].reason == ""
    explainer(PROMPTS[0], torch.tensor([300]))
    assert explainer.report()["prefix"] and not explainer.report()["one_pass"]
    lines = str(explainer.report()).splitlines()
    assert lines[0] == "one_pass         not active: no explanation had several targets to read off one pass"
    assert lines[2] == "prefix           active"
    bert = Occlusion(*tiny.CLASSIFIERS["bert"]())
    bert(PROMPTS)
    assert bert.report()["mixed_lengths"] and "causal language model" in bert.report()["prefix"].reason
    xlnet = Occlusion(*tiny.CLASSIFIERS["xlnet"]())
    xlnet(PROMPTS)
    assert xlnet.report()["mixed_lengths"].reason == "padding on the right changes what this model returns"
