"""Read published transcoders and crosscoders: places that are read, places that are written, and their tensors."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from torch import Tensor

from interpreto.concepts.coders.base import CoderConcepts
from interpreto.concepts.coders.crosscoder import CrosscoderConcepts
from interpreto.concepts.coders.transcoders import CrossLayerTranscoderConcepts, TranscoderConcepts
from interpreto.concepts.pretrained.files import picked, read_tensors
from interpreto.concepts.pretrained.published import kept
from interpreto.concepts.pretrained.sae_lens import WEIGHTS
from interpreto.errors import FileError

Kind = Literal["transcoder", "cross-layer transcoder", "crosscoder"]
INPUT_HOOK, OUTPUT_HOOK = "hook_resid_mid", "hook_mlp_out"
"""Places of circuit-tracer's transcoders, where a folder has no configuration."""
LAYER_FILE = re.compile(r"layer_(\d+)\.safetensors")
NORMALIZED = ("activation_mean", "activation_std", "activation_global_scale", "target_rms")
"""Buffers of crosscoders that normalize activations, or might."""
SUM_OF_NORMS = 1
"""Number of dictionary_learning's normalization of codes by the sum of the norms of a concept's directions."""
NO_NORM, NORM = 4, 2
"""Numbers of its codes as they are, and by the norm of all directions together."""


@dataclass(frozen=True)
class PublishedCoder:
    """A published transcoder or crosscoder, whoever wrote it.

    Attributes:
        layout: Name of the writer's layout.
        kind: What it is.
        tensors: Tensors of `Coder`.
        widths: Width of each place that is read, and of each other one that is written.
        options: Activation and ``k``.
        reads: Hooks of the places that are read, by the writer's names; empty where the files do not say.
        writes: Hooks of the places that are written.
        facts: What else the files say.
    """

    layout: str
    kind: Kind
    tensors: Mapping[str, Tensor]
    widths: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def nb_concepts(self) -> int:
        """Return the number of concepts."""
        return len(self.tensors["encoder_bias"])

    def explainer(self, splitter: Any, read: Sequence[str], written: Sequence[str]) -> CoderConcepts:
        """Return it as concepts, at places of a model."""
        hooks = {"reads": list(self.reads), "writes": list(self.writes)} if self.reads else {}
        published = {"layout": self.layout, "kind": self.kind, **hooks, **self.facts}
        options: dict[str, Any] = {**self.options, "published": published}
        made: CoderConcepts
        if self.kind == "transcoder":
            point, target = (read[0], written[0]) if read else (None, None)
            skip = "skip" in self.tensors
            made = TranscoderConcepts(splitter, self.nb_concepts, point, writes_to=target, skip=skip, **options)
        elif self.kind == "crosscoder":
            made = CrosscoderConcepts(splitter, self.nb_concepts, list(read) or None, places=len(self.widths), **options)
        else:
            count = len(self.widths) // 2
            places = {"writes_to": list(written)} if written else {"layers": count}
            options["skip"] = "skip" in self.tensors
            made = CrossLayerTranscoderConcepts(splitter, self.nb_concepts, list(read) or None, **places, **options)
        made.concept_model.take(
            {**{name: tensor.clone() for name, tensor in self.tensors.items()}, "units": torch.ones(self._written())},
            torch.tensor(self.widths),
        )
        return made

    def checked(self, folder: Path) -> PublishedCoder:
        """Return it, if its tensors have the shapes of one.

        Raises:
            FileError: they do not.
        """
        count = self._written()
        read, write = self.widths[: len(self.widths) - count] or self.widths, self.widths[-count:]
        c, o = self.nb_concepts, sum(write)
        own = read[0] if self.kind == "cross-layer transcoder" else sum(read)
        sizes = {"encoder_weight": (c, own), "atoms": (c, o), "decoder_bias": (o,), "skip": (o, own)}
        wrong = [f"{name} {tuple(t.shape)}" for name, t in self.tensors.items() if tuple(t.shape) != sizes.get(name, (c,))]
        if wrong or not c:
            raise FileError(f"`path`: {str(folder)!r} does not hold a {self.kind} of widths {self.widths}: {', '.join(wrong)}.")
        return self

    def _written(self) -> int:
        """Return the number of places that are written."""
        count = len(self.widths)
        return count if self.kind == "crosscoder" else count // 2


