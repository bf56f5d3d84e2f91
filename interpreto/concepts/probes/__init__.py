"""Supervised concepts: probes, concept activation vectors and their tests, erasure; the reference library's names of probes."""

from interpreto.concepts.probes.reference_names import (
    LinearRegressionProbe,
    LogisticRegressionProbe,
    MeansDiffProbe,
    ProbeExplainer,
    SqL2CentroidProbe,
)

__all__ = ["LinearRegressionProbe", "LogisticRegressionProbe", "MeansDiffProbe", "ProbeExplainer", "SqL2CentroidProbe"]
