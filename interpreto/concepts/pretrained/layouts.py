"""Layouts of published autoencoders: what each writer's files hold, told by their names and keys alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interpreto.concepts.pretrained.coders import (
    LAYER_FILE,
    PublishedCoder,
    crosscoder,
    llama_scope_ends,
    read_layer,
    read_layers,
    sae_lens_transcoder,
    transcoder,
)
from interpreto.concepts.pretrained.files import listed, picked, read_json, read_tensors
from interpreto.concepts.pretrained.gemma_scope_2 import read_across_layers
from interpreto.concepts.pretrained.published import Published, kept, linear
from interpreto.concepts.pretrained.sae_lens import CONFIG, read_sae_lens
from interpreto.errors import FileError

LINEAR = ("encoder.weight", "encoder.bias", "decoder.weight")


Found = Published | PublishedCoder
"""An autoencoder, or a transcoder or crosscoder."""


def read_published(path: Path, norm_scaling_factor: float | None = None) -> Found:
    """Read a folder, or a file, in whatever layout it is.

    Args:
        path: The folder of one autoencoder.
        norm_scaling_factor: What rows are multiplied by, where the layout leaves it to others to know.

    Raises:
        FileError: it is in no layout that is known, or damaged; the message lists what was found.
    """
    folder = path if path.is_dir() else path.parent
    if path.is_file() and LAYER_FILE.fullmatch(path.name):
        return read_layer(path).checked(path)
    for has, read in LAYOUTS:
        if all((folder / name).is_file() for name in has):
            return _checked(read(folder, norm_scaling_factor), folder)
    weights = [path] if path.is_file() else sorted(p for p in folder.iterdir() if p.suffix in (".pt", ".pth"))
    if len(weights) == 1 and weights[0].suffix in (".pt", ".pth"):
        return _checked(_goodfire(weights[0]), folder)
    inner = sorted({p.parent for p in folder.rglob("*") if p.name in MARKS and p.parent != folder})
    if inner:
        names = [p.relative_to(folder).as_posix() for p in inner]
        raise FileError(f"`name`: {str(folder)!r} holds {len(names)} autoencoders; pass the name of one: {listed(names)}.")
    found = listed(sorted(p.name for p in folder.iterdir())) or "nothing"
    known = "; ".join(" and ".join(has) for has, _ in LAYOUTS)
    raise FileError(f"`path`: {str(folder)!r} holds {found}, which is no layout that is known: {known}; one .pt file.")


def _sae_lens(folder: Path, factor: float | None) -> Found:
    """Read SAELens: an autoencoder, or one of its four kinds of transcoders."""
    cfg = read_json(folder / CONFIG)
    return sae_lens_transcoder(cfg, folder) if str(cfg.get("architecture")) in TRANSCODERS else read_sae_lens(folder, factor)


TRANSCODERS = tuple(f"{jump}{skip}transcoder" for jump in ("", "jumprelu_") for skip in ("", "skip_"))
"""Architectures of SAELens that read one place and write another."""


def _sparsify(folder: Path, factor: float | None) -> Found:
    """Read EleutherAI's sparsify, whose folders are named by the module that they read."""
    cfg, path = read_json(folder / "cfg.json"), folder / "sae.safetensors"
    if cfg.get("transcode"):
        names = ("encoder.weight", "encoder.bias", "W_dec", "b_dec", *(["W_skip"] if cfg.get("skip_connection") else []))
        weight, bias, atoms, offset, *rest = picked(read_tensors(path), names, (), path)
        named = linear(weight, bias, atoms, offset) | ({"skip": rest[0]} if rest else {})
        if cfg.get("activation", "topk") != "topk":
            raise FileError(f"`path`: {str(folder)!r} is a transcoder with {cfg['activation']!r}; read is 'topk'.")
        ends = f"{folder.name}.input", folder.name
        return transcoder("sparsify", named, *ends, activation="topk", k=cfg.get("k"), facts=kept(cfg, "d_in"))
    if cfg.get("skip_connection"):
        raise FileError(f"`path`: {str(folder)!r} has a skip connection, which only transcoders need.")
    weight, bias, atoms, offset = picked(read_tensors(path), ("encoder.weight", "encoder.bias", "W_dec", "b_dec"), (), path)
    options = {"activation": cfg.get("activation", "topk"), "k": cfg.get("k"), "subtracts_bias": True}
    return Published("sparsify", linear(weight, bias, atoms, offset), options, folder.name, kept(cfg, "d_in", "multi_topk"))


