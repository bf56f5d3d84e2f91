"""Training steps on a GPU: the same numbers, batches that are copied ahead, resumption. Skipped where there is no GPU."""

from __future__ import annotations

import pytest
import torch

from interpreto.concepts import BatchTopKSAEConcepts, TopKSAEConcepts, VanillaSAEConcepts
from interpreto.concepts.activations import Activations
from interpreto.concepts.coders.gates import gate_of
from interpreto.concepts.coders.training import CoderTraining
from interpreto.concepts.coders.wiring import Wiring
from interpreto.concepts.saes import sparse_codes, stream
from interpreto.concepts.saes.sparse_codes import SparseCodes, _members, _sums, largest, least_of_largest
from tests.concepts.saes.test_distributed import KINDS, activations_of, made
from tests.concepts.saes.test_sparse_codes import generator, model
from tests.concepts.saes.test_stream import Source

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def some_rows(n: int = 2000) -> torch.Tensor:
    return torch.randn(n, 8, generator=torch.Generator().manual_seed(0))


def test_a_step_is_that_of_the_processor():
    found = []
    for device in ("cpu", "cuda"):
        ours, rows = model().to(device), torch.randn(50, 10, generator=generator()).to(device)
        learned = ours.learn(rows, 1.0, torch.ones(50, device=device))
        assert isinstance(learned.codes, SparseCodes)
        loss = (rows - learned.reconstruction).square().sum(1).mean()
        gradients = torch.autograd.grad(loss, list(ours.parameters()))
        found.append([learned.codes.dense(), learned.reconstruction, *gradients])
    for here, there in zip(*found, strict=True):
        torch.testing.assert_close(there.cpu(), here, atol=1e-4, rtol=1e-4)


def test_sums_of_a_concept_that_all_rows_have():
    concepts = torch.stack([torch.zeros(3000, dtype=torch.int64), torch.randint(1, 40, (3000,), generator=generator())], 1)
    rows, amounts = torch.randn(3000, 16, generator=generator()), torch.rand(3000, 2, generator=generator())
    codes = SparseCodes.of_each(amounts.cuda(), concepts.cuda(), 48)
    there = _sums(rows.cuda(), codes.values, _members(codes))
    expected = SparseCodes.of_each(amounts.double(), concepts, 48).dense().T @ rows.double()
    torch.testing.assert_close(there.cpu(), expected.float(), atol=1e-3, rtol=1e-4)
    again = _sums(rows.cuda(), codes.values, _members(codes))
    assert torch.equal(there, again)


def test_the_largest():
    values = torch.randn(100, 256 * sparse_codes.GROUP, generator=generator())
    found, columns = largest(values.cuda(), 32)
    assert torch.equal(values.gather(1, columns.cpu()), found.cpu())
    assert torch.equal(found.cpu().sort(1, descending=True).values, values.topk(32, dim=1).values)
    assert float(least_of_largest(values.cuda(), 500)) == float(least_of_largest(values, 500))


def test_batches_are_copied_ahead_and_are_the_same():
    source, rows = Source(some_rows()), some_rows().cuda()
    options = {"nb_epochs": 3, "batch_size": 256}
    streamed = TopKSAEConcepts(None, 64, device="cuda", k=4).fit(source, **options)
    assert stream.THREAD in source.readers
    for other in (rows, rows.cpu()):
        held = TopKSAEConcepts(None, 64, device="cuda", k=4).fit(other, **options)
        assert torch.equal(held.get_dictionary(), streamed.get_dictionary()) and held.history == streamed.history
    pinned = stream._batches(some_rows(), 64, generator(), stream.Position(), pin=True)
    assert next(pinned).rows.is_pinned()
    ahead = stream.stream(Activations(some_rows(), torch.device("cuda")), 64, generator(), stream.Position())
    assert next(ahead).rows.device.type == "cuda"


@pytest.mark.parametrize("kind", [TopKSAEConcepts, BatchTopKSAEConcepts, VanillaSAEConcepts])
def test_a_resumed_training_is_an_uninterrupted_one(kind, tmp_path, monkeypatch):
    from interpreto.concepts.saes import trainer

    options = {"nb_epochs": 3, "batch_size": 256}
    whole = kind(None, 64, device="cuda").fit(some_rows(), **options)
    write, calls = trainer.write_checkpoint, []

    def write_then_fail(*arguments):
        write(*arguments)
        calls.append(1)
        if len(calls) == 11:
            raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "write_checkpoint", write_then_fail)
    path = tmp_path / "checkpoint"
    interrupted = kind(None, 64, device="cuda")
    with pytest.raises(KeyboardInterrupt):
        interrupted.fit(some_rows(), checkpoint=path, checkpoint_every=1, **options)
    monkeypatch.undo()
    resumed = interrupted.fit(some_rows(), checkpoint=path, **options)
    torch.testing.assert_close(resumed.get_dictionary(), whole.get_dictionary(), atol=1e-5, rtol=1e-5)
    assert [record.step for record in resumed.history] == [record.step for record in whole.history]


@pytest.mark.parametrize("kind", ["relu", "topk", "batchtopk", "jumprelu"])
def test_a_step_of_a_coder_is_that_of_the_processor(kind):
    rows, wiring, found = torch.randn(64, 9, generator=generator()), Wiring((5,), (4,)), []
    for device in ("cpu", "cuda"):
        training = CoderTraining(48, wiring, gate_of(kind, 48, 3, 0.1, 3e-3), skip=True).to(device)
        training.start(Activations(rows.to(device), torch.device(device)), 0)
        learned = training.learn(rows.to(device), 1.0, torch.ones(64, device=device))
        loss = (rows[:, 5:].to(device) - learned.reconstruction).square().sum(1).mean() + learned.penalty
        found.append([learned.reconstruction, loss, *torch.autograd.grad(loss, list(training.parameters()))])
    for here, there in zip(*found, strict=True):
        torch.testing.assert_close(there.cpu(), here, atol=1e-4, rtol=1e-4)


@pytest.mark.filterwarnings("ignore::interpreto.errors.OutlierWarning")
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_trains(kind, mixed):
    options = {"nb_epochs": 2, "batch_size": 100, "mixed_precision": mixed}
    explainer = made(kind).to("cuda").fit(activations_of(kind), **options)
    assert explainer.is_fitted and explainer.history[-1].explained_variance <= 1
    assert {tensor.device.type for tensor in explainer.concept_model.state_dict().values()} == {"cuda"}


def test_bfloat16_explains_as_much():
    rows = torch.rand(2000, 12, generator=generator()) @ torch.randn(12, 32, generator=generator())
    exact, mixed = (
        TopKSAEConcepts(None, 128, device="cuda", k=4).fit(rows, nb_epochs=5, batch_size=256, mixed_precision=flag)
        for flag in (False, True)
    )
    assert mixed.history[-1].explained_variance == pytest.approx(exact.history[-1].explained_variance, abs=0.02)
