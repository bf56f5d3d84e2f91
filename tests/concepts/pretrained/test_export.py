"""Autoencoders of ours in the layout of SAELens: the same codes and reconstructions, whoever reads them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from interpreto import demo
from interpreto.concepts import (
    BatchTopKSAEConcepts,
    GatedSAEConcepts,
    JumpReLUSAEConcepts,
    MatryoshkaSAEConcepts,
    MpSAEConcepts,
    PCAConcepts,
    TopKInputs,
    TopKSAEConcepts,
    VanillaSAEConcepts,
    load_sae,
    push_to_hub,
)
from interpreto.concepts.pretrained.export import measured
from interpreto.concepts.splitters import ModelWithSplitPoints
from interpreto.errors import FileError, ModelError, OptionError
from tests.concepts.pretrained import writers

KINDS = {
    VanillaSAEConcepts: {},
    TopKSAEConcepts: {"k": 3},
    BatchTopKSAEConcepts: {"k": 3},
    JumpReLUSAEConcepts: {},
    GatedSAEConcepts: {},
    MatryoshkaSAEConcepts: {"k": 3},
}


def data(n=512, d=10):
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(n, 24, generator=generator).relu() * (torch.rand(n, 24, generator=generator) < 0.2)
    return 7 * codes @ torch.randn(24, d, generator=generator) + 3


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.__name__)
def trained(request):
    return request.param(None, nb_concepts=16, **KINDS[request.param]).fit(data(), nb_epochs=4)


def test_the_codes_of_what_is_written_are_ours(trained, tmp_path):
    trained.save(tmp_path, layout="sae_lens")
    sae, rows = load_sae(tmp_path), data()
    ours, theirs = trained.encode_activations(rows), sae.encode_activations(rows)
    assert 0 < (ours != 0).float().mean() < 1
    assert torch.allclose(ours, theirs, atol=1e-5 * float(ours.max()))
    assert torch.allclose(trained.decode_concepts(ours), sae.decode_concepts(theirs), atol=1e-4)
    assert torch.allclose(trained.get_dictionary(), sae.get_dictionary())


def test_the_file_says_the_same_in_its_own_words(trained, tmp_path):
    """The formula of SAELens on the file's tensors, without our reader."""
    trained.save(tmp_path, layout="sae_lens")
    w = {name: tensor.double() for name, tensor in load_file(tmp_path / "sae_weights.safetensors").items()}
    cfg, rows = json.loads((tmp_path / "cfg.json").read_text()), data().double()
    shared = (rows - w["b_dec"]) @ w["W_enc"]
    before = shared + w.get("b_enc", torch.tensor(0.0))
    if cfg["architecture"] == "gated":
        codes = (shared * w["r_mag"].exp() + w["b_mag"]).relu() * (shared + w["b_gate"] > 0)
    elif cfg["architecture"] == "topk":
        codes = torch.from_numpy(writers.largest(before.numpy(), cfg["k"]))
    else:
        codes = before.relu() * (before > w.get("threshold", torch.tensor(0.0)))
    ours = trained.encode_activations(data()).double()
    assert torch.allclose(codes, ours, atol=1e-5 * float(ours.max()))
    assert cfg["apply_b_dec_to_input"] and cfg["normalize_activations"] == "none"
    assert (cfg["d_in"], cfg["d_sae"]) == (10, 16)


def test_a_batch_threshold_lies_between_two_codes():
    """So that no code hangs on how a product is rounded."""
    explainer = BatchTopKSAEConcepts(None, nb_concepts=16, k=3).fit(data(), nb_epochs=2)
    model = explainer.concept_model
    values = model.preactivations(model.normalized(data())).relu()
    assert float((values - model.threshold).abs().min()) > 1e-7
    assert int((values >= model.threshold).sum()) == 3 * len(data())


@pytest.mark.parametrize("layout", [name for name in writers.LAYOUTS if "groupmax" not in name])
def test_what_was_published_is_written_as_it_was(layout, tmp_path):
    (tmp_path / "in").mkdir()
    writers.LAYOUTS[layout](tmp_path / "in")
    sae = load_sae(tmp_path / "in")
    sae.save(tmp_path / "out", layout="sae_lens")
    again = load_sae(tmp_path / "out")
    for name, tensor in sae.concept_model.state_dict().items():
        assert torch.equal(tensor, again.concept_model.state_dict()[name]), name
    assert torch.equal(sae.encode_activations(writers.rows()), again.encode_activations(writers.rows()))
    assert again.published.get("hook") == sae.published.get("hook")


@pytest.mark.parametrize("normalization", ["layer_norm", "constant_norm_rescale"])
def test_a_normalization_is_written_as_it_was(normalization, tmp_path):
    (tmp_path / "in").mkdir()
    writers.sae_lens(tmp_path / "in", normalize_activations=normalization)
    sae = load_sae(tmp_path / "in")
    sae.save(tmp_path / "out", layout="sae_lens")
    assert json.loads((tmp_path / "out" / "cfg.json").read_text())["normalize_activations"] == normalization
    assert torch.equal(load_sae(tmp_path / "out").encode_activations(writers.rows()), sae.encode_activations(writers.rows()))