def _dictionary_learning(folder: Path, factor: float | None) -> Found:
    """Read dictionary_learning of Marks and Mueller: its configuration names the class that wrote it."""
    trainer, path = read_json(folder / "config.json").get("trainer", {}), folder / "ae.pt"
    kind = trainer.get("dict_class", "AutoEncoder")
    if kind in CROSSCODERS:
        return crosscoder(read_tensors(path), path, trainer)
    if kind not in OF_DICTIONARY_LEARNING:
        raise FileError(
            f"`path`: {str(folder)!r} holds a {kind!r} of dictionary_learning; read are {listed(OF_DICTIONARY_LEARNING)}."
        )
    names, ignored, activation = OF_DICTIONARY_LEARNING[kind]
    tensors = read_tensors(path)
    found = dict(zip(names, picked(tensors, names, ignored, path), strict=True))
    read = linear(
        found["encoder.weight"] if "encoder.weight" in found else found["W_enc"].T,
        next(found[name] for name in ("encoder.bias", "b_enc", "mag_bias") if name in found),
        found["decoder.weight"].T if "decoder.weight" in found else found["W_dec"],
        next(found[name] for name in ("bias", "b_dec", "decoder_bias", "decoder.bias") if name in found),
    )
    if kind == "AutoEncoder":  # its own reader brings the atoms to norm 1, and the codes with them
        norms = read["atoms"].norm(dim=1)
        read["encoder_weight"] = read["encoder_weight"] * norms[:, None]
        read |= {"encoder_bias": read["encoder_bias"] * norms, "atoms": read["atoms"] / norms[:, None]}
    options: dict[str, Any] = {"activation": activation, "subtracts_bias": kind not in BIAS_KEPT}
    if activation == "jumprelu":
        read["threshold"] = found["threshold"] if "threshold" in found else _spread(tensors, read["encoder_bias"], path)
    elif activation == "gated":
        read |= {"gate_bias": found["gate_bias"], "log_gain": found["r_mag"]}
    elif activation == "topk":
        options["k"] = int(tensors["k"] if "k" in tensors else trainer.get("k", 0))
    place = trainer.get("submodule_name") or trainer.get("layer")
    layer = re.fullmatch(r"(?:resid_post_layer_)?(\d+)", str(place))
    hook = f"blocks.{layer[1]}.hook_resid_post" if layer else place
    return Published("dictionary_learning", read, options, hook, kept(trainer, "lm_name", "context_length"))


CROSSCODERS = ("CrossCoder", "BatchTopKCrossCoder")


def _hub_crosscoder(folder: Path, factor: float | None) -> Found:
    """Read a crosscoder as the hub has it."""
    cfg, path = read_json(folder / "config.json"), folder / "model.safetensors"
    if cfg.get("dict_class", CROSSCODERS[0]) not in CROSSCODERS or "num_layers" not in cfg:
        raise FileError(f"`path`: {str(folder)!r} holds no crosscoder of dictionary_learning.")
    return crosscoder(read_tensors(path), path, cfg)


LINEAR_TOPK = (*LINEAR, "b_dec"), ("k", "threshold")
OF_DICTIONARY_LEARNING: dict[str, tuple[tuple[str, ...], tuple[str, ...], str]] = {
    "AutoEncoder": ((*LINEAR, "bias"), (), "relu"),
    "AutoEncoderNew": ((*LINEAR, "decoder.bias"), (), "relu"),
    "AutoEncoderTopK": (*LINEAR_TOPK, "topk"),
    "BatchTopKSAE": (*LINEAR_TOPK, "jumprelu"),
    "GatedAutoEncoder": (("encoder.weight", "decoder.weight", "decoder_bias", "gate_bias", "mag_bias", "r_mag"), (), "gated"),
    "JumpReluAutoEncoder": (("W_enc", "b_enc", "W_dec", "b_dec", "threshold"), (), "jumprelu"),
    "MatryoshkaBatchTopKSAE": (
        ("W_enc", "b_enc", "W_dec", "b_dec"),
        ("k", "threshold", "active_groups", "group_sizes"),
        "jumprelu",
    ),
}
"""Class of dictionary_learning: the tensors that it has, those that it may have as well, and its activation."""
BIAS_KEPT = ("AutoEncoderNew", "JumpReluAutoEncoder")
"""Those that do not subtract the decoder's bias from a row."""


