"""Crosscoders: relative norms, exclusive and shared concepts, and latent scaling that tells a false exclusive one."""

from __future__ import annotations

import pytest
import torch

from interpreto.concepts import CrosscoderConcepts, load_concepts
from interpreto.errors import OptionError


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def planted(n=2000, d=16, shared=4, own=2, seed=0):
    """Return the rows of two models, the directions of each, and the codes: shared ones, then those of the second alone."""
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.linalg.qr(torch.randn(d, shared + own, generator=generator)).Q.T for _ in range(2))
    c = shared + own
    codes = (1 + torch.rand(n, c, generator=generator)) * (torch.rand(n, c, generator=generator) < 0.15)
    first = first.clone()
    first[shared:] = 0
    return codes @ first, codes @ second, first, second, codes


def set_by_hand(atoms, codes_from, *, bias=None):
    """Return a crosscoder of two places whose concepts read the first columns and write given directions."""
    p, c, d = atoms.shape
    explainer = CrosscoderConcepts(None, c, places=p, activation="relu")
    weight = torch.cat([codes_from, torch.zeros(c, (p - 1) * d)], 1)
    tensors = {
        "encoder_weight": weight,
        "encoder_bias": torch.zeros(c),
        "atoms": torch.cat(list(atoms), 1),
        "decoder_bias": torch.zeros(p * d) if bias is None else bias,
        "units": torch.ones(p),
    }
    explainer.concept_model.take(tensors, torch.tensor([d] * p))
    return explainer


@pytest.mark.parametrize("kind", ["relu", "topk", "batchtopk", "jumprelu"])
def test_two_equal_models_have_relative_norms_of_a_half(kind):
    rows = planted()[1]
    explainer = CrosscoderConcepts(None, 8, places=2, activation=kind, k=2).fit([rows, rows], nb_epochs=3)
    torch.testing.assert_close(explainer.relative_norms(), torch.full((8, 2), 0.5), atol=1e-3, rtol=0)
    assert set(explainer.classes()) == {"shared"}


def test_shared_and_exclusive_concepts_are_found():
    a, b, _, second, codes = planted()
    explainer = CrosscoderConcepts(None, 12, places=2, k=1).fit([a, b], nb_epochs=25, batch_size=100, lr=1e-2)
    best, own = (torch.nn.functional.normalize(explainer.directions(1), dim=1) @ second.T).max(0)
    assert float(best.min()) > 0.97 and len(own.unique()) == 6
    classes = [explainer.classes()[c] for c in own]
    assert classes == ["shared"] * 4 + ["place 1"] * 2
    shares = explainer.relative_norms()[own, 1]
    assert float(shares[4:].min()) > 0.95
    scaling = explainer.latent_scaling([a, b])
    assert float(scaling.ratios[own[4:], 0].abs().max()) < 0.05  # truly exclusive
    assert float((explainer.encode_activations(torch.cat([a, b], 1))[:, own] > 0).eq(codes > 0).double().mean()) > 0.97


def test_a_scale_of_one_model_changes_no_relative_norm():
    a, b, *_ = planted(n=400)
    plain = CrosscoderConcepts(None, 8, places=2, k=2).fit([a, b], nb_epochs=3)
    scaled = CrosscoderConcepts(None, 8, places=2, k=2).fit([64 * a + 2, b], nb_epochs=3)
    torch.testing.assert_close(plain.relative_norms(), scaled.relative_norms(), atol=2e-2, rtol=0)
    x = plain.latent_scaling([a, b]).ratios
    assert torch.allclose(x, scaled.latent_scaling([64 * a + 2, b]).ratios, atol=5e-2, equal_nan=True)


