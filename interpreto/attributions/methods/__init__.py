"""Attribution methods: a choice of perturbator and aggregator each."""

from interpreto.attributions.methods.deep_lift import DeepLift, DeepLiftShap
from interpreto.attributions.methods.expected_gradients import ExpectedGradients
from interpreto.attributions.methods.gradient_shap import GradientShap
from interpreto.attributions.methods.integrated_gradients import IntegratedGradients
from interpreto.attributions.methods.kernel_shap import KernelShap
from interpreto.attributions.methods.lime import Lime
from interpreto.attributions.methods.occlusion import Occlusion
from interpreto.attributions.methods.relevance import AttnLrp
from interpreto.attributions.methods.saliency import InputXGradient, Saliency
from interpreto.attributions.methods.smooth_grad import SmoothGrad
from interpreto.attributions.methods.sobol import Sobol
from interpreto.attributions.methods.square_grad import SquareGrad
from interpreto.attributions.methods.var_grad import VarGrad

__all__ = [
    "AttnLrp",
    "DeepLift",
    "DeepLiftShap",
    "ExpectedGradients",
    "GradientShap",
    "InputXGradient",
    "IntegratedGradients",
    "KernelShap",
    "Lime",
    "Occlusion",
    "Saliency",
    "SmoothGrad",
    "Sobol",
    "SquareGrad",
    "VarGrad",
]
