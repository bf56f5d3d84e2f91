"""Published transcoders and crosscoders against their codes in float64, their places, and what must be refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from interpreto.cli.program import program
from interpreto.concepts import (
    CrosscoderConcepts,
    CrossLayerTranscoderConcepts,
    TranscoderConcepts,
    load_concepts,
    load_sae,
)
from interpreto.concepts.splitters import ModelWithSplitPoints
from interpreto.errors import FileError, ModelError, OptionError
from tests import tiny
from tests.concepts.pretrained import coder_writers as writers
from tests.concepts.pretrained import peers

SOURCE = {"circuit-tracer": "layer_1.safetensors", "circuit-tracer relu": "layer_1.safetensors"}


def written(layout, tmp_path):
    """Write a transcoder, and return its reference and its folder or file."""
    folder = tmp_path / ("gemma-scope-2b-pt-transcoders/layer_1" if layout == "Gemma Scope" else "layers.1.mlp")
    folder.mkdir(parents=True)
    return writers.TRANSCODERS[layout](folder), folder / SOURCE.get(layout, "")


def agree(found, wanted):
    found = found.numpy() if isinstance(found, torch.Tensor) else found
    assert np.abs(found - wanted).max() < 1e-5 * max(1.0, np.abs(wanted).max())


@pytest.mark.parametrize("layout", writers.TRANSCODERS)
def test_codes_and_what_is_written_are_those_of_the_writer(layout, tmp_path):
    run, source = written(layout, tmp_path)
    rows = writers.rows()
    codes, rebuilt = run(rows.double().numpy())
    explainer = load_sae(source)
    found = explainer.encode_activations(rows)
    assert isinstance(explainer, TranscoderConcepts) and layout.startswith(explainer.published["layout"])
    assert np.array_equal(found.numpy() != 0, codes != 0) and 0 < (codes != 0).mean() < 1
    agree(found, codes)
    agree(explainer.written_rows(found, rows)[0], rebuilt)
    explainer.save(tmp_path / "ours")
    again = load_concepts(tmp_path / "ours")
    assert again.published == explainer.published and torch.equal(again.encode_activations(rows), found)


@pytest.mark.parametrize("threshold", [True, False])
def test_a_cross_layer_transcoder_is_the_sum_of_its_layers(threshold, tmp_path):
    run = writers.across_layers(tmp_path, threshold)
    rows = [writers.rows(seed=i) for i in range(writers.L)]
    codes, rebuilt = run([row.double().numpy() for row in rows])
    explainer = load_sae(tmp_path)
    found = explainer.encode_activations(torch.cat(rows, 1))
    assert isinstance(explainer, CrossLayerTranscoderConcepts) and explainer.published["kind"] == "cross-layer transcoder"
    assert np.array_equal(found.numpy() != 0, codes != 0)
    agree(found, codes)
    for own, wanted in zip(explainer.written_rows(found), rebuilt, strict=True):
        agree(own, wanted)
    assert [bool(explainer.directions(0)[c].any()) for c in (0, 3, 4, 11)] == [True, True, False, False]
    decoder = load_file(tmp_path / "W_dec_1.safetensors")["W_dec_1"]
    save_file({"W_dec_1": decoder[:, :1].contiguous()}, tmp_path / "W_dec_1.safetensors")
    with pytest.raises(FileError, match="layer 1 of 3 writes 2"):
        load_sae(tmp_path)


@pytest.mark.parametrize("write", [writers.across_layers, writers.gemma_scope_2_layers])
def test_layers_with_skip_connections_write_them_too(write, tmp_path):
    run = write(tmp_path, skip=True)
    rows = [writers.rows(seed=i) for i in range(writers.L)]
    codes, rebuilt = run([row.double().numpy() for row in rows])
    explainer, joint = load_sae(tmp_path), torch.cat(rows, 1)
    found = explainer.encode_activations(joint)
    agree(found, codes)
    for own, wanted in zip(explainer.written_rows(found, joint), rebuilt, strict=True):
        agree(own, wanted)
    with pytest.raises(OptionError, match="pass the rows"):
        explainer.written_rows(found)
    with pytest.raises(OptionError, match="`skip`"):
        explainer.fit([joint], overwrite=True)
    explainer.save(tmp_path / "ours")
    again = load_concepts(tmp_path / "ours")
    assert torch.equal(torch.cat(again.written_rows(found, joint)), torch.cat(explainer.written_rows(found, joint)))


def test_a_cross_layer_transcoder_of_gemma_scope_2(tmp_path):
    folder = tmp_path / "clt" / "width_12_l0_big"
    folder.mkdir(parents=True)
    run = writers.gemma_scope_2_layers(folder)
    rows = [writers.rows(seed=i) for i in range(writers.L)]
    codes, rebuilt = run([row.double().numpy() for row in rows])
    explainer = load_sae(tmp_path, "clt/width_12_l0_big")
    found = explainer.encode_activations(torch.cat(rows, 1))
    assert isinstance(explainer, CrossLayerTranscoderConcepts) and np.array_equal(found.numpy() != 0, codes != 0)
    agree(found, codes)
    for own, wanted in zip(explainer.written_rows(found), rebuilt, strict=True):
        agree(own, wanted)
    assert not explainer.directions(0)[4:].any() and not explainer.directions(1)[8:].any()
    assert explainer.published["reads"][2] == "model.layers.2.pre_feedforward_layernorm.output"
    assert explainer.published["writes"][1] == "model.layers.1.post_feedforward_layernorm.output"
    config = {"hf_hook_point_in": "model.layers.{layer}.mlp.input", "hf_hook_point_out": "model.layers.{layer}.mlp.output"}
    (folder / "config.json").write_text(json.dumps(config))
    assert load_sae(folder).published["reads"] == [f"model.layers.{i}.mlp.input" for i in range(writers.L)]
    (folder / "config.json").write_text(json.dumps({"type": "crosscoder"}))
    with pytest.raises(FileError, match="a crosscoder of Gemma Scope 2"):
        load_sae(folder)
    (folder / "config.json").unlink()
    (folder / "params_layer_1.safetensors").unlink()
    with pytest.raises(FileError, match="files of 2 layers"):
        load_sae(folder)


@pytest.mark.parametrize("layout", writers.CROSSCODERS)
def test_codes_of_a_crosscoder_are_those_of_the_writer(layout, tmp_path):
    rows = writers.rows(width=2 * writers.D)
    codes, rebuilt = writers.CROSSCODERS[layout](tmp_path)(rows.double().numpy())
    explainer = load_sae(tmp_path)
    found = explainer.encode_activations(rows)
    assert isinstance(explainer, CrosscoderConcepts)
    assert np.array_equal(found.numpy() != 0, codes != 0) and 0 < (codes != 0).mean() < 1
    agree(found, codes)
    agree(explainer.decode_concepts(found), rebuilt)
    shares = explainer.relative_norms()
    sizes = torch.stack([explainer.directions(i).norm(dim=1) for i in (0, 1)], 1)
    assert torch.allclose(shares, sizes / sizes.sum(1, keepdim=True))


@pytest.mark.parametrize("options", [{"activation": "relu"}, {"activation": "batchtopk", "k": 2, "skip": True}])
def test_a_transcoder_of_ours_is_written_as_sae_lens_has_it(options, tmp_path):
    x, y = writers.rows(200), writers.rows(200, writers.O, seed=2)
    explainer = TranscoderConcepts(None, 8, **options).fit([3 * x + 1, y - 2], nb_epochs=2)
    explainer.save(tmp_path, layout="sae_lens")
    again = load_sae(tmp_path)
    codes = explainer.encode_activations(x)
    assert isinstance(again, TranscoderConcepts) and torch.equal(again.encode_activations(x), codes)
    assert torch.equal(again.written_rows(codes, x)[0], explainer.written_rows(codes, x)[0])
    counted = TranscoderConcepts(None, 8, activation="topk").fit([x, y], nb_epochs=1)
    with pytest.raises(ModelError, match="ReLU or JumpReLU codes"):
        counted.save(tmp_path, layout="sae_lens")
    with pytest.raises(ModelError, match="does not reconstruct the rows that it reads"):
        counted.decode_concepts(codes)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of packages that are imported in part
def test_sae_lens_reads_a_transcoder_of_ours(tmp_path):
    x, y = writers.rows(200), writers.rows(200, writers.O, seed=2)
    explainer = TranscoderConcepts(None, 8, activation="jumprelu", skip=True).fit([x, y], nb_epochs=2)
    explainer.save(tmp_path, layout="sae_lens")
    theirs = peers.sae_lens_transcoders()["jumprelu_skip_transcoder"].load_from_disk(str(tmp_path))
    with torch.no_grad():
        codes = theirs.encode(x)
        assert torch.allclose(explainer.encode_activations(x), codes, atol=1e-5)
        assert torch.allclose(explainer.written_rows(codes, x)[0], theirs(x), atol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of packages that are imported in part
@pytest.mark.parametrize("layout", [name for name in writers.TRANSCODERS if name.startswith("SAELens")])
def test_sae_lens_computes_the_same(layout, tmp_path):
    _, source = written(layout, tmp_path)
    rows, explainer = writers.rows(), load_sae(source)
    theirs = peers.sae_lens_transcoders()[layout.removeprefix("SAELens ")].load_from_disk(str(source))
    with torch.no_grad():
        codes = theirs.encode(rows)
        assert torch.allclose(explainer.encode_activations(rows), codes, atol=1e-5)
        assert torch.allclose(explainer.written_rows(codes, rows)[0], theirs(rows), atol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("skip", [True, False])
def test_sparsify_computes_the_same(skip, tmp_path):
    writers.sparsify(tmp_path, skip)
    coder, config = peers.sparsify()
    options = {"num_latents": writers.C, "k": writers.K, "transcode": True, "skip_connection": skip}
    theirs, rows, explainer = coder(writers.D, config(**options)), writers.rows(), load_sae(tmp_path)
    theirs.load_state_dict(load_file(tmp_path / "sae.safetensors"))
    with torch.no_grad():
        found = theirs.encode(rows)
        codes = torch.zeros(len(rows), writers.C).scatter(1, found.top_indices, found.top_acts)
        assert torch.allclose(explainer.encode_activations(rows), codes, atol=1e-5)
        assert torch.allclose(explainer.written_rows(codes, rows)[0], theirs(rows, rows).sae_out.float(), atol=1e-3)


@pytest.fixture(scope="module")
def gpt2():
    return tiny.CAUSAL_LMS["gpt2"]()


def fitting(model, tokenizer, folder, hooks, layout="sae_lens"):
    """Write a skip transcoder that is the affine fit of the MLP of a model."""
    path = "transformer.h.1.mlp"
    splitter = ModelWithSplitPoints(model, [f"{path}:input", path], tokenizer=tokenizer)
    activations = splitter.get_activations(tiny.CORPUS, "all_tokens")
    explainer = TranscoderConcepts(splitter, 8, skip=True).fit(activations, nb_epochs=1)
    w = explainer.concept_model
    named = {
        "W_enc": w.encoder_weight.T,
        "b_enc": w.encoder_bias,
        "W_dec": 0 * w.atoms,
        "b_dec": w.decoder_bias,
        "W_skip": w.skip,
    }
    d = w.skip.shape[0]
    cfg = {"architecture": "skip_transcoder", "d_in": d, "d_out": d, "d_sae": 8, "metadata": hooks}
    (folder / "cfg.json").write_text(json.dumps(cfg))
    save_file({name: tensor.contiguous() for name, tensor in named.items()}, folder / "sae_weights.safetensors")
    return folder


@pytest.mark.slow
def test_places_are_found_and_a_wrong_one_is_refused(gpt2, tmp_path):
    model, tokenizer = gpt2
    hooks = {"hook_name": "blocks.1.hook_mlp_in", "hook_name_out": "blocks.1.hook_mlp_out"}
    folder = fitting(model, tokenizer, tmp_path, hooks)
    explainer = load_sae(folder, model=model, tokenizer=tokenizer)
    assert (explainer.read, explainer.written) == (("transformer.h.1.mlp:input",), ("transformer.h.1.mlp",))
    assert explainer.variance_explained is not None and explainer.variance_explained > 0.2
    assert tuple(explainer.inputs_to_concepts("The film was great.").shape)[1] == 8
    with pytest.raises(ModelError, match=r"it explains 'transformer\.h\.0' -"):
        load_sae(folder, model=model, tokenizer=tokenizer, split_point=["transformer.h.1.mlp:input", "transformer.h.0"])
    with pytest.raises(OptionError, match="got 1 places"):
        load_sae(folder, model=model, tokenizer=tokenizer, split_point="transformer.h.1.mlp")
    shown = CliRunner().invoke(program, ["sae", "info", str(folder), "--json"])
    facts = json.loads(shown.output)
    assert (facts["kind"], facts["concepts"], facts["skip"], facts["reads"]) == (
        "transcoder",
        8,
        True,
        ["blocks.1.hook_mlp_in"],
    )


def test_two_models_are_given_as_a_pair(gpt2, tmp_path):
    model, tokenizer = gpt2
    splitter = ModelWithSplitPoints(model, "transformer.h.1", tokenizer=tokenizer)
    width = splitter.get_activations(["The film."])["transformer.h.1"].shape[1]
    weight = torch.eye(width).expand(2, -1, -1) / 2
    named = {"encoder.weight": weight, "encoder.bias": torch.zeros(width), "decoder.weight": 2 * weight}
    named["decoder.bias"] = torch.zeros(2, width)
    (tmp_path / "config.json").write_text(json.dumps({"trainer": {"dict_class": "CrossCoder"}}))
    torch.save({name: tensor.clone() for name, tensor in named.items()}, tmp_path / "ae.pt")
    explainer = load_sae(tmp_path, splitter=(splitter, splitter), check=False)
    assert explainer.written == ("transformer.h.1", "other:transformer.h.1") and set(explainer.classes()) == {"shared"}
    rows = splitter.get_activations(["The film."], "all_tokens")["transformer.h.1"]
    assert torch.allclose(explainer.inputs_to_concepts("The film.", "all_tokens"), rows.relu(), atol=1e-5)
    with pytest.raises(OptionError, match="do not say where it reads"):
        load_sae(tmp_path, model=model, tokenizer=tokenizer)


def test_what_is_not_read_is_named(tmp_path):
    writers.sae_lens(tmp_path)
    cfg = json.loads((tmp_path / "cfg.json").read_text())
    (tmp_path / "cfg.json").write_text(json.dumps({**cfg, "normalize_activations": "layer_norm"}))
    with pytest.raises(FileError, match="normalizes by 'layer_norm'"):
        load_sae(tmp_path)
    (tmp_path / "cfg.json").write_text(json.dumps(cfg))
    tensors = load_file(tmp_path / "sae_weights.safetensors")
    save_file({**tensors, "W_dec": tensors["W_dec"][:-1].contiguous()}, tmp_path / "sae_weights.safetensors")
    with pytest.raises(FileError, match="does not hold a transcoder of widths"):
        load_sae(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    writers.circuit_tracer(other)
    (other / "config.yaml").write_text("a: [")
    with pytest.raises(FileError, match="cannot be read as YAML"):
        load_sae(other / "layer_1.safetensors")
    assert yaml.safe_load("a: 1") == {"a": 1}
    third = tmp_path / "third"
    third.mkdir()
    writers.crosscoder(third, "BatchTopKCrossCoder", norm=1)
    found = torch.load(third / "ae.pt", weights_only=True)
    for change, message in (
        ({"activation_mean": torch.zeros(2, writers.D)}, "normalizes activations"),
        ({"code_normalization_id": torch.tensor(5)}, "in way 5"),
        ({"threshold": torch.tensor(-1.0)}, "not trained to its end"),
    ):
        torch.save({**found, **change}, third / "ae.pt")
        with pytest.raises(FileError, match=message):
            load_sae(third)
