"""Where a published autoencoder reads: names of other libraries, as split points of a model of transformers."""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from interpreto.errors import OptionError
from interpreto.models.hook_points import INPUT, block_list

HOOK = re.compile(r"(?:blocks\.(\d+)\.)?(hook_\w+|(?:attn|mlp|ln2)\.hook_\w+)")
ATTENTION = ("self_attn", "attn", "attention", "self_attention")
MLP = ("mlp", "feed_forward", "ffn")
SECOND_NORM = ("pre_feedforward_layernorm", "post_attention_layernorm", "ln_2", "final_layer_norm", "ffn_norm")
ATTENTION_OUT = ("o_proj", "c_proj", "out_proj", "dense")
MLP_OUT = ("down_proj", "c_proj", "fc_out", "dense_4h_to_h", "fc2", "w2")


def split_point_of(hook: str, model: nn.Module) -> str:
    """Return a hook's split point.

    Args:
        hook: A name of TransformerLens (``"blocks.8.hook_resid_pre"``), or a module of transformers, with or without
            ``.input`` or ``.output`` after it and the prefix of the model before it.
        model: The model that is read.

    Raises:
        OptionError: the model has no such place.
    """
    match = HOOK.fullmatch(hook)
    if match is None:
        return _module(hook, model)
    number, place = match.groups()
    if place == "hook_embed":
        return _path_of(getattr(model, "get_input_embeddings", lambda: None)(), model, hook)
    path, blocks = block_list(model)
    if number is None or int(number) >= len(blocks):
        raise OptionError(f"`split_point`: {hook!r} is no place of this model, which has {len(blocks)} blocks.")
    block, start = blocks[int(number)], f"{path}.{number}"
    if place == "hook_resid_post":
        return start
    if place == "hook_resid_pre":
        return f"{start}{INPUT}"
    return f"{start}.{_within(place, block, hook)}"


def neighbors(split_point: str, model: nn.Module) -> list[str]:
    """Return the places around a split point where an autoencoder may have been meant to read: inputs and outputs of blocks."""
    path, blocks = block_list(model)
    found = re.match(rf"{re.escape(path)}\.(\d+)", split_point)
    middle = int(found[1]) if found else 0
    near = [i for i in (middle - 1, middle, middle + 1) if 0 <= i < len(blocks)]
    places = [f"{path}.{near[0]}{INPUT}", *(f"{path}.{i}" for i in near)]
    return [place for place in places if place != split_point]


def _within(place: str, block: nn.Module, hook: str) -> str:
    """Return a place in a block: the path of its module, and the side."""
    gemma = hasattr(block, "pre_feedforward_layernorm")  # normalizes what attention and MLP give, too
    if place == "hook_resid_mid":
        if not hasattr(block, "pre_feedforward_layernorm") and _parallel(block):
            raise OptionError(f"`split_point`: {hook!r} is no place of blocks whose attention and MLP run side by side.")
        return _child(block, SECOND_NORM, hook) + INPUT
    if place == "hook_attn_out":
        return "post_attention_layernorm" if gemma else _child(block, ATTENTION, hook)
    if place == "hook_mlp_out":
        return "post_feedforward_layernorm" if gemma else _child(block, MLP, hook)
    if place in ("hook_mlp_in", "mlp.hook_in", "ln2.hook_normalized"):
        return _child(block, MLP, hook) + INPUT
    parent, last = {"attn.hook_z": (ATTENTION, ATTENTION_OUT), "mlp.hook_post": (MLP, MLP_OUT)}.get(place, ((), ()))
    if not parent:
        raise OptionError(f"`split_point`: {hook!r} is a place that is not known; pass split_point, a module's path.")
    outer = _child(block, parent, hook)
    return f"{outer}.{_child(getattr(block, outer), last, hook)}{INPUT}"


def _parallel(block: nn.Module) -> bool:
    """Return whether attention and MLP of a block read the same rows."""
    return bool(getattr(block, "use_parallel_residual", False)) or not any(hasattr(block, name) for name in SECOND_NORM)


def _child(module: nn.Module, names: tuple[str, ...], hook: str) -> str:
    found = next((name for name in names if hasattr(module, name)), None)
    if found is None:
        there = ", ".join(name for name, _ in module.named_children())
        raise OptionError(f"`split_point`: no place for {hook!r} among {there}; pass split_point, a module's path.")
    return found


def _module(hook: str, model: nn.Module) -> str:
    """Return the split point of a module that is named as transformers names it."""
    path, side = re.sub(r"\.(input|output)$", "", hook), INPUT if hook.endswith(".input") else ""
    modules = dict(model.named_modules())
    prefix = str(getattr(model, "base_model_prefix", ""))
    for start in ("", f"{prefix}.", f"{prefix}.language_model.", "language_model."):
        for name in (path, path.removeprefix("model.")):
            if f"{start}{name}" in modules:
                return f"{start}{name}{side}"
    raise OptionError(f"`split_point`: the model has no module {path!r}, which the autoencoder reads; pass split_point.")


def _path_of(module: Any, model: nn.Module, hook: str) -> str:
    found = next((name for name, inner in model.named_modules() if inner is module), None)
    if module is None or found is None:
        raise OptionError(f"`split_point`: the model has no embedding layer for {hook!r}; pass split_point, a module's path.")
    return found