def _gemma_scope(folder: Path, factor: float | None) -> Found:
    """Read Gemma Scope: ``layer_20/width_16k/average_l0_71/params.npz``; the site is in the repository's name."""
    path = folder / "params.npz"
    weight, bias, atoms, offset, threshold = picked(
        read_tensors(path), ("W_enc", "b_enc", "W_dec", "b_dec", "threshold"), (), path
    )
    place, layer = folder.resolve().as_posix(), re.search(r"layer_(\d+)", folder.resolve().as_posix())
    if "transcoder" in place:
        named = {**linear(weight.T, bias, atoms, offset), "threshold": threshold}
        ends = (f"blocks.{layer[1]}.ln2.hook_normalized", f"blocks.{layer[1]}.hook_mlp_out") if layer else (None, None)
        return transcoder("Gemma Scope", named, *ends, facts={"prepend_bos": True})
    sites = {"-att": "attn.hook_z", "-mlp": "hook_mlp_out", "-res": "hook_resid_post"}
    named = [site for mark, site in sites.items() if re.search(rf"{mark}\b", place)]
    hook = f"blocks.{layer[1]}.{named[0] if named else 'hook_resid_post'}" if layer else None
    found = {**linear(weight.T, bias, atoms, offset), "threshold": threshold}
    return Published("Gemma Scope", found, {"activation": "jumprelu"}, hook, {"prepend_bos": True})


def _gemma_scope_2(folder: Path, factor: float | None) -> Found:
    """Read Gemma Scope 2: lower-case names; its configuration names modules of transformers."""
    path, config = folder / "params.safetensors", folder / "config.json"
    cfg = read_json(config) if config.is_file() else {}
    tensors, skip = read_tensors(path), "affine_skip_connection"
    names = ("w_enc", "b_enc", "w_dec", "b_dec", "threshold", *([skip] if skip in tensors else []))
    weight, bias, atoms, offset, threshold, *rest = picked(tensors, names, (), path)
    found = {**linear(weight.T, bias, atoms, offset), "threshold": threshold}
    facts = {"prepend_bos": True, **kept(cfg, "model_name", "l0", "width")}
    ends = cfg.get("hf_hook_point_in"), cfg.get("hf_hook_point_out", cfg.get("hf_hook_point_in"))
    if cfg.get("type", "sae") != "sae" or rest or ends[0] != ends[1]:
        if atoms.ndim != 2:
            raise FileError(
                f"`path`: {str(folder)!r} holds one layer of a cross-layer transcoder, whose layers are needed together: "
                "params_layer_0.safetensors and those after it."
            )
        named = found | ({"skip": rest[0].T} if rest else {})
        return transcoder("Gemma Scope 2", named, *ends, facts=facts)
    return Published("Gemma Scope 2", found, {"activation": "jumprelu"}, cfg.get("hf_hook_point_in"), facts)