def transcoder(
    layout: str,
    named: Mapping[str, Tensor],
    reads: str | None,
    writes: str | None,
    *,
    activation: str = "jumprelu",
    k: int | None = None,
    facts: Mapping[str, Any] | None = None,
) -> PublishedCoder:
    """Return a transcoder of tensors by our names."""
    options = {"activation": activation, **({"k": k} if activation == "topk" else {})}
    widths = int(named["encoder_weight"].shape[-1]), int(named["atoms"].shape[-1])
    ends = ((reads,), (writes,)) if reads and writes else ((), ())
    return PublishedCoder(layout, "transcoder", named, widths, options, *ends, dict(facts or {}))


def sae_lens_transcoder(cfg: Mapping[str, Any], folder: Path) -> PublishedCoder:
    """Read a transcoder of SAELens: its weights map what is read to what is written, which may have another width.

    Raises:
        FileError: the files are damaged, or it normalizes what it reads.
    """
    metadata = cfg.get("metadata")
    facts = {**cfg, **(metadata if isinstance(metadata, dict) else {})}
    path, architecture = folder / WEIGHTS, str(cfg["architecture"])
    if facts.get("normalize_activations", "none") not in ("none", None):
        raise FileError(f"`path`: {str(folder)!r} normalizes by {facts['normalize_activations']!r}; read is 'none'.")
    extra = [ours for ours in ("threshold", "skip") if {"threshold": "jumprelu", "skip": "skip"}[ours] in architecture]
    names = [{"threshold": "threshold", "skip": "W_skip"}[ours] for ours in extra]
    weight, bias, atoms, offset, *rest = picked(read_tensors(path), ("W_enc", "b_enc", "W_dec", "b_dec", *names), (), path)
    named = {"encoder_weight": weight.T, "encoder_bias": bias, "atoms": atoms, "decoder_bias": offset}
    named |= dict(zip(extra, rest, strict=True))
    ends = (facts.get(f"hf_{name}") or facts.get(name) for name in ("hook_name", "hook_name_out"))
    activation = "jumprelu" if "threshold" in named else "relu"
    known = kept(facts, "model_name", "context_size", "prepend_bos", "dataset_path", "sae_lens_version")
    return transcoder("SAELens", named, *ends, activation=activation, facts=known)


def read_layers(folder: Path, factor: float | None) -> PublishedCoder:
    """Read a cross-layer transcoder of circuit-tracer: two files for each layer, and hooks in ``config.yaml``.

    Raises:
        FileError: a layer is missing or damaged.
    """
    count = len(list(folder.glob("W_enc_*.safetensors")))
    encoders, atoms, biases, offsets, thresholds, skips = [], [], [], [], [], []
    for i in range(count):
        path = folder / f"W_enc_{i}.safetensors"
        tensors = read_tensors(path)
        extra = [name for name in (f"threshold_{i}", f"W_skip_{i}") if name in tensors]
        weight, bias, offset, *rest = picked(tensors, (f"W_enc_{i}", f"b_enc_{i}", f"b_dec_{i}", *extra), (), path)
        path = folder / f"W_dec_{i}.safetensors"
        (decoder,) = picked(read_tensors(path), (f"W_dec_{i}",), (), path)
        if decoder.ndim != 3 or decoder.shape[1] != count - i:
            raise FileError(f"`path`: {str(path)!r} has shape {tuple(decoder.shape)}; layer {i} of {count} writes {count - i}.")
        encoders.append(weight)
        biases.append(bias)
        offsets.append(offset)
        found = dict(zip(extra, rest, strict=True))
        thresholds += [found[name] for name in extra if name.startswith("threshold")]
        skips += [found[name].T for name in extra if name.startswith("W_skip")]  # they multiply rows from the right
        nothing = decoder.new_zeros(len(decoder), i, decoder.shape[2])
        atoms.append(torch.cat([nothing, decoder], 1).flatten(1))
    named = {
        "encoder_weight": torch.cat(encoders),
        "encoder_bias": torch.cat(biases),
        "atoms": torch.cat(atoms),
        "decoder_bias": torch.cat(offsets),
        **({"threshold": torch.cat(thresholds)} if thresholds else {}),
        **({"skip": torch.cat(skips)} if skips else {}),
    }
    widths = (int(encoders[0].shape[1]),) * count + (int(offsets[0].shape[0]),) * count
    inner, outer, facts = _hooks(folder)
    reads, writes = (tuple(f"blocks.{i}.{hook}" for i in range(count)) for hook in (inner, outer))
    options = {"activation": "jumprelu" if thresholds else "relu"}
    return PublishedCoder("circuit-tracer", "cross-layer transcoder", named, widths, options, reads, writes, facts)


