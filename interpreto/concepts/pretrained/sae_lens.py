"""The layout of SAELens: ``cfg.json`` and ``sae_weights.safetensors``, read and written."""

from __future__ import annotations

from collections.abc import Mapping
from functools import singledispatch
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interpreto.concepts.coders.model import Coder
from interpreto.concepts.concept_model import ConceptModel
from interpreto.concepts.pretrained.files import listed, picked, read_json, read_tensors
from interpreto.concepts.pretrained.model import PublishedSAE, RowNormalizedSAE
from interpreto.concepts.pretrained.published import Published, kept, linear
from interpreto.concepts.saes.architectures import AverageTopK, JumpReLUSAE, TopKSAE, VanillaSAE
from interpreto.concepts.saes.base import EncodedAutoencoder
from interpreto.concepts.saes.gated import GatedSAE
from interpreto.errors import FileError, ModelError

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
VERSION = "6.0.0"
"""The first version of SAELens that has this form of configuration."""
ACTIVATIONS = {"standard": "relu", "jumprelu": "jumprelu", "gated": "gated", "topk": "topk"}
"""Architectures of SAELens, and our names of their activations."""
EXTRA = {"jumprelu": {"threshold": "threshold"}, "gated": {"b_gate": "gate_bias", "r_mag": "log_gain"}}
"""Tensors that an architecture has next to those of all, and our names of them."""
OF_THE_DATA = "expected_average_only_in"
NORMALIZATIONS = {"none": "none", OF_THE_DATA: "none", "layer_norm": "layer_norm", "constant_norm_rescale": "constant_norm"}


def read_sae_lens(folder: Path, factor: float | None) -> Published:
    """Read an autoencoder of SAELens 6, whose configuration has ``metadata``, or of a version before.

    Args:
        folder: Where its two files lie.
        factor: What rows are multiplied by, where the configuration says that they are.

    Raises:
        FileError: the files are damaged, or of an architecture that is not read.
    """
    cfg, path = read_json(folder / CONFIG), folder / WEIGHTS
    metadata = cfg.get("metadata")
    facts = {**cfg, **(metadata if isinstance(metadata, dict) else {})}
    tensors = read_tensors(path)
    architecture, options, normalize = _options(cfg, facts, folder)
    if "scaling_factor" in tensors and not bool((tensors["scaling_factor"] == 1).all()):
        raise FileError(f"`path`: {str(path)!r} has scaling factors other than 1, which a fine-tuning left; none are read.")
    extra, bias = EXTRA.get(architecture, {}), "b_mag" if architecture == "gated" else "b_enc"
    weight, b, atoms, offset, *rest = picked(tensors, ("W_enc", bias, "W_dec", "b_dec", *extra), ("scaling_factor",), path)
    found = Published(
        "SAELens",
        {**linear(weight.T, b, atoms, offset), **dict(zip(extra.values(), rest, strict=True))},
        options,
        facts.get("hook_name", facts.get("hook_point")),
        kept(facts, "model_name", "context_size", "prepend_bos", "dataset_path", "hf_hook_name", "sae_lens_version"),
    )
    if normalize != OF_THE_DATA:
        return found
    if factor is None:
        raise FileError(
            f"`norm_scaling_factor`: {str(folder)!r} was trained on rows multiplied by a factor that its files do not hold; "
            "pass it, as the publisher's list has it."
        )
    return found.scaled(factor)


def _options(cfg: Mapping[str, Any], facts: Mapping[str, Any], folder: Path) -> tuple[str, dict[str, Any], str]:
    """Return the architecture, our options, and the normalization by its name."""
    activation = facts.get("activation_fn", facts.get("activation_fn_str"))
    architecture = "topk" if activation == "topk" else str(cfg.get("architecture", "standard"))
    normalize = facts.get("normalize_activations")
    normalize = {True: OF_THE_DATA, False: "none", None: "none"}.get(normalize, normalize)
    if architecture not in ACTIVATIONS:
        raise FileError(f"`path`: {str(folder)!r} holds a {architecture!r}; read are {listed(ACTIVATIONS)}.")
    if activation not in (None, "relu", "topk"):
        raise FileError(f"`path`: {str(folder)!r} has the activation {activation!r}; read are 'relu' and 'topk'.")
    if normalize not in NORMALIZATIONS:
        raise FileError(f"`path`: {str(folder)!r} normalizes by {normalize!r}; read are {listed(NORMALIZATIONS)}.")
    options: dict[str, Any] = {
        "activation": ACTIVATIONS[architecture],
        "subtracts_bias": bool(cfg.get("apply_b_dec_to_input", True)),
    }
    if architecture == "topk":
        options["k"] = cfg.get("k", (facts.get("activation_fn_kwargs") or {}).get("k"))
        options["by_decoder_norm"] = bool(cfg.get("rescale_acts_by_decoder_norm", False))
    if NORMALIZATIONS[normalize] != "none":
        options["normalization"] = NORMALIZATIONS[normalize]
    if (facts.get("model_from_pretrained_kwargs") or {}).get("center_writing_weights"):
        options["centers_rows"] = True
    return architecture, options, normalize