def _llama_scope(folder: Path, factor: float | None) -> Found:
    """Read Llama Scope, as its writer loads it: for rows as they are, with atoms of norm 1 and one threshold for all.

    While it is trained, rows are multiplied by √d over their mean norm. The weights lie in the file as they were trained, the
    threshold does not: it is compared with codes of atoms of norm 1 that have the unit of what is written. In the published
    files it is about twice the mean norm over √d at all layers, of transcoders the norm of what is written.
    """
    cfg, path = read_json(folder / "hyperparams.json"), folder / "checkpoints" / "final.safetensors"
    weight, bias, decoder, offset = picked(read_tensors(path), (*LINEAR, "decoder.bias"), (), path)
    inner, outer = llama_scope_ends(cfg, weight.shape[1], decoder.shape[0], factor)
    atoms = decoder.T * (inner / outer)
    norms = atoms.norm(dim=1) if cfg.get("sparsity_include_decoder_norm", True) else torch.ones_like(bias)
    found = linear(weight * norms[:, None], bias / inner * norms, atoms / norms[:, None], offset / outer)
    threshold, kind = float(cfg.get("jump_relu_threshold", 0.0)), cfg.get("act_fn", "jumprelu")
    if kind == "topk" and threshold > 0:
        kind = "jumprelu"  # as its writer has it, so that codes do not depend on each other
    k = cfg.get("top_k") if kind == "topk" else None
    if kind == "jumprelu":
        found["threshold"] = torch.full_like(bias, threshold)
    ends, facts = (cfg.get("hook_point_in"), cfg.get("hook_point_out", cfg.get("hook_point_in"))), {"prepend_bos": True}
    if cfg.get("norm_activation", "dataset-wise") not in ("dataset-wise", "inference"):
        raise FileError(f"`path`: {str(folder)!r} normalizes by {cfg['norm_activation']!r}; read is 'dataset-wise'.")
    if ends[0] != ends[1]:
        return transcoder("Llama Scope", found, *ends, activation=kind, k=k, facts=facts)
    options = {"activation": kind, "subtracts_bias": bool(cfg.get("apply_decoder_bias_to_pre_encoder", False))}
    return Published("Llama Scope", found, options | ({} if k is None else {"k": k}), ends[0], facts)


def _goodfire(path: Path) -> Published:
    """Read Goodfire: one file of torch's, without a configuration."""
    names = ("encoder_linear.weight", "encoder_linear.bias", "decoder_linear.weight", "decoder_linear.bias")
    weight, bias, decoder, offset = picked(read_tensors(path), names, (), path)
    layer = re.search(r"-l(?:ayer-)?(\d+)", path.resolve().as_posix(), re.IGNORECASE)
    hook = f"blocks.{layer[1]}.hook_resid_post" if layer else None
    return Published("Goodfire", linear(weight, bias, decoder.T, offset), {}, hook, {"prepend_bos": True})


LAYOUTS: tuple[tuple[tuple[str, ...], Callable[[Path, float | None], Found]], ...] = (
    (("cfg.json", "sae_weights.safetensors"), _sae_lens),
    (("cfg.json", "sae.safetensors"), _sparsify),
    (("config.json", "ae.pt"), _dictionary_learning),
    (("params.npz",), _gemma_scope),
    (("params.safetensors",), _gemma_scope_2),
    (("params_layer_0.safetensors",), read_across_layers),
    (("hyperparams.json", "checkpoints/final.safetensors"), _llama_scope),
    (("W_enc_0.safetensors", "W_dec_0.safetensors"), read_layers),
    (("config.json", "model.safetensors"), _hub_crosscoder),
)
"""Files by which a layout is known, and its reader."""
MARKS = {names[-1].rpartition("/")[2] for names, _ in LAYOUTS} - {"model.safetensors"}
"""File names that only folders of autoencoders hold."""


def _spread(tensors: Mapping[str, Tensor], like: Tensor, path: Path) -> Tensor:
    """Return one threshold for all concepts as one for each."""
    (threshold,) = picked({name: t for name, t in tensors.items() if name == "threshold"}, ("threshold",), (), path)
    if bool((threshold < 0).any()):
        raise FileError(f"`path`: {str(path)!r} has no threshold yet: it was written before its training set one.")
    return threshold.expand_as(like).clone()


def _checked(published: Found, folder: Path) -> Found:
    """Return an autoencoder whose tensors have the shapes of one.

    Raises:
        FileError: they do not.
    """
    if isinstance(published, PublishedCoder):
        return published.checked(folder)
    tensors = published.tensors
    atoms = tensors["atoms"]
    c, d = atoms.shape if atoms.ndim == 2 else (0, 0)
    sizes = {"encoder_weight": (c, d), "atoms": (c, d), "decoder_bias": (d,)}
    wrong = [f"{name} {tuple(t.shape)}" for name, t in tensors.items() if tuple(t.shape) != sizes.get(name, (c,))]
    if wrong or not c:
        raise FileError(
            f"`path`: {str(folder)!r} does not hold an autoencoder of one place: {', '.join(wrong) or tuple(atoms.shape)}, "
            f"next to atoms {tuple(atoms.shape)}."
        )
    made = {name: tensor.contiguous() for name, tensor in tensors.items()}
    return Published(published.layout, made, published.options, published.hook, published.facts)
