"""Small randomly weighted models of tasks other than classification and generation: heads of several families of encoders."""

from __future__ import annotations

from functools import partial

from transformers import PreTrainedTokenizerFast

from interpreto.models.similarity import SimilarityModel
from tests.tiny import (
    _DEBERTA,
    _DENSE,
    _DISTILBERT,
    _MODERNBERT,
    _NARROW,
    _ROBERTA,
    _T5,
    Zoo,
    _build,
    _wordpiece_untyped,
    roberta_bpe,
    unigram,
    wordpiece,
)

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
_TAGS = {"id2label": dict(enumerate(TAGS)), "label2id": {tag: i for i, tag in enumerate(TAGS)}}
_FAMILIES = {
    "bert": ("Bert", wordpiece, _DENSE),
    "roberta": ("Roberta", roberta_bpe, _ROBERTA),
    "distilbert": ("DistilBert", _wordpiece_untyped, _DISTILBERT),
    "electra": ("Electra", wordpiece, _NARROW),
    "deberta_v2": ("DebertaV2", wordpiece, _DEBERTA),
    "modernbert": ("ModernBert", _wordpiece_untyped, _MODERNBERT),
    "t5": ("T5", unigram, _T5),
}


def _zoo(head: str, *without: str, **settings: object) -> Zoo:
    return {
        family: partial(_build, name + head, tokenizer, sizes | settings)
        for family, (name, tokenizer, sizes) in _FAMILIES.items()
        if family not in without
    }


TAGGERS = _zoo("ForTokenClassification", **_TAGS)
"""Named entities: persons and places, with the tags of their beginnings and insides."""
MASKED_LMS = _zoo("ForMaskedLM", "t5")
QUESTION_ANSWERERS = _zoo("ForQuestionAnswering", "t5")
NEXT_SENTENCE: Zoo = {"bert": partial(_build, "BertForNextSentencePrediction", wordpiece, _DENSE)}


def _similarity(family: str) -> tuple[SimilarityModel, PreTrainedTokenizerFast]:
    head = "Encoder" if family == "t5" else ""
    name, tokenizer, sizes = _FAMILIES[family]
    encoder, own = _build(f"{name}{head}Model", tokenizer, sizes)
    return SimilarityModel(encoder, own), own


SIMILARITIES: dict = {family: partial(_similarity, family) for family in _FAMILIES}
"""Cosines of mean embeddings."""
