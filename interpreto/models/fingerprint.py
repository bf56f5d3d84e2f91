"""Fingerprints of models: class, config, some weights, and the activations of a fixed input."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from interpreto.models.batch import Batch
from interpreto.models.forward import Forward
from interpreto.models.hook_points import find_hook_points
from interpreto.models.interventions import HookTracing

PASSING = ("_name_or_path", "dtype", "torch_dtype", "transformers_version", "quantization_config", "use_cache")
UNREAD = "unread"  # weights that are not in memory, and that no hook of accelerate's can find
PROBED_TOKENS = 8
PROBED_VALUES = 32


@dataclass(frozen=True)
class Probe:
    """Some activations of a model at a split point, for an input that is the same for every model.

    Attributes:
        values: Activations, evenly spaced over tokens and width.
        low_precision: Whether they were computed in half precision.
    """

    values: tuple[float, ...]
    low_precision: bool

    def distance(self, other: Probe) -> float:
        """Return the largest difference of two probes in units of the largest activation; infinite for unequal shapes."""
        if len(self.values) != len(other.values):
            return float("inf")
        a, b = torch.tensor(self.values), torch.tensor(other.values)
        scale = torch.stack([a.abs().max(), b.abs().max()]).max().clamp(min=1e-12)
        return float(((a - b).abs().max() / scale).nan_to_num(nan=float("inf")))

    def agrees(self, other: Probe) -> bool:
        """Return whether both can be of one model: equal but for rounding."""
        return self.distance(other) <= (5e-2 if self.low_precision or other.low_precision else 1e-3)


def identity(model: nn.Module) -> dict[str, str]:
    """Return a model's class, a digest of its config, and one of a few of each parameter's values.

    It is the same in float32 and bfloat16, and in memory or offloaded by accelerate.
    """
    config = getattr(model, "config", None)
    settings = {} if config is None else config.to_dict()
    kept = {name: value for name, value in settings.items() if name not in PASSING and not name.startswith("_")}
    return {"class": type(model).__qualname__, "config": digest(kept), "weights": _weights_digest(model)}


def digest(value: Any) -> str:
    """Return a short digest of a value of JSON's types."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _weights_digest(model: nn.Module) -> str:
    seen, modules = hashlib.sha256(), dict(model.named_modules())
    for name, parameter in sorted(model.named_parameters()):
        seen.update(f"{name}{tuple(parameter.shape)}".encode())
        if not parameter.is_floating_point():
            continue
        owner, _, own = name.rpartition(".")
        values = parameter.detach() if parameter.device.type != "meta" else _offloaded(modules[owner], own)
        if values is None:
            return UNREAD
        values = values.flatten()
        # Not the first ones: an embedding's first row may be a padding token's zeros.
        places = torch.linspace(0, len(values) - 1, 8, dtype=torch.float64).long()
        few = values[places.to(values.device)].to("cpu", torch.bfloat16)
        seen.update(few.view(torch.int16).numpy().tobytes())
    return seen.hexdigest()[:16]


def _offloaded(module: nn.Module, name: str) -> Tensor | None:
    """Return a parameter that accelerate keeps elsewhere, from the map of its hook."""
    hook = getattr(module, "_hf_hook", None)
    for each in (hook, *getattr(hook, "hooks", ())):
        found: Any = getattr(each, "weights_map", None)
        if isinstance(found, Mapping) and name in found:
            return torch.as_tensor(found[name])
    return None


def probe(model: nn.Module, split_point: str) -> Probe | None:
    """Return some of a model's activations at a module for a fixed input; None where it cannot be run on it."""
    try:
        hidden = _fixed_activations(model, split_point)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        return None  # such as a model that needs more than ids
    flat = hidden.detach().flatten()
    places = torch.linspace(0, len(flat) - 1, PROBED_VALUES, dtype=torch.float64).long().unique()
    low = hidden.dtype in (torch.float16, torch.bfloat16)
    values = flat[places.to(flat.device)].double().tolist()
    return Probe(tuple(float(f"{value:.6g}") for value in values), low)


def _fixed_activations(model: nn.Module, split_point: str) -> Float[Tensor, ...]:
    forward, (point,) = Forward(model), find_hook_points(model, split_point)
    ids = _fixed_ids(model)
    source = torch.tensor([len(ids) // 2]) if forward.encodes and not forward.echoes else None
    batch = Batch(ids[None], torch.tensor([len(ids)]), torch.ones(1, len(ids), dtype=torch.bool), {}, sources=source)
    with forward.session(), forward.padding(set(ids.tolist())), torch.no_grad():
        (hidden,), _ = HookTracing(model).read([point], forward.arguments(batch), stop=True)
    return hidden


def _fixed_ids(model: nn.Module) -> Int[Tensor, " l"]:
    """Return ids spread over the vocabulary, the end of a text as the last of them: BART's classifiers look for one."""
    config = getattr(model, "config", None)
    text_config = getattr(config, "get_text_config", lambda: config)()
    size = int(getattr(text_config, "vocab_size", PROBED_TOKENS))
    ids = torch.linspace(0, size - 1, PROBED_TOKENS + 2, dtype=torch.float64).long()[1:-1]
    end = getattr(text_config, "eos_token_id", None)
    ids = ids[ids != end] if isinstance(end, int) else ids
    return torch.cat([ids, torch.tensor([end])]) if isinstance(end, int) and 0 <= end < size else ids
