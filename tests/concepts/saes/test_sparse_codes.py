"""Products of sparse codes are those of the dense ones, gradients too."""

from __future__ import annotations

import pytest
import torch

from interpreto.concepts import TopKSAEConcepts
from interpreto.concepts.saes import sparse_codes
from interpreto.concepts.saes.architectures import TopKSAE
from interpreto.concepts.saes.sparse_codes import (
    SparseCodes,
    _largest_by_groups,
    _members,
    _sums,
    _sums_by_pieces,
    fired,
    least_of_largest,
    pays,
)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def model(nb_concepts: int = 48, k: int = 3, width: int = 10) -> TopKSAE:
    made = TopKSAE(nb_concepts, k=k)
    made.draw(width, torch.device("cpu"), generator())
    with torch.no_grad():
        made.decoder_bias.normal_(generator=generator())
        made.encoder_bias.normal_(generator=generator()).mul_(0.1)
    return made.requires_grad_(True)


def test_a_step_by_sparse_codes_is_the_dense_one(monkeypatch):
    ours, rows = model(), torch.randn(50, 10, generator=generator())
    found = {}
    for kind, ratio in (("sparse", 16), ("dense", 10**9)):
        monkeypatch.setattr(sparse_codes, "RATIO", ratio)
        assert pays(48, 3) == (kind == "sparse")
        learned = ours.learn(rows, 1.0, torch.ones(50))
        assert isinstance(learned.codes, SparseCodes) == (kind == "sparse")
        codes = learned.codes.dense() if isinstance(learned.codes, SparseCodes) else learned.codes
        gradients = torch.autograd.grad(
            (rows - learned.reconstruction).square().sum(1).mean(), dict(ours.named_parameters()).values()
        )
        found[kind] = [codes.detach(), learned.reconstruction.detach(), *gradients]
        has, number = fired(learned.codes)
        found[kind] += [has, number]
    assert len(found["sparse"]) == 2 + 4 + 2
    for ours_, theirs in zip(found["sparse"], found["dense"], strict=True):
        torch.testing.assert_close(ours_, theirs, atol=1e-5, rtol=1e-5)


def test_sums_by_pieces_are_the_sums(monkeypatch):
    monkeypatch.setattr(sparse_codes, "PIECE", 4)  # concept 3 has 40 members, some have none
    concepts = torch.stack([torch.full((40,), 3), torch.randint(4, 20, (40,), generator=generator())], 1)
    rows, amounts = torch.randn(40, 5, generator=generator()), torch.rand(40, 2, generator=generator())
    codes = SparseCodes.of_each(amounts, concepts, 24)
    members = _members(codes)
    expected = codes.dense().T @ rows
    torch.testing.assert_close(_sums(rows, codes.values, members), expected)
    torch.testing.assert_close(_sums_by_pieces(rows, codes.values[members.order], members), expected)
    assert bool((expected[[0, 1, 2, 20, 23]] == 0).all())


def test_the_largest_are_found_by_groups():
    values = torch.randn(20, 64 * sparse_codes.GROUP, generator=generator())
    found, columns = _largest_by_groups(values, 7)
    assert torch.equal(values.gather(1, columns), found)
    assert torch.equal(found.sort(1, descending=True).values, values.topk(7, dim=1).values)


@pytest.mark.parametrize("count", [1, 5, 64, 2000, 5000])
def test_the_least_of_the_largest(count):
    values = torch.randn(16, 128, generator=generator()).relu()
    expected = values.flatten().sort(descending=True).values[min(count, values.numel()) - 1]
    assert float(least_of_largest(values, count)) == max(float(expected), torch.finfo(torch.float32).tiny)


def test_a_training_by_sparse_codes_explains_as_much(monkeypatch):
    rows = torch.rand(400, 12, generator=generator()) @ torch.randn(12, 16, generator=generator())
    explained = []
    for ratio in (16, 10**9):
        monkeypatch.setattr(sparse_codes, "RATIO", ratio)
        explained.append(TopKSAEConcepts(None, 64, k=4).fit(rows, nb_epochs=3, batch_size=100).history[-1].explained_variance)
    assert explained[0] == pytest.approx(explained[1], abs=0.02)
