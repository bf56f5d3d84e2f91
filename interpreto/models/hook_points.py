"""Places in a model where activations are read: split points, found by path or by block number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal

from torch import Tensor, nn

from interpreto.errors import ModelError, OptionError

Stack = Literal["encoder", "decoder"]
INPUT = ":input"
"""Ending of a path that names the input of a module, in place of its output."""
STACKS: tuple[Stack, ...] = ("encoder", "decoder")


@dataclass(frozen=True, eq=False)
class HookPoint:
    """The output of a module, or its first input.

    A module that runs several times in a pass, as ALBERT's only layer does, is read and edited at its first run.

    Attributes:
        stack: The part of an encoder-decoder that the module is in; None: in neither, or there are no two.
    """

    name: str
    module: nn.Module
    side: Literal["output", "input"] = "output"
    stack: Stack | None = None


def find_hook_points(model: nn.Module, split_points: object) -> list[HookPoint]:
    """Return the hook points of split points, in the order given, each once."""
    single = isinstance(split_points, (str, Integral))
    if not single and not isinstance(split_points, Iterable):
        raise OptionError(f"`split_points`: got {split_points!r}; pass a module's path, a block's number, or a list of these.")
    asked: list[Any] = [split_points] if single else list(split_points)  # type: ignore[arg-type]  # an iterable, as checked
    if not asked:
        raise OptionError("`split_points`: got an empty list; pass the path of at least one module, or a block's number.")
    modules = dict(model.named_modules())
    names = dict.fromkeys(_resolve(model, modules, point) for point in asked)
    return [_at(model, modules, name) for name in names]


def _at(model: nn.Module, modules: Mapping[str, nn.Module], name: str) -> HookPoint:
    path = name.removesuffix(INPUT)
    side: Literal["output", "input"] = "input" if name.endswith(INPUT) else "output"
    return HookPoint(name, modules[path], side, _stack_of(model, modules[path]))


def _resolve(model: nn.Module, modules: Mapping[str, nn.Module], point: object) -> str:
    if isinstance(point, Integral) and not isinstance(point, bool):
        path, blocks = block_list(model)
        if not -len(blocks) <= int(point) < len(blocks):
            raise OptionError(
                f"`split_points`: got block {point}, and {path!r} has {len(blocks)}; "
                f"pass {-len(blocks)} to {len(blocks) - 1}, or a module's path."
            )
        return f"{path}.{int(point) % len(blocks)}"
    if not isinstance(point, str):
        raise OptionError(
            f"`split_points`: got {point!r}; pass a module's path such as {_example(modules)!r}, or a block's number."
        )
    if point and point.removesuffix(INPUT) in modules:
        return point
    parent = point.removesuffix(INPUT)
    while parent not in modules:
        parent = parent.rpartition(".")[0]
    near = [name for name, _ in modules[parent].named_children()]
    shown = ", ".join(repr(f"{parent}.{name}" if parent else name) for name in near[:40]) or "no module"
    where = f"Under {parent!r} it has" if parent else "At its root it has"
    raise OptionError(f"`split_points`: the model has no module {point!r}. {where}: {shown}.")


def _stack_of(model: nn.Module, module: nn.Module) -> Stack | None:
    """Return the part of an encoder-decoder that a module is in; the encoder, which runs first, where it is in both."""
    if not getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        return None
    for stack in STACKS:
        part = getattr(model, f"get_{stack}", lambda: None)()
        if isinstance(part, nn.Module) and part is not model and any(module is inner for inner in part.modules()):
            return stack
    return None


def _example(modules: Mapping[str, nn.Module]) -> str:
    lists = [name for name, module in modules.items() if isinstance(module, nn.ModuleList) and len(module)]
    return f"{lists[0]}.0" if lists else next(name for name in modules if name)


def block_list(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """Return the model's stack of blocks and its path: the outermost list of modules that is as long as the config says."""
    found: dict[str, nn.ModuleList] = {}
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in found)
        if isinstance(module, nn.ModuleList) and len(module) and not inside:
            found[name] = module
    config = getattr(model, "config", None)
    text_config = getattr(config, "get_text_config", lambda: config)()
    depth = getattr(text_config, "num_hidden_layers", None)
    fitting = {name: blocks for name, blocks in found.items() if len(blocks) == depth} or found
    longest = max(map(len, fitting.values()), default=0)
    best = [(name, blocks) for name, blocks in fitting.items() if len(blocks) == longest]
    if len(best) != 1:
        what = f"several stacks of blocks ({', '.join(repr(name) for name, _ in best)})" if best else "no stack of blocks"
        raise OptionError(f"`split_points`: the model has {what}, so a number names none; pass a module's path.")
    return best[0]


