"""Attributions: how much each unit of an input matters for an output."""

from interpreto.attributions.base import AttributionExplainer, MultitaskExplainerMixin
from interpreto.attributions.consensus import Consensus
from interpreto.attributions.global_attribution import GlobalAttribution
from interpreto.attributions.interaction_output import InteractionOutput
from interpreto.attributions.methods import (
    AttnLrp,
    Banzhaf,
    ContextCite,
    DeepLift,
    DeepLiftShap,
    ExactShapley,
    ExpectedGradients,
    GLime,
    GradientShap,
    InputXGradient,
    IntegratedGradients,
    KernelShap,
    Lime,
    LimeWithPrior,
    Occlusion,
    PartitionShap,
    PermutationShap,
    Rise,
    Saliency,
    SmoothGrad,
    Sobol,
    SquareGrad,
    VarGrad,
)
from interpreto.attributions.options import GradientOptions, Options
from interpreto.attributions.output import AttributionOutput
from interpreto.attributions.shapley_interactions import ShapleyInteractions
from interpreto.models.modes import InferenceModes

__all__ = [
    "AttnLrp",
    "AttributionExplainer",
    "AttributionOutput",
    "Banzhaf",
    "Consensus",
    "ContextCite",
    "DeepLift",
    "DeepLiftShap",
    "ExactShapley",
    "ExpectedGradients",
    "GLime",
    "GlobalAttribution",
    "GradientOptions",
    "GradientShap",
    "InferenceModes",
    "InputXGradient",
    "IntegratedGradients",
    "InteractionOutput",
    "KernelShap",
    "Lime",
    "LimeWithPrior",
    "MultitaskExplainerMixin",
    "Occlusion",
    "Options",
    "PartitionShap",
    "PermutationShap",
    "Rise",
    "Saliency",
    "ShapleyInteractions",
    "SmoothGrad",
    "Sobol",
    "SquareGrad",
    "VarGrad",
]
