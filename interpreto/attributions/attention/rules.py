"""Rules of the methods that read attention: which flow follows the layers, and whether gradients weigh its row."""

from __future__ import annotations

from collections.abc import Callable

from interpreto.models.attention_flow import AttentionRule, Flow


class FlowRule(AttentionRule):
    """A flow, whose row may be weighted by gradients in the last layer.

    Args:
        flow: Makes a new flow.
        steps: Points at which gradients are averaged; 0: none are read.
    """

    def __init__(self, flow: Callable[[], Flow], steps: int = 0) -> None:
        self._flow, self.steps = flow, steps

    def flow(self) -> Flow:
        return self._flow()
