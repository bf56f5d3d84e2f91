"""Published transcoders and crosscoders as their writers lay them out, each with its codes and what it writes in float64."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from tests.concepts.pretrained.writers import K, jump, largest, relu, tensors, write_llama_scope

C, D, O, L = 12, 6, 5, 3  # noqa: E741  # concepts, widths of what is read and written, layers
Reference = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def drawn(seed: int = 0, d: int = D, o: int = O) -> dict[str, np.ndarray]:
    """Draw weights of a transcoder: float32 numbers, so that every file holds them exactly."""
    rng = np.random.default_rng(seed)
    shapes = {"W": (C, d), "e": (C,), "A": (C, o), "b": (o,), "t": (C,), "S": (o, d)}
    found = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return found | {"t": np.abs(found["t"])}


def wide(w: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: value.astype(np.float64) for name, value in w.items()}


def run_of(w: dict[str, np.ndarray], codes: Callable[[np.ndarray], np.ndarray], skip: bool = False) -> Reference:
    w = wide(w)

    def run(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        z = codes(x @ w["W"].T + w["e"])
        return z, z @ w["A"] + w["b"] + (x @ w["S"].T if skip else 0.0)

    return run


def sae_lens(folder: Path, architecture: str = "transcoder") -> Reference:
    w = drawn()
    named = {"W_enc": w["W"].T, "b_enc": w["e"], "W_dec": w["A"], "b_dec": w["b"]}
    named |= {"threshold": w["t"]} if "jumprelu" in architecture else {}
    named |= {"W_skip": w["S"]} if "skip" in architecture else {}
    hooks = {"hook_name": "blocks.1.hook_mlp_in", "hook_name_out": "blocks.1.hook_mlp_out", "model_name": "m"}
    cfg: dict[str, Any] = {"architecture": architecture, "d_in": D, "d_out": O, "d_sae": C, "dtype": "float32", "device": "cpu"}
    cfg |= {"apply_b_dec_to_input": False, "normalize_activations": "none", "reshape_activations": "none"}
    (folder / "cfg.json").write_text(json.dumps({**cfg, "metadata": {"sae_lens_version": "6.0.0", **hooks}}))
    save_file(tensors(**named), folder / "sae_weights.safetensors")
    return run_of(w, jump(w) if "jumprelu" in architecture else relu, "skip" in architecture)


def gemma_scope(folder: Path) -> Reference:
    """Write a folder of Gemma Scope's transcoders, which their repository's name tells."""
    w = drawn(o=D)
    np.savez(folder / "params.npz", W_enc=w["W"].T, W_dec=w["A"], b_enc=w["e"], b_dec=w["b"], threshold=w["t"])
    return run_of(w, jump(w))


def gemma_scope_2(folder: Path, affine: bool = True) -> Reference:
    w, start = drawn(o=D), "model.layers.1"
    ends = {
        "hf_hook_point_in": f"{start}.pre_feedforward_layernorm.output",
        "hf_hook_point_out": f"{start}.post_feedforward_layernorm.output",
    }
    (folder / "config.json").write_text(json.dumps({"type": "transcoder", "affine_connection": affine, **ends}))
    named = {"w_enc": w["W"].T, "w_dec": w["A"], "b_enc": w["e"], "b_dec": w["b"], "threshold": w["t"]}
    save_file(tensors(**named, **({"affine_skip_connection": w["S"].T} if affine else {})), folder / "params.safetensors")
    return run_of(w, jump(w), affine)


def sparsify(folder: Path, skip: bool = True) -> Reference:
    w = drawn(o=D)
    cfg = {"activation": "topk", "k": K, "d_in": D, "transcode": True, "skip_connection": skip}
    (folder / "cfg.json").write_text(json.dumps(cfg))
    named = {"encoder__weight": w["W"], "encoder__bias": w["e"], "W_dec": w["A"], "b_dec": w["b"]}
    save_file(tensors(**named, **({"W_skip": w["S"]} if skip else {})), folder / "sae.safetensors")
    return run_of(w, lambda p: largest(p, K), skip)


def llama_scope(folder: Path) -> Reference:
    """Write a folder of Llama Scope's transcoders: what is read and what is written have norms of their own."""
    ends = {"hook_point_in": "blocks.1.ln2.hook_normalized", "hook_point_out": "blocks.1.hook_mlp_out"}
    return write_llama_scope(folder, {"in": 2.0, "out": 0.3}, 0.2, ends)


def circuit_tracer(folder: Path, threshold: bool = True) -> Reference:
    """Write one layer of circuit-tracer: the file alone has its name."""
    w = drawn(o=D)
    named = {"W_enc": w["W"], "b_enc": w["e"], "W_dec": w["A"], "b_dec": w["b"], "W_skip": w["S"]}
    named |= {"activation_function__threshold": w["t"]} if threshold else {}
    save_file(tensors(**named), folder / "layer_1.safetensors")
    hooks = "feature_input_hook: mlp.hook_in\nfeature_output_hook: hook_mlp_out\nmodel_name: m\n"
    (folder / "config.yaml").write_text(hooks)
    return run_of(w, jump(w) if threshold else relu, True)


TRANSCODERS: dict[str, Callable[[Path], Reference]] = {
    **{
        f"SAELens {name}": lambda folder, name=name: sae_lens(folder, name)
        for name in ("transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder")
    },
    "Gemma Scope": gemma_scope,
    "Gemma Scope 2": gemma_scope_2,
    "Gemma Scope 2 plain": lambda folder: gemma_scope_2(folder, affine=False),
    "sparsify": sparsify,
    "sparsify plain": lambda folder: sparsify(folder, skip=False),
    "Llama Scope": llama_scope,
    "circuit-tracer": circuit_tracer,
    "circuit-tracer relu": lambda folder: circuit_tracer(folder, threshold=False),
}


