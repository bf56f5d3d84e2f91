"""Checkpoints are read strictly: a damaged one is refused, and leaves no half model."""

from __future__ import annotations

import json

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
