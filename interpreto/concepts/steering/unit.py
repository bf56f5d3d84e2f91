"""Measure the length of a typical activation, in which strengths are counted."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.base import ConceptExplainer
from interpreto.concepts.coders.base import CoderConcepts
from interpreto.concepts.pretrained.fit import SENTENCES
from interpreto.concepts.splitters.base import ModelSplitter
from interpreto.concepts.splitters.model_with_split_points import ModelWithSplitPoints
from interpreto.errors import OptionError


def directions_of(explainer: ConceptExplainer) -> dict[str, Float[Tensor, "c d"]]:
    """Return the directions of concepts at each place that they are written at."""
    if isinstance(explainer, CoderConcepts):
        return explainer.written_at()
    return {str(explainer.split_point): explainer.get_dictionary().detach()}


def typical_norm(splitter: ModelSplitter, split_point: str) -> float:
    """Return the median norm of the activations at a place, on plain sentences and without their first tokens."""
    return float(plain_rows(splitter, split_point).float().norm(dim=1).median())


def plain_rows(splitter: ModelSplitter, split_point: str) -> Float[Tensor, "n d"]:
    """Return the activations of plain sentences at a place, without those of their first tokens."""
    texts = list(SENTENCES)
    if not isinstance(splitter, ModelWithSplitPoints):
        return splitter.activations_of(splitter.samples(texts, splitter.default_granularity), None, split_point)
    reader: Any = ModelWithSplitPoints(splitter.model, [split_point], tokenizer=splitter.tokenizer, truncation=True)
    try:
        read = reader.get_activations(texts, "all_tokens", flatten_activations=False, tqdm_bar=False)[split_point]
    except OptionError:  # one vector per text
        return reader.get_activations(texts, "sample", tqdm_bar=False)[split_point]
    return torch.cat([rows[1:] for rows in read])
