"""Where published autoencoders read: hooks of other libraries as split points, and the check that refuses a wrong one."""

from __future__ import annotations

import json
import warnings

import pytest
import torch

from interpreto import demo
from interpreto.concepts import TopKSAEConcepts, load_sae
from interpreto.concepts.pretrained.fit import SENTENCES, variance_explained
from interpreto.concepts.pretrained.model import PublishedSAE
from interpreto.concepts.pretrained.places import neighbors, split_point_of
from interpreto.concepts.splitters import ModelWithSplitPoints
from interpreto.errors import MismatchWarning, ModelError, OptionError
from tests import tiny

PLACES = {
    "gpt2": {
        "blocks.0.hook_resid_pre": "transformer.h.0:input",
        "blocks.1.hook_resid_post": "transformer.h.1",
        "blocks.1.hook_resid_mid": "transformer.h.1.ln_2:input",
        "blocks.1.hook_attn_out": "transformer.h.1.attn",
        "blocks.1.hook_mlp_out": "transformer.h.1.mlp",
        "blocks.1.attn.hook_z": "transformer.h.1.attn.c_proj:input",
        "blocks.1.mlp.hook_post": "transformer.h.1.mlp.c_proj:input",
        "blocks.1.hook_mlp_in": "transformer.h.1.mlp:input",
        "hook_embed": "transformer.wte",
        "h.1": "transformer.h.1",
        "transformer.h.1.mlp.output": "transformer.h.1.mlp",
    },
    "llama": {
        "blocks.1.hook_resid_mid": "model.layers.1.post_attention_layernorm:input",
        "blocks.1.hook_attn_out": "model.layers.1.self_attn",
        "blocks.1.attn.hook_z": "model.layers.1.self_attn.o_proj:input",
        "blocks.1.mlp.hook_post": "model.layers.1.mlp.down_proj:input",
        "layers.1.mlp": "model.layers.1.mlp",
        "model.layers.1.self_attn.o_proj.input": "model.layers.1.self_attn.o_proj:input",
    },
    "gemma3_text": {
        "blocks.1.hook_resid_mid": "model.layers.1.pre_feedforward_layernorm:input",
        "blocks.1.hook_mlp_out": "model.layers.1.post_feedforward_layernorm",
        "blocks.1.hook_attn_out": "model.layers.1.post_attention_layernorm",
        "model.layers.1.output": "model.layers.1",
    },
}


@pytest.mark.parametrize(("family", "hook"), [(family, hook) for family, hooks in PLACES.items() for hook in hooks])
def test_a_hook_is_a_split_point(family, hook):
    model, _ = tiny.CAUSAL_LMS[family]()
    found = split_point_of(hook, model)
    assert found == PLACES[family][hook]
    assert found.partition(":")[0] in dict(model.named_modules())


@pytest.mark.parametrize("hook", ["blocks.9.hook_resid_post", "blocks.1.attn.hook_pattern", "layers.7", "hook_resid_post"])
def test_a_hook_that_the_model_has_not(hook):
    with pytest.raises(OptionError, match="`split_point`"):
        split_point_of(hook, tiny.CAUSAL_LMS["llama"]()[0])


@pytest.mark.parametrize("backend", ["hooks", "nnsight"])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_what_a_block_is_given_is_what_the_one_before_gave(family, backend):
    model, tokenizer = tiny.CAUSAL_LMS[family]()
    path = {"gpt2": "transformer.h", "llama": "model.layers"}[family]
    splitter = ModelWithSplitPoints(model, [f"{path}.1:input", f"{path}.0"], tokenizer=tokenizer, backend=backend)
    found = splitter.get_activations(["The film is good.", "Dull."], "all_tokens")
    assert torch.equal(found[f"{path}.1:input"], found[f"{path}.0"])


def test_what_is_given_by_name_is_read_and_edited():
    model, tokenizer = tiny.CAUSAL_LMS["llama"]()  # whose attention takes everything by name
    place = "model.layers.1.self_attn:input"
    splitter = ModelWithSplitPoints(model, [place, "model.layers.1.input_layernorm"], tokenizer=tokenizer)
    found = splitter.get_activations(["The film is good."], "all_tokens")
    assert torch.equal(found[place], found["model.layers.1.input_layernorm"])
    samples = splitter.samples(["The film is good."], "all_tokens")
    hidden = splitter.batch_activations(samples, place)
    same, other = (splitter.outputs_from(samples, value, place) for value in (hidden, 0 * hidden))
    ids = samples[0].input_ids[None]
    with torch.no_grad():
        assert torch.allclose(same, model(ids).logits[:, : same.shape[1]], atol=1e-5)
    assert not torch.allclose(same, other, atol=1e-3)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """An autoencoder of the embedded classifier's second block, in the layout of SAELens."""
    model, tokenizer = demo.load_classifier()
    splitter = ModelWithSplitPoints(model, 1, tokenizer=tokenizer)
    rows = splitter.get_activations([sentence.text for sentence in demo.load_sentences()[:300]], "token")
    explainer = TopKSAEConcepts(splitter, nb_concepts=64, k=16).fit(rows, nb_epochs=5)
    folder = tmp_path_factory.mktemp("sae")
    explainer.save(folder, layout="sae_lens")
    return folder, model, tokenizer


