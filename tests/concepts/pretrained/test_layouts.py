"""Each layout of published autoencoders against its codes in float64, and what must be refused."""

from __future__ import annotations

import json
import pickle
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from interpreto.concepts import load_concepts, load_sae
from interpreto.errors import FileError, ModelError, OptionError
from tests.concepts.pretrained import writers


@pytest.mark.parametrize("layout", writers.LAYOUTS)
def test_codes_are_those_of_the_writer(layout, tmp_path):
    codes, rebuilt = writers.LAYOUTS[layout](tmp_path)(writers.rows().double().numpy())
    sae, rows = load_sae(tmp_path), writers.rows()
    found = sae.encode_activations(rows)
    assert layout.startswith(sae.published["layout"])
    assert 0 < (codes != 0).mean() < 1
    assert np.array_equal(found.numpy() != 0, codes != 0)
    assert np.abs(found.numpy() - codes).max() < 1e-5 * np.abs(codes).max()
    assert np.abs(sae.decode_concepts(found).numpy() - rebuilt).max() < 1e-5 * np.abs(rebuilt).max()


@pytest.mark.parametrize("layout", writers.LAYOUTS)
def test_one_unit_of_a_concept_adds_its_direction(layout, tmp_path):
    writers.LAYOUTS[layout](tmp_path)
    sae = load_sae(tmp_path)
    one_more = torch.eye(writers.C)
    added = sae.decode_concepts(one_more) - sae.decode_concepts(torch.zeros_like(one_more))
    assert torch.allclose(added, sae.get_dictionary(), atol=1e-5)


@pytest.mark.parametrize("normalization", ["layer_norm", "constant_norm_rescale"])
def test_rows_that_are_normalized_each(normalization, tmp_path):
    run, x = writers.sae_lens(tmp_path, normalize_activations=normalization), writers.rows().double().numpy()
    mean, deviation = x.mean(1, keepdims=True), x.std(1, ddof=1, keepdims=True)
    size = np.linalg.norm(x, axis=1, keepdims=True) / np.sqrt(writers.D)
    codes, rebuilt = run((x - mean) / (deviation + 1e-5) if normalization == "layer_norm" else x / size)
    rebuilt = rebuilt * deviation + mean if normalization == "layer_norm" else rebuilt * size
    sae, rows = load_sae(tmp_path), writers.rows()
    found = sae.encode_activations(rows)
    assert np.abs(found.numpy() - codes).max() < 1e-4
    assert np.abs(sae.decode_concepts(found, rows).numpy() - rebuilt).max() < 1e-4
    with pytest.raises(ModelError, match="`activations`"):
        sae.decode_concepts(found)


def test_rows_that_a_library_centers(tmp_path):
    run = writers.sae_lens(tmp_path)
    cfg = json.loads((tmp_path / "cfg.json").read_text())
    cfg["metadata"]["model_from_pretrained_kwargs"] = {"center_writing_weights": True}
    (tmp_path / "cfg.json").write_text(json.dumps(cfg))
    x = writers.rows().double().numpy()
    codes, rebuilt = run(x - x.mean(1, keepdims=True))
    sae, rows = load_sae(tmp_path), writers.rows()
    assert np.abs(sae.encode_activations(rows).numpy() - codes).max() < 1e-4
    assert (
        np.abs(sae.decode_concepts(sae.encode_activations(rows), rows).numpy() - rebuilt - x.mean(1, keepdims=True)).max()
        < 1e-4
    )


def test_a_factor_that_the_files_do_not_hold_is_asked_for(tmp_path):
    run = writers.sae_lens(tmp_path, "jumprelu", normalize_activations="expected_average_only_in")
    with pytest.raises(FileError, match="`norm_scaling_factor`"):
        load_sae(tmp_path)
    codes, rebuilt = run(2.5 * writers.rows().double().numpy())
    sae = load_sae(tmp_path, norm_scaling_factor=2.5)
    found = sae.encode_activations(writers.rows())
    assert np.abs(found.numpy() - codes).max() < 1e-4
    assert np.abs(sae.decode_concepts(found).numpy() - rebuilt / 2.5).max() < 1e-4


