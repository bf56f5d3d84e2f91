"""Components of a logit sum to it, and each is what its part adds."""

from __future__ import annotations

import pytest
import torch

from interpreto.concepts import DirectLogitAttribution
from interpreto.errors import ModelError, TaskError
from tests import tiny, tiny_tasks
from tests.concepts.lenses.test_logit_lens import GEMMA2, NEOX, OPT

TEXTS = [tiny.SENTENCES[i] for i in (6, 1)]
FAMILIES = {
    "gpt2": tiny.CAUSAL_LMS["gpt2"],
    "llama": tiny.CAUSAL_LMS["llama"],
    "gpt-neox": NEOX,
    "opt": OPT,
    "gemma2": GEMMA2,
    "gemma3": tiny.CAUSAL_LMS["gemma3_text"],
    "falcon": tiny.CAUSAL_LMS["falcon"],
    "olmo2": tiny.CAUSAL_LMS["olmo2"],
    "mixtral": tiny.CAUSAL_LMS["mixtral"],
    "phi": tiny.CAUSAL_LMS["phi"],
}
FAST = ("llama", "gemma2")


@pytest.mark.parametrize("family", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES])
def test_components_sum_to_the_logit(family):
    model, tokenizer = FAMILIES[family]()
    for text, output in zip(TEXTS, DirectLogitAttribution(model, tokenizer)(TEXTS, "next"), strict=True):
        inputs = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            logits = model(**inputs).logits[0]
        cap = getattr(model.config, "final_logit_softcapping", None)
        found = cap * torch.tanh(output.logits / cap) if cap else output.logits
        wanted = logits.gather(1, output.target_ids[:, None])[:, 0]
        torch.testing.assert_close(found, wanted, atol=1e-5 * max(1, float(wanted.abs().max())), rtol=1e-5)
        assert float((output.values.sum(1) - output.logits).abs().max()) <= 1e-5 * max(1, float(output.values.abs().max()))
        assert output.components == (
            *("embedding", "0 attention", "0 feed-forward", "1 attention", "1 feed-forward", "biases"),
        )
        assert output.target_ids[:-1].tolist() == inputs["input_ids"][0, 1:].tolist()


def test_components_are_what_the_parts_add_by_hand():
    model, tokenizer = tiny.CAUSAL_LMS["llama"]()
    (output,) = DirectLogitAttribution(model, tokenizer)(TEXTS[0])
    heard = {}
    hooks = [
        module.register_forward_hook(lambda m, a, o, name=name: heard.update({name: (o[0] if isinstance(o, tuple) else o)[0]}))
        for name, module in model.named_modules()
        if name.endswith(("embed_tokens", "self_attn", ".mlp"))
    ]
    with torch.no_grad():
        hidden = model.model(**tokenizer(TEXTS[0], return_tensors="pt"))
        for hook in hooks:
            hook.remove()
        del hidden
        names = ("embed_tokens", "layers.0.self_attn", "layers.0.mlp", "layers.1.self_attn", "layers.1.mlp")
        parts = torch.stack([heard[f"model.{name}"] for name in names])
        size = (parts.sum(0).square().mean(-1) + model.config.rms_norm_eps).sqrt()
        rows = model.lm_head.weight[output.target_ids] * model.model.norm.weight
        wanted = (parts / size[:, None] * rows).sum(-1).T
    torch.testing.assert_close(output.values[:, :-1], wanted, atol=1e-4, rtol=1e-4)
    assert float(output.values[:, -1].abs().max()) < 1e-4  # Llama has no bias


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gpt2", "llama", "gpt-neox"])
def test_heads_sum_to_their_attention(family):
    model, tokenizer = FAMILIES[family]()
    (whole,), (split,) = (DirectLogitAttribution(model, tokenizer, heads=heads)(TEXTS[0]) for heads in (False, True))
    assert len(split.components) == len(whole.components) + 2 * 2  # two heads and a bias in place of each attention
    for block in (0, 1):
        own = [i for i, name in enumerate(split.components) if name.startswith(f"{block} attention")]
        at = whole.components.index(f"{block} attention")
        torch.testing.assert_close(split.values[:, own].sum(1), whole.values[:, at], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(split.values.sum(1), split.logits, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_a_decoder_has_three_parts_in_each_block():
    model, tokenizer = tiny.SEQ2SEQ["t5"]()
    (output,) = DirectLogitAttribution(model, tokenizer, max_new_tokens=3)(TEXTS[1])
    assert output.components[1:4] == ("0 attention", "0 cross-attention", "0 feed-forward")
    torch.testing.assert_close(output.values.sum(1), output.logits, atol=1e-4, rtol=1e-4)


def test_it_is_seen_in_every_medium(tmp_path):
    (output,) = DirectLogitAttribution(*tiny.CAUSAL_LMS["gpt2"]())(TEXTS[0])
    text = str(output)
    assert "embedding" in text and "1 feed-forward" in text and "sum" in text
    assert output.plot(backend="matplotlib").axes[0].get_xlabel() == "logit"
    page = output.to_html(tmp_path / "components.html")
    assert "0 attention" in page and output.top(k=1)[0][1] == pytest.approx(float(output.values[-1].abs().max()), abs=10)


def test_other_models_are_refused_by_name():
    with pytest.raises(ModelError, match="BertForMaskedLM"):
        DirectLogitAttribution(*tiny_tasks.MASKED_LMS["bert"]())(TEXTS[0])
    with pytest.raises(TaskError, match="BertForSequenceClassification has classes"):
        DirectLogitAttribution(*tiny.CLASSIFIERS["bert"]())
    model, tokenizer = tiny.SEQ2SEQ["bart"]()
    with pytest.raises(ModelError, match="does not add a sum of its parts"):
        DirectLogitAttribution(model, tokenizer, max_new_tokens=2)(TEXTS[1])
    model, tokenizer = GEMMA2()
    with pytest.raises(ModelError, match="not a linear layer of its heads"):
        DirectLogitAttribution(model, tokenizer, heads=True)(TEXTS[1])
