"""Read and edit activations by nnsight's traces. The only file that knows nnsight.

Hooks are the default, because nnsight 0.8 leaves its controllers in every module that it wraps, patches ``object`` and
``torch.Tensor`` when it is imported, keeps four tensors of each early-stopped trace alive until Python collects its
garbage, and fails when two threads trace one model. The tests compare the two backends.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from interpreto.models.hook_points import HookPoint, main_tensor, with_main_tensor
from interpreto.models.interventions import Edit, Tracing, frozen, same_shape


class NNsightTracing(Tracing):
    """Read and edit by nnsight's traces; ``net`` is the held `nnsight.NNsight`."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.net = model, wrapped(model)

    def read(self, points: Sequence[HookPoint], inputs: Mapping[str, Any], stop: bool) -> tuple[list[Tensor], Any]:
        nnsight = _nnsight()
        envoys = [(self.envoy(point), point) for point in self._in_order(points)]
        with self.net.trace(**inputs) as tracer:
            found = [main_tensor(envoy.output if point.side == "output" else envoy.input, point) for envoy, point in envoys]
            output = nnsight.save(None if stop else self.net.output)
            found = nnsight.save(found)
            if stop:
                tracer.stop()
        by_name = {point.name: hidden for (_, point), hidden in zip(envoys, found, strict=True)}
        return [by_name[point.name] for point in points], output

    def edited(self, point: HookPoint, inputs: Mapping[str, Any], edit: Edit, skipped: Collection[nn.Module] = ()) -> Any:
        nnsight, envoy = _nnsight(), self.envoy(point)
        with frozen(self.model), self.net.trace(**inputs):  # frozen, so that the lower half has no graph
            value = envoy.output if point.side == "output" else envoy.input
            hidden = main_tensor(value, point)
            new = with_main_tensor(value, same_shape(edit(hidden), hidden))
            if point.side == "output":
                envoy.output = new
            else:
                envoy.input = new
            output = nnsight.save(self.net.output)
        return output

    def envoy(self, point: HookPoint) -> Any:
        """Return nnsight's envoy of a point's module, by identity: a module may have a child called ``output``."""
        return next(envoy for envoy in self.net.modules() if envoy._module is point.module)

    def _in_order(self, points: Sequence[HookPoint]) -> list[HookPoint]:
        """Return points as the model reaches them: a trace may not ask for a location that the model has passed."""
        order = {id(module): i for i, module in enumerate(_leaving_order(self.model))}

        def reached(point: HookPoint) -> int:
            if point.side == "output":
                return 2 * order[id(point.module)]
            return 2 * min(order[id(module)] for module in point.module.modules()) - 1  # before anything within it

        return sorted(points, key=reached)


def wrapped(model: nn.Module) -> Any:
    """Return ``nnsight.NNsight(model)``, without its warnings about modules that have a child called ``output``."""
    nnsight = _nnsight()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nnsight.NNsight(model)


def _nnsight() -> Any:
    try:
        import nnsight  # noqa: PLC0415  # patches torch and `object`: never at import time
    except ImportError as error:
        raise ImportError(
            "`backend`: 'nnsight' is not installed; run `pip install nnsight`, or leave `backend` out."
        ) from error
    return nnsight


def _leaving_order(module: nn.Module) -> Iterator[nn.Module]:
    """Yield modules in the order in which they are left, if children run as they are declared."""
    for child in module.children():
        yield from _leaving_order(child)
    yield module
