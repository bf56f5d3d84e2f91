"""Concepts: directions of a model's activations, what they mean, and what they do. Names load on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOMES = {
    "ActivationSource": "activations",
    "BatchTopKSAEConcepts": "saes.explainers",
    "CAVConcepts": "probes.explainer",
    "Cockatiel": "dictionaries.nmf",
    "ConceptAutoEncoderExplainer": "base",
    "ConceptDashboard": "dashboard",
    "ConceptExplainer": "base",
    "ConceptModel": "concept_model",
    "ConvexNMFConcepts": "dictionaries.convex_nmf",
    "DictionaryLearningConcepts": "dictionaries.sparse_coding",
    "DictionaryLearningExplainer": "dictionaries.explainer",
    "Erasure": "probes.erasure",
    "ICAConcepts": "dictionaries.linear",
    "JumpReLUSAEConcepts": "saes.explainers",
    "KMeansConcepts": "dictionaries.kmeans",
    "MpSAEConcepts": "saes.explainers",
    "NMFConcepts": "dictionaries.nmf",
    "NeuronsAsConcepts": "dictionaries.neurons",
    "PCAConcepts": "dictionaries.linear",
    "ProbeConcepts": "probes.explainer",
    "PublishedSAEConcepts": "pretrained.explainer",
    "SAEExplainer": "saes.explainers",
    "SVDConcepts": "dictionaries.linear",
    "SemiNMFConcepts": "dictionaries.semi_nmf",
    "SparsePCAConcepts": "dictionaries.linear",
    "TopKSAEConcepts": "saes.explainers",
    "TopKInputs": "interpretations.topk_inputs",
    "TrainingRecord": "saes.record",
    "VanillaSAEConcepts": "saes.explainers",
    "concept_dashboard": "dashboard",
    "load_concepts": "serialization",
    "load_sae": "pretrained.load",
    "push_to_hub": "pretrained.export",
    "tcav": "probes.tcav",
    "TCAVResult": "probes.tcav",
}

__all__ = [
    "ActivationSource",
    "BatchTopKSAEConcepts",
    "CAVConcepts",
    "Cockatiel",
    "ConceptAutoEncoderExplainer",
    "ConceptDashboard",
    "ConceptExplainer",
    "ConceptModel",
    "ConvexNMFConcepts",
    "DictionaryLearningConcepts",
    "DictionaryLearningExplainer",
    "Erasure",
    "ICAConcepts",
    "JumpReLUSAEConcepts",
    "KMeansConcepts",
    "MpSAEConcepts",
    "NMFConcepts",
    "NeuronsAsConcepts",
    "PCAConcepts",
    "ProbeConcepts",
    "PublishedSAEConcepts",
    "SAEExplainer",
    "SVDConcepts",
    "SemiNMFConcepts",
    "SparsePCAConcepts",
    "TCAVResult",
    "TopKInputs",
    "TopKSAEConcepts",
    "TrainingRecord",
    "VanillaSAEConcepts",
    "concept_dashboard",
    "load_concepts",
    "load_sae",
    "push_to_hub",
    "tcav",
]

if TYPE_CHECKING:
    from interpreto.concepts.activations import ActivationSource
    from interpreto.concepts.base import ConceptAutoEncoderExplainer, ConceptExplainer
    from interpreto.concepts.concept_model import ConceptModel
    from interpreto.concepts.dashboard import ConceptDashboard, concept_dashboard
    from interpreto.concepts.dictionaries.convex_nmf import ConvexNMFConcepts
    from interpreto.concepts.dictionaries.explainer import DictionaryLearningExplainer
    from interpreto.concepts.dictionaries.kmeans import KMeansConcepts
    from interpreto.concepts.dictionaries.linear import ICAConcepts, PCAConcepts, SparsePCAConcepts, SVDConcepts
    from interpreto.concepts.dictionaries.neurons import NeuronsAsConcepts
    from interpreto.concepts.dictionaries.nmf import Cockatiel, NMFConcepts
    from interpreto.concepts.dictionaries.semi_nmf import SemiNMFConcepts
    from interpreto.concepts.dictionaries.sparse_coding import DictionaryLearningConcepts
    from interpreto.concepts.interpretations.topk_inputs import TopKInputs
    from interpreto.concepts.pretrained.explainer import PublishedSAEConcepts
    from interpreto.concepts.pretrained.export import push_to_hub
    from interpreto.concepts.pretrained.load import load_sae
    from interpreto.concepts.probes.erasure import Erasure
    from interpreto.concepts.probes.explainer import CAVConcepts, ProbeConcepts
    from interpreto.concepts.probes.tcav import TCAVResult, tcav
    from interpreto.concepts.saes.explainers import (
        BatchTopKSAEConcepts,
        JumpReLUSAEConcepts,
        MpSAEConcepts,
        SAEExplainer,
        TopKSAEConcepts,
        VanillaSAEConcepts,
    )
    from interpreto.concepts.saes.record import TrainingRecord
    from interpreto.concepts.serialization import load_concepts


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'interpreto.concepts' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"interpreto.concepts.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
