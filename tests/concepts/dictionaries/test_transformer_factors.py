"""Factors that are planted in one layer each are found, with the layer."""

from __future__ import annotations

import pytest
import torch
from scipy.optimize import linear_sum_assignment

from interpreto.concepts import FactorConcepts, TransformerFactors, load_concepts
from interpreto.errors import InputError, ModelError, OptionError


def planted(layers=3, each=3, d=24, n=200):
    """Rows of layers that share no factor, and differ in size."""
    generator = torch.Generator().manual_seed(0)
    factors = torch.linalg.qr(torch.randn(d, layers * each, generator=generator)).Q.T
    rows = {}
    for layer in range(layers):
        codes = (0.5 + torch.rand(n, each, generator=generator)) * (torch.rand(n, each, generator=generator) < 0.2)
        own = codes @ factors[layer * each : (layer + 1) * each]
        rows[f"layer {layer}"] = 10.0**layer * (own + 0.01 * torch.randn(n, d, generator=generator))
    return factors, rows


def test_planted_factors_and_their_layers_are_found(tmp_path):
    factors, rows = planted()
    found = TransformerFactors(None, nb_concepts=9, alpha=0.3, max_iter=30).fit(rows)
    atoms = torch.nn.functional.normalize(found.at("layer 1").get_dictionary(), dim=1)
    cosines = atoms @ factors.T
    ours, theirs = linear_sum_assignment(-cosines.numpy())
    assert float(cosines[ours, theirs].min()) > 0.95
    profile = found.layer_profile()[:, torch.tensor(ours)[torch.tensor(theirs).argsort()]]
    for layer in range(3):
        inside, outside = profile[layer, 3 * layer : 3 * layer + 3], profile[layer].clone()
        outside[3 * layer : 3 * layer + 3] = 0
        assert float(inside.min()) > 4 * float(outside.max())
    layer = found.at("layer 2")
    codes = layer.encode_activations(rows["layer 2"])
    assert bool((codes >= 0).all()) and torch.allclose(codes.mean(0), found.layer_profile()[2], atol=1e-5)
    left = rows["layer 2"] - layer.decode_concepts(codes)
    assert float(left.norm() / rows["layer 2"].norm()) < 0.35  # what the penalty takes
    layer.save(tmp_path / "factors.safetensors")
    loaded = load_concepts(tmp_path / "factors.safetensors")
    assert torch.equal(loaded.encode_activations(rows["layer 2"]), codes) and isinstance(loaded, FactorConcepts)


def test_wrong_calls_say_what_to_do():
    _, rows = planted(n=30)
    with pytest.raises(InputError, match="two split points or more"):
        TransformerFactors(None).fit({"layer 0": rows["layer 0"]})
    with pytest.raises(ModelError, match="not fitted"):
        TransformerFactors(None).layer_profile()
    with pytest.raises(OptionError, match="'layer 0', 'layer 1', 'layer 2'"):
        TransformerFactors(None, nb_concepts=2, max_iter=2).fit(rows).at("layer 7")
    with pytest.raises(OptionError, match="`alpha`"):
        TransformerFactors(None, alpha=-1.0)
