"""Encode the data of a page: JSON in ASCII that cannot end its element, rows of numbers as base64."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

_UNSAFE = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"})


def to_json(data: Any) -> str:
    """Return JSON in ASCII, none of whose characters has a meaning for HTML."""
    return json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":")).translate(_UNSAFE)


def packed(values: Tensor | None) -> list[str] | None:
    """Return each row as base64 of little-endian float32, which the page decodes when it shows the row."""
    if values is None:
        return None
    rows = values.detach().to("cpu", torch.float32).numpy().astype("<f4")
    return [base64.b64encode(row.tobytes()).decode() for row in rows]


def json_numbers(values: Tensor | Sequence[float] | None) -> list[float | int | None] | None:
    """Return each value as `json_number` does."""
    if values is None:
        return None
    return [json_number(value) for value in (values.tolist() if isinstance(values, Tensor) else values)]


def json_number(value: float) -> float | int | None:
    """Return seven significant digits, as float32 has; None for NaN and infinity, which JSON lacks."""
    if value - value != 0:
        return None
    short = float(f"{value:.7g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short
