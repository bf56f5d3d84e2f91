"""Attributions: how much each unit of an input matters for an output."""

from interpreto.attributions.base import AttributionExplainer, MultitaskExplainerMixin
from interpreto.attributions.consensus import Consensus
from interpreto.attributions.global_attribution import GlobalAttribution
from interpreto.attributions.interaction_output import InteractionOutput
from interpreto.attributions.methods import (
    AttnLrp,
    Banzhaf,
    Cam,
    ContextCite,
    DeepLift,
    DeepLiftShap,
    ExactShapley,
    ExpectedGradients,
    GLime,
    GradCam,
    GradientShap,
    InputXGradient,
    IntegratedGradients,
    KernelShap,
    LayerCam,
    Lime,
    LimeWithPrior,
    Occlusion,
    PartitionShap,
    PermutationShap,
    Rise,
    Saliency,
    ScoreCam,
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
    "Cam",
    "Consensus",
    "ContextCite",
    "DeepLift",
    "DeepLiftShap",
    "ExactShapley",
    "ExpectedGradients",
    "GLime",
    "GlobalAttribution",
    "GradCam",
    "GradientOptions",
    "GradientShap",
    "InferenceModes",
    "InputXGradient",
    "IntegratedGradients",
    "InteractionOutput",
    "KernelShap",
    "LayerCam",
    "Lime",
    "LimeWithPrior",
    "MultitaskExplainerMixin",
    "Occlusion",
    "Options",
    "PartitionShap",
    "PermutationShap",
    "Rise",
    "Saliency",
    "ScoreCam",
    "ShapleyInteractions",
    "SmoothGrad",
    "Sobol",
    "SquareGrad",
    "VarGrad",
]
