"""Splitters: the activations of a model at split points, and the outputs downstream of them."""

from interpreto.concepts.splitters.base import ModelSplitter
from interpreto.concepts.splitters.classification import SplitterForClassification
from interpreto.concepts.splitters.generation import SplitterForGeneration
from interpreto.concepts.splitters.granularities import ActivationGranularity
from interpreto.concepts.splitters.model_with_split_points import ModelWithSplitPoints
from interpreto.inputs.pooling import BatchUnits

__all__ = [
    "ActivationGranularity",
    "BatchUnits",
    "ModelSplitter",
    "ModelWithSplitPoints",
    "SplitterForClassification",
    "SplitterForGeneration",
]
