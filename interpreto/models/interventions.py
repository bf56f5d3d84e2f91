"""Read and edit what flows through a model's modules by forward hooks; `nnsight` does the same by traces."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from interpreto.errors import ModelError, OptionError
from interpreto.models.hook_points import HookPoint, main_tensor, with_main_tensor
from interpreto.models.session import lock_of

Edit = Callable[[Tensor], Tensor]
"""Activations to activations of the same shape."""


class Tracing(ABC):
    """Run a model on prepared inputs, and read or edit it on the way."""

    @abstractmethod
    def read(self, points: Sequence[HookPoint], inputs: Mapping[str, Any], stop: bool) -> tuple[list[Tensor], Any]:
        """Return activations at the points, and the model's output; None with ``stop``: nothing runs after the last point."""

    @abstractmethod
    def edited(self, point: HookPoint, inputs: Mapping[str, Any], edit: Edit, skipped: Collection[nn.Module] = ()) -> Any:
        """Return the model's output when the activations at a point go through ``edit``.

        What runs before the point is no part of a gradient. ``skipped`` modules hand their input on.
        """


@contextmanager
def editing(model: nn.Module, point: HookPoint, edit: Edit) -> Iterator[None]:
    """Context manager in which the activations at a point go through ``edit`` in every pass of this thread.

    Also in each pass of ``model.generate``, where ``edit`` is given the tokens of that pass alone: the prompt first, then one
    token at a time. A module that runs several times in a pass is edited at its first run.

    Args:
        model: The model, which is this thread's alone until the end; its parameters require no gradient meanwhile.
        point: Where it is edited.
        edit: Takes activations as the module gives them.
    """

    def change(hidden: Tensor) -> Tensor:
        return same_shape(edit(hidden), hidden)

    with lock_of(model), frozen(model), intercepted(point, change, model):
        yield


def _keeping(kept: dict[str, tuple[Tensor, int | None]], point: HookPoint, stop: int | None, copied: bool) -> Edit:
    """Return an edit that keeps activations with their version, which counts changes in place; None of copies.

    Args:
        kept: Activations by point.
        point: Where it is.
        stop: Number of points after which nothing more is run; None: all is run.
        copied: Activations are copied.
    """

    def look(hidden: Tensor) -> Tensor:
        copy = copied or hidden.is_inference()  # which have no version
        kept[point.name] = (hidden.clone(), None) if copy else (hidden, hidden._version)
        if len(kept) == stop:
            raise _Stopped
        return hidden

    return look


class HookTracing(Tracing):
    """Read and edit by plain forward hooks, which are there for the length of a call and seen by its thread only."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def read(self, points: Sequence[HookPoint], inputs: Mapping[str, Any], stop: bool) -> tuple[list[Tensor], Any]:
        kept: dict[str, tuple[Tensor, int | None]] = {}
        output = None
        for copied in (False, True):  # a block adds into what it was given: Falcon
            kept, output = {}, None
            with ExitStack() as stack:
                for point in points:
                    stack.enter_context(intercepted(point, _keeping(kept, point, len(points) if stop else None, copied)))
                with suppress(_Stopped):
                    output = self.model(**inputs)
            if all(version is None or hidden._version == version for hidden, version in kept.values()):
                break
        found = {name: hidden for name, (hidden, _) in kept.items()}
        return [_given(found, point) for point in points], output

    def edited(self, point: HookPoint, inputs: Mapping[str, Any], edit: Edit, skipped: Collection[nn.Module] = ()) -> Any:
        wanted, done = torch.is_grad_enabled(), []

        def change(hidden: Tensor) -> Tensor:
            done.append(True)
            torch.set_grad_enabled(wanted)  # until the surrounding no_grad ends: what runs from here on is differentiated
            return same_shape(edit(hidden), hidden)

        with torch.no_grad(), frozen(self.model), _handing_on(skipped), intercepted(point, change):
            output = self.model(**inputs)
        if not done:
            _given({}, point)
        return output


class _Stopped(Exception):  # noqa: N818  # no error: the way out
    """Leave a forward pass after its last point."""


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Context manager in which no parameter requires a gradient; graphs built here never reach one."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad = False
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad = True


@contextmanager
def watched(points: Sequence[HookPoint], begun: Sequence[bool]) -> Iterator[dict[str, Tensor]]:
    """Context manager that reads activations in this thread's passes, by the points' names, once ``begun`` holds anything."""
    found: dict[str, Tensor] = {}

    def keep(point: HookPoint) -> Edit:
        def look(hidden: Tensor) -> Tensor:
            if begun:
                found[point.name] = hidden.clone()  # which a block may add into
            return hidden

        return look

    with ExitStack() as stack:
        for point in points:
            stack.enter_context(intercepted(point, keep(point)))
        yield found


@contextmanager
def intercepted(point: HookPoint, change: Edit, again: nn.Module | None = None) -> Iterator[None]:
    """Context manager in which the activations at a point go through ``change``, once, in this thread's passes.

    Args:
        point: Where.
        change: Takes activations as the module gives them.
        again: A model: once in each of its passes.
    """
    here, runs = threading.get_ident(), []

    def begin(*_: Any) -> None:
        if threading.get_ident() == here:
            runs.clear()

    def first_time() -> bool:
        if threading.get_ident() != here or runs:
            return False
        runs.append(True)
        return True

    def changed(value: Any) -> Any:
        if not first_time():
            return None
        old = main_tensor(value, point)
        new = change(old)
        return None if new is old else with_main_tensor(value, new)

    def after(_module: nn.Module, _args: Any, output: Any) -> Any:
        return changed(output)

    def before(_module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        new = changed(args or named)  # Llama's attention is given everything by name
        return new if new is None else (new, named) if args else (args, new)

    hooked = [
        point.module.register_forward_hook(after)
        if point.side == "output"
        else point.module.register_forward_pre_hook(before, with_kwargs=True)
    ]
    if again is not None:
        # `generate` of a wrapped model, or of an encoder-decoder, calls a model within the model.
        hooked += [module.register_forward_pre_hook(begin, prepend=True) for module in models_within(again)]
    try:
        yield
    finally:
        for hook in hooked:
            hook.remove()


def models_within(model: nn.Module) -> list[nn.Module]:
    """Return a model and the models of transformers in it, each of which runs once in a pass."""
    return [module for module in model.modules() if module is model or hasattr(module, "get_input_embeddings")]


@contextmanager
def _handing_on(modules: Collection[nn.Module]) -> Iterator[None]:
    """Context manager in which these modules return the first tensor that they are given, in this thread's passes."""
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


def _given(found: Mapping[str, Tensor], point: HookPoint) -> Tensor:
    if point.name not in found:
        raise ModelError(f"`split_points`: {point.name!r} does not run when the model reads a text; choose another module.")
    return found[point.name]


def same_shape(new: Tensor, old: Tensor) -> Tensor:
    if new.shape != old.shape:
        raise OptionError(
            f"activations: got shape {tuple(new.shape)} in the place of {tuple(old.shape)}; an edit keeps the shape."
        )
    return new.to(old)