@pytest.mark.parametrize("layout", writers.LAYOUTS)
def test_saved_in_our_layout_and_loaded(layout, tmp_path):
    folder = tmp_path / "published"
    folder.mkdir()
    writers.LAYOUTS[layout](folder)
    sae = load_sae(folder)
    sae.save(tmp_path / "ours.safetensors")
    again = load_concepts(tmp_path / "ours.safetensors")
    assert again.published == sae.published
    assert torch.equal(again.encode_activations(writers.rows()), sae.encode_activations(writers.rows()))


def test_an_autoencoder_by_its_name(tmp_path):
    for name in ("layer_1/small", "layer_1/large"):
        (tmp_path / name).mkdir(parents=True)
        writers.gemma_scope(tmp_path / name)
    assert load_sae(tmp_path, "layer_1/small").published["hook"] == "blocks.1.hook_resid_post"
    with pytest.raises(FileError, match=r"`name`.*holds 2 autoencoders.*'layer_1/large', 'layer_1/small'"):
        load_sae(tmp_path)
    with pytest.raises(FileError, match=r"`name`: got 'layer_2'.*layer_1"):
        load_sae(tmp_path, "layer_2")


def test_a_file_instead_of_its_folder(tmp_path):
    writers.gemma_scope(tmp_path)
    assert load_sae(tmp_path / "params.npz").nb_concepts == writers.C


class Harm:
    def __reduce__(self):
        return print, ("run",)


@pytest.mark.parametrize("harmful", ["ae.pt", "model.pt"])
def test_a_pickle_is_refused(harmful, tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps({"trainer": {"dict_class": "AutoEncoder"}}))
    torch.save({"bias": Harm()}, tmp_path / harmful)
    with pytest.raises(FileError, match="could run code"):
        load_sae(tmp_path)
    assert capsys.readouterr().out == ""


def test_arrays_of_objects_are_refused(tmp_path):
    np.savez(tmp_path / "params.npz", W_enc=np.array([Harm()], dtype=object))
    with pytest.raises(FileError, match="cannot be read"):
        load_sae(tmp_path)


def changed(folder, **tensors):
    path = folder / "sae_weights.safetensors"
    found = {**load_file(path), **tensors}
    save_file({name: tensor for name, tensor in found.items() if tensor is not None}, path)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"W_dec": None}, "lacks 'W_dec'"),
        ({"b_enc": torch.full((writers.C,), torch.nan)}, "NaN or infinity in 'b_enc'"),
        ({"W_skip": torch.zeros(2)}, "has 'W_skip', which its layout has not"),
        ({"W_dec": torch.zeros(writers.C + 1, writers.D)}, "does not hold an autoencoder of one place"),
        ({"W_dec": torch.zeros(writers.C, 2 * writers.D)}, "does not hold an autoencoder of one place"),
        ({"scaling_factor": torch.full((writers.C,), 2.0)}, "scaling factors other than 1"),
    ],
)
def test_damaged_tensors_are_refused(tensors, message, tmp_path):
    writers.sae_lens(tmp_path)
    changed(tmp_path, **tensors)
    with pytest.raises(FileError, match=message):
        load_sae(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"architecture": "temporal"}, "holds a 'temporal'; read are 'standard'"),
        ({"activation_fn": "tanh-relu"}, "activation 'tanh-relu'"),
        ({"normalize_activations": "covariance_whitening"}, "normalizes by 'covariance_whitening'"),
    ],
)
def test_what_is_not_read_is_named(options, message, tmp_path):
    writers.sae_lens(tmp_path)
    cfg = json.loads((tmp_path / "cfg.json").read_text())
    (tmp_path / "cfg.json").write_text(json.dumps({**cfg, **options}))
    with pytest.raises(FileError, match=message):
        load_sae(tmp_path)


