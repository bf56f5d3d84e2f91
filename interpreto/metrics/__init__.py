"""Metrics of explanations and of concepts. Names load on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interpreto.metrics.attributions import *  # noqa: F403
    from interpreto.metrics.benchmark import Benchmark as Benchmark
    from interpreto.metrics.benchmark_table import BenchmarkTable as BenchmarkTable
    from interpreto.metrics.concepts import *  # noqa: F403
    from interpreto.metrics.result import MetricResult as MetricResult

_HOMES = {"Benchmark": "benchmark", "BenchmarkTable": "benchmark_table", "MetricResult": "result"}
_FAMILIES = ("attributions", "concepts")
"""Packages that list their metrics themselves, in `__all__`."""


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return sorted({*_HOMES, *(metric for family in _FAMILIES for metric in _module(family).__all__)})
    if name in _FAMILIES:
        return _module(name)
    if name in _HOMES:
        return getattr(_module(_HOMES[name]), name)
    for family in () if name.startswith("_") else _FAMILIES:
        if name in _module(family).__all__:
            return getattr(_module(family), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __getattr__("__all__")


def _module(name: str) -> Any:
    return importlib.import_module(f"{__name__}.{name}")