def test_what_has_no_place_in_the_layout_is_refused(tmp_path):
    for explainer in (
        MpSAEConcepts(None, nb_concepts=16, k=2).fit(data(), nb_epochs=1),
        PCAConcepts(None, nb_concepts=3).fit(data()),
    ):
        with pytest.raises(ModelError, match="has no place in the layout of SAELens"):
            explainer.save(tmp_path / "out", layout="sae_lens")
    with pytest.raises(ModelError, match="not fitted"):
        TopKSAEConcepts(None, nb_concepts=4).save(tmp_path / "out", layout="sae_lens")
    with pytest.raises(OptionError, match="`layout`"):
        PCAConcepts(None, nb_concepts=3).fit(data()).save(tmp_path / "out", layout="pickle")
    writers.sparsify(tmp_path, "groupmax")
    with pytest.raises(ModelError, match="no architecture for 'groupmax'"):
        load_sae(tmp_path).save(tmp_path / "out", layout="sae_lens")
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="`path`"):
        VanillaSAEConcepts(None, nb_concepts=4).fit(data(), nb_epochs=1).save(tmp_path / "file", layout="sae_lens")


def test_the_card_says_what_was_measured(trained):
    table = dict(re_row(line) for line in measured(trained, data())[2:])
    codes = trained.encode_activations(data())
    assert float(table["concepts per row"]) == pytest.approx(float((codes != 0).sum(1).float().mean()), abs=0.051)
    error = (data() - trained.decode_concepts(codes)).square().sum() / (data() - data().mean(0)).square().sum()
    assert float(table["variance explained"]) == pytest.approx(1 - float(error), abs=6e-4)


def re_row(line):
    _, name, value, _ = line.split("|")
    return name.strip(), value.strip().rstrip(" %")


def test_published_on_the_hub(monkeypatch, tmp_path):
    import huggingface_hub

    calls = []

    class Hub:
        def __init__(self, token=None):
            calls.append(("token", token))

        def create_repo(self, repository, private, exist_ok):
            calls.append((repository, private, exist_ok))

        def upload_folder(self, repo_id, folder_path, path_in_repo):
            sae = load_sae(folder_path)
            calls.append((repo_id, path_in_repo, sae.nb_concepts))
            return "https://hub/commit"

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    explainer = TopKSAEConcepts(None, nb_concepts=16, k=3).fit(data(), nb_epochs=1)
    assert push_to_hub(explainer, "me/saes", "layer_1", activations=data()) == "https://hub/commit"
    assert calls == [("token", None), ("me/saes", True, True), ("me/saes", "layer_1", 16)]


def test_a_loaded_one_goes_through_everything_that_one_of_ours_does(tmp_path):
    """Interpretation, effects and edits of a published autoencoder are those of the trained one."""
    model, tokenizer = demo.load_classifier()
    splitter = ModelWithSplitPoints(model, 1, tokenizer=tokenizer)
    texts = [sentence.text for sentence in demo.load_sentences()[:60]]
    rows = splitter.get_activations(texts, "word")["bert.encoder.layer.1"]
    trained = TopKSAEConcepts(splitter, nb_concepts=32, k=16).fit(rows, nb_epochs=3)
    trained.save(tmp_path, layout="sae_lens")
    loaded = load_sae(tmp_path, splitter=splitter)
    words = [TopKInputs(concept_explainer=it).interpret(inputs=texts, latent_activations=rows) for it in (trained, loaded)]
    assert [list(found or {}) for found in words[0].values()] == [list(found or {}) for found in words[1].values()]
    effects = [it.concept_output_attribution(texts[:2], "positive", "gradient_x_concept") for it in (trained, loaded)]
    for ours, theirs in zip(*effects, strict=True):
        assert np.allclose(ours, theirs, atol=1e-4)


def test_effects_of_one_that_normalizes_rows(tmp_path):
    """What a concept does is its direction in units of each row's own deviation."""
    model, tokenizer = demo.load_classifier()
    splitter = ModelWithSplitPoints(model, 1, tokenizer=tokenizer)
    rows = splitter.get_activations(["A gorgeous, moving film."], "token")["bert.encoder.layer.1"]
    normal = (rows - rows.mean(1, keepdim=True)) / (rows.std(1, keepdim=True) + 1e-5)
    trained = VanillaSAEConcepts(None, nb_concepts=32).fit(
        normal.repeat(20, 1) + 0.01 * torch.randn(20 * len(rows), 128), nb_epochs=3
    )
    trained.save(tmp_path, layout="sae_lens")
    cfg = json.loads((tmp_path / "cfg.json").read_text())
    (tmp_path / "cfg.json").write_text(json.dumps({**cfg, "normalize_activations": "layer_norm"}))
    sae = load_sae(tmp_path, splitter=splitter, split_point="bert.encoder.layer.1", check=False)
    codes = sae.encode_activations(rows)
    move = sae.displacement(codes, rows)(codes + 1)
    assert torch.allclose(move, rows.std(1, keepdim=True) * sae.get_dictionary().sum(0), atol=1e-4)
    gradient = sae.concept_output_attribution(["A gorgeous, moving film."], "positive", "gradient")[0]
    assert bool(torch.as_tensor(gradient).isfinite().all()) and float(torch.as_tensor(gradient).abs().max()) > 0
