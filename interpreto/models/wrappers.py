"""Models within wrappers: hooks and abilities are those of the model that a wrapper holds."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from torch import nn

from interpreto.errors import ModelError

SHARDED = ("FullyShardedDataParallel", "FSDPModule")  # by name: the classes are imported by those who use them


def unwrapped(model: Any) -> Any:
    """Return the model that ``torch.compile``, ``DataParallel`` or ``DistributedDataParallel`` wraps; others as they are.

    Hooks do not reach into a compiled graph, and parallel wrappers hide the config, the abilities and the embeddings.

    Raises:
        ModelError: the parameters are sharded (FSDP): every process would have to explain the same inputs in step.
    """
    if isinstance(model, nn.Module):
        _check_whole(model)
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def _check_whole(model: nn.Module) -> None:
    """Raise a `ModelError` for a model whose parameters `FullyShardedDataParallel` or `fully_shard` has sharded."""
    sharded = next((m for m in model.modules() if any(kind.__name__ in SHARDED for kind in type(m).__mro__)), None)
    if sharded is not None:
        raise ModelError(
            f"`model`: {type(sharded).__name__} holds a shard of its parameters in each process (FSDP); explain a whole "
            "model: gather its state (torch.distributed.checkpoint.state_dict.get_model_state_dict with "
            'StateDictOptions(full_state_dict=True)), load it into an unwrapped model, and pass that. `device_map="auto"` '
            "spreads a model over devices within one process."
        )


def compiled_in_place(modules: Sequence[nn.Module]) -> bool:
    """Return True if a module is compiled by ``module.compile()`` or by ``module.forward = torch.compile(module.forward)``."""
    return any(
        getattr(module, "_compiled_call_impl", None) is not None
        or hasattr(module.__dict__.get("forward"), "_torchdynamo_orig_callable")
        for module in modules
    )


def lengthens_inputs(model: Any) -> bool:
    """Return True for PEFT models that put virtual tokens before the text, as prompt tuning does."""
    configs = getattr(model, "peft_config", None)
    if not isinstance(configs, dict):
        return False
    return any(getattr(config, "is_prompt_learning", False) for config in configs.values())


def model_name(model: Any) -> str:
    """Return the name of a model's class; of a model of ours that holds the user's, that of the user's."""
    return type(getattr(model, "explained", model)).__name__


def parameters_of(model: nn.Module) -> tuple[frozenset[str], bool]:
    """Return the arguments that a model's ``forward`` names, and whether it takes others by ``**kwargs``."""
    inner: Any = getattr(model, "get_base_model", lambda: model)()  # PEFT's wrappers pass arguments on
    found = list(inspect.signature(inner.forward).parameters.values())
    if "forward" in vars(inner):  # put on the object, by a tracer perhaps, which passes on what the class takes
        found += [p for p in inspect.signature(type(inner).forward).parameters.values() if p.name != "self"]
    return frozenset(p.name for p in found), any(p.kind is p.VAR_KEYWORD for p in found)
