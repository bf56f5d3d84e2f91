"""Metrics: what an explanation is worth."""

from interpreto.metrics.result import MetricResult

__all__ = ["MetricResult"]
