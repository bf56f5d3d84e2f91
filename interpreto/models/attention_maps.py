"""The attention of all layers and heads for one sample, in memory: for views of single texts."""

from __future__ import annotations

from typing import Any

import torch

from interpreto.inputs.samples import Sample
from interpreto.models.attention import AttentionMap, AttentionReader, Kind, check_sizes
from interpreto.models.forward import Batch
from interpreto.models.watching import watching


def attention_maps(model: Any, sample: Sample) -> list[AttentionMap]:
    """Return the attention of every layer for a sample, as it is run without its targets' suffixes.

    Args:
        model: A `HuggingFaceModel`.
        sample: The sample; an encoder-decoder's holds what both read.

    Raises:
        ModelError: the model has no attention that can be read, or none that joins the tokens of the sample.
    """
    forward, ids = model.forward, sample.input_ids[None]
    batch = Batch(
        ids=ids,
        lengths=torch.tensor([len(sample)]),
        visible=torch.ones_like(ids).bool(),
        extras={name: value[None] for name, value in sample.inputs.items()},
        positions=torch.tensor([[len(sample) - 1]]) if sample.prompt is not None or sample.source else None,
        sources=torch.tensor([sample.source]) if sample.source else None,
    )
    reader = AttentionReader(forward.model, 1)
    with model.session(), forward.padding(set(sample.input_ids.tolist())), torch.no_grad(), watching(forward.model, reader):
        forward(batch)
    own, source = forward.attending(batch) - sample.source, sample.source
    sizes: dict[Kind, tuple[int, int]] = {"self": (own, own), "encoder": (source, source), "cross": (own, source)}
    for layer in (maps := reader.checked()):
        check_sizes(layer, sizes, forward.model)
    return maps
