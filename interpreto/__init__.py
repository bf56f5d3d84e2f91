"""Explains any Hugging Face transformer. Names load on first use: importing this package loads no torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from interpreto import _moved

__version__ = "0.2.0"

_HOMES = {
    "AllLayersSplitter": "concepts.lenses.all_layers",
    "Alti": "attributions.methods",
    "At2": "attributions.methods",
    "AttentionRollout": "attributions.methods",
    "AttnLrp": "attributions.methods",
    "AttributionExplainer": "attributions.base",
    "AttributionOutput": "attributions.output",
    "Banzhaf": "attributions.methods",
    "BidirectionalAttention": "attributions.methods",
    "BlackBox": "models.black_box",
    "Cam": "attributions.methods",
    "Citations": "attributions.citations",
    "Consensus": "attributions.consensus",
    "ContextCite": "attributions.methods",
    "Contrast": "inputs.targets",
    "DeepLift": "attributions.methods",
    "DeepLiftShap": "attributions.methods",
    "Documents": "inputs.documents",
    "ExactShapley": "attributions.methods",
    "ExpectedGradients": "attributions.methods",
    "BenchmarkDataset": "datasets.score_results",
    "ExplanationDataset": "datasets.results",
    "Explanations": "attributions.explanations",
    "GLime": "attributions.methods",
    "GenericAttention": "attributions.methods",
    "GradCam": "attributions.methods",
    "GradientShap": "attributions.methods",
    "Granularity": "inputs.units",
    "GranularityAggregationStrategy": "inputs.units",
    "ImageGranularity": "inputs.regions",
    "InferenceModes": "models.modes",
    "InputXGradient": "attributions.methods",
    "IntegratedGradients": "attributions.methods",
    "InteractionOutput": "attributions.interaction_output",
    "KernelShap": "attributions.methods",
    "LayerCam": "attributions.methods",
    "Lime": "attributions.methods",
    "LimeWithPrior": "attributions.methods",
    "Lrp": "attributions.methods",
    "LogitLens": "concepts.lenses.logit_lens",
    "ModelWithSplitPoints": "concepts.splitters",
    "MultitaskExplainerMixin": "attributions.base",
    "Occlusion": "attributions.methods",
    "PartitionShap": "attributions.methods",
    "PermutationShap": "attributions.methods",
    "RawAttention": "attributions.methods",
    "ReAGent": "attributions.methods",
    "Rise": "attributions.methods",
    "Saliency": "attributions.methods",
    "ScoreCam": "attributions.methods",
    "ServedModel": "models.served",
    "ShapleyInteractions": "attributions.shapley_interactions",
    "SimilarityModel": "models.similarity",
    "ZeroShotClassifier": "models.zero_shot",
    "SmoothGrad": "attributions.methods",
    "Sobol": "attributions.methods",
    "SplitterForClassification": "concepts.splitters",
    "SplitterForGeneration": "concepts.splitters",
    "SquareGrad": "attributions.methods",
    "TracIn": "training.tracin",
    "TrainingDynamics": "training.dynamics",
    "TransitionAttention": "attributions.methods",
    "TunedLens": "concepts.lenses.tuned_lens",
    "ValueZeroing": "attributions.methods",
    "VarGrad": "attributions.methods",
    "attention_view": "attributions.attention.view",
    "compare_steering": "concepts.steering.compare",
    "benchmark_dataset": "datasets.score_run",
    "explain_dataset": "datasets.run",
    "fill_slots": "inputs.slots",
    "load": "models.loading",
    "load_sae": "concepts.pretrained.load",
    "Steering": "concepts.steering.steering",
    "steered": "concepts.steering.steering",
    "plot_attention": "visualizations.attention",
    "plot_attributions": "visualizations.attributions",
    "cockatiel": "metrics.cockatiel",
    "plot_concepts": "visualizations.concepts",
    "plot_patches": "visualizations.patches",
    "plot_curves": "visualizations.curves",
    "plot_importance": "visualizations.importance",
    "plot_interactions": "visualizations.interactions",
    "plot_lens": "visualizations.lens",
    "report": "metrics.report",
}
ATTRIBUTION_METHODS = tuple(name for name, home in _HOMES.items() if home.startswith("attributions.methods"))
"""Names of the attribution methods, for what lists them without loading torch."""
_MODULES = ("attributions", "concepts", "datasets", "demo", "errors", "judges", "metrics", "training")

__all__ = [
    "AllLayersSplitter",
    "Alti",
    "At2",
    "AttentionRollout",
    "AttnLrp",
    "AttributionExplainer",
    "AttributionOutput",
    "Banzhaf",
    "BenchmarkDataset",
    "BidirectionalAttention",
    "BlackBox",
    "Cam",
    "Citations",
    "Consensus",
    "ContextCite",
    "Contrast",
    "DeepLift",
    "DeepLiftShap",
    "Documents",
    "ExactShapley",
    "ExpectedGradients",
    "ExplanationDataset",
    "Explanations",
    "GLime",
    "GenericAttention",
    "GradCam",
    "GradientShap",
    "Granularity",
    "GranularityAggregationStrategy",
    "ImageGranularity",
    "InferenceModes",
    "InputXGradient",
    "IntegratedGradients",
    "InteractionOutput",
    "KernelShap",
    "LayerCam",
    "Lime",
    "LimeWithPrior",
    "LogitLens",
    "Lrp",
    "ModelWithSplitPoints",
    "MultitaskExplainerMixin",
    "Occlusion",
    "PartitionShap",
    "PermutationShap",
    "RawAttention",
    "ReAGent",
    "Rise",
    "Saliency",
    "ScoreCam",
    "ServedModel",
    "ShapleyInteractions",
    "SimilarityModel",
    "SmoothGrad",
    "Sobol",
    "SplitterForClassification",
    "SplitterForGeneration",
    "SquareGrad",
    "Steering",
    "TracIn",
    "TrainingDynamics",
    "TransitionAttention",
    "TunedLens",
    "ValueZeroing",
    "VarGrad",
    "ZeroShotClassifier",
    "__version__",
    "attention_view",
    "attributions",
    "benchmark_dataset",
    "cockatiel",
    "compare_steering",
    "concepts",
    "datasets",
    "demo",
    "errors",
    "explain_dataset",
    "fill_slots",
    "judges",
    "load",
    "load_sae",
    "metrics",
    "plot_attention",
    "plot_attributions",
    "plot_concepts",
    "plot_curves",
    "plot_importance",
    "plot_interactions",
    "plot_lens",
    "plot_patches",
    "report",
    "steered",
    "training",
]

if TYPE_CHECKING:
    from interpreto import attributions, concepts, datasets, demo, errors, judges, metrics, training
    from interpreto.attributions.attention.view import attention_view
    from interpreto.attributions.base import AttributionExplainer, MultitaskExplainerMixin
    from interpreto.attributions.citations import Citations
    from interpreto.attributions.consensus import Consensus
    from interpreto.attributions.explanations import Explanations
    from interpreto.attributions.interaction_output import InteractionOutput
    from interpreto.attributions.methods import (
        Alti,
        At2,
        AttentionRollout,
        AttnLrp,
        Banzhaf,
        BidirectionalAttention,
        Cam,
        ContextCite,
        DeepLift,
        DeepLiftShap,
        ExactShapley,
        ExpectedGradients,
        GenericAttention,
        GLime,
        GradCam,
        GradientShap,
        InputXGradient,
        IntegratedGradients,
        KernelShap,
        LayerCam,
        Lime,
        LimeWithPrior,
        Lrp,
        Occlusion,
        PartitionShap,
        PermutationShap,
        RawAttention,
        ReAGent,
        Rise,
        Saliency,
        ScoreCam,
        SmoothGrad,
        Sobol,
        SquareGrad,
        TransitionAttention,
        ValueZeroing,
        VarGrad,
    )
    from interpreto.attributions.output import AttributionOutput
    from interpreto.attributions.shapley_interactions import ShapleyInteractions
    from interpreto.concepts.lenses.all_layers import AllLayersSplitter
    from interpreto.concepts.lenses.logit_lens import LogitLens
    from interpreto.concepts.lenses.tuned_lens import TunedLens
    from interpreto.concepts.pretrained.load import load_sae
    from interpreto.concepts.splitters import ModelWithSplitPoints, SplitterForClassification, SplitterForGeneration
    from interpreto.concepts.steering.compare import compare_steering
    from interpreto.concepts.steering.steering import Steering, steered
    from interpreto.datasets.results import ExplanationDataset
    from interpreto.datasets.run import explain_dataset
    from interpreto.datasets.score_results import BenchmarkDataset
    from interpreto.datasets.score_run import benchmark_dataset
    from interpreto.inputs.documents import Documents
    from interpreto.inputs.regions import ImageGranularity
    from interpreto.inputs.slots import fill_slots
    from interpreto.inputs.targets import Contrast
    from interpreto.inputs.units import Granularity, GranularityAggregationStrategy
    from interpreto.metrics.cockatiel import cockatiel
    from interpreto.metrics.report import report
    from interpreto.models.black_box import BlackBox
    from interpreto.models.loading import load
    from interpreto.models.modes import InferenceModes
    from interpreto.models.served import ServedModel
    from interpreto.models.similarity import SimilarityModel
    from interpreto.models.zero_shot import ZeroShotClassifier
    from interpreto.training.dynamics import TrainingDynamics
    from interpreto.training.tracin import TracIn
    from interpreto.visualizations.attention import plot_attention
    from interpreto.visualizations.attributions import plot_attributions
    from interpreto.visualizations.concepts import plot_concepts
    from interpreto.visualizations.curves import plot_curves
    from interpreto.visualizations.importance import plot_importance
    from interpreto.visualizations.interactions import plot_interactions
    from interpreto.visualizations.lens import plot_lens
    from interpreto.visualizations.patches import plot_patches


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(f"interpreto.{_HOMES[name]}"), name)
    elif name in _MODULES:
        value = importlib.import_module(f"interpreto.{name}")
    else:
        raise AttributeError(f"module 'interpreto' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


_moved.install()
