"""Metrics of concepts: what they lose, how sparse and how stable they are, and whether the model needs them."""

from interpreto.metrics.concepts.base import Coded, ConceptMetric, RowMetric
from interpreto.metrics.concepts.completeness import ConceptCompleteness
from interpreto.metrics.concepts.distributions import FID, FrechetDistance
from interpreto.metrics.concepts.faithfulness import ConceptDeletion, ConceptFaithfulnessCorrelation, ConceptInsertion
from interpreto.metrics.concepts.loss_recovered import Ablation, Loss, LossRecovered
from interpreto.metrics.concepts.perturbation_curves import ConceptCurve, ConceptCurves, ConceptScores
from interpreto.metrics.concepts.reconstruction import MSE, CosineReconstruction, ExplainedVariance, NormalizedMSE
from interpreto.metrics.concepts.reconstruction_error import ReconstructionError, ReconstructionSpaces, RowDistance
from interpreto.metrics.concepts.sparsity import DeadFraction, Hoyer, Sparsity, SparsityRatio
from interpreto.metrics.concepts.stability import Collinearity, ConceptMatchingAlgorithm, Stability

__all__ = [
    "FID",
    "MSE",
    "Ablation",
    "Coded",
    "Collinearity",
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
    "ExplainedVariance",
    "FrechetDistance",
    "Hoyer",
    "Loss",
    "LossRecovered",
    "NormalizedMSE",
    "ReconstructionError",
    "ReconstructionSpaces",
    "RowDistance",
    "RowMetric",
    "Sparsity",
    "SparsityRatio",
    "Stability",
]