def test_an_autoencoder_with_a_skip_connection_is_refused(tmp_path):
    writers.sparsify(tmp_path)
    (tmp_path / "cfg.json").write_text(json.dumps({"skip_connection": True, "k": 3}))
    with pytest.raises(FileError, match="skip"):
        load_sae(tmp_path)


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_the_threshold_of_llama_scope_is_in_the_unit_of_activations(scale, tmp_path):
    rows = writers.rows()
    run = writers.write_llama_scope(tmp_path, {"in": 4.0 * scale, "out": 4.0 * scale}, 1.5 * scale, {})
    codes, rebuilt = run(rows.double().numpy() * scale)
    sae = load_sae(tmp_path)
    found = sae.encode_activations(scale * rows)
    assert np.array_equal(found.numpy() != 0, codes != 0) and 0 < (codes != 0).mean() < 1
    assert np.abs(found.numpy() - codes).max() < 1e-5 * np.abs(codes).max()
    assert np.abs(sae.decode_concepts(found).numpy() - rebuilt).max() < 1e-4 * np.abs(rebuilt).max()
    assert float(found[found != 0].min()) > 1.5 * scale  # a concept is there where it adds more than this to the activations
    assert torch.allclose(sae.get_dictionary().norm(dim=1), torch.ones(writers.C), atol=1e-5)


def test_llama_scope_without_norms_of_atoms_and_without_a_scale(tmp_path):
    more = {"sparsity_include_decoder_norm": False, "norm_activation": "inference"}
    writers.write_llama_scope(tmp_path, {"in": 4.0, "out": 4.0}, 0.4, more)
    w, x = {name: value.astype(np.float64) for name, value in writers.drawn().items()}, writers.rows().double().numpy()
    codes = writers.relu(x @ w["W"].T + w["e"])
    codes = codes * (codes > 0.4)
    found = load_sae(tmp_path).encode_activations(writers.rows())
    assert np.abs(found.numpy() - codes).max() < 1e-5 * np.abs(codes).max()
    (tmp_path / "hyperparams.json").write_text(json.dumps({"norm_activation": "token-wise", "jump_relu_threshold": 0.4}))
    with pytest.raises(FileError, match="normalizes by 'token-wise'"):
        load_sae(tmp_path)


def test_an_unknown_layout_lists_what_is_there(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(FileError, match=re.escape("holds 'notes.txt', which is no layout")):
        load_sae(tmp_path)
    with pytest.raises(FileError, match="`source`: there is no folder"):
        load_sae("./nowhere")


@pytest.mark.parametrize("text", ["{", "[1]", ""])
def test_a_damaged_configuration_is_refused(text, tmp_path):
    writers.sae_lens(tmp_path)
    (tmp_path / "cfg.json").write_text(text)
    with pytest.raises(FileError, match=r"cfg\.json"):
        load_sae(tmp_path)


def test_a_published_autoencoder_is_not_trained(tmp_path):
    writers.sae_lens(tmp_path)
    with pytest.raises(OptionError, match="used as it is"):
        load_sae(tmp_path).fit(writers.rows())


def test_a_threshold_that_was_never_set_is_refused(tmp_path):
    writers.dictionary_learning(tmp_path, "BatchTopKSAE")
    found = torch.load(tmp_path / "ae.pt", weights_only=True)
    torch.save({**found, "threshold": torch.tensor(-1.0)}, tmp_path / "ae.pt")
    with pytest.raises(FileError, match="no threshold yet"):
        load_sae(tmp_path)


def test_pickle_itself_is_not_read(tmp_path):
    (tmp_path / "model.pth").write_bytes(pickle.dumps({"a": Harm()}))
    with pytest.raises(FileError):
        load_sae(tmp_path)
