"""Published autoencoders as their writers lay them out, each with its codes and reconstructions in float64."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

C, D, K = 12, 6, 3
Reference = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def drawn(seed: int = 0) -> dict[str, np.ndarray]:
    """Draw weights of an autoencoder: float32 numbers, so that every file holds them exactly."""
    rng = np.random.default_rng(seed)
    shapes = {"W": (C, D), "e": (C,), "A": (C, D), "b": (D,), "t": (C,), "g": (C,), "r": (C,)}
    found = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return found | {"t": np.abs(found["t"]), "r": 0.3 * found["r"]}


def rows(n: int = 64, seed: int = 1) -> torch.Tensor:
    """Draw rows with a mean and a size of their own each."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(
        (rng.normal(size=(n, D)) * rng.uniform(0.5, 3, (n, 1)) + rng.normal(size=(n, 1))).astype(np.float32)
    )


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def largest(x: np.ndarray, k: int) -> np.ndarray:
    """Keep the k largest numbers of each row, where positive."""
    order = np.argsort(-x, axis=1)[:, :k]
    kept = np.zeros_like(x)
    np.put_along_axis(kept, order, relu(np.take_along_axis(x, order, 1)), 1)
    return kept


def plain(w: dict[str, np.ndarray], subtract: bool, codes: Callable[[np.ndarray], np.ndarray]) -> Reference:
    """Return codes and reconstructions of a linear encoder with an activation."""
    w = {name: value.astype(np.float64) for name, value in w.items()}

    def run(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        z = codes((x - w["b"] * subtract) @ w["W"].T + w["e"])
        return z, z @ w["A"] + w["b"]

    return run


def jump(w: dict[str, np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda p: relu(p) * (p > w["t"].astype(np.float64))


def gated(w: dict[str, np.ndarray], subtract: bool) -> Reference:
    w = {name: value.astype(np.float64) for name, value in w.items()}

    def run(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        s = (x - w["b"] * subtract) @ w["W"].T
        z = (s + w["g"] > 0) * relu(np.exp(w["r"]) * s + w["e"])
        return z, z @ w["A"] + w["b"]

    return run


def tensors(**named: np.ndarray) -> dict[str, torch.Tensor]:
    return {name.replace("__", "."): torch.from_numpy(np.ascontiguousarray(value)) for name, value in named.items()}


def sae_lens(folder: Path, architecture: str = "standard", old: bool = False, **options: Any) -> Reference:
    """Write a folder of SAELens, of version 6 or of one before."""
    w = drawn()
    named = {"W_enc": w["W"].T, "W_dec": w["A"], "b_dec": w["b"]}
    named["b_mag" if architecture == "gated" else "b_enc"] = w["e"]
    named |= {"jumprelu": {"threshold": w["t"]}, "gated": {"b_gate": w["g"], "r_mag": w["r"]}}.get(architecture, {})
    cfg: dict[str, Any] = {"d_in": D, "d_sae": C, "dtype": "float32", **options}
    if old:
        cfg |= {"hook_point": "blocks.1.hook_resid_post", "activation_fn_str": "relu", "normalize_activations": False}
        cfg |= {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}} if architecture == "topk" else {}
        cfg |= {} if architecture in ("topk", "standard") else {"architecture": architecture}
        named["scaling_factor"] = np.ones(C, np.float32)
    else:
        cfg["metadata"] = {"hook_name": "blocks.1.hook_resid_post", "sae_lens_version": "6.54.12", "model_name": "m"}
        cfg |= {"architecture": architecture, **({"k": K} if architecture == "topk" else {})}
    (folder / "cfg.json").write_text(json.dumps(cfg))
    save_file(tensors(**named), folder / "sae_weights.safetensors")
    subtract = options.get("apply_b_dec_to_input", True)
    if architecture == "gated":
        return gated(w, subtract)
    if options.get("rescale_acts_by_decoder_norm"):
        norms = np.linalg.norm(w["A"].astype(np.float64), axis=1)
        scaled = plain({**w, "A": w["A"] / norms[:, None]}, subtract, lambda p: largest(p * norms, K))
        return scaled
    codes = {"standard": relu, "topk": lambda p: largest(p, K), "jumprelu": jump(w)}[architecture]
    return plain(w, subtract, codes)


def gemma_scope(folder: Path) -> Reference:
    w = drawn()
    np.savez(folder / "params.npz", W_enc=w["W"].T, W_dec=w["A"], b_enc=w["e"], b_dec=w["b"], threshold=w["t"])
    return plain(w, False, jump(w))


def gemma_scope_2(folder: Path) -> Reference:
    w = drawn()
    cfg = {"hf_hook_point_in": "model.layers.1.output", "model_name": "m", "architecture": "jump_relu", "l0": 7, "type": "sae"}
    (folder / "config.json").write_text(json.dumps(cfg))
    named = tensors(w_enc=w["W"].T, w_dec=w["A"], b_enc=w["e"], b_dec=w["b"], threshold=w["t"])
    save_file(named, folder / "params.safetensors")
    return plain(w, False, jump(w))


def sparsify(folder: Path, activation: str = "topk") -> Reference:
    w = drawn()
    (folder / "cfg.json").write_text(json.dumps({"activation": activation, "k": K, "d_in": D, "transcode": False}))
    save_file(tensors(encoder__weight=w["W"], encoder__bias=w["e"], W_dec=w["A"], b_dec=w["b"]), folder / "sae.safetensors")

    def groups(p: np.ndarray) -> np.ndarray:
        parts = relu(p).reshape(len(p), K, C // K)
        return (parts * (parts == parts.max(2, keepdims=True))).reshape(len(p), C)

    return plain(w, True, groups if activation == "groupmax" else lambda p: largest(p, K))


def dictionary_learning(folder: Path, kind: str) -> Reference:
    """Write a folder of dictionary_learning, of one of its classes."""
    w = drawn()
    trainer = {"dict_class": kind, "layer": 1, "lm_name": "m"}
    (folder / "config.json").write_text(json.dumps({"trainer": trainer}))
    two = {"encoder__weight": w["W"], "encoder__bias": w["e"], "decoder__weight": w["A"].T}
    flat = {"W_enc": w["W"].T, "b_enc": w["e"], "W_dec": w["A"], "b_dec": w["b"]}
    count, one = np.array(K, np.int32), np.array(0.7, np.float32)
    above = plain({**w, "t": np.full(C, 0.7, np.float32)}, True, lambda p: relu(p) * (p > np.float64(one)))
    named, reference = {
        "AutoEncoder": (two | {"bias": w["b"]}, _of_unit_atoms(w)),
        "AutoEncoderNew": (two | {"decoder__bias": w["b"]}, plain(w, False, relu)),
        "AutoEncoderTopK": (
            two | {"b_dec": w["b"], "k": count, "threshold": -one},
            plain(w, True, lambda p: largest(p, K)),
        ),
        "BatchTopKSAE": (two | {"b_dec": w["b"], "k": count, "threshold": one}, above),
        "MatryoshkaBatchTopKSAE": (flat | {"k": count, "threshold": one, "group_sizes": np.array([4, 8])}, above),
        "JumpReluAutoEncoder": (flat | {"threshold": w["t"]}, plain(w, False, jump(w))),
        "GatedAutoEncoder": (
            {
                "encoder__weight": w["W"],
                "decoder__weight": w["A"].T,
                "decoder_bias": w["b"],
                "gate_bias": w["g"],
                "mag_bias": w["e"],
                "r_mag": w["r"],
            },
            gated(w, True),
        ),
    }[kind]
    torch.save(tensors(**named), folder / "ae.pt")
    return reference


def _of_unit_atoms(w: dict[str, np.ndarray]) -> Reference:
    norms = np.linalg.norm(w["A"].astype(np.float64), axis=1)
    scaled = {"W": w["W"] * norms[:, None], "e": w["e"] * norms, "A": w["A"] / norms[:, None]}
    return plain({**w, **scaled}, True, relu)


def llama_scope(folder: Path) -> Reference:
    """Write a folder of Llama Scope, of a residual stream."""
    return write_llama_scope(folder, {"in": 4.0, "out": 4.0}, 1.5, {"hook_point_in": "blocks.1.hook_resid_post"})


def write_llama_scope(folder: Path, norms: dict[str, float], threshold: float, more: dict[str, Any]) -> Reference:
    """Write a folder of Llama Scope.

    Rows are multiplied by √d over their mean norm, and what is decoded is divided by its own. A concept is there where it adds
    more than the threshold to the activations, by atoms of norm 1.
    """
    w = drawn()
    cfg = {"d_model": D, "dataset_average_activation_norm": norms, "jump_relu_threshold": threshold, "act_fn": "jumprelu"}
    cfg |= {"norm_activation": "dataset-wise", "sparsity_include_decoder_norm": True, "top_k": 50}
    (folder / "hyperparams.json").write_text(json.dumps({**cfg, **more}))
    (folder / "checkpoints").mkdir()
    named = tensors(encoder__weight=w["W"], encoder__bias=w["e"], decoder__weight=w["A"].T, decoder__bias=w["b"])
    save_file(named, folder / "checkpoints" / "final.safetensors")
    w = {name: value.astype(np.float64) for name, value in w.items()}
    inner, outer = np.sqrt(D) / norms["in"], np.sqrt(D) / norms["out"]
    lengths = np.linalg.norm(w["A"], axis=1) / outer  # of what one unit of a trained code adds to the activations

    def run(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        trained = (x * inner) @ w["W"].T + w["e"]
        trained = trained * (trained * lengths > threshold)
        return trained * lengths, (trained @ w["A"] + w["b"]) / outer

    return run


def goodfire(folder: Path) -> Reference:
    w = drawn()
    named = {"encoder_linear__weight": w["W"], "encoder_linear__bias": w["e"], "decoder_linear__weight": w["A"].T}
    torch.save(tensors(**named, decoder_linear__bias=w["b"]), folder / "model-l19.pt")
    return plain(w, False, relu)


LAYOUTS: dict[str, Callable[[Path], Reference]] = {
    **{
        f"SAELens {age} {architecture}": lambda folder, a=architecture, old=old: sae_lens(folder, a, old)
        for age, old in (("6", False), ("5", True))
        for architecture in ("standard", "topk", "jumprelu", "gated")
    },
    "SAELens without bias": lambda folder: sae_lens(folder, apply_b_dec_to_input=False),
    "SAELens topk by norms": lambda folder: sae_lens(folder, "topk", rescale_acts_by_decoder_norm=True),
    "Gemma Scope": gemma_scope,
    "Gemma Scope 2": gemma_scope_2,
    "sparsify": sparsify,
    "sparsify groupmax": lambda folder: sparsify(folder, "groupmax"),
    **{
        f"dictionary_learning {kind}": lambda folder, kind=kind: dictionary_learning(folder, kind)
        for kind in (
            "AutoEncoder",
            "AutoEncoderNew",
            "AutoEncoderTopK",
            "BatchTopKSAE",
            "MatryoshkaBatchTopKSAE",
            "JumpReluAutoEncoder",
            "GatedAutoEncoder",
        )
    },
    "Llama Scope": llama_scope,
    "Goodfire": goodfire,
}