def test_latent_scaling_is_least_squares():
    atoms, rows = drawn(2, 3, 5), drawn(40, 10, seed=1)
    explainer = set_by_hand(atoms, drawn(3, 5, seed=2), bias=drawn(10, seed=3))
    codes, model = explainer.encode_activations(rows).double(), explainer.concept_model
    rebuilt = model.decode(codes.float()).double()
    sizes = explainer.sizes()
    for target in ("error", "reconstruction", "activations"):
        found = explainer.latent_scaling(rows, target)
        assert found.target == target and torch.equal(found.strongest, sizes.argmax(1))
        for c in range(3):
            d = atoms[sizes[c].argmax(), c].double()
            for place in range(2):
                columns = slice(5 * place, 5 * place + 5)
                y = {"error": rows - rebuilt, "reconstruction": rebuilt, "activations": rows}[target][:, columns].double()
                if target == "error":
                    y = y + codes[:, c : c + 1] * atoms[place, c].double()
                design = (codes[:, c : c + 1] * d).reshape(-1, 1)
                wanted = torch.linalg.lstsq(design, y.reshape(-1, 1)).solution
                assert float(found.scales[c, place]) == pytest.approx(float(wanted), rel=1e-5, abs=1e-7)


def test_latent_scaling_tells_a_false_exclusive_concept_from_a_true_one():
    directions = torch.linalg.qr(drawn(6, 6)).Q
    codes = drawn(200, 3, seed=1).relu()
    shrunk, true, decoupled = directions[0], directions[1], directions[2]
    first = torch.stack([shrunk, true, decoupled])
    a = codes @ first
    b = codes[:, [0]] * shrunk + codes[:, [2]] * decoupled  # the second model has the first and the third as well
    atoms = torch.stack([torch.cat([first, torch.zeros(1, 6)]), torch.zeros(4, 6)])
    atoms[1, 3] = decoupled  # another concept does the third one's work in the second model
    explainer = set_by_hand(atoms, torch.cat([first, decoupled[None]]))
    assert explainer.classes() == ["place 0"] * 3 + ["place 1"]
    error = explainer.latent_scaling([a, b], "error").ratios[:, 1]
    rebuilt = explainer.latent_scaling([a, b], "reconstruction").ratios[:, 1]
    torch.testing.assert_close(error[:3].float(), torch.tensor([1.0, 0.0, 0.0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(rebuilt[:3].float(), torch.tensor([0.0, 0.0, 1.0]), atol=1e-5, rtol=0)


def test_a_crosscoder_of_equal_places_is_an_autoencoder_of_them(tmp_path):
    rows = planted(n=300)[1]
    explainer = CrosscoderConcepts(None, 8, places=3, activation="topk", k=2).fit([rows] * 3, nb_epochs=3)
    joint = torch.cat([rows] * 3, 1)
    codes = explainer.encode_activations(joint)
    rebuilt = explainer.decode_concepts(codes)
    torch.testing.assert_close(torch.cat(explainer.written_rows(codes), 1), rebuilt)
    torch.testing.assert_close(torch.cat(explainer.errors(joint), 1), joint - rebuilt)
    explainer.save(tmp_path / "file")
    loaded = load_concepts(tmp_path / "file")
    assert torch.equal(loaded.encode_activations(joint), codes)
    assert torch.equal(loaded.relative_norms(), explainer.relative_norms())


def test_what_cannot_be_asked_is_refused():
    with pytest.raises(OptionError, match="needs two or more"):
        CrosscoderConcepts(None, 4)
    with pytest.raises(OptionError, match="needs two or more"):
        CrosscoderConcepts(None, 4, places=1)
    uneven = CrosscoderConcepts(None, 4, places=2, k=1).fit([drawn(30, 3), drawn(30, 5, seed=1)], nb_epochs=1)
    with pytest.raises(OptionError, match=r"widths \[3, 5\]"):
        uneven.latent_scaling([drawn(30, 3), drawn(30, 5, seed=1)])
    with pytest.raises(OptionError, match="`target`"):
        set_by_hand(drawn(2, 3, 5), drawn(3, 5)).latent_scaling(drawn(4, 10), "loss")
