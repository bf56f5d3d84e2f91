"""Interpretations: what concepts mean, in words."""

from interpreto.concepts.interpretations.base import Interpretation
from interpreto.concepts.interpretations.concept_label import ConceptLabel, ConceptLabels, LabelScore
from interpreto.concepts.interpretations.judged_labels import ExplainLabels, OutputLabels, ThemeLabels
from interpreto.concepts.interpretations.keyword_labels import KeywordLabels
from interpreto.concepts.interpretations.llm_labels import LLMLabels
from interpreto.concepts.interpretations.token_change import TokenChange
from interpreto.concepts.interpretations.top_patches import ConceptPatch, TopPatches, concept_maps
from interpreto.concepts.interpretations.topk_inputs import TopKInputs
from interpreto.concepts.interpretations.vocabulary import VocabularyProjection

__all__ = [
    "ConceptLabel",
    "ConceptLabels",
    "ConceptPatch",
    "ExplainLabels",
    "Interpretation",
    "KeywordLabels",
    "LLMLabels",
    "LabelScore",
    "OutputLabels",
    "ThemeLabels",
    "TokenChange",
    "TopKInputs",
    "TopPatches",
    "VocabularyProjection",
    "concept_maps",
]
