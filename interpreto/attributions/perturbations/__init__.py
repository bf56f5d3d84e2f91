"""Perturbators: choose the perturbed inputs of a sample."""

from interpreto.attributions.perturbations.background import BackgroundPerturbator, BaselinePerturbator
from interpreto.attributions.perturbations.base import (
    EmbeddingsPerturbator,
    InputPerturbator,
    MaskPerturbator,
    Perturbator,
    UntouchedPerturbator,
    WeightedMaskPerturbator,
)
from interpreto.attributions.perturbations.embeddings import (
    GaussianNoisePerturbator,
    GradientShapPerturbator,
    LinearInterpolationPerturbator,
)
from interpreto.attributions.perturbations.masks import OcclusionPerturbator, RandomMaskedTokenPerturbator
from interpreto.attributions.perturbations.paths import DiscretizedPathPerturbator, SequentialPathPerturbator
from interpreto.attributions.perturbations.shap import ShapTokenPerturbator
from interpreto.attributions.perturbations.sobol import SequenceSamplers, SobolTokenPerturbator

IdsPerturbator = MaskPerturbator

__all__ = [
    "BackgroundPerturbator",
    "BaselinePerturbator",
    "DiscretizedPathPerturbator",
    "EmbeddingsPerturbator",
    "GaussianNoisePerturbator",
    "GradientShapPerturbator",
    "IdsPerturbator",
    "InputPerturbator",
    "LinearInterpolationPerturbator",
    "MaskPerturbator",
    "OcclusionPerturbator",
    "Perturbator",
    "RandomMaskedTokenPerturbator",
    "SequenceSamplers",
    "SequentialPathPerturbator",
    "ShapTokenPerturbator",
    "SobolTokenPerturbator",
    "UntouchedPerturbator",
    "WeightedMaskPerturbator",
]
