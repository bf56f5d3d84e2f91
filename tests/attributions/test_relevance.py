"""Relevance: equal to the reference implementation, conserved where it must be, nothing of the model changed."""

from __future__ import annotations

import copy
import json
import threading

import pytest
import torch
import transformers
from safetensors import safe_open
from torch import nn

from interpreto import AttnLrp, Contrast, DeepLift, InputXGradient
from interpreto.errors import OptionError
from tests import problems, tiny
from tests.models.test_backward_rules import BIAS_FREE, REFERENCE
from tests.models.test_backward_rules import FAMILIES as REFERENCES

TEXT = "The film was not good, and the story is terrible."
CONSERVING = ("llama", "qwen2", "qwen3", "gemma3_text", "mixtral", "olmo2")


class Rectified(problems.Toy):
    """logits = head(relu(hidden(e))), summed over tokens, without biases."""

    def __init__(self, vocabulary):
        super().__init__(vocabulary)
        self.hidden = nn.Linear(8, 8, bias=False)

    def read(self, vectors):
        return (self.hidden(vectors).relu() @ self.head.weight.T).sum(1)


class Gated(problems.Toy):
    """logit_c = Σ over tokens of (w_c · e) (w_0 · e): a product of two factors that depend on the input."""

    def read(self, vectors):
        factors = vectors @ self.head.weight.T
        return (factors * factors[..., :1]).sum(1)


class Ids(problems.GameTokenizer):
    bos_token_id = eos_token_id = None


def without_biases(model):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
    return model


def referenced(name):
    """A model of the reference file, its ids, and the relevance that lxt 2.1 computed for one logit."""
    with safe_open(REFERENCE, "pt") as file:
        kind, config = json.loads(file.metadata()[name])
        start = f"{name}/weights/"
        weights = {key.removeprefix(start): file.get_tensor(key) for key in file.keys() if key.startswith(start)}  # noqa: SIM118
        ids, relevance, logit = (file.get_tensor(key) for key in ("input_ids", f"{name}/relevance", f"{name}/logit"))
    of_class = getattr(transformers, kind)
    facts = {key: value for key, value in json.loads(config).items() if key != "transformers_version"}
    model = of_class(of_class.config_class.from_dict(facts)).eval()
    model.load_state_dict(weights)
    return model, ids[0], relevance, logit


@pytest.mark.filterwarnings("ignore")  # configs of another release
@pytest.mark.parametrize("name", REFERENCES)
def test_relevance_is_that_of_lxt(name):
    model, ids, relevance, logit = referenced(name)
    tokenizer = Ids(model.config.vocab_size - 1)
    options = {"granularity": "all_tokens", "inference_mode": "logits", "task": "generation"}
    found = AttnLrp(model, tokenizer, **options)(ids, torch.tensor([7]))[0]
    values = found.attributions[0, : len(ids)]
    torch.testing.assert_close(found.base_scores[0], logit, atol=1e-6, rtol=0)
    torch.testing.assert_close(values, relevance, atol=1e-6, rtol=0)
    frozen = AttnLrp(model, tokenizer, attention="frozen", **options)(ids, torch.tensor([7]))[0]
    assert (float(frozen.residual.abs()) < 1e-5) is (name in BIAS_FREE)


@pytest.mark.parametrize("family", CONSERVING)
def test_frozen_attention_hands_back_the_whole_logit_of_models_without_biases(family):
    model, tokenizer = tiny.CAUSAL_LMS[family]()
    options = {"granularity": "all_tokens", "inference_mode": "logits"}
    for found in AttnLrp(without_biases(model), tokenizer, attention="frozen", **options)([TEXT, "A dull"], [" at all", " so"]):
        scale = found.base_scores.abs().clamp(min=1.0)
        assert bool((found.residual.abs() <= 1e-5 * scale).all()), found.residual
        assert found.reference_scores.tolist() == [0.0] * len(found.target_labels)
    bent = AttnLrp(model, tokenizer, **options)(TEXT, " so")[0]
    assert float(bent.residual.abs().max()) > 1e-3  # the softmax's own gradient does not conserve


