"""Concepts: directions of a model's activations, what they mean, and what they do. Names load on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOMES = {
    "ActivationPatching": "circuits.patching",
    "ActivationSource": "activations",
    "AgglomerativeConcepts": "dictionaries.agglomerative",
    "BatchTopKSAEConcepts": "saes.explainers",
    "CAVConcepts": "probes.explainer",
    "Circuit": "circuits.circuit",
    "ClassProbability": "steering.measures",
    "Cockatiel": "dictionaries.nmf",
    "ConceptAutoEncoderExplainer": "base",
    "ConceptDashboard": "dashboard",
    "ConceptExplainer": "base",
    "ConceptFlow": "circuits.flow",
    "ConceptLabel": "interpretations.concept_label",
    "ConceptLabels": "interpretations.concept_label",
    "ConceptModel": "concept_model",
    "ConceptShap": "concept_shap",
    "ConceptShapResult": "concept_shap",
    "ContrastiveConcept": "probes.contrastive",
    "ConvexNMFConcepts": "dictionaries.convex_nmf",
    "CrossLayerTranscoderConcepts": "coders.transcoders",
    "CrosscoderConcepts": "coders.crosscoder",
    "DictionaryLearningConcepts": "dictionaries.sparse_coding",
    "DictionaryLearningExplainer": "dictionaries.explainer",
    "DirectLogitAttribution": "lenses.components",
    "Erasure": "probes.erasure",
    "ExplainLabels": "interpretations.judged_labels",
    "FFNValues": "dictionaries.ffn_values",
    "FactorConcepts": "dictionaries.transformer_factors",
    "GatedSAEConcepts": "saes.explainers",
    "ICAConcepts": "dictionaries.linear",
    "Interpretation": "interpretations.base",
    "JumpReLUSAEConcepts": "saes.explainers",
    "KMeansConcepts": "dictionaries.kmeans",
    "KeywordLabels": "interpretations.keyword_labels",
    "LLMLabels": "interpretations.llm_labels",
    "MatryoshkaSAEConcepts": "saes.explainers",
    "MpSAEConcepts": "saes.explainers",
    "NMFConcepts": "dictionaries.nmf",
    "NeuronsAsConcepts": "dictionaries.neurons",
    "OutputLabels": "interpretations.judged_labels",
    "PCAConcepts": "dictionaries.linear",
    "PatchingOutput": "circuits.patching_output",
    "ProbeConcepts": "probes.explainer",
    "PublishedSAEConcepts": "pretrained.explainer",
    "SAEExplainer": "saes.explainers",
    "SVDConcepts": "dictionaries.linear",
    "SemiNMFConcepts": "dictionaries.semi_nmf",
    "SobolImportance": "sobol",
    "SparsePCAConcepts": "dictionaries.linear",
    "SteeringComparison": "steering.comparison",
    "TCAVResult": "probes.tcav",
    "ThemeLabels": "interpretations.judged_labels",
    "TokenChange": "interpretations.token_change",
    "TokenPair": "dictionaries.head_pairs",
    "TopKInputs": "interpretations.topk_inputs",
    "TopKSAEConcepts": "saes.explainers",
    "TrainingRecord": "saes.record",
    "TranscoderConcepts": "coders.transcoders",
    "TransformerFactors": "dictionaries.transformer_factors",
    "VanillaSAEConcepts": "saes.explainers",
    "VocabularyProjection": "interpretations.vocabulary",
    "compare": "steering.compare",
    "compare_steering": "steering.compare",
    "concept_dashboard": "dashboard",
    "concept_to_concept": "circuits.flow",
    "find_circuit": "circuits.find",
    "head_pairs": "dictionaries.head_pairs",
    "load_concepts": "serialization",
    "load_sae": "pretrained.load",
    "parameter_directions": "dictionaries.ffn_values",
    "push_to_hub": "pretrained.export",
    "sobol_importance": "sobol",
    "tcav": "probes.tcav",
}

__all__ = [
    "ActivationPatching",
    "ActivationSource",
    "AgglomerativeConcepts",
    "BatchTopKSAEConcepts",
    "CAVConcepts",
    "Circuit",
    "ClassProbability",
    "Cockatiel",
    "ConceptAutoEncoderExplainer",
    "ConceptDashboard",
    "ConceptExplainer",
    "ConceptFlow",
    "ConceptLabel",
    "ConceptLabels",
    "ConceptModel",
    "ConceptShap",
    "ConceptShapResult",
    "ContrastiveConcept",
    "ConvexNMFConcepts",
    "CrossLayerTranscoderConcepts",
    "CrosscoderConcepts",
    "DictionaryLearningConcepts",
    "DictionaryLearningExplainer",
    "DirectLogitAttribution",
    "Erasure",
    "ExplainLabels",
    "FFNValues",
    "FactorConcepts",
    "GatedSAEConcepts",
    "ICAConcepts",
    "Interpretation",
    "JumpReLUSAEConcepts",
    "KMeansConcepts",
    "KeywordLabels",
    "LLMLabels",
    "MatryoshkaSAEConcepts",
    "MpSAEConcepts",
    "NMFConcepts",
    "NeuronsAsConcepts",
    "OutputLabels",
    "PCAConcepts",
    "PatchingOutput",
    "ProbeConcepts",
    "PublishedSAEConcepts",
    "SAEExplainer",
    "SVDConcepts",
    "SemiNMFConcepts",
    "SobolImportance",
    "SparsePCAConcepts",
    "SteeringComparison",
    "TCAVResult",
    "ThemeLabels",
    "TokenChange",
    "TokenPair",
    "TopKInputs",
    "TopKSAEConcepts",
    "TrainingRecord",
    "TranscoderConcepts",
    "TransformerFactors",
    "VanillaSAEConcepts",
    "VocabularyProjection",
    "compare",
    "compare_steering",
    "concept_dashboard",
    "concept_to_concept",
    "find_circuit",
    "head_pairs",
    "load_concepts",
    "load_sae",
    "parameter_directions",
    "push_to_hub",
    "sobol_importance",
    "tcav",
]

if TYPE_CHECKING:
    from interpreto.concepts.activations import ActivationSource
    from interpreto.concepts.base import ConceptAutoEncoderExplainer, ConceptExplainer
    from interpreto.concepts.circuits.circuit import Circuit
    from interpreto.concepts.circuits.find import find_circuit
    from interpreto.concepts.circuits.flow import ConceptFlow, concept_to_concept
    from interpreto.concepts.circuits.patching import ActivationPatching
    from interpreto.concepts.circuits.patching_output import PatchingOutput
    from interpreto.concepts.coders.crosscoder import CrosscoderConcepts
    from interpreto.concepts.coders.transcoders import CrossLayerTranscoderConcepts, TranscoderConcepts
    from interpreto.concepts.concept_model import ConceptModel
    from interpreto.concepts.concept_shap import ConceptShap, ConceptShapResult
    from interpreto.concepts.dashboard import ConceptDashboard, concept_dashboard
    from interpreto.concepts.dictionaries.agglomerative import AgglomerativeConcepts
    from interpreto.concepts.dictionaries.convex_nmf import ConvexNMFConcepts
    from interpreto.concepts.dictionaries.explainer import DictionaryLearningExplainer
    from interpreto.concepts.dictionaries.ffn_values import FFNValues, parameter_directions
    from interpreto.concepts.dictionaries.head_pairs import TokenPair, head_pairs
    from interpreto.concepts.dictionaries.kmeans import KMeansConcepts
    from interpreto.concepts.dictionaries.linear import ICAConcepts, PCAConcepts, SparsePCAConcepts, SVDConcepts
    from interpreto.concepts.dictionaries.neurons import NeuronsAsConcepts
    from interpreto.concepts.dictionaries.nmf import Cockatiel, NMFConcepts
    from interpreto.concepts.dictionaries.semi_nmf import SemiNMFConcepts
    from interpreto.concepts.dictionaries.sparse_coding import DictionaryLearningConcepts
    from interpreto.concepts.dictionaries.transformer_factors import FactorConcepts, TransformerFactors
    from interpreto.concepts.interpretations.base import Interpretation
    from interpreto.concepts.interpretations.concept_label import ConceptLabel, ConceptLabels
    from interpreto.concepts.interpretations.judged_labels import ExplainLabels, OutputLabels, ThemeLabels
    from interpreto.concepts.interpretations.keyword_labels import KeywordLabels
    from interpreto.concepts.interpretations.llm_labels import LLMLabels
    from interpreto.concepts.interpretations.token_change import TokenChange
    from interpreto.concepts.interpretations.topk_inputs import TopKInputs
    from interpreto.concepts.interpretations.vocabulary import VocabularyProjection
    from interpreto.concepts.lenses.components import DirectLogitAttribution
    from interpreto.concepts.pretrained.explainer import PublishedSAEConcepts
    from interpreto.concepts.pretrained.export import push_to_hub
    from interpreto.concepts.pretrained.load import load_sae
    from interpreto.concepts.probes.contrastive import ContrastiveConcept
    from interpreto.concepts.probes.erasure import Erasure
    from interpreto.concepts.probes.explainer import CAVConcepts, ProbeConcepts
    from interpreto.concepts.probes.tcav import TCAVResult, tcav
    from interpreto.concepts.saes.explainers import (
        BatchTopKSAEConcepts,
        GatedSAEConcepts,
        JumpReLUSAEConcepts,
        MatryoshkaSAEConcepts,
        MpSAEConcepts,
        SAEExplainer,
        TopKSAEConcepts,
        VanillaSAEConcepts,
    )
    from interpreto.concepts.saes.record import TrainingRecord
    from interpreto.concepts.serialization import load_concepts
    from interpreto.concepts.sobol import SobolImportance, sobol_importance
    from interpreto.concepts.steering.compare import compare, compare_steering
    from interpreto.concepts.steering.comparison import SteeringComparison
    from interpreto.concepts.steering.measures import ClassProbability


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'interpreto.concepts' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"interpreto.concepts.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
