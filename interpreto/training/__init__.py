"""Training dynamics and influence: which training texts were hard, forgotten or mislabeled, and which decide a prediction."""

from interpreto.training.callback import DynamicsCallback
from interpreto.training.detector import LabelErrorDetector, label_error_probability
from interpreto.training.dynamics import TrainingDynamics
from interpreto.training.influence import HeadInfluence
from interpreto.training.label_errors import LabelErrors
from interpreto.training.nearest import NearestTexts, Neighbors
from interpreto.training.scores import (
    area_under_margin,
    confidence,
    correctness,
    forgetting_events,
    tidy_scores,
    variability,
)
from interpreto.training.thresholds import ThresholdSamples, threshold_samples
from interpreto.training.tracin import TracIn

__all__ = [
    "DynamicsCallback",
    "HeadInfluence",
    "LabelErrorDetector",
    "LabelErrors",
    "NearestTexts",
    "Neighbors",
    "ThresholdSamples",
    "TracIn",
    "TrainingDynamics",
    "area_under_margin",
    "confidence",
    "correctness",
    "forgetting_events",
    "label_error_probability",
    "threshold_samples",
    "tidy_scores",
    "variability",
]
