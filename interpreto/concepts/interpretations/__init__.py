"""Interpretations: what concepts mean, in words."""

from interpreto.concepts.interpretations.topk_inputs import TopKInputs

__all__ = ["TopKInputs"]
