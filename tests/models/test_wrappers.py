"""Models within wrappers that cannot be taken off are refused by name."""

from __future__ import annotations

import pytest
import torch
from torch import distributed

from interpreto import ModelWithSplitPoints, Occlusion
from interpreto.errors import ModelError
from tests import tiny


@pytest.fixture
def alone(tmp_path):
    """A group of one process."""
    if not distributed.is_gloo_available():
        pytest.skip("torch was built without gloo")
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def sharded(model: torch.nn.Module, whole: bool) -> torch.nn.Module:
    fsdp = pytest.importorskip("torch.distributed.fsdp")
    if not hasattr(fsdp, "fully_shard"):
        pytest.skip("this torch has no fully_shard")
    mesh = distributed.device_mesh.init_device_mesh("cpu", (1,))
    fsdp.fully_shard(model if whole else model.get_input_embeddings(), mesh=mesh)
    return model


@pytest.mark.parametrize("whole", [True, False])
def test_a_sharded_model_is_refused_with_the_remedy(alone, whole):
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    model = sharded(model, whole)
    for explain in (lambda: Occlusion(model, tokenizer), lambda: ModelWithSplitPoints(model, 1, tokenizer=tokenizer)):
        with pytest.raises(
            ModelError, match=r"FSDP\w* holds a shard of its parameters.*\(FSDP\); explain a whole model: gather"
        ):
            explain()


def test_the_older_wrapper_is_known_by_its_name():
    class FullyShardedDataParallel(torch.nn.Module):
        """Named as torch's, which needs an accelerator."""

    class Own(FullyShardedDataParallel):
        pass

    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    wrapper = Own()
    wrapper.module = model
    with pytest.raises(ModelError, match=r"`model`: Own holds a shard of its parameters"):
        Occlusion(wrapper, tokenizer)
