"""Importing interpreto is quick and loads nothing heavy; calls touch no global generator."""

from __future__ import annotations

import subprocess
import sys

import pytest

import interpreto


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_import_loads_no_torch_and_is_quick():
    code = (
        "import sys, time; before = set(sys.modules); start = time.process_time(); import interpreto; "
        "new = set(sys.modules) - before; "
        "print(time.process_time() - start, sum(m.startswith('interpreto') for m in new), len(new)); "
        "print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    seconds, ours, modules, torch, transformers = run(code).split()
    assert (torch, transformers) == ("False", "False")
    assert float(seconds) < 0.3 and int(ours) == 2 and int(modules) < 50  # the table of old paths, and the standard library


def test_every_public_name_resolves_and_is_listed():
    for name in interpreto.__all__:
        assert getattr(interpreto, name) is not None
        assert name in dir(interpreto)


def test_the_public_surface_is_this():
    assert set(interpreto.__all__) == {
        *("AttributionExplainer", "AttributionOutput", "MultitaskExplainerMixin"),
        *("attention_view", "plot_attention"),
        *("AllLayersSplitter", "LogitLens", "TunedLens", "plot_lens"),
        *("Cam", "GradCam", "LayerCam", "Lrp", "ScoreCam"),
        *("Granularity", "GranularityAggregationStrategy", "ImageGranularity", "InferenceModes"),
        *(
            "plot_attributions",
            "plot_concepts",
            "plot_patches",
            "plot_curves",
            "plot_importance",
            "report",
            "load",
            "load_sae",
            "Steering",
            "compare_steering",
            "steered",
        ),
        *("Occlusion", "Lime", "KernelShap", "Sobol"),
        *(
            "ExactShapley",
            "PartitionShap",
            "PermutationShap",
            "Banzhaf",
            "GLime",
            "LimeWithPrior",
            "Rise",
            "Consensus",
            "ContextCite",
            "At2",
            "ReAGent",
        ),
        *("ShapleyInteractions", "InteractionOutput", "plot_interactions", "fill_slots"),
        *("Saliency", "InputXGradient", "IntegratedGradients", "SmoothGrad", "SquareGrad", "VarGrad", "GradientShap"),
        *("RawAttention", "AttentionRollout", "GenericAttention", "TransitionAttention", "BidirectionalAttention"),
        *("Alti", "ValueZeroing"),
        *("AttnLrp", "DeepLift", "DeepLiftShap", "ExpectedGradients"),
        "cockatiel",
        *(
            "BlackBox",
            "Contrast",
            "Citations",
            "Documents",
            "Explanations",
            "ServedModel",
            "SimilarityModel",
            "ZeroShotClassifier",
        ),
        *("ModelWithSplitPoints", "SplitterForClassification", "SplitterForGeneration"),
        *("TracIn", "TrainingDynamics"),
        *("ExplanationDataset", "explain_dataset", "BenchmarkDataset", "benchmark_dataset"),
        *("attributions", "concepts", "datasets", "demo", "errors", "judges", "metrics", "training", "__version__"),
    }


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Occlusionn"):
        _ = interpreto.Occlusionn


def test_pythons_own_generator_is_left_alone():
    code = """
import random, torch
from tests import tiny
from interpreto import Lime, SmoothGrad, Sobol
model, tokenizer = tiny.CLASSIFIERS["bert"]()
before = random.getstate()
for method in (Lime, SmoothGrad, Sobol):
    method(model, tokenizer)("The film was not good")
print(random.getstate() == before)
"""
    assert run(code).strip() == "True"
