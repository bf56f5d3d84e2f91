"""Context managers that set on a model what a call needs, and restore it, also when the call raises."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from interpreto.errors import ModelError, OptionError
from interpreto.models.batching import is_out_of_memory


@contextmanager
def evaluating(model: nn.Module, modules: Sequence[nn.Module] | None = None) -> Iterator[None]:
    """Context manager in which no module is in training mode; each one's own flag is restored.

    ``modules`` are all of the model's, where they are known already.
    """
    training = [module for module in (model.modules() if modules is None else modules) if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def reversible(model: nn.Module, modules: Sequence[nn.Module]) -> Iterator[None]:
    """Context manager in which gradients pass through reversible layers (Reformer's), which refuse them outside of training.

    The layers alone are set to training, not the dropout in them. They draw seeds and accumulate gradients of parameters, so
    the random state, the parameters' flags and the layers' own values are restored.
    """
    layers = [module for module in modules if hasattr(type(module), "backward_pass")]
    if not layers:
        yield
        return
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    before = [dict(vars(layer)) for layer in layers]
    for layer in layers:
        layer.training = True
    for parameter in learned:
        parameter.requires_grad_(False)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        for parameter in learned:
            parameter.requires_grad_()
        for layer, values in zip(layers, before, strict=True):
            vars(layer).update(values)


@contextmanager
def moved(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Context manager in which the model is on another device; every tensor returns to its own, also after a failed move.

    Raises:
        OptionError: if the model cannot be moved, or there is no such device.
    """
    if getattr(model, "hf_device_map", None) or getattr(model, "is_quantized", False):
        raise OptionError("`device`: this model is placed by a device map or quantized; leave `device` out.")
    if device.type == "meta":
        raise OptionError("`device`: got 'meta', where tensors have no values; pass a device that computes, or None.")
    homes = [(tensor, tensor.device) for tensor in (*model.parameters(), *model.buffers())]
    try:
        try:
            model.to(device)
        except (AssertionError, RuntimeError) as error:
            if is_out_of_memory(error):
                raise
            reason = str(error).split("\n", 1)[0]
            raise OptionError(f"`device`: the model cannot be moved to {str(device)!r}: {reason}") from error
        yield
    finally:
        for tensor, home in homes:
            if tensor.device != home:
                tensor.data = tensor.data.to(home)


class _DefaultDtype:
    """Sets torch's default dtype, which all threads share, to float32 while any thread is within."""

    def __init__(self) -> None:
        self._lock, self._within, self._before = threading.Lock(), 0, torch.float32

    def __enter__(self) -> None:
        with self._lock:
            if not self._within:
                self._before = torch.get_default_dtype()
                torch.set_default_dtype(torch.float32)
            self._within += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._within -= 1
            if not self._within:
                torch.set_default_dtype(self._before)


_float32 = _DefaultDtype()


@contextmanager
def undisturbed(device_type: str) -> Iterator[None]:
    """Context manager in which the caller's inference mode, autocast and default dtype play no part."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        for kind in {device_type, "cpu"}:
            if torch.amp.is_autocast_available(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        stack.enter_context(_float32)
        yield


@contextmanager
def uncompiled() -> Iterator[None]:
    """Context manager in which modules compiled in place run eagerly, as every hook would have them compiled again."""
    stance = getattr(torch.compiler, "set_stance", None)  # since torch 2.6
    with nullcontext() if stance is None else stance("force_eager"):
        yield


@contextmanager
def padding_absent(model: nn.Module, used_ids: set[int]) -> Iterator[int]:
    """Context manager in which the config names a padding id that no row contains: some classifiers find the last token by it.

    Yields:
        The id.
    """
    absent = next(i for i in range(len(used_ids) + 1) if i not in used_ids)
    config = getattr(model, "config", None)
    configs: list[Any] = [] if config is None else [config]
    inner = getattr(config, "get_text_config", lambda: config)()
    if inner is not config:
        configs.append(inner)
    before = [("pad_token_id" in vars(c), getattr(c, "pad_token_id", None)) for c in configs]
    for c in configs:
        c.pad_token_id = absent
    try:
        yield absent
    finally:
        for c, (own, value) in zip(configs, before, strict=True):
            if not own and "pad_token_id" in vars(c):  # it had none of its own, but at most its class's
                del c.pad_token_id
            else:
                c.pad_token_id = value


Change = Callable[[Tensor], Tensor]
"""Takes embeddings ``(b, l, d)`` to others."""


@contextmanager
def embeddings_given(
    layer: nn.Module, ids: Int[Tensor, "b l"], embeddings: Float[Tensor, "b l d"], others: Sequence[Tensor] = ()
) -> Iterator[None]:
    """Context manager in which the embedding layer returns ``embeddings`` for ``ids``; the model still sees its ids.

    ``others`` are ids that the same layer is asked for elsewhere, and embeds as ever.
    """
    with _embeddings_changed(layer, ids, lambda own: embeddings.to(own).clone(), others):  # CTRL scales them in place
        yield


@contextmanager
def embeddings_replaced(
    layer: nn.Module,
    ids: Int[Tensor, "b l"],
    where: Bool[Tensor, "b l"],
    vector: Float[Tensor, " d"],
    others: Sequence[Tensor] = (),
) -> Iterator[None]:
    """Context manager in which the embedding layer returns ``vector`` at some positions of ``ids``; as `embeddings_given`."""

    def change(own: Tensor) -> Tensor:
        wide = torch.nn.functional.pad(vector, (0, own.shape[-1] - len(vector)))  # rows of cells are wider than tokens
        return torch.where(where[..., None].to(own.device), wide.to(own), own)

    with _embeddings_changed(layer, ids, change, others):
        yield


@contextmanager
def echo_changed(layer: nn.Module, ids: Int[Tensor, "b l"], change: Change) -> Iterator[None]:
    """Context manager in which what a decoder reads of ``ids``, a token behind, goes through ``change``."""

    def behind(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        return torch.cat([output[:, :1], change(output[:, 1:])], 1) if _is_echo(inputs[0], ids) else None

    with _hooked(layer, behind):
        yield


@contextmanager
def _embeddings_changed(layer: nn.Module, ids: Int[Tensor, "b l"], change: Change, others: Sequence[Tensor]) -> Iterator[None]:
    def give(_module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> Any:
        own = first_of(output)
        laid = _laid_out(own, change, ids.cpu(), inputs[0].cpu(), others)
        return laid if own is output or laid is None else (laid, *output[1:])

    with _hooked(layer, give):
        yield


def first_of(output: Tensor | tuple[Any, ...]) -> Tensor:
    """Return the embeddings that a layer returned, some (I-BERT's) together with other values."""
    return output[0] if isinstance(output, tuple) else output


def _is_echo(asked: Tensor, ids: Int[Tensor, "b l"]) -> bool:
    return asked.shape == ids.shape and torch.equal(asked[:, 1:].cpu(), ids[:, :-1].cpu())


def _laid_out(own: Tensor, change: Change, ids: Tensor, asked: Tensor, others: Sequence[Tensor]) -> Tensor | None:
    """Return changed embeddings in the layout in which the layer was asked for them; None where it was asked for other ids.

    Some models (XLNet) look ids up position by row; some (Longformer, Reformer) pad them to whole windows first, and some
    (LED) look that padding up by itself.
    """
    length = ids.shape[1]
    if asked.shape == ids.shape and torch.equal(asked, ids):
        return change(own)
    if asked.shape == ids.T.shape and torch.equal(asked, ids.T):
        return change(own.transpose(0, 1)).transpose(0, 1)
    if asked.ndim == 2 and len(asked) == len(ids) and torch.equal(asked[:, :length], ids) and _is_padding(asked[:, length:]):
        return torch.cat([change(own[:, :length]), own[:, length:]], 1)
    if _is_echo(asked, ids) or _is_padding_alone(asked, ids) or any(torch.equal(asked, other.cpu()) for other in others):
        return None
    raise ModelError(
        f"`model`: its embedding layer was asked for ids of shape {tuple(asked.shape)}, and the batch has {tuple(ids.shape)}; "
        "embeddings cannot be moved in it. Explain it by a mask method with a token as `replacement`."
    )


def _is_padding(asked: Tensor) -> bool:
    return bool((asked == asked[:1, :1]).all())


def _is_padding_alone(asked: Tensor, ids: Tensor) -> bool:
    """Return True for one id alone, which no row has before its end."""
    if not asked.numel() or asked.ndim != 2 or len(asked) != len(ids) or not _is_padding(asked):
        return False
    padding = ids == asked[0, 0]
    return not bool((padding[:, :-1] & ~padding[:, 1:]).any()) and not bool(padding[:, 0].any())


@contextmanager
def _hooked(layer: nn.Module, hook: Any) -> Iterator[None]:
    handle = layer.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
