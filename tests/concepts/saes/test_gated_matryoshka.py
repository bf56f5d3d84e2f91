"""Gated and matryoshka autoencoders: a step's loss as in plain loops, planted dictionaries found, and what each promises."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from interpreto.concepts import GatedSAEConcepts, MatryoshkaSAEConcepts
from interpreto.concepts.saes.gated import GatedSAE
from interpreto.concepts.saes.matryoshka import MatryoshkaSAE
from interpreto.errors import OptionError


def planted(n=2000, c=8, d=16, seed=0):
    """Return rows of few orthonormal directions each, and the directions."""
    draws = torch.Generator().manual_seed(seed)
    directions = torch.linalg.qr(torch.randn(d, c, generator=draws)).Q.T
    codes = (1 + torch.rand(n, c, generator=draws)) * (torch.rand(n, c, generator=draws) < 0.12)
    return codes @ directions, directions, codes


def drawn(model, d=5, seed=0):
    """Return a model with random weights, all of them different."""
    generator = torch.Generator().manual_seed(seed)
    model.draw(d, torch.device("cpu"), generator)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


ROWS, WEIGHTS = torch.randn(7, 5, generator=torch.Generator().manual_seed(1)), torch.ones(7)


def test_a_gated_step_is_its_formula():
    model = drawn(GatedSAE(6, l1=0.4)).requires_grad_(True)
    learned, penalty = model.learn(ROWS, 0.5, WEIGHTS), 0.0
    w = {name: parameter.detach() for name, parameter in model.named_parameters()}
    for i, x in enumerate(ROWS):
        shared = [float((x - w["decoder_bias"]) @ row) for row in w["encoder_weight"]]
        gates = [s + float(g) for s, g in zip(shared, w["gate_bias"], strict=True)]
        each = zip(shared, w["log_gain"], w["encoder_bias"], strict=True)
        amounts = [max(0.0, s * float(r.exp()) + float(b)) for s, r, b in each]
        wanted = torch.tensor([a if g > 0 else 0.0 for a, g in zip(amounts, gates, strict=True)])
        torch.testing.assert_close(learned.codes[i].detach(), wanted, atol=1e-5, rtol=1e-4)
        opened = torch.tensor([max(0.0, g) for g in gates])
        penalty += 0.5 * 0.4 * float(opened.sum()) + float((x - opened @ w["atoms"] - w["decoder_bias"]).square().sum())
        rebuilt = wanted @ w["atoms"] + w["decoder_bias"]
        torch.testing.assert_close(learned.reconstruction[i].detach(), rebuilt, atol=1e-5, rtol=1e-4)
    assert learned.penalty.item() == pytest.approx(penalty / len(ROWS), rel=1e-5)
    learned.penalty.backward()
    assert model.atoms.grad is None and float(model.gate_bias.grad.abs().sum()) > 0  # the decoder is held fixed


def test_a_matryoshka_step_is_its_formula():
    model = drawn(MatryoshkaSAE(6, k=2, beginnings=[1, 3, 6]))
    learned = model.learn(ROWS, 1.0, WEIGHTS)
    values = ((ROWS - model.decoder_bias) @ model.encoder_weight.T + model.encoder_bias).relu()
    least = values.flatten().sort(descending=True).values[2 * len(ROWS) - 1]
    codes = torch.where(values >= least, values, 0.0)
    torch.testing.assert_close(learned.codes, codes)
    errors = [(ROWS - codes[:, :m] @ model.atoms[:m] - model.decoder_bias).square().sum(1).mean() for m in (1, 3)]
    torch.testing.assert_close(learned.penalty, sum(errors), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(learned.reconstruction, codes @ model.atoms + model.decoder_bias, atol=1e-5, rtol=1e-5)
    assert isinstance(model.atoms, nn.Parameter) and model.beginnings == (1, 3)


@pytest.mark.parametrize(
    ("kind", "options"),
    [(GatedSAEConcepts, {"l1": 1.0}), (MatryoshkaSAEConcepts, {"k": 1, "beginnings": (8,)})],
    ids=["gated", "matryoshka"],
)
def test_a_planted_dictionary_is_found_and_no_code_is_shrunk(kind, options):
    rows, directions, codes = planted()
    explainer = kind(None, 16, **options).fit(rows, nb_epochs=25, batch_size=100, lr=1e-2)
    best, own = (explainer.get_dictionary() @ directions.T).max(0)
    assert float(best.min()) > 0.95 and len(own.unique()) == len(directions)
    found = explainer.encode_activations(rows)[:, own]
    assert float(((found > 0) == (codes > 0)).double().mean()) > 0.98
    both = (found > 0) & (codes > 0)
    assert float((found[both] / codes[both]).mean()) == pytest.approx(1.0, abs=0.05)  # an L1 penalty on codes shrinks them


def test_beginnings_are_checked():
    assert MatryoshkaSAE(64).beginnings == (4, 8, 16, 32) and MatryoshkaSAE(3).beginnings == (1,)
    for wrong in ([], [3, 2], [0, 2], [2, 9]):
        with pytest.raises(OptionError, match="`beginnings`"):
            MatryoshkaSAE(8, beginnings=wrong)
