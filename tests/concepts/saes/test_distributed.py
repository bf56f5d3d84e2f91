"""Processes that share a training end with the model of one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed
from torch import Tensor

from interpreto.concepts import (
    BatchTopKSAEConcepts,
    CrosscoderConcepts,
    CrossLayerTranscoderConcepts,
    GatedSAEConcepts,
    JumpReLUSAEConcepts,
    MatryoshkaSAEConcepts,
    MpSAEConcepts,
    TopKSAEConcepts,
    TranscoderConcepts,
    VanillaSAEConcepts,
)
from interpreto.concepts.activation_store import ActivationStore, StoreConfig
from interpreto.concepts.saes.fitting import TrainedConcepts
from interpreto.concepts.saes.parallel import ALONE, Ranks
from interpreto.errors import OptionError
from interpreto.inputs.samples import Sample
from interpreto.inputs.units import Units

SAES = {
    kind.__name__: kind
    for kind in (
        VanillaSAEConcepts,
        TopKSAEConcepts,
        BatchTopKSAEConcepts,
        JumpReLUSAEConcepts,
        MpSAEConcepts,
        GatedSAEConcepts,
        MatryoshkaSAEConcepts,
    )
}
CODERS = {
    "relu": lambda: TranscoderConcepts(None, 64, activation="relu", skip=True),
    "topk": lambda: CrossLayerTranscoderConcepts(None, 64, layers=1, k=3),
    "batchtopk": lambda: CrosscoderConcepts(None, 64, places=2, k=3),
    "jumprelu": lambda: TranscoderConcepts(None, 64, activation="jumprelu"),
}
KINDS = [*SAES, *CODERS]
OPTIONS = {"nb_epochs": 3, "batch_size": 100}


def rows_of(name: str) -> Tensor:
    """Rows whose last batch has a single one, which two processes cannot share; outliers in one of the cases."""
    generator = torch.Generator().manual_seed(0)
    codes = torch.rand(301, 12, generator=generator) * (torch.rand(301, 12, generator=generator) < 0.2)
    rows = codes @ torch.randn(12, 16, generator=generator) + 0.02 * torch.randn(301, 16, generator=generator)
    if name == "BatchTopKSAEConcepts":
        rows[::20] += 300
    return rows


def activations_of(name: str) -> Any:
    rows = rows_of(name)
    return [rows, 3 * rows[:, :10].relu() + 1] if name in CODERS else rows


def stored(folder: Path) -> ActivationStore:
    """A store of four blocks, which two processes share."""
    units = Units(torch.arange(10), tuple("abcdefghij"), tuple((i, i + 1) for i in range(10)))
    samples = (Sample(f"abcdefghij {i}", torch.arange(10), units) for i in range(90))
    rows = torch.cat([rows_of(""), 2 * rows_of(""), 0.5 * rows_of("")])[:900]
    taken = iter(rows.split(10))
    config = StoreConfig({}, "layer", "token", "mean", "as computed", 65_536)
    return ActivationStore.write(folder, samples, lambda some: torch.cat([next(taken) for _ in some]), config)


def made(name: str) -> TrainedConcepts:
    if name in CODERS:
        return CODERS[name]()
    return SAES[name](None, 64, **({"k": 3} if "TopK" in name or "Mp" in name else {}))


@pytest.fixture
def group_of_one():
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_one_process_of_a_group_is_one_process(group_of_one):
    alone = made("TopKSAEConcepts").fit(rows_of(""), **OPTIONS)
    together = made("TopKSAEConcepts").fit(rows_of(""), distributed=True, **OPTIONS)
    assert together.concept_model.ranks == ALONE  # as before
    assert torch.equal(alone.get_dictionary(), together.get_dictionary()) and alone.history == together.history


def test_a_group_must_be_there():
    with pytest.raises(OptionError, match=r"`distributed`: got True, and torch\.distributed is not initialized.*torchrun"):
        made("TopKSAEConcepts").fit(rows_of(""), distributed=True)


def test_parts_of_a_batch_are_its_rows():
    rows = torch.arange(7.0)[:, None]
    parts = [Ranks(rank, 3).part(rows[rank::3], torch.arange(rank, 7, 3), 7) for rank in range(3)]
    assert [len(part.rows) for part in parts] == [3, 2, 2] and sum(part.share for part in parts) == pytest.approx(1)
    means = [part.share * float(part.rows.mean()) for part in parts]
    assert sum(means) == pytest.approx(float(rows.mean()))
    nothing = Ranks(2, 3).part(rows[2:2], torch.arange(0), 2)
    assert nothing.rows.shape == (1, 1) and nothing.share == 0 and not nothing.counts


def work(rank: int, folder: str) -> None:
    """Train each kind in one of two processes; the first leaves what it found."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2)
    import warnings

    warnings.simplefilter("ignore")
    found = {}
    for name in KINDS:
        explainer = made(name).fit(activations_of(name), distributed=True, **OPTIONS)
        found[name] = (explainer.concept_model.state_dict(), explainer.history)
    for name in RESUMED:  # of one process, which was interrupted
        path = Path(folder) / name
        explainer = made(name).fit(activations_of(name), checkpoint=path, distributed=True, **OPTIONS)
        found[f"resumed {name}"] = (explainer.concept_model.state_dict(), explainer.history)
    for name in OF_A_STORE:
        explainer = made(name).fit(ActivationStore(Path(folder) / "store"), distributed=True, **OPTIONS)
        found[f"store {name}"] = (explainer.concept_model.state_dict(), explainer.history)
    try:
        made("TopKSAEConcepts").fit(rows_of(""), distributed=True, lr=1e-3 * (rank + 1), **OPTIONS)
    except OptionError as error:
        found["differs"] = str(error)
    torch.save(found, Path(folder) / f"found{rank}")
    torch.distributed.destroy_process_group()


