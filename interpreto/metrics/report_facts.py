"""Facts of a report that let a reader repeat it: model, data, method, versions."""

from __future__ import annotations

import inspect
import platform
from collections.abc import Mapping
from typing import Any

import torch
import transformers

import interpreto
from interpreto.inputs.labeled_texts import LabeledTexts
from interpreto.models.fingerprint import identity

NOT_OF_THE_METHOD = ("tokenizer", "batch_size")

Fact = tuple[str, str]
"""Name and value."""


def module_of(model: Any) -> torch.nn.Module | None:
    """Return the module of a model; None of a black box."""
    return getattr(getattr(model, "forward", None), "model", None)


def model_name(model: Any) -> str:
    """Return the name of the folder or repository that a model was loaded from, else of its class."""
    module = module_of(model)
    path = str(getattr(getattr(module, "config", None), "_name_or_path", "") or "")
    return path.rstrip("/").split("/")[-1] or type(model if module is None else module).__name__


def model_facts(model: Any) -> list[Fact]:
    """Return name, class, size, identity and device of a model."""
    module = module_of(model)
    if module is None:
        return [("Model", model_name(model))]
    own = identity(module)
    return [
        ("Model", f"{model_name(model)}: {own['class']}, {sum(p.numel() for p in module.parameters()):,} parameters"),
        ("Identity", f"config {own['config']}, weights {own['weights']}"),
        ("Device", str(next(module.parameters()).device)),
    ]


def data_facts(everything: LabeledTexts, used: LabeledTexts) -> list[Fact]:
    """Return source, columns and size of the data."""
    columns = f", texts in {used.text_column!r}, labels in {used.label_column!r}" if used.text_column else ""
    skipped = f", {everything.skipped:,} without a text or a label" if everything.skipped else ""
    sampled = " (a random sample)" if len(used) < len(everything) else ""
    return [("Data", f"{everything.source}{columns}"), ("Texts", f"{len(used):,} of {everything.total:,}{sampled}{skipped}")]


def called(cls: type, options: Mapping[str, Any]) -> str:
    """Return a method with its options, defaults included.

    Examples:
        >>> from interpreto import Occlusion
        >>> called(Occlusion, {"granularity": "token"})
        "Occlusion(replacement='auto', granularity='token')"
    """
    parameters = inspect.signature(cls).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty and p.name not in NOT_OF_THE_METHOD}
    asked = {**defaults, **options}
    written = ", ".join(f"{name}={getattr(own, 'value', own)!r}" for name, own in asked.items())
    return f"{cls.__name__}({written})"


def version_facts() -> list[Fact]:
    """Return the versions of what computed the report."""
    versions = {"interpreto": interpreto.__version__, "torch": torch.__version__, "transformers": transformers.__version__}
    found = ", ".join(f"{name} {version}" for name, version in versions.items())
    return [("Versions", f"{found}, Python {platform.python_version()}")]
