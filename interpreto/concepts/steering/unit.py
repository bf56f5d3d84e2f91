"""Measure the length of a typical activation, in which strengths are counted."""

from __future__ import annotations

from typing import Any

import torch

from interpreto.concepts.pretrained.fit import SENTENCES
from interpreto.concepts.splitters.base import ModelSplitter
from interpreto.concepts.splitters.model_with_split_points import ModelWithSplitPoints
from interpreto.errors import OptionError


def typical_norm(splitter: ModelSplitter, split_point: str) -> float:
    """Return the median norm of the activations at a place, on plain sentences and without their first tokens."""
    texts = list(SENTENCES)
    if not isinstance(splitter, ModelWithSplitPoints):
        rows: Any = splitter.activations_of(splitter.samples(texts, splitter.default_granularity), None, split_point)
        return _median(rows)
    reader: Any = ModelWithSplitPoints(splitter.model, [split_point], tokenizer=splitter.tokenizer, truncation=True)
    try:
        read = reader.get_activations(texts, "all_tokens", flatten_activations=False, tqdm_bar=False)[split_point]
    except OptionError:  # one vector per text
        return _median(reader.get_activations(texts, "sample", tqdm_bar=False)[split_point])
    return _median(torch.cat([rows[1:] for rows in read]))


def _median(rows: torch.Tensor) -> float:
    return float(rows.float().norm(dim=1).median())