RESUMED = ("TopKSAEConcepts", "batchtopk")
OF_A_STORE = ("TopKSAEConcepts", "BatchTopKSAEConcepts")


class Interruption(Exception):
    """Power was lost."""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_two_processes_are_one_up_to_rounding(tmp_path, monkeypatch):
    from interpreto.concepts.saes import trainer as training

    write, calls = training.write_checkpoint, []

    def write_then_fail(*arguments):
        write(*arguments)
        calls.append(1)
        if len(calls) == 6:
            raise Interruption

    monkeypatch.setattr(training, "write_checkpoint", write_then_fail)
    for name in RESUMED:
        calls.clear()
        with pytest.raises(Interruption):
            made(name).fit(activations_of(name), checkpoint=tmp_path / name, checkpoint_every=1, **OPTIONS)
    monkeypatch.undo()
    store = stored(tmp_path / "store")
    torch.multiprocessing.spawn(work, (str(tmp_path),), nprocs=2)
    found = [torch.load(tmp_path / f"found{rank}", weights_only=False) for rank in range(2)]
    for name in [*KINDS, *(f"resumed {name}" for name in RESUMED), *(f"store {name}" for name in OF_A_STORE)]:
        kind = name.split()[-1]
        alone = made(kind).fit(store if name.startswith("store") else activations_of(kind), **OPTIONS)
        for state, history in (each[name] for each in found):
            for key, tensor in alone.concept_model.state_dict().items():
                torch.testing.assert_close(state[key], tensor, atol=2e-3, rtol=2e-3, msg=f"{name} {key}")
            for theirs, ours in zip(history, alone.history, strict=True):
                assert theirs.explained_variance == pytest.approx(ours.explained_variance, abs=1e-3)
                assert theirs.dead_fraction == pytest.approx(ours.dead_fraction, abs=0.04)
                assert (theirs.epoch, theirs.step) == (ours.epoch, ours.step)
        states = [each[name][0] for each in found]
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert all("trains something else than another one" in each["differs"] for each in found)
