"""Rules of the methods that read attention: which flow follows the layers, and whether gradients weigh its row."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from interpreto.models.attention_flow import AttentionRule, Flow


class FlowRule(AttentionRule):
    """A flow, whose row may be weighted by gradients in the last layer.

    Args:
        flow: Makes a new flow.
        steps: Points at which gradients are averaged; 0: none are read.
    """

    def __init__(self, flow: Callable[[], Flow], steps: int = 0) -> None:
        self._flow, self.steps = flow, steps

    def flow(self, directions: Tensor | None = None) -> Flow:
        return self._flow()


class DirectedRule(AttentionRule):
    """A flow that is given the gradients of the scores in the last hidden states, and follows the layers in a second pass.

    Args:
        flow: Makes a new flow of these gradients ``(b, t, q, d)``.
    """

    directed = True

    def __init__(self, flow: Callable[[Tensor], Flow]) -> None:
        self._flow = flow

    def flow(self, directions: Tensor | None = None) -> Flow:
        assert directions is not None
        return self._flow(directions)


class ZeroingRule(FlowRule):
    """A flow of the shares that value zeroing measures, in place of attention."""

    zeroing = True
