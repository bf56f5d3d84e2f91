"""Reads and edits what flows through a model's modules. The only file that knows nnsight.

Two ways to do the same, compared in the tests. Hooks are the default, because nnsight 0.8 leaves its controllers in
every module that it wraps, patches ``object`` and ``torch.Tensor`` when it is imported, keeps four tensors of each
early-stopped trace alive until Python collects its garbage, and fails when two threads trace one model.
"""

from __future__ import annotations

import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from interpreto.errors import ModelError, OptionError
from interpreto.models.hook_points import HookPoint, main_tensor, with_main_tensor

Edit = Callable[[Tensor], Tensor]
"""Activations to activations of the same shape."""

BACKENDS = ("hooks", "nnsight")


class Tracing(ABC):
    """Runs a model on prepared inputs; reads or edits it on the way."""

    @abstractmethod
    def read(self, ports: Sequence[HookPoint], inputs: Mapping[str, Any], stop: bool) -> tuple[list[Tensor], Any]:
        """Activations at the ports, and the model's output, or None with ``stop``: the model is left after the last port."""

    @abstractmethod
    def edited(self, port: HookPoint, inputs: Mapping[str, Any], edit: Edit, skipped: Collection[nn.Module] = ()) -> Any:
        """The model's output when the activations at a port go through ``edit``.

        What runs before the port is no part of a gradient. ``skipped`` modules hand their input on.
        """


def tracing(model: nn.Module, backend: str) -> Tracing:
    """The way to trace that a name asks for."""
    if backend not in BACKENDS:
        raise OptionError(f"`backend`: got {backend!r}; pass one of {', '.join(map(repr, BACKENDS))}.")
    return HookTracing(model) if backend == "hooks" else NNsightTracing(model)


class HookTracing(Tracing):
    """Through plain forward hooks, which are there for the length of a call and seen by its thread only."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def read(self, ports: Sequence[HookPoint], inputs: Mapping[str, Any], stop: bool) -> tuple[list[Tensor], Any]:
        found: dict[str, Tensor] = {}

        def keep(port: HookPoint) -> Edit:
            def look(hidden: Tensor) -> Tensor:
                found[port.name] = hidden
                if stop and len(found) == len(ports):
                    raise _Stopped
                return hidden

            return look

        output = None
        with ExitStack() as stack:
            for port in ports:
                stack.enter_context(_intercepted(port, keep(port)))
            with suppress(_Stopped):
                output = self.model(**inputs)
        return [_given(found, port) for port in ports], output

    def edited(self, port: HookPoint, inputs: Mapping[str, Any], edit: Edit, skipped: Collection[nn.Module] = ()) -> Any:
        wanted, done = torch.is_grad_enabled(), []

        def change(hidden: Tensor) -> Tensor:
            done.append(True)
            torch.set_grad_enabled(wanted)  # until the surrounding no_grad ends: what runs from here on is differentiated
            return _same_shape(edit(hidden), hidden)

        with torch.no_grad(), frozen(self.model), _handing_on(skipped), _intercepted(port, change):
            output = self.model(**inputs)
        if not done:
            _given({}, port)
        return output


class NNsightTracing(Tracing):
    """Through nnsight's traces; ``net`` is the held `nnsight.NNsight`."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.net = model, wrapped(model)

    def read(self, ports: Sequence[HookPoint], inputs: Mapping[str, Any], stop: bool) -> tuple[list[Tensor], Any]:
        nnsight = _nnsight()
        envoys = [(self.envoy(port), port) for port in self._in_order(ports)]
        with self.net.trace(**inputs) as tracer:
            found = [main_tensor(envoy.output if port.side == "output" else envoy.input, port) for envoy, port in envoys]
            output = nnsight.save(None if stop else self.net.output)
            found = nnsight.save(found)
            if stop:
                tracer.stop()
        by_name = {port.name: hidden for (_, port), hidden in zip(envoys, found, strict=True)}
        return [by_name[port.name] for port in ports], output

    def edited(self, port: HookPoint, inputs: Mapping[str, Any], edit: Edit, skipped: Collection[nn.Module] = ()) -> Any:
        nnsight, envoy = _nnsight(), self.envoy(port)
        with frozen(self.model), self.net.trace(**inputs):  # frozen, so that the lower half has no graph
            value = envoy.output if port.side == "output" else envoy.input
            hidden = main_tensor(value, port)
            new = with_main_tensor(value, _same_shape(edit(hidden), hidden))
            if port.side == "output":
                envoy.output = new
            else:
                envoy.input = new
            output = nnsight.save(self.net.output)
        return output

    def envoy(self, port: HookPoint) -> Any:
        """Nnsight's stand-in of a port's module, by identity: a module may have a child called ``output``."""
        return next(envoy for envoy in self.net.modules() if envoy._module is port.module)

    def _in_order(self, ports: Sequence[HookPoint]) -> list[HookPoint]:
        """Ports as the model reaches them: a trace may not ask for a location that the model has passed."""
        order = {id(module): i for i, module in enumerate(_leaving_order(self.model))}
        return sorted(ports, key=lambda port: order[id(port.module)])


