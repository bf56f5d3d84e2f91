"""Read the cross-layer transcoders of Gemma Scope 2: a file for each layer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interpreto.concepts.pretrained.coders import PublishedCoder
from interpreto.concepts.pretrained.files import picked, read_json, read_tensors
from interpreto.concepts.pretrained.published import kept
from interpreto.errors import FileError

LAYER = "params_layer_{}.safetensors"
ENDS = "model.layers.0.pre_feedforward_layernorm.output", "model.layers.0.post_feedforward_layernorm.output"
"""Where the transcoders of Gemma Scope 2 read and write, for files that do not say it of all layers."""
SKIP = "affine_skip_connection"


def read_across_layers(folder: Path, factor: float | None) -> PublishedCoder:
    """Read a cross-layer transcoder of Gemma Scope 2.

    The file of a layer holds the encoder of its concepts and what they write at all layers, ``(f, layers, d)``, by the number
    of the layer that is written. What they would write at earlier layers is left out, as circuit-tracer leaves it out: a
    concept cannot act before it is read.

    Raises:
        FileError: a layer is missing or damaged, or it is a crosscoder.
    """
    count, config = len(list(folder.glob(LAYER.format("*")))), folder / "config.json"
    cfg = read_json(config) if config.is_file() else {}
    ends = [str(cfg.get(f"hf_hook_point_{side}") or end) for side, end in zip(("in", "out"), ENDS, strict=True)]
    if "crosscoder" in (str(cfg.get("type")), folder.parent.name) or ends[0] == ends[1]:
        raise FileError(
            f"`path`: {str(folder)!r} holds a crosscoder of Gemma Scope 2, each of whose layers has concepts of its own that "
            "write at all; read are its autoencoders, transcoders and cross-layer transcoders."
        )
    layers = [_layer(folder / LAYER.format(i), i, count) for i in range(count)]
    if len({frozenset(layer) for layer in layers}) > 1:
        raise FileError(f"`path`: of {str(folder)!r}, only some layers have a skip connection.")
    tensors = {name: torch.cat([layer[name] for layer in layers]) for name in layers[0]}
    width = len(layers[0]["decoder_bias"])
    reads, writes = (tuple(_of_layer(end, i) for i in range(count)) for end in ends)
    facts: dict[str, Any] = {"prepend_bos": True, **kept(cfg, "model_name", "l0", "width")}
    kind, options = "cross-layer transcoder", {"activation": "jumprelu"}
    return PublishedCoder("Gemma Scope 2", kind, tensors, (width,) * 2 * count, options, reads, writes, facts)


def _layer(path: Path, number: int, count: int) -> dict[str, Tensor]:
    """Return the tensors of one layer by our names."""
    if not path.is_file():
        raise FileError(f"`path`: {str(path.parent)!r} has {count} files of layers, and {path.name!r} is not among them.")
    tensors = read_tensors(path)
    names = ("w_enc", "b_enc", "w_dec", "b_dec", "threshold", *([SKIP] if SKIP in tensors else []))
    weight, bias, decoder, offset, threshold, *rest = picked(tensors, names, (), path)
    if decoder.ndim != 3 or decoder.shape[1] != count:
        raise FileError(f"`path`: {str(path)!r} writes {tuple(decoder.shape)}, and there are files of {count} layers.")
    decoder = decoder.clone()
    decoder[:, :number] = 0
    found = {"encoder_weight": weight.T, "encoder_bias": bias, "atoms": decoder.flatten(1), "decoder_bias": offset}
    return {**found, "threshold": threshold, **({"skip": rest[0].T} if rest else {})}


def _of_layer(hook: str, number: int) -> str:
    """Return a hook of some layer, or of any ("layers.{i}", "layers.*"), as that of another."""
    return re.sub(r"(?<=layers\.)[^.]+", str(number), hook, count=1)
