"""Steps in closed form are autograd's: dense ones and sparse ones, in parts and whole, with the same memory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from interpreto.concepts import VanillaSAEConcepts
from interpreto.concepts.saes import architectures, positive_codes, trainer
from interpreto.concepts.saes.architectures import BatchTopKSAE, VanillaSAE
from interpreto.concepts.saes.memory import UNKEPT, Memory
from interpreto.concepts.saes.positive_codes import learn_positive
from interpreto.concepts.saes.sparse_codes import SparseCodes, fired, in_closed_form

KINDS = {
    "relu": lambda: VanillaSAE(48, l1=0.3),
    "tied": lambda: VanillaSAE(48, l1=0.3, tied=True),
    "batchtopk": lambda: BatchTopKSAE(48, k=3),
}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def model(kind: str):
    made = KINDS[kind]()
    made.draw(10, torch.device("cpu"), torch.Generator().manual_seed(0))
    with torch.no_grad():
        made.decoder_bias.copy_(0.3 * drawn(10, seed=1))
        made.encoder_bias.copy_(0.3 * drawn(48, seed=2))
    return made.requires_grad_(True)


def step(made, rows: Tensor, weights: Tensor):
    """Return the forward pass, and what a training takes of it."""
    learned = made.learn(rows, 0.7, weights)
    loss = (weights * (rows - learned.reconstruction).square().sum(1)).mean() + learned.penalty
    gradients = torch.autograd.grad(loss, list(made.parameters()), allow_unused=True, materialize_grads=True)
    dense = learned.codes.dense() if isinstance(learned.codes, SparseCodes) else learned.codes
    return learned, [dense.detach(), learned.reconstruction.detach(), loss.detach(), *fired(learned.codes), *gradients]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["dense", "in parts", "sparse"])
def test_a_step_in_closed_form_is_autograds(kind, form, monkeypatch):
    rows, weights = drawn(50, 10), torch.where(torch.arange(50) % 7 == 0, 0.2, 1.0)
    monkeypatch.setattr(positive_codes, "RATIO", 0 if form == "sparse" else 10**9)
    monkeypatch.setattr(positive_codes, "CODES", 50 * 20 if form == "in parts" else 1 << 22)
    learned, found = step(model(kind), rows, weights)
    assert isinstance(learned.codes, SparseCodes) == (form == "sparse")
    assert form == "sparse" or "_Dense" in str(learned.reconstruction.grad_fn)
    monkeypatch.setattr(architectures, "in_closed_form", lambda rows: False)
    learned, expected = step(model(kind), rows, weights)
    assert "Addmm" in str(learned.reconstruction.grad_fn) and isinstance(learned.codes, Tensor)
    assert 0 < int(expected[4]) < 50 * 48 and len(found) == len(expected) == 9
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_rows_without_a_code_are_reconstructed_by_the_bias():
    made = model("relu")
    with torch.no_grad():
        made.encoder_bias.fill_(-100.0)
    learned, found = step(made, drawn(5, 10), torch.ones(5))
    assert isinstance(learned.codes, SparseCodes) and len(learned.codes.values) == 0
    torch.testing.assert_close(learned.reconstruction, made.decoder_bias.expand(5, -1))
    assert not found[0].any() and not found[3].any() and int(found[4]) == 0


def test_it_is_for_plain_rows_of_the_processor():
    rows = drawn(3, 4)
    assert in_closed_form(rows)
    assert not in_closed_form(rows.double()) and not in_closed_form(rows.clone().requires_grad_())
    with torch.autocast("cpu", torch.bfloat16):
        assert not in_closed_form(rows)


def test_memory_is_used_again_and_gradients_are_not_copied():
    made, memory, places = model("relu"), Memory(), []
    encoder, decoder = (made.encoder_weight, made.encoder_bias, made.decoder_bias), (made.atoms, made.decoder_bias)
    for _ in range(2):
        learned = learn_positive(drawn(50, 10), encoder, decoder, memory)
        learned.reconstruction.sum().backward()
        assert isinstance(learned.codes, Tensor)
        taken = [learned.codes, made.encoder_weight.grad, made.atoms.grad]
        assert {tensor.data_ptr() for tensor in taken} == memory.lent
        places.append({tensor.data_ptr() for tensor in taken})
        memory.give_back([*taken, made.encoder_bias.grad, None])
        made.zero_grad()
        assert not memory.lent
        del learned, taken
    assert places[0] == places[1]


def test_a_training_holds_no_memory_once_it_is_done(monkeypatch):
    lent, step_of = [], trainer._Training.step

    def watched(training, part):
        step_of(training, part)
        lent.append(sum(map(len, training.model.memory.free.values())))
        assert not training.model.memory.lent

    monkeypatch.setattr(trainer._Training, "step", watched)
    explainer = VanillaSAEConcepts(None, 16).fit(drawn(300, 8), nb_epochs=2, batch_size=100)
    assert lent[0] == 3 and max(lent) <= 3  # codes and two gradients
    assert explainer.concept_model.memory is UNKEPT
    explainer.concept_model.requires_grad_(True).learn(drawn(30, 8), 1.0, torch.ones(30))
    assert not UNKEPT.free and not UNKEPT.lent  # nor does a step outside a training


def test_a_training_in_closed_form_is_autograds(monkeypatch):
    rows = (drawn(600, 12).relu() * (drawn(600, 12, seed=1) > 1)) @ drawn(12, 16, seed=2)
    ours = VanillaSAEConcepts(None, 64).fit(rows, nb_epochs=3, batch_size=100)
    monkeypatch.setattr(architectures, "in_closed_form", lambda rows: False)
    theirs = VanillaSAEConcepts(None, 64).fit(rows, nb_epochs=3, batch_size=100)
    assert ours.history[-1].explained_variance == pytest.approx(theirs.history[-1].explained_variance, abs=1e-3)
    torch.testing.assert_close(ours.get_dictionary(), theirs.get_dictionary(), atol=1e-3, rtol=1e-3)