def wrapped(model: nn.Module) -> Any:
    """``nnsight.NNsight(model)``, without its warnings about modules that have a child called ``output``."""
    nnsight = _nnsight()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nnsight.NNsight(model)


def _nnsight() -> Any:
    try:
        import nnsight  # noqa: PLC0415  # patches torch and `object`: never at import time
    except ImportError as error:
        raise ImportError('`backend`: "nnsight" is not installed; type: pip install "interpreto[concepts]"') from error
    return nnsight


def _leaving_order(module: nn.Module) -> Iterator[nn.Module]:
    """Modules in the order in which they are left, if children run as they are declared."""
    for child in module.children():
        yield from _leaving_order(child)
    yield module


class _Stopped(Exception):  # noqa: N818  # no error: the way out
    """Leaves a forward pass after its last port."""


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Within, no parameter requires a gradient; graphs built here never reach one."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad = False
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad = True


@contextmanager
def _intercepted(port: HookPoint, change: Edit) -> Iterator[None]:
    """Within, the activations at a port go through ``change``, once, in this thread's passes."""
    here, runs = threading.get_ident(), []

    def first_time() -> bool:
        if threading.get_ident() != here or runs:
            return False
        runs.append(True)
        return True

    def changed(value: Any) -> Any:
        if not first_time():
            return None
        old = main_tensor(value, port)
        new = change(old)
        return None if new is old else with_main_tensor(value, new)

    def after(_module: nn.Module, _args: Any, output: Any) -> Any:
        return changed(output)

    def before(_module: nn.Module, args: tuple[Any, ...]) -> Any:
        return changed(args)

    hooked = (
        port.module.register_forward_hook(after) if port.side == "output" else port.module.register_forward_pre_hook(before)
    )
    try:
        yield
    finally:
        hooked.remove()


@contextmanager
def _handing_on(modules: Collection[nn.Module]) -> Iterator[None]:
    """Within, these modules answer the first tensor that they are given, in this thread's passes."""
    here, before = threading.get_ident(), [(module, module.__dict__.get("forward")) for module in modules]

    def shortcut(forward: Callable[..., Any]) -> Callable[..., Any]:
        def hand_on(*args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() != here:
                return forward(*args, **kwargs)
            return args[0] if args else kwargs["hidden_states"]

        return hand_on

    for module in modules:
        module.forward = shortcut(module.forward)
    try:
        yield
    finally:
        for module, own in before:
            if own is None:
                del module.__dict__["forward"]
            else:
                module.__dict__["forward"] = own


def _given(found: Mapping[str, Tensor], port: HookPoint) -> Tensor:
    if port.name not in found:
        raise ModelError(f"`split_points`: {port.name!r} does not run when the model reads a text; choose another module.")
    return found[port.name]


def _same_shape(new: Tensor, old: Tensor) -> Tensor:
    if new.shape != old.shape:
        raise OptionError(
            f"activations: got shape {tuple(new.shape)} in the place of {tuple(old.shape)}; an edit keeps the shape."
        )
    return new.to(old)
