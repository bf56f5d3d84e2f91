"""Attribution methods: a choice of perturbator and aggregator each."""

from interpreto.attributions.methods.alti import Alti
from interpreto.attributions.methods.at2 import At2
from interpreto.attributions.methods.attention_rollout import AttentionRollout
from interpreto.attributions.methods.bidirectional_attention import BidirectionalAttention
from interpreto.attributions.methods.class_activation import Cam, GradCam, LayerCam, ScoreCam
from interpreto.attributions.methods.context_cite import ContextCite
from interpreto.attributions.methods.deep_lift import DeepLift, DeepLiftShap
from interpreto.attributions.methods.expected_gradients import ExpectedGradients
from interpreto.attributions.methods.games import Banzhaf, ExactShapley, PermutationShap
from interpreto.attributions.methods.generic_attention import GenericAttention
from interpreto.attributions.methods.gradient_shap import GradientShap
from interpreto.attributions.methods.integrated_gradients import IntegratedGradients
from interpreto.attributions.methods.kernel_shap import KernelShap
from interpreto.attributions.methods.lime import Lime
from interpreto.attributions.methods.occlusion import Occlusion
from interpreto.attributions.methods.partition_shap import PartitionShap
from interpreto.attributions.methods.raw_attention import RawAttention
from interpreto.attributions.methods.reagent import ReAGent
from interpreto.attributions.methods.relevance import AttnLrp, Lrp
from interpreto.attributions.methods.saliency import InputXGradient, Saliency
from interpreto.attributions.methods.smooth_grad import SmoothGrad
from interpreto.attributions.methods.sobol import Sobol
from interpreto.attributions.methods.square_grad import SquareGrad
from interpreto.attributions.methods.surrogates import GLime, LimeWithPrior, Rise
from interpreto.attributions.methods.transition_attention import TransitionAttention
from interpreto.attributions.methods.value_zeroing import ValueZeroing
from interpreto.attributions.methods.var_grad import VarGrad

__all__ = [
    "Alti",
    "At2",
    "AttentionRollout",
    "AttnLrp",
    "Banzhaf",
    "BidirectionalAttention",
    "Cam",
    "ContextCite",
    "DeepLift",
    "DeepLiftShap",
    "ExactShapley",
    "ExpectedGradients",
    "GLime",
    "GenericAttention",
    "GradCam",
    "GradientShap",
    "InputXGradient",
    "IntegratedGradients",
    "KernelShap",
    "LayerCam",
    "Lime",
    "LimeWithPrior",
    "Lrp",
    "Occlusion",
    "PartitionShap",
    "PermutationShap",
    "RawAttention",
    "ReAGent",
    "Rise",
    "Saliency",
    "ScoreCam",
    "SmoothGrad",
    "Sobol",
    "SquareGrad",
    "TransitionAttention",
    "ValueZeroing",
    "VarGrad",
]
