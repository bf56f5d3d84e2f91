"""Codes and reconstructions of published autoencoders are those of the classes that wrote them."""

from __future__ import annotations

import json

import pytest
import torch

from interpreto.concepts import BatchTopKSAEConcepts, JumpReLUSAEConcepts, TopKSAEConcepts, VanillaSAEConcepts, load_sae
from tests.concepts.pretrained import peers, writers
from tests.concepts.pretrained.test_export import data

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # of packages that are imported in part
]


def agree(sae, codes, rebuilt, rows):
    ours = sae.encode_activations(rows)
    assert torch.equal(ours != 0, codes != 0)
    assert torch.allclose(ours, codes, atol=1e-5 * float(codes.max()), rtol=1e-4)
    assert torch.allclose(sae.decode_concepts(ours, rows), rebuilt, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("normalize", ["none", "layer_norm", "constant_norm_rescale"])
@pytest.mark.parametrize("architecture", ["standard", "topk", "jumprelu", "gated"])
def test_sae_lens(architecture, normalize, tmp_path):
    writers.sae_lens(tmp_path, architecture, normalize_activations=normalize)
    theirs, rows = peers.sae_lens().load_from_disk(str(tmp_path)), writers.rows()
    with torch.no_grad():
        codes = theirs.encode(rows)
        agree(load_sae(tmp_path), codes, theirs.decode(codes), rows)


@pytest.mark.parametrize("old", ["standard", "topk", "jumprelu", "gated"])
def test_sae_lens_before_6(old, tmp_path):
    writers.sae_lens(tmp_path, old, old=True)
    theirs, rows = peers.sae_lens().load_from_disk(str(tmp_path)), writers.rows()
    with torch.no_grad():
        codes = theirs.encode(rows)
        agree(load_sae(tmp_path), codes, theirs.decode(codes), rows)


@pytest.mark.parametrize("kind", [VanillaSAEConcepts, TopKSAEConcepts, BatchTopKSAEConcepts, JumpReLUSAEConcepts])
def test_sae_lens_reads_ours(kind, tmp_path):
    explainer = kind(None, nb_concepts=16).fit(data(), nb_epochs=4)
    explainer.save(tmp_path, layout="sae_lens")
    theirs = peers.sae_lens().load_from_disk(str(tmp_path))
    with torch.no_grad():
        codes = theirs.encode(data())
        agree(explainer, codes, theirs.decode(codes), data())


@pytest.mark.parametrize("activation", ["topk", "groupmax"])
def test_sparsify(activation, tmp_path):
    writers.sparsify(tmp_path, activation)
    coder, config = peers.sparsify()
    theirs, rows, sae = (
        coder(writers.D, config(activation=activation, num_latents=writers.C, k=writers.K)),
        writers.rows(),
        load_sae(tmp_path),
    )
    w = sae.concept_model
    theirs.load_state_dict(
        {"encoder.weight": w.encoder_weight, "encoder.bias": w.encoder_bias, "W_dec": w.atoms, "b_dec": w.decoder_bias}
    )
    with torch.no_grad():
        found = theirs.encode(rows)
        codes = torch.zeros(len(rows), writers.C).scatter(1, found.top_indices, found.top_acts)
        agree(sae, codes, codes @ w.atoms + w.decoder_bias, rows)


@pytest.mark.parametrize("kind", ["AutoEncoder", "AutoEncoderNew", "GatedAutoEncoder", "JumpReluAutoEncoder"])
def test_dictionary_learning(kind, tmp_path):
    writers.dictionary_learning(tmp_path, kind)
    module = peers.dictionary_learning()
    theirs, rows = getattr(module, kind).from_pretrained(str(tmp_path / "ae.pt")), writers.rows()
    with torch.no_grad():
        codes = theirs.encode(rows)
        agree(load_sae(tmp_path), codes, theirs.decode(codes), rows)


def test_the_peers_are_the_real_ones(tmp_path):
    writers.sae_lens(tmp_path)
    assert json.loads((tmp_path / "cfg.json").read_text())["architecture"] == "standard"
    assert peers.sae_lens().__module__ == "sae_lens.saes.sae"
