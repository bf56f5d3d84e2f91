"""Read folders of sentence-transformers: the encoder, its pooling and the layers after it, without that package."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from interpreto.errors import FileError, ModelError

MODULES = "modules.json"
_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "last",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
    "pooling_mode_weightedmean_tokens": "weighted_mean",
}
_NAMES = {"lasttoken": "last", "weightedmean": "weighted_mean", "mean_sqrt_len_tokens": "mean_sqrt_len"}


def read_parts(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the parts of a folder of sentence-transformers, by the names of the arguments of `SimilarityModel`.

    Args:
        folder: A folder with ``modules.json``; without one, an encoder.

    Raises:
        FileError: the folder is not there, or a file in it cannot be read.
        ModelError: it has a module of another kind than an encoder, a pooling, a dense layer or a normalization.
    """
    import transformers  # noqa: PLC0415  # slow to import

    root = Path(folder).expanduser()
    if not root.is_dir():
        raise FileError(f"`folder`: there is no folder {str(root)!r}.")
    modules = _json(root / MODULES) if (root / MODULES).is_file() else []
    found: dict[str, Any] = {"layers": []}
    encoder = root
    for module in modules:
        kind, place = str(module["type"]).rsplit(".", 1)[-1], root / module.get("path", "")
        if kind == "Transformer":
            encoder = place
        elif kind == "Pooling":
            found["pooling"] = _pooling(_json(place / "config.json"))
        elif kind == "Dense":
            found["layers"].append(_dense(place))
        elif kind == "Normalize":
            found["normalize"] = True
        else:
            raise ModelError(f"`folder`: {str(root)!r} has a module {kind!r}; read are Transformer, Pooling, Dense, Normalize.")
    model = transformers.AutoModel.from_pretrained(encoder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(encoder)
    _lower(tokenizer, encoder)
    return {"encoder": model, "tokenizer": tokenizer, **found}


def _pooling(config: Mapping[str, Any]) -> str:
    named = config.get("pooling_mode")
    modes = [named] if isinstance(named, str) else list(named or [])
    modes = modes or [name for key, name in _MODES.items() if config.get(key)]
    modes = [_NAMES.get(str(mode), str(mode)) for mode in modes]
    if len(modes) != 1:
        raise ModelError(f"`folder`: its pooling is {modes}; read is one of {', '.join(map(repr, _MODES.values()))}.")
    return modes[0]


def _dense(place: Path) -> nn.Module:
    """Return a linear layer and its activation."""
    config, state = _json(place / "config.json"), _state(place)
    linear = nn.Linear(config["in_features"], config["out_features"], bias=config.get("bias", True))
    linear.load_state_dict({name.removeprefix("linear."): value for name, value in state.items()})
    name = str(config.get("activation_function", "torch.nn.modules.linear.Identity")).rsplit(".", 1)[-1]
    activation = getattr(nn, name, None)
    if activation is None:
        raise ModelError(f"`folder`: {str(place)!r} has the activation {name!r}, which torch.nn lacks.")
    return nn.Sequential(linear, activation())


def _state(place: Path) -> dict[str, Tensor]:
    safe, pickled = place / "model.safetensors", place / "pytorch_model.bin"
    if safe.is_file():
        from safetensors.torch import load_file  # noqa: PLC0415

        return load_file(safe)
    if not pickled.is_file():
        raise FileError(f"`folder`: {str(place)!r} holds no weights.")
    return torch.load(pickled, map_location="cpu", weights_only=True)


def _lower(tokenizer: Any, encoder: Path) -> None:
    """Make a tokenizer write small letters, where the folder says so."""
    config = encoder / "sentence_bert_config.json"
    if config.is_file() and _json(config).get("do_lower_case") and tokenizer.is_fast:
        from tokenizers.normalizers import Lowercase, Sequence  # noqa: PLC0415

        backend = tokenizer.backend_tokenizer
        parts = [Lowercase()] if backend.normalizer is None else [Lowercase(), backend.normalizer]
        backend.normalizer = Sequence(parts)


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FileError(f"`folder`: {str(file)!r} cannot be read ({error}).") from error
