"""Metrics of concepts: reconstruction, sparsity, stability, effect on the model, labels. The list of their names is here."""

from interpreto.metrics.concepts.alignment import AlignedConcept, HumanAlignment, surface_label
from interpreto.metrics.concepts.base import Coded, ConceptMetric, RowMetric
from interpreto.metrics.concepts.completeness import ConceptCompleteness
from interpreto.metrics.concepts.consim import ConSim
from interpreto.metrics.concepts.faithfulness_correlation import ConceptFaithfulnessCorrelation
from interpreto.metrics.concepts.label_scores import Detection, Fuzzing, KeywordDetection, LabelScoring
from interpreto.metrics.concepts.label_simulation import Simulation
from interpreto.metrics.concepts.loss_recovered import Ablation, Loss, LossRecovered
from interpreto.metrics.concepts.output_effect import OutputEffect
from interpreto.metrics.concepts.perturbation_curves import (
    ConceptCurve,
    ConceptCurves,
    ConceptDeletion,
    ConceptInsertion,
    ConceptScores,
)
from interpreto.metrics.concepts.reconstruction import (
    FID,
    MSE,
    CosineReconstruction,
    ExplainedVariance,
    FrechetDistance,
    NormalizedMSE,
)
from interpreto.metrics.concepts.reconstruction_error import ReconstructionError, ReconstructionSpaces, RowDistance
from interpreto.metrics.concepts.sparsity import DeadFraction, Hoyer, Sparsity, SparsityRatio
from interpreto.metrics.concepts.stability import Collinearity, ConceptMatchingAlgorithm, Stability
from interpreto.metrics.concepts.steering_effect import SteeringEffect

__all__ = [
    "FID",
    "MSE",
    "Ablation",
    "AlignedConcept",
    "Coded",
    "Collinearity",
    "ConSim",
    "ConceptCompleteness",
    "ConceptCurve",
    "ConceptCurves",
    "ConceptDeletion",
    "ConceptFaithfulnessCorrelation",
    "ConceptInsertion",
    "ConceptMatchingAlgorithm",
    "ConceptMetric",
    "ConceptScores",
    "CosineReconstruction",
    "DeadFraction",
    "Detection",
    "ExplainedVariance",
    "FrechetDistance",
    "Fuzzing",
    "Hoyer",
    "HumanAlignment",
    "KeywordDetection",
    "LabelScoring",
    "Loss",
    "LossRecovered",
    "NormalizedMSE",
    "OutputEffect",
    "ReconstructionError",
    "ReconstructionSpaces",
    "RowDistance",
    "RowMetric",
    "Simulation",
    "Sparsity",
    "SparsityRatio",
    "Stability",
    "SteeringEffect",
    "surface_label",
]