def rows(n: int = 64, width: int = D, seed: int = 1) -> torch.Tensor:
    """Draw rows."""
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32))


def across_layers(
    folder: Path, threshold: bool = True, skip: bool = False
) -> Callable[[list[np.ndarray]], tuple[np.ndarray, list[np.ndarray]]]:
    """Write a cross-layer transcoder of circuit-tracer, of some layers with some concepts each."""
    rng, each = np.random.default_rng(3), 4
    layers = []
    for i in range(L):
        shapes = {"W": (each, D), "e": (each,), "D": (each, L - i, D), "b": (D,), "t": (each,), "S": (D, D)}
        w = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
        w["t"] = np.abs(w["t"])
        named = {f"W_enc_{i}": w["W"], f"b_enc_{i}": w["e"], f"b_dec_{i}": w["b"]}
        named |= ({f"threshold_{i}": w["t"]} if threshold else {}) | ({f"W_skip_{i}": w["S"]} if skip else {})
        save_file(tensors(**named), folder / f"W_enc_{i}.safetensors")
        save_file(tensors(**{f"W_dec_{i}": w["D"]}), folder / f"W_dec_{i}.safetensors")
        layers.append(wide(w))
    (folder / "config.yaml").write_text("feature_input_hook: hook_resid_mid\nfeature_output_hook: hook_mlp_out\n")

    return run_of_layers(layers, threshold, skip)


def gemma_scope_2_layers(folder: Path, skip: bool = False) -> Callable[[list[np.ndarray]], tuple[np.ndarray, list[np.ndarray]]]:
    """Write a cross-layer transcoder of Gemma Scope 2, whose decoders have rows of earlier layers, which are not used."""
    rng, each, layers = np.random.default_rng(4), 4, []
    for i in range(L):
        shapes = {"W": (each, D), "e": (each,), "D": (each, L, D), "b": (D,), "t": (each,), "S": (D, D)}
        w = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
        w["t"] = np.abs(w["t"])
        named = {"w_enc": w["W"].T, "b_enc": w["e"], "w_dec": w["D"], "b_dec": w["b"], "threshold": w["t"]}
        named |= {"affine_skip_connection": w["S"]} if skip else {}
        save_file(tensors(**named), folder / f"params_layer_{i}.safetensors")
        layers.append(wide({**w, "D": w["D"][:, i:]}))
    (folder / "config.json").write_text(json.dumps({"model_name": "m", "affine_connection": skip}))
    return run_of_layers(layers, True, skip)


def run_of_layers(
    layers: list[dict[str, np.ndarray]], threshold: bool, skip: bool
) -> Callable[[list[np.ndarray]], tuple[np.ndarray, list[np.ndarray]]]:
    """Return what layers compute; the decoders begin at their own."""

    def run(x: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
        codes = []
        for row, w in zip(x, layers, strict=True):
            p = row @ w["W"].T + w["e"]
            codes.append(relu(p) * (p > w["t"]) if threshold else relu(p))
        written = [sum(codes[i] @ layers[i]["D"][:, m - i] for i in range(m + 1)) + layers[m]["b"] for m in range(L)]
        if skip:
            written = [own + row @ w["S"] for own, row, w in zip(written, x, layers, strict=True)]
        return np.concatenate(codes, 1), written

    return run


def crosscoder(folder: Path, kind: str = "CrossCoder", hub: bool = False, norm: int = 1) -> Reference:
    """Write a crosscoder of the fork of dictionary_learning; rows are two models', one after the other."""
    rng = np.random.default_rng(5)
    W, A = (rng.normal(size=shape).astype(np.float32) for shape in ((2, D, C), (2, C, D)))
    e, b = (rng.normal(size=shape).astype(np.float32) for shape in ((C,), (2, D)))
    named = {"encoder__weight": W, "encoder__bias": e, "decoder__weight": A, "decoder__bias": b}
    named |= {"code_normalization_id": np.array(norm), "activation_mean": np.full((2, D), np.nan, np.float32)}
    one = np.array(3.0, np.float32)
    named |= {"k": np.array(K), "threshold": one} if kind == "BatchTopKCrossCoder" else {}
    if hub:
        (folder / "config.json").write_text(json.dumps({"dict_class": kind, "num_layers": 2, "activation_dim": D}))
        save_file(tensors(**named), folder / "model.safetensors")
    else:
        (folder / "config.json").write_text(json.dumps({"trainer": {"dict_class": kind, "lm_name": "m", "layer": 1}}))
        torch.save(tensors(**named), folder / "ae.pt")
    W, A = W.astype(np.float64), A.astype(np.float64)
    sizes = {1: np.linalg.norm(A, axis=2).sum(0), 2: np.sqrt((A**2).sum((0, 2))), 4: np.ones(C)}[norm]

    def run(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        z = relu(x[:, :D] @ W[0] + x[:, D:] @ W[1] + e)
        z = z * (z * sizes > 3.0) if kind == "BatchTopKCrossCoder" else z
        return z, np.concatenate([z @ A[0] + b[0], z @ A[1] + b[1]], 1)

    return run


CROSSCODERS: dict[str, Callable[[Path], Reference]] = {
    "CrossCoder": crosscoder,
    "BatchTopKCrossCoder": lambda folder: crosscoder(folder, "BatchTopKCrossCoder"),
    "BatchTopKCrossCoder of the hub": lambda folder: crosscoder(folder, "BatchTopKCrossCoder", hub=True),
    "by the norm": lambda folder: crosscoder(folder, "BatchTopKCrossCoder", norm=2),
    "as they are": lambda folder: crosscoder(folder, "BatchTopKCrossCoder", norm=4),
}