def refuse_decoders(model: nn.Module, points: Iterable[HookPoint]) -> None:
    """Refuse split points in a decoder next to an encoder: it reads other tokens than the text's.

    Raises:
        ModelError: one of the points is in it.
    """
    for point in points:
        if point.stack == "decoder":
            raise ModelError(
                f"`split_points`: {point.name!r} is in the decoder of {type(model).__name__}, which reads other tokens than "
                "the text's; choose a module of its encoder, or use SplitterForGeneration, which reads what a decoder writes."
            )


def main_tensor(value: Any, point: HookPoint) -> Tensor:
    """Return the activations in what a module returns: itself, or the first tensor of a tuple or of a model's output."""
    if isinstance(value, Tensor):
        return value
    parts = list(value.values()) if isinstance(value, Mapping) else value
    if isinstance(parts, Sequence) and parts and isinstance(parts[0], Tensor):
        return parts[0]
    raise ModelError(
        f"`split_points`: {point.name!r} gives {type(value).__name__}, which holds no activations; choose another."
    )


def with_main_tensor(value: Any, tensor: Tensor) -> Any:
    """Return what a module returned with other activations in it."""
    if isinstance(value, Tensor):
        return tensor
    if isinstance(value, Mapping):
        first = next(iter(value))
        return type(value)(**{**value, first: tensor})
    return type(value)((tensor, *value[1:]))


Axes = Literal["b l d", "l b d", "(b l) d", "b d"]


@dataclass(frozen=True)
class Layout:
    """Layout of a batch's activations at a module: XLNet's blocks put the tokens first, a pooler has none.

    Attributes:
        axes: The order of the axes.
        shared: The module gives one row for the whole batch, as position embeddings and rotary angles are.
    """

    axes: Axes
    shared: bool = False

    @property
    def has_tokens(self) -> bool:
        """Return True where there is a vector per token, False where there is one per text."""
        return self.axes != "b d"

    def read(self, value: Tensor, b: int) -> Tensor:
        """Return a module's activations for ``b`` rows as ``(b, l, d)``, or ``(b, d)`` where there are no tokens."""
        rows = 1 if self.shared else b
        if self.axes == "l b d":
            value = value.transpose(0, 1)
        elif self.axes == "(b l) d":
            value = value.reshape(rows, -1, value.shape[-1])
        return value.expand(b, *value.shape[1:]) if self.shared else value

    def write(self, hidden: Tensor) -> Tensor:
        """Return activations ``(b, l, d)`` or ``(b, d)`` as the module gives them."""
        if self.axes == "l b d":
            return hidden.transpose(0, 1)
        return hidden.flatten(0, 1) if self.axes == "(b l) d" else hidden


TOLD_APART = 2, 3  # rows and, at least, tokens of the batch on which a layout is found: no two axes can be confused


def find_layout(value: Tensor, length: int, point: HookPoint) -> Layout:
    """Return the layout of what a module gives for two texts of ``length`` tokens each, at least three.

    Raises:
        ModelError: it gives neither a vector per token nor one per text.
    """
    rows, _ = TOLD_APART
    layouts: dict[tuple[int, ...], Layout] = {
        (rows, length): Layout("b l d"),
        (length, rows): Layout("l b d"),
        (rows * length,): Layout("(b l) d"),
        (rows,): Layout("b d"),
        (1, length): Layout("b l d", shared=True),
        (length, 1): Layout("l b d", shared=True),
        (length,): Layout("(b l) d", shared=True),
        (1,): Layout("b d", shared=True),
    }
    found = layouts.get(tuple(value.shape[:-1]))
    if found is None:
        raise ModelError(
            f"`split_points`: {point.name!r} gives shape {tuple(value.shape)} for {rows} texts of {length} tokens, and not one "
            "vector per token or per text; choose another module."
        )
    return found