def at(folder, hook, tmp_path):
    """Copy an autoencoder with another hook."""
    for name in ("sae_weights.safetensors", "cfg.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    cfg = json.loads((tmp_path / "cfg.json").read_text())
    cfg["metadata"] |= {"hook_name": hook, "hf_hook_name": None}
    (tmp_path / "cfg.json").write_text(json.dumps(cfg))
    return tmp_path


def test_the_right_place_is_found_and_checked(trained):
    folder, model, tokenizer = trained
    sae = load_sae(folder, model=model, tokenizer=tokenizer)
    assert sae.split_point == "bert.encoder.layer.1"
    assert sae.published["hook"] == "blocks.1.hook_resid_post"
    assert 0.2 < sae.variance_explained <= 1
    assert load_sae(folder, splitter=sae.splitter).split_point == sae.split_point


WRONG = [
    "blocks.0.hook_resid_post",
    "blocks.0.hook_resid_pre",
    "blocks.2.hook_resid_post",
    "bert.encoder.layer.1.attention.output.dense",
    "bert.encoder.layer.1.output.dense",
    "bert.encoder.layer.2.attention.self",
    "bert.encoder.layer.0.attention.output.dense",
    "bert.encoder.layer.2.output.dense",
]


@pytest.mark.parametrize("hook", WRONG)
def test_a_wrong_place_explains_less_or_is_refused_with_the_right_one_named(hook, trained, tmp_path):
    folder, model, tokenizer = trained
    right = load_sae(folder, model=model, tokenizer=tokenizer).variance_explained
    wrong = at(folder, hook, tmp_path)
    found = load_sae(wrong, model=model, tokenizer=tokenizer, check=False)
    share = variance_explained(found.concept_model, model, tokenizer, [str(found.split_point)])[str(found.split_point)]
    assert share < right
    if share > 0:
        return
    with pytest.raises(ModelError, match=r"'bert\.encoder\.layer\.\d.* pass split_point"):
        load_sae(wrong, model=model, tokenizer=tokenizer)


def test_a_place_of_another_width_is_refused(trained):
    folder, model, tokenizer = trained
    with pytest.raises(ModelError, match="another width than 128"):
        load_sae(folder, model=model, tokenizer=tokenizer, split_point="bert.encoder.layer.1.intermediate")
    unchecked = load_sae(folder, model=model, tokenizer=tokenizer, split_point="bert.encoder.layer.2", check=False)
    assert unchecked.variance_explained is None


def test_the_share_of_a_mean_is_zero_and_of_an_identity_one():
    model, tokenizer = demo.load_classifier()
    splitter = ModelWithSplitPoints(model, 1, tokenizer=tokenizer)
    read = splitter.get_activations(list(SENTENCES), "all_tokens", flatten_activations=False)["bert.encoder.layer.1"]
    mean = torch.cat([rows[1:] for rows in read]).mean(0)
    both = torch.cat([torch.eye(128), -torch.eye(128)])  # relu(x) − relu(−x) = x
    for weight, offset, share in ((both, 0 * mean, 1.0), (0 * both, mean, 0.0)):
        sae = PublishedSAE(256)
        for name, tensor in (("encoder_weight", weight), ("encoder_bias", torch.zeros(256)), ("atoms", both)):
            sae.register_buffer(name, tensor)
        sae.register_buffer("decoder_bias", offset)
        found = variance_explained(sae, model, tokenizer, ["bert.encoder.layer.1"])
        assert list(found.values()) == pytest.approx([share], abs=1e-5)


def test_sentences_are_twenty_and_all_distinct():
    assert len(SENTENCES) == len(set(SENTENCES)) == 20


def test_neighbors_are_inputs_and_outputs_of_blocks():
    model, _ = demo.load_classifier()
    path = "bert.encoder.layer"
    assert neighbors(f"{path}.1", model) == [f"{path}.0:input", f"{path}.0", f"{path}.2"]
    assert neighbors(f"{path}.0", model) == [f"{path}.0:input", f"{path}.1"]


def test_a_model_and_a_splitter_are_too_much(trained):
    folder, model, tokenizer = trained
    elsewhere = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
    with pytest.raises(OptionError, match="`splitter`: got a model as well"):
        load_sae(folder, model=model, splitter=elsewhere)
    with pytest.raises(OptionError, match=r"reads 'bert\.encoder\.layer\.1', and this splitter 'bert\.encoder\.layer\.0'"):
        load_sae(folder, splitter=elsewhere)


def test_a_missing_token_of_beginnings_is_told(trained, tmp_path):
    folder, model, tokenizer = trained
    copy = at(folder, "blocks.1.hook_resid_post", tmp_path)
    cfg = json.loads((copy / "cfg.json").read_text())
    cfg["metadata"]["prepend_bos"] = True
    (copy / "cfg.json").write_text(json.dumps(cfg))
    with pytest.warns(MismatchWarning, match="token of beginnings"):
        load_sae(copy, model=model, tokenizer=tokenizer)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_sae(folder, model=model, tokenizer=tokenizer)
