"""Measure how well an autoencoder fits a place of a model: the variance that it explains on plain sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.pretrained.model import PublishedSAE
from interpreto.concepts.splitters.model_with_split_points import ModelWithSplitPoints

SENTENCES = (
    "The train to the coast leaves at seven in the morning.",
    "She has worked in the same laboratory for almost twenty years.",
    "Water boils at a lower temperature on a mountain than at the sea.",
    "The committee will publish its report before the end of the month.",
    "He opened the window, because the room had become too warm.",
    "In 1905 a clerk of the patent office wrote four famous papers.",
    "The recipe asks for two eggs, a cup of flour and some butter.",
    "Most of the houses in this street were built after the war.",
    "The function returns a list of numbers, sorted by their size.",
    "Her brother plays the violin in a small orchestra in Lisbon.",
    "The judge asked the witness to repeat what he had said.",
    "Whales are mammals, although they spend their lives in the water.",
    "The price of bread has doubled since the beginning of the year.",
    "If you are late again, we will have to start without you.",
    "The museum keeps more than ten thousand paintings in its cellar.",
    "A good map shows the heights of hills as well as the roads.",
    "They lost the first game, and won the next three.",
    "The doctor told him to drink more water and to sleep longer.",
    "Many birds fly south in autumn, when the days become shorter.",
    "The old bridge is closed, so that the bus takes another way.",
)
"""Plain sentences of many subjects, on which an autoencoder is tried."""


def variance_explained(
    model: PublishedSAE, language_model: Any, tokenizer: Any, split_points: Sequence[str], sentences: Sequence[str] = SENTENCES
) -> dict[str, float]:
    """Return the share of the variance of activations that an autoencoder explains at each of several places.

    The first token of each sentence is left out: in many models it holds most of the variance, and no meaning.

    Args:
        model: The autoencoder.
        language_model: The model that is read.
        tokenizer: Its tokenizer.
        split_points: The places.
        sentences: The texts.

    Returns:
        1 − Σ‖x − x̂‖² / Σ‖x − mean‖² by place, at most 1; NaN where the width is another.
    """
    splitter = ModelWithSplitPoints(language_model, list(split_points), tokenizer=tokenizer, truncation=True)
    read: Any = splitter.get_activations(list(sentences), "all_tokens", flatten_activations=False, tqdm_bar=False)
    return {place: _explained(model, torch.cat([rows[1:] for rows in read[place]])) for place in split_points}


def _explained(model: PublishedSAE, rows: Float[Tensor, "n d"]) -> float:
    device = model.atoms.device
    rows = rows.to(device, model.dtype)
    if rows.shape[1] != model.atoms.shape[1]:
        return float("nan")
    with torch.no_grad():
        rebuilt = model.decode(model.encode(rows), rows)
    return 1 - float((rows - rebuilt).square().sum() / (rows - rows.mean(0)).square().sum())
