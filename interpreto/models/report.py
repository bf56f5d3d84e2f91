"""A report of the optimizations that were active in a call, and of why others were not."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from weakref import WeakSet

from torch import nn

from interpreto.errors import OptimizationWarning
from interpreto.models.options import EngineOptions

NAMES = (*(field.name for field in fields(EngineOptions)), "mixed_lengths", "tolerance")
"""The fields of `EngineOptions`, batches of rows of unequal lengths, and sampling that ended before the budget."""

_OFF = "switched off by EngineOptions"
_IDLE = {
    "one_pass": "no explanation had several targets to read off one pass",
    "kept_logits": "no logits of single tokens were read",
    "prefix": "only perturbed inputs of a causal language model share a prefix",
    "distinct": "no two perturbed inputs were equal",
    "shared_backward": "no backward pass had several rows",
    "mixed_lengths": "no batch had rows of unequal lengths",
    "tolerance": "no tolerance was given",
}


@dataclass(frozen=True)
class Optimization:
    """An optimization in one call.

    Attributes:
        active: It saved runs, tokens, logits or backward passes.
        reason: Why it was not active; empty where it was.
    """

    active: bool
    reason: str = ""

    def __bool__(self) -> bool:
        return self.active

    def __str__(self) -> str:
        return "active" if self.active else f"not active: {self.reason}"


@dataclass(frozen=True)
class EngineReport(Mapping[str, Optimization]):
    """The optimizations of the last call by name; printed as a table.

    Examples:
        >>> from interpreto import Occlusion, demo
        >>> explainer = Occlusion(*demo.load_classifier())
        >>> _ = explainer("A gorgeous, moving film.")
        >>> explainer.report()["prefix"]
        Optimization(active=False, reason='only perturbed inputs of a causal language model share a prefix')
    """

    entries: tuple[tuple[str, Optimization], ...]

    def __getitem__(self, name: str) -> Optimization:
        return dict(self.entries)[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __str__(self) -> str:
        width = max(map(len, self))
        return "\n".join(f"{name:{width}}  {entry}" for name, entry in self.entries)


class EngineLog:
    """Collects during one call what `EngineReport` shows after it.

    Args:
        options: The optimizations that may be used.
        without: Why some cannot be used on this kind of model at all, by name.
    """

    def __init__(self, options: EngineOptions | None = None, without: Mapping[str, str] | None = None) -> None:
        self._options = EngineOptions() if options is None else options
        self._without = dict(without or {})
        self._active: set[str] = set()
        self._reasons: dict[str, str] = {}

    def use(self, name: str) -> None:
        """Record that an optimization saved something."""
        self._active.add(name)

    def skip(self, name: str, reason: str) -> None:
        """Record why an optimization was not used; the first reason of a call is kept."""
        self._reasons.setdefault(name, reason)

    def report(self) -> EngineReport:
        """Return what was recorded."""
        return EngineReport(tuple((name, self._entry(name)) for name in NAMES))

    def _entry(self, name: str) -> Optimization:
        if name in self._active:
            return Optimization(True)
        if name in self._without:
            return Optimization(False, self._without[name])
        off = not getattr(self._options, name, True)
        return Optimization(False, _OFF if off else self._reasons.get(name, _IDLE[name]))


_warned: WeakSet[nn.Module] = WeakSet()


def warn_of_prefix(model: nn.Module, reason: str) -> None:
    """Warn that a model's perturbed inputs are run whole, once per model."""
    if model in _warned:
        return
    _warned.add(model)
    warnings.warn(
        f"{type(model).__name__}: {reason}; so perturbed inputs share no prefix, and each is run whole. The numbers are the "
        "same, and take longer; EngineOptions(prefix=False) says that you know.",
        OptimizationWarning,
        stacklevel=2,
    )