def test_frozen_attention_hands_back_the_whole_logit_of_an_encoder():
    model, tokenizer = tiny.CLASSIFIERS["modernbert"]()
    found = AttnLrp(without_biases(model), tokenizer, attention="frozen", granularity="all_tokens")(TEXT)[0]
    assert float(found.residual.abs()) <= 1e-5 * max(1.0, float(found.base_scores.abs()))


@pytest.mark.parametrize("attention", ["attnlrp", "frozen"])
def test_a_model_without_products_has_the_relevance_of_its_gradient(attention):
    tokenizer = tiny.wordpiece()
    for kind in (problems.Additive, Rectified):
        model = kind(len(tokenizer)).eval()
        wanted = InputXGradient(model, tokenizer)(TEXT, 1)[0].attributions
        found = AttnLrp(model, tokenizer, attention=attention)(TEXT, 1)[0]
        torch.testing.assert_close(found.attributions, wanted, rtol=1e-5, atol=1e-5)


def test_a_product_of_two_factors_hands_back_its_value_once():
    """Its gradient × input is twice its value, as it has degree two."""
    tokenizer = tiny.wordpiece()
    model = Gated(len(tokenizer)).eval()
    found = AttnLrp(model, tokenizer, granularity="all_tokens")(TEXT, 1)[0]
    factors = model.embedding(found.sample.input_ids) @ model.head.weight.T
    torch.testing.assert_close(found.attributions[0], (factors[:, 1] * factors[:, 0]).detach(), rtol=1e-4, atol=1e-4)
    assert float(found.residual.abs()) < 1e-3


def test_frozen_attention_is_the_decomposition_of_a_linear_network():
    """One block of Llama, of which attention, norms and gates are constants: propagated source by source."""
    model, tokenizer = tiny.CAUSAL_LMS["llama"]()
    model.model.layers = model.model.layers[:1]
    options = {"granularity": "all_tokens", "inference_mode": "logits"}
    found = AttnLrp(model, tokenizer, attention="frozen", **options)("The film was not", " so", attribute_targets=False)[0]
    ids, heads, width = found.sample.input_ids[: len(found.elements)], 2, 16
    target, block = int(found.targets[0]), model.model.layers[0]
    seen = {}
    handles = [
        module.register_forward_hook(lambda m, args, out, n=name: seen.update({n: (args[0] if args else None, out)}))
        for name, module in model.named_modules()
    ]
    with torch.no_grad():
        model(ids[None])
    for handle in handles:
        handle.remove()
    x = model.model.embed_tokens(ids).detach()
    parts = torch.diag_embed(x.T).permute(1, 2, 0)  # what each token's vector holds of each source: (token, source, width)

    def normalized(norm, parts, whole):
        return parts * (norm.weight * torch.rsqrt(whole.square().mean(-1, keepdim=True) + norm.variance_epsilon))[:, None]

    with torch.no_grad():
        attention = block.self_attn
        inner = normalized(block.input_layernorm, parts, x)
        value = (inner @ attention.v_proj.weight.T).repeat(1, 1, heads)  # one head of values for both of the queries
        whole = seen["model.layers.0.self_attn.o_proj"][0][0]
        weights = weights_of(model, ids)  # (h, l, l)
        mixed = torch.einsum("hqk,kshe->qshe", weights, value.unflatten(-1, (heads, width))).flatten(2)
        torch.testing.assert_close(mixed.sum(1), whole, atol=1e-4, rtol=1e-4)
        parts = parts + mixed @ attention.o_proj.weight.T
        middle, mlp = parts.sum(1), block.mlp
        inner = normalized(block.post_attention_layernorm, parts, middle)
        gate, up = mlp.gate_proj(inner.sum(1)), mlp.up_proj(inner.sum(1))
        half = torch.sigmoid(gate)[:, None] * (inner @ mlp.gate_proj.weight.T) * up[:, None]
        other = mlp.act_fn(gate)[:, None] * (inner @ mlp.up_proj.weight.T)
        parts = parts + (half + other) / 2 @ mlp.down_proj.weight.T
        parts = normalized(model.model.norm, parts, parts.sum(1))
        wanted = parts[-1] @ model.lm_head.weight[target]
    torch.testing.assert_close(found.attributions[0], wanted, atol=1e-5, rtol=1e-4)


