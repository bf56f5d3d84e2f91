"""Watch a forward pass from outside: every torch function that a model calls, and the modules it is called in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from interpreto.errors import ModelError

FUSED = ("flash", "flex", "kernels", "paged")
"""Parts of the names of attention implementations that call no function of torch's own; ``sdpa`` takes their place."""
IMPLEMENTATION = ("_attn_implementation_internal", "_attn_implementation")
"""Attributes of a config that hold its attention implementation, in newer and older releases of transformers."""


class Watcher(TorchFunctionMode, ABC):
    """Takes the place of the torch functions that a model calls in this thread while `watching` it.

    Attributes:
        inside: Names of the modules that are running, the outermost first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.inside: list[str] = []
        self._paused = False

    @property
    def where(self) -> str:
        """Return the name of the innermost module that is running."""
        return self.inside[-1] if self.inside else ""

    @abstractmethod
    def call(self, function: Callable[..., Any], arguments: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
        """Return what a function shall return; functions that are called in here are not watched."""

    def enter(self, module: nn.Module) -> None:
        """Take note of a module that begins."""

    def leave(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        """Return another output for a module that ends, or None to keep it."""
        return None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return func(*args, **(kwargs or {})) if self._paused else self.call(func, args, kwargs or {})

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Context manager in which functions are called as they are."""
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before


@contextmanager
def watching(model: nn.Module, watcher: Watcher) -> Iterator[None]:
    """Context manager in which a watcher sees the model's functions, in this thread alone.

    Raises:
        ModelError: as in `observed`.
    """
    with observed(model, watcher), watcher:
        yield


@contextmanager
def observed(model: nn.Module, watcher: Watcher) -> Iterator[None]:
    """Context manager in which a watcher sees the model's modules, and functions wherever it is entered itself.

    Parameters require no gradient in it, so that a product of a weight and an activation has one variable factor. Nothing
    of the model remains changed, also after an exception.

    Raises:
        ModelError: gradient checkpointing is on in training mode: it would run functions again, unwatched.
    """
    if any(getattr(module, "gradient_checkpointing", False) and module.training for module in model.modules()):
        raise ModelError("`model`: gradient checkpointing runs functions twice; call `gradient_checkpointing_disable()` first.")
    with ExitStack() as stack:
        stack.enter_context(parameters_frozen(model))
        stack.enter_context(torch_attention(model))
        stack.enter_context(activations_apart(model))
        for name, module in model.named_modules():
            for handle in _hooks(name, module, watcher):
                stack.callback(handle.remove)
        stack.callback(watcher.inside.clear)
        yield


def _hooks(name: str, module: nn.Module, watcher: Watcher) -> Iterator[Any]:
    """Keep the stack of running modules, and let the watcher change what a module returns."""

    def enter(started: nn.Module, _inputs: Any) -> None:
        watcher.inside.append(name)
        watcher.enter(started)

    def change(ended: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        return watcher.leave(ended, inputs, output)

    def leave(_module: nn.Module, _inputs: Any, _output: Any) -> None:
        if watcher.inside:
            watcher.inside.pop()

    yield module.register_forward_pre_hook(enter)
    yield module.register_forward_hook(change)
    yield module.register_forward_hook(leave, always_call=True)


@contextmanager
def parameters_frozen(model: nn.Module) -> Iterator[None]:
    """Context manager in which no parameter requires a gradient; each parameter's own setting is restored."""
    changed = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in changed:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in changed:
            parameter.requires_grad_(True)


@contextmanager
def activations_apart(model: nn.Module) -> Iterator[None]:
    """Context manager in which activation modules do not write over their input, which a watcher may need."""
    changed = [module for module in model.modules() if getattr(module, "inplace", None) is True and is_activation(module)]
    for module in changed:
        module.inplace = False  # type: ignore[assignment]
    try:
        yield
    finally:
        for module in changed:
            module.inplace = True  # type: ignore[assignment]


@contextmanager
def torch_attention(model: nn.Module) -> Iterator[None]:
    """Context manager in which attention that runs in fused kernels (flash, flex) is computed by torch (sdpa)."""
    before: list[tuple[dict[str, Any], str, Any]] = []
    try:
        for config in _configs(model):
            values = vars(config)
            for name in IMPLEMENTATION:
                if isinstance(value := values.get(name), str) and any(part in value for part in FUSED):
                    before.append((values, name, value))
                    values[name] = "sdpa"  # not the property: it writes to other configs too
        yield
    finally:
        for values, name, value in before:
            values[name] = value


def _configs(model: nn.Module) -> Iterator[Any]:
    """Yield each config of the model and of its parts once."""
    seen: set[int] = set()
    todo = [config for module in model.modules() if (config := getattr(module, "config", None)) is not None]
    while todo:
        config = todo.pop()
        if id(config) in seen or not hasattr(config, "to_dict"):
            continue
        seen.add(id(config))
        yield config
        todo += [value for value in vars(config).values() if hasattr(value, "to_dict")]


def is_activation(module: nn.Module) -> bool:
    """Return True for elementwise activations of torch and transformers."""
    kind = type(module)
    places = ("transformers.activations", "torch.nn.modules.activation")
    return kind.__module__.startswith(places) and not kind.__name__.lower().startswith(("softmax", "multihead", "logsoftmax"))


def variable(value: object) -> bool:
    """Return True for a tensor that depends on the input."""
    return isinstance(value, Tensor) and value.requires_grad


def expand_heads(query: Tensor, key: Tensor, value: Tensor, enable_gqa: bool) -> tuple[Tensor, Tensor]:
    """Return keys and values with a head for each of the query's (grouped-query attention)."""
    if enable_gqa and key.shape[-3] != query.shape[-3]:
        groups = query.shape[-3] // key.shape[-3]
        return key.repeat_interleave(groups, -3), value.repeat_interleave(groups, -3)
    return key, value


def causal_mask(scores: Tensor) -> Tensor:
    """Return True where a query may attend to a key: at its own position and before it."""
    return torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
