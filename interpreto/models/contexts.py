"""What must be set on a model for a call, and is restored after it, also when the call raises."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from interpreto.errors import ModelError, OptionError


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Within, no module is in training mode; each one's own flag is restored."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def moved(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Within, the model is on another device."""
    if getattr(model, "hf_device_map", None) or getattr(model, "is_quantized", False):
        raise OptionError("`device`: this model is placed by a device map or quantised; leave `device` out.")
    home = next(model.parameters()).device
    model.to(device)
    try:
        yield
    finally:
        model.to(home)


@contextmanager
def padding_absent(model: nn.Module, used_ids: set[int]) -> Iterator[int]:
    """Within, the model's config names a padding id that no row contains: some classifiers find the last token by it."""
    absent = next(i for i in range(len(used_ids) + 1) if i not in used_ids)
    config = getattr(model, "config", None)
    configs: list[Any] = [] if config is None else [config]
    inner = getattr(config, "get_text_config", lambda: config)()
    if inner is not config:
        configs.append(inner)
    before = [getattr(c, "pad_token_id", None) for c in configs]
    for c in configs:
        c.pad_token_id = absent
    try:
        yield absent
    finally:
        for c, value in zip(configs, before, strict=True):
            c.pad_token_id = value


@contextmanager
def embeddings_given(
    layer: nn.Module, ids: Int[Tensor, "b l"], embeddings: Float[Tensor, "b l d"], others: Sequence[Tensor] = ()
) -> Iterator[None]:
    """Within, the embedding layer answers ``embeddings`` for ``ids``; the model still sees its ids.

    ``others`` are ids that the same layer is asked for elsewhere, and answers as ever.
    """

    def give(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        laid = _laid_out(embeddings, ids, inputs[0], others)
        return output if laid is None else laid.to(output)

    with _hooked(layer, give):
        yield


@contextmanager
def embeddings_replaced(
    layer: nn.Module,
    ids: Int[Tensor, "b l"],
    where: Bool[Tensor, "b l"],
    vector: Float[Tensor, " d"],
    others: Sequence[Tensor] = (),
) -> Iterator[None]:
    """Within, the embedding layer answers ``vector`` at the given positions of ``ids``; see `embeddings_given`."""

    def replace(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        there = _laid_out(where[..., None], ids, inputs[0], others)
        return output if there is None else torch.where(there.to(output.device), vector.to(output), output)

    with _hooked(layer, replace):
        yield


@contextmanager
def echo_changed(layer: nn.Module, ids: Int[Tensor, "b l"], change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within, what a decoder reads of ``ids``, a token behind, goes through ``change``: embeddings ``(b, l - 1, d)``."""

    def behind(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        return torch.cat([output[:, :1], change(output[:, 1:])], 1) if _is_echo(inputs[0], ids) else None

    with _hooked(layer, behind):
        yield


def _is_echo(asked: Tensor, ids: Int[Tensor, "b l"]) -> bool:
    return asked.shape == ids.shape and torch.equal(asked[:, 1:].cpu(), ids[:, :-1].cpu())


def _laid_out(values: Tensor, ids: Int[Tensor, "b l"], asked: Tensor, others: Sequence[Tensor]) -> Tensor | None:
    """Values as the layer was asked for them: some models (XLNet) look ids up position by row. None: for other ids."""
    known = asked.cpu()
    if asked.shape == ids.shape and torch.equal(known, ids.cpu()):
        return values
    if asked.shape == ids.T.shape and torch.equal(known, ids.T.cpu()):
        return values.transpose(0, 1)
    if _is_echo(asked, ids) or any(torch.equal(known, other.cpu()) for other in others):
        return None
    raise ModelError(
        f"`model`: its embedding layer was asked for ids of shape {tuple(asked.shape)}, and the batch has {tuple(ids.shape)}; "
        "embeddings cannot be moved in it. Explain it by a mask method with a token as `replacement`."
    )


@contextmanager
def _hooked(layer: nn.Module, hook: Any) -> Iterator[None]:
    handle = layer.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