def read_layer(path: Path) -> PublishedCoder:
    """Read a transcoder of one layer of circuit-tracer: ``layer_3.safetensors``, and hooks in ``config.yaml``.

    Raises:
        FileError: the file is damaged.
    """
    tensors, found = read_tensors(path), LAYER_FILE.fullmatch(path.name)
    names = {"threshold": "activation_function.threshold", "skip": "W_skip"}
    extra = {ours: theirs for ours, theirs in names.items() if theirs in tensors}
    weight, bias, atoms, offset, *rest = picked(tensors, ("W_enc", "b_enc", "W_dec", "b_dec", *extra.values()), ("k",), path)
    named = {"encoder_weight": weight, "encoder_bias": bias, "atoms": atoms, "decoder_bias": offset}
    named |= {name: tensor.reshape(-1) if name == "threshold" else tensor for name, tensor in zip(extra, rest, strict=True)}
    inner, outer, facts = _hooks(path.parent)
    start = f"blocks.{found[1] if found else 0}"
    k = int(tensors["k"]) if "k" in tensors else None
    activation = "jumprelu" if "threshold" in named else "relu" if k is None else "topk"
    ends = f"{start}.{inner}", f"{start}.{outer}"
    return transcoder("circuit-tracer", named, *ends, activation=activation, k=k, facts=facts)


def crosscoder(tensors: Mapping[str, Tensor], path: Path, facts: Mapping[str, Any]) -> PublishedCoder:
    """Read a crosscoder of the fork of dictionary_learning that trains them, with or without BatchTopK.

    Raises:
        FileError: it is damaged, or normalizes activations by numbers of its own.
    """
    mean = tensors.get("activation_mean")
    if mean is not None and not bool(mean.isnan().any()):
        raise FileError(f"`path`: {str(path)!r} normalizes activations by itself, which is not read.")
    ignored = (*NORMALIZED, "code_normalization_id", "k", "threshold")
    weight, bias, decoder, offset = picked(
        tensors, ("encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias"), ignored, path
    )
    named = {
        "encoder_weight": weight.permute(2, 0, 1).flatten(1),
        "encoder_bias": bias,
        "atoms": decoder.permute(1, 0, 2).flatten(1),
        "decoder_bias": offset.flatten(),
    }
    options: dict[str, Any] = {"activation": "relu"}
    if "threshold" in tensors:
        norms = _code_norms(decoder, int(tensors.get("code_normalization_id", torch.tensor(SUM_OF_NORMS))), path)
        (threshold,) = picked({"threshold": tensors["threshold"]}, ("threshold",), (), path)
        if threshold.numel() != 1 or float(threshold) < 0:
            raise FileError(f"`path`: {str(path)!r} has no threshold for all concepts: it was not trained to its end.")
        named["threshold"] = threshold / norms
        options["activation"] = "jumprelu"
    widths = (int(weight.shape[1]),) * len(weight)
    known = kept(facts, "lm_name", "layer", "activation_dim")
    return PublishedCoder("dictionary_learning", "crosscoder", named, widths, options, facts=known)


def llama_scope_ends(cfg: Mapping[str, Any], width: int, out_width: int, factor: float | None) -> tuple[float, float]:
    """Return what rows that are read, and those that are written, are multiplied by: √d over their mean norm."""
    norms = cfg.get("dataset_average_activation_norm") or {}
    if factor is not None:
        return factor, factor
    if cfg.get("norm_activation", "dataset-wise") != "dataset-wise" or "in" not in norms:
        return 1.0, 1.0
    return math.sqrt(width) / float(norms["in"]), math.sqrt(out_width) / float(norms.get("out", norms["in"]))


def _code_norms(decoder: Tensor, number: int, path: Path) -> Tensor:
    """Return what dictionary_learning multiplies codes by before it compares them with the threshold."""
    if number == SUM_OF_NORMS:
        return decoder.norm(dim=2).sum(0)
    if number == NORM:
        return decoder.norm(dim=(0, 2))
    if number == NO_NORM:
        return decoder.new_ones(decoder.shape[1])
    raise FileError(f"`path`: {str(path)!r} normalizes codes in way {number}, which is not read.")


def _hooks(folder: Path) -> tuple[str, str, dict[str, Any]]:
    """Return the hooks and the facts of a folder of circuit-tracer."""
    path = folder / "config.yaml"
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise FileError(f"`path`: {str(path)!r} cannot be read as YAML ({error}).") from error
    cfg = found if isinstance(found, dict) else {}
    facts = kept(cfg, "model_name", "scan")
    return str(cfg.get("feature_input_hook", INPUT_HOOK)), str(cfg.get("feature_output_hook", OUTPUT_HOOK)), facts
