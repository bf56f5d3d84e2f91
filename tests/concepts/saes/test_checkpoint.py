"""Checkpoints are read strictly: a damaged one is refused, and leaves no half model."""

from __future__ import annotations

import json
import warnings

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from interpreto.concepts import TopKSAEConcepts
from interpreto.errors import FileError


def some_rows() -> torch.Tensor:
    return torch.randn(200, 8, generator=torch.Generator().manual_seed(0))


CHANGES = {
    "missing": lambda tensors: {name: tensor for name, tensor in tensors.items() if name != "model.encoder_bias"},
    "over a method": lambda tensors: {**tensors, "model.encode": torch.ones(3)},
    "unknown": lambda tensors: {**tensors, "model.nothing": torch.ones(3)},
    "nan": lambda tensors: {**tensors, "model.atoms": tensors["model.atoms"] * torch.nan},
    "shape": lambda tensors: {**tensors, "model.atoms": tensors["model.atoms"][:3].clone()},
    "dtype": lambda tensors: {**tensors, "model.atoms": tensors["model.atoms"].double()},
    "no optimizer": lambda tensors: {k: v for k, v in tensors.items() if k != "sums"},
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_damaged_checkpoint_is_refused(change, tmp_path):
    path = tmp_path / "checkpoint"
    TopKSAEConcepts(None, 16, k=2).fit(some_rows(), nb_epochs=1, checkpoint=path)
    with safe_open(path, "pt") as file:
        header, tensors = json.loads(file.metadata()["interpreto"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(CHANGES[change](tensors), path, metadata={"interpreto": json.dumps(header)})
    explainer = TopKSAEConcepts(None, 16, k=2)
    with pytest.raises(FileError, match="incomplete checkpoint"):
        explainer.fit(some_rows(), nb_epochs=1, checkpoint=path)
    assert not explainer.is_fitted and callable(explainer.concept_model.encode)


@pytest.mark.parametrize("outliers", [False, True])
def test_a_checkpoint_of_the_first_release_goes_on_where_its_scale_is_that_of_today(outliers, tmp_path):
    """It scaled by all rows: where some are outliers, the training is another one, and the file says whose it was."""
    path, rows = tmp_path / "checkpoint", some_rows()
    if outliers:
        rows[:4] *= 200
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        whole = TopKSAEConcepts(None, 16, k=2).fit(rows, nb_epochs=1, checkpoint=path)
        with safe_open(path, "pt") as file:
            header, tensors = json.loads(file.metadata()["interpreto"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        del header["scaled_by"]
        scale = (rows - rows.mean(0)).norm(dim=1).square().mean().sqrt()
        tensors |= {"model.mean": rows.mean(0), "model.scale": scale.expand_as(tensors["model.scale"]).clone()}
        save_file(tensors, path, metadata={"interpreto": json.dumps(header)})
        explainer = TopKSAEConcepts(None, 16, k=2)
        if outliers:
            with pytest.raises(FileError, match=r"was written by interpreto 0\.1.*outliers too; finish that training with"):
                explainer.fit(rows, nb_epochs=1, checkpoint=path)
            assert not explainer.is_fitted
        else:
            explainer.fit(rows, nb_epochs=1, checkpoint=path)
            torch.testing.assert_close(explainer.get_dictionary(), whole.get_dictionary())
