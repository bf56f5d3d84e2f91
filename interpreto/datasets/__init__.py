"""Explanations of data sets: cut into shards, computed by several processes or a cluster, resumable, read lazily."""

from interpreto.datasets.checks import Checked
from interpreto.datasets.importance import ImportanceSums
from interpreto.datasets.results import ExplanationDataset
from interpreto.datasets.run import explain_dataset
from interpreto.datasets.score_files import ScoreFailure
from interpreto.datasets.score_results import BenchmarkDataset
from interpreto.datasets.score_run import benchmark_dataset
from interpreto.datasets.shards import Failure
from interpreto.datasets.spec import ExplainerSpec
from interpreto.engines.cluster import RayOptions

__all__ = [
    "BenchmarkDataset",
    "Checked",
    "ExplainerSpec",
    "ExplanationDataset",
    "Failure",
    "ImportanceSums",
    "RayOptions",
    "ScoreFailure",
    "benchmark_dataset",
    "explain_dataset",
]
