"""Aggregators: from the scores of perturbed inputs to attributions."""

from interpreto.attributions.aggregations.base import (
    Aggregator,
    Estimate,
    MaskwiseMeanAggregator,
    MeanAggregator,
    OcclusionAggregator,
    SquaredMeanAggregator,
    SumAggregator,
    TrapezoidalMeanAggregator,
    VarianceAggregator,
    WeightedMeanAggregator,
)
from interpreto.attributions.aggregations.linear_regression import (
    DistancesFromMask,
    LinearRegressionAggregator,
    ShapleyAggregator,
)
from interpreto.attributions.aggregations.moments import SmoothGradAggregator, SquareGradAggregator, VarGradAggregator
from interpreto.attributions.aggregations.sobol import SobolAggregator, SobolIndicesOrders

__all__ = [
    "Aggregator",
    "DistancesFromMask",
    "Estimate",
    "LinearRegressionAggregator",
    "MaskwiseMeanAggregator",
    "MeanAggregator",
    "OcclusionAggregator",
    "ShapleyAggregator",
    "SmoothGradAggregator",
    "SobolAggregator",
    "SobolIndicesOrders",
    "SquareGradAggregator",
    "SquaredMeanAggregator",
    "SumAggregator",
    "TrapezoidalMeanAggregator",
    "VarGradAggregator",
    "VarianceAggregator",
    "WeightedMeanAggregator",
]
