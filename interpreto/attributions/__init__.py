"""Attributions: how much each unit of an input matters for an output."""

from interpreto.attributions.base import AttributionExplainer, MultitaskExplainerMixin
from interpreto.attributions.methods import (
    AttnLrp,
    DeepLift,
    DeepLiftShap,
    ExpectedGradients,
    GradientShap,
    InputXGradient,
    IntegratedGradients,
    KernelShap,
    Lime,
    Occlusion,
    Saliency,
    SmoothGrad,
    Sobol,
    SquareGrad,
    VarGrad,
)
from interpreto.attributions.options import Options
from interpreto.attributions.output import AttributionOutput
from interpreto.models.modes import InferenceModes

__all__ = [
    "AttnLrp",
    "AttributionExplainer",
    "AttributionOutput",
    "DeepLift",
    "DeepLiftShap",
    "ExpectedGradients",
    "GradientShap",
    "InferenceModes",
    "InputXGradient",
    "IntegratedGradients",
    "KernelShap",
    "Lime",
    "MultitaskExplainerMixin",
    "Occlusion",
    "Options",
    "Saliency",
    "SmoothGrad",
    "Sobol",
    "SquareGrad",
    "VarGrad",
]