@singledispatch
def as_sae_lens(model: ConceptModel) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return an autoencoder as SAELens has it: the configuration of its architecture, and its tensors.

    Raises:
        ModelError: SAELens has no such architecture.
    """
    raise ModelError(
        f"A {type(model).__name__} has no place in the layout of SAELens, which holds vanilla, TopK, BatchTopK, JumpReLU and "
        "gated autoencoders, and transcoders; save it in our own."
    )


@as_sae_lens.register
def _ours(model: EncodedAutoencoder) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return one of ours: center and scale become part of the biases, since codes have the unit of the activations."""
    scale = model.scale
    tensors = {
        "W_enc": model.encoder_weight.T,
        "b_enc": scale * model.encoder_bias,
        "W_dec": model.atoms,
        "b_dec": model.mean + scale * model.decoder_bias,
    }
    kind: dict[str, Any]
    if isinstance(model, VanillaSAE):
        kind = {"architecture": "standard"}
    elif isinstance(model, TopKSAE):
        kind = {"architecture": "topk", "k": model.k}
    elif isinstance(model, AverageTopK):
        below = torch.nextafter(scale * model.threshold, torch.zeros_like(scale))  # theirs is to be exceeded, ours reached
        kind, tensors["threshold"] = {"architecture": "jumprelu"}, below.expand(model.nb_concepts)
    elif isinstance(model, GatedSAE):
        tensors["b_mag"] = tensors.pop("b_enc")
        tensors |= {"b_gate": scale * model.gate_bias, "r_mag": model.log_gain}
        kind = {"architecture": "gated"}
    elif isinstance(model, JumpReLUSAE):
        kind, tensors["threshold"] = {"architecture": "jumprelu"}, scale * model.log_threshold.exp()
    else:
        return as_sae_lens.dispatch(ConceptModel)(model)
    return {**kind, "apply_b_dec_to_input": True, "normalize_activations": "none"}, tensors


@as_sae_lens.register
def _transcoder(model: Coder) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return a transcoder of one place, as one of the four kinds that SAELens has."""
    if model.reads != 1 or model.writes != 1 or model.activation == "topk":
        raise ModelError(
            "SAELens has transcoders that read one place and write one, with ReLU or JumpReLU codes, and this is another; save "
            "it in our own layout."
        )
    jumps = model.activation == "jumprelu"
    wiring = model.wiring
    cfg: dict[str, Any] = {
        "architecture": f"{'jumprelu_' * jumps}{'skip_' * model.has_skip}transcoder",
        "apply_b_dec_to_input": False,
        "normalize_activations": "none",
        "d_in": wiring.read_width,
        "d_out": wiring.written_width,
    }
    tensors = {
        "W_enc": model.encoder_weight.T,
        "b_enc": model.encoder_bias,
        "W_dec": model.atoms,
        "b_dec": model.decoder_bias,
        **({"threshold": model.threshold} if jumps else {}),
        **({"W_skip": model.skip} if model.has_skip else {}),
    }
    return cfg, tensors


@as_sae_lens.register
def _published(model: PublishedSAE) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return one that was published, as it was."""
    architecture = next((name for name, ours in ACTIVATIONS.items() if ours == model.activation), None)
    if architecture is None:
        raise ModelError(f"SAELens has no architecture for {model.activation!r}; save it in our own layout.")
    cfg: dict[str, Any] = {
        "architecture": architecture,
        "apply_b_dec_to_input": model.subtracts_bias,
        "normalize_activations": "none",
    }
    if model.k is not None:
        cfg |= {"k": model.k, "rescale_acts_by_decoder_norm": model.by_decoder_norm}
    if isinstance(model, RowNormalizedSAE):
        cfg["normalize_activations"] = next(
            theirs for theirs, ours in NORMALIZATIONS.items() if ours == model.normalization and theirs != OF_THE_DATA
        )
        if model.centers_rows:
            cfg["model_from_pretrained_kwargs"] = {"center_writing_weights": True}
    tensors = {
        "W_enc": model.encoder_weight.T,
        "b_mag" if architecture == "gated" else "b_enc": model.encoder_bias,
        "W_dec": model.atoms,
        "b_dec": model.decoder_bias,
    }
    return cfg, tensors | {theirs: getattr(model, ours) for theirs, ours in EXTRA.get(architecture, {}).items()}
