"""Metrics of attributions: faithful, complete, simple, robust, dependent on the model, and like people's own."""

from interpreto.metrics.attributions.base import AttributionMetric, GameMetric
from interpreto.metrics.attributions.completeness import Completeness
from interpreto.metrics.attributions.complexity import Complexity, EffectiveComplexity, Sparseness
from interpreto.metrics.attributions.local_fidelity import LocalFidelity
from interpreto.metrics.attributions.localization import PointGame, PointGameAUC
from interpreto.metrics.attributions.normalized_aopc import NormalizedAOPC
from interpreto.metrics.attributions.perturbation_curves import (
    ABPC,
    AOPCComprehensiveness,
    AOPCSufficiency,
    DecisionFlip,
    Deletion,
    Insertion,
    LeRF,
    LogOdds,
    Monotonicity,
    MoRF,
)
from interpreto.metrics.attributions.plausibility import AUPRC, IOUF1, TokenF1, TokenIoU
from interpreto.metrics.attributions.randomization import ModelParameterRandomization, RandomLogit
from interpreto.metrics.attributions.robustness import AverageSensitivity, MaxSensitivity
from interpreto.metrics.attributions.soft_perturbation import SoftComprehensiveness, SoftSufficiency
from interpreto.metrics.attributions.subset_correlations import (
    FaithfulnessCorrelation,
    Infidelity,
    LeaveOneOutCorrelation,
    MonotonicityCorrelation,
    SensitivityN,
    SurrogateFidelity,
)

__all__ = [
    "ABPC",
    "AUPRC",
    "IOUF1",
    "AOPCComprehensiveness",
    "AOPCSufficiency",
    "AttributionMetric",
    "AverageSensitivity",
    "Completeness",
    "Complexity",
    "DecisionFlip",
    "Deletion",
    "EffectiveComplexity",
    "FaithfulnessCorrelation",
    "GameMetric",
    "Infidelity",
    "Insertion",
    "LeRF",
    "LeaveOneOutCorrelation",
    "LocalFidelity",
    "LogOdds",
    "MaxSensitivity",
    "MoRF",
    "ModelParameterRandomization",
    "Monotonicity",
    "MonotonicityCorrelation",
    "NormalizedAOPC",
    "PointGame",
    "PointGameAUC",
    "RandomLogit",
    "SensitivityN",
    "SoftComprehensiveness",
    "SoftSufficiency",
    "Sparseness",
    "SurrogateFidelity",
    "TokenF1",
    "TokenIoU",
]
