"""Concepts: directions of a model's activations, what they mean, and what they do. Names load on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOMES = {
    "ActivationSource": "activations",
    "BatchTopKSAEConcepts": "methods.sae",
    "Cockatiel": "methods.nmf",
    "ConceptAutoEncoderExplainer": "base",
    "ConceptModel": "model",
    "ConvexNMFConcepts": "methods.convex_nmf",
    "DictionaryLearningConcepts": "methods.sparse_coding",
    "DictionaryLearningExplainer": "methods.dictionary",
    "ICAConcepts": "methods.linear",
    "JumpReLUSAEConcepts": "methods.sae",
    "KMeansConcepts": "methods.kmeans",
    "MpSAEConcepts": "methods.sae",
    "NMFConcepts": "methods.nmf",
    "NeuronsAsConcepts": "methods.neurons",
    "PCAConcepts": "methods.linear",
    "SAEExplainer": "methods.sae",
    "SVDConcepts": "methods.linear",
    "SemiNMFConcepts": "methods.semi_nmf",
    "SparsePCAConcepts": "methods.linear",
    "TopKSAEConcepts": "methods.sae",
    "TrainingRecord": "methods.training",
    "VanillaSAEConcepts": "methods.sae",
    "load_concepts": "saving",
}

__all__ = [
    "ActivationSource",
    "BatchTopKSAEConcepts",
    "Cockatiel",
    "ConceptAutoEncoderExplainer",
    "ConceptModel",
    "ConvexNMFConcepts",
    "DictionaryLearningConcepts",
    "DictionaryLearningExplainer",
    "ICAConcepts",
    "JumpReLUSAEConcepts",
    "KMeansConcepts",
    "MpSAEConcepts",
    "NMFConcepts",
    "NeuronsAsConcepts",
    "PCAConcepts",
    "SAEExplainer",
    "SVDConcepts",
    "SemiNMFConcepts",
    "SparsePCAConcepts",
    "TopKSAEConcepts",
    "TrainingRecord",
    "VanillaSAEConcepts",
    "load_concepts",
]

if TYPE_CHECKING:
    from interpreto.concepts.activations import ActivationSource
    from interpreto.concepts.base import ConceptAutoEncoderExplainer
    from interpreto.concepts.methods.convex_nmf import ConvexNMFConcepts
    from interpreto.concepts.methods.dictionary import DictionaryLearningExplainer
    from interpreto.concepts.methods.kmeans import KMeansConcepts
    from interpreto.concepts.methods.linear import ICAConcepts, PCAConcepts, SparsePCAConcepts, SVDConcepts
    from interpreto.concepts.methods.neurons import NeuronsAsConcepts
    from interpreto.concepts.methods.nmf import Cockatiel, NMFConcepts
    from interpreto.concepts.methods.sae import (
        BatchTopKSAEConcepts,
        JumpReLUSAEConcepts,
        MpSAEConcepts,
        SAEExplainer,
        TopKSAEConcepts,
        VanillaSAEConcepts,
    )
    from interpreto.concepts.methods.semi_nmf import SemiNMFConcepts
    from interpreto.concepts.methods.sparse_coding import DictionaryLearningConcepts
    from interpreto.concepts.methods.training import TrainingRecord
    from interpreto.concepts.model import ConceptModel
    from interpreto.concepts.saving import load_concepts


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'interpreto.concepts' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"interpreto.concepts.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