def weights_of(model, ids):
    """The attention weights of the first block."""
    from interpreto.models.attention import AttentionReader
    from interpreto.models.watching import watching

    reader = AttentionReader(model, 1)
    with torch.no_grad(), watching(model, reader):
        model(ids[None])
    return reader.maps[0].weights[0]


def test_shared_biases_complete_the_score_by_magnitude():
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    options = {"attention": "frozen", "granularity": "all_tokens"}
    kept = AttnLrp(model, tokenizer, **options)(TEXT, [[0, 1]])[0]
    shared = AttnLrp(model, tokenizer, biases="share", **options)(TEXT, [[0, 1]])[0]
    magnitude = kept.attributions.abs()
    wanted = kept.attributions + kept.residual[:, None] * magnitude / magnitude.sum(-1, keepdim=True)
    torch.testing.assert_close(shared.attributions, wanted, rtol=1e-4, atol=1e-5)
    assert float(kept.residual.abs().max()) > 0.1 and float(shared.residual.abs().max()) < 1e-5


def test_fused_and_written_out_attention_have_the_same_relevance():
    for family in ("gpt2", "qwen3"):
        model, tokenizer = tiny.CAUSAL_LMS[family]()
        config = copy.deepcopy(model.config)
        eager = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
        eager.load_state_dict(model.state_dict())
        assert (model.config._attn_implementation, eager.config._attn_implementation) == ("sdpa", "eager")
        for method, options in ((AttnLrp, {}), (AttnLrp, {"attention": "frozen"}), (DeepLift, {})):
            fused, plain = (method(m, tokenizer, **options)(TEXT, " so")[0].attributions for m in (model, eager))
            scale = float(plain.nan_to_num().abs().max())
            torch.testing.assert_close(fused, plain, rtol=0, atol=2e-5 * max(1.0, scale), equal_nan=True)


def test_a_contrast_has_the_relevance_of_its_sides():
    model, tokenizer = tiny.CAUSAL_LMS["llama"]()
    explainer = AttnLrp(model, tokenizer, inference_mode="logits")
    first, second = explainer([TEXT] * 2, [" so", " at"], attribute_targets=False, aggregate="sequence")
    both = explainer(TEXT, Contrast(" so", " at"))[0]
    torch.testing.assert_close(both.attributions, first.attributions - second.attributions, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", [AttnLrp, DeepLift], ids=lambda m: m.__name__)
def test_logits_and_gradients_are_bit_identical_after_a_call_also_in_another_thread(method):
    model, tokenizer = tiny.CLASSIFIERS["distilbert"]()
    other, _ = tiny.CLASSIFIERS["distilbert"]()

    def plain(of):
        inputs = tokenizer(TEXT, return_tensors="pt")
        logits = of(**inputs).logits
        of.zero_grad()
        logits[0, 1].backward()
        return [logits.detach(), *(parameter.grad.clone() for parameter in of.parameters())]

    before, stop, seen = plain(other), threading.Event(), []

    def watch():
        while not stop.is_set():
            seen.append(all(torch.equal(a, b) for a, b in zip(plain(other), before, strict=True)))

    thread = threading.Thread(target=watch)
    thread.start()
    own, explainer = plain(model), method(model, tokenizer)
    model.zero_grad()
    values = [explainer(TEXT, 1)[0].attributions for _ in range(3)]
    stop.set()
    thread.join()
    assert seen and all(seen)
    assert all(torch.equal(a, b) for a, b in zip(plain(model), own, strict=True))
    assert torch.equal(values[0], values[1]) and torch.equal(values[0], values[2])


@pytest.mark.parametrize("option", ["attention", "biases"])
def test_unknown_rules_are_refused(option):
    with pytest.raises(OptionError, match=f"`{option}`: got 'none'"):
        AttnLrp(*tiny.CLASSIFIERS["bert"](), **{option: "none"})
