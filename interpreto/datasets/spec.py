"""Explainers as workers make them, and what a manifest says of them: model, method and options."""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.options import OTHER_NAMES, Settings
from interpreto.errors import OptionError
from interpreto.models.fingerprint import digest, identity
from interpreto.models.loading import load
from interpreto.registry import find_method
from interpreto.validation import shown

SPEED_ONLY = ("batch_size", "device", "tqdm_bar", "shortcuts")
"""Options that change how fast values are computed, and none of them but for rounding."""
GIVEN_APART = ("self", "model", "processor", "tokenizer", *SPEED_ONLY)


@dataclass(frozen=True)
class ExplainerSpec:
    """An explainer by the names of its method and its model, so that each worker loads the model by itself.

    Attributes:
        method: An attribution method: its class, or the name of it, such as ``"KernelShap"`` or ``"kernel-shap"``.
        model: Folder of the model, or its id on the hub.
        tokenizer: Folder or id of the tokenizer; None: it lies next to the model.
        task: What the model is loaded for, as in `interpreto.load`; None: what its config says.
        options: Options of the method.

    Examples:
        >>> import tempfile
        >>> from interpreto import demo
        >>> from interpreto.datasets import ExplainerSpec
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for part in demo.load_classifier():
        ...         _ = part.save_pretrained(folder)
        ...     explainer = ExplainerSpec("occlusion", folder, options={"granularity": "sentence"}).build()
        >>> type(explainer).__name__, explainer("A gorgeous film.")[0].target_labels
        ('Occlusion', ['positive'])
    """

    method: type[AttributionExplainer] | str
    model: str | PathLike[str]
    tokenizer: str | PathLike[str] | None = None
    task: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def build(self, device: torch.device | str | int | None = None) -> AttributionExplainer:
        """Return the explainer.

        Args:
            device: Where its model is put; None: where the options say.

        Raises:
            OptionError: there is no such method, or an option is not valid.
            ModelError, TokenizerError: the model or its tokenizer cannot be loaded.
        """
        model, tokenizer = load(self.model, task=self.task, tokenizer=self.tokenizer, device=device)
        return self.method_class(model, tokenizer, **self.options)

    @property
    def method_class(self) -> type[AttributionExplainer]:
        """Return the class of the method.

        Raises:
            OptionError: there is no such method.
        """
        if isinstance(self.method, type) and issubclass(self.method, AttributionExplainer):
            return self.method
        found = find_method(self.method) if isinstance(self.method, str) else None
        if found is None:
            raise OptionError(f"`method`: got {shown(self.method)}; pass a method's class, or one of `interpreto methods`.")
        return getattr(importlib.import_module("interpreto.attributions.methods"), found.name)


@dataclass(frozen=True)
class Recipe:
    """Arguments of an explainer, with which another process makes it again, on a device of its own.

    Attributes:
        method: Its class.
        args: Positional arguments, the model among them.
        kwargs: Arguments by name.
        fitted: What a fit has found since.
    """

    method: type[AttributionExplainer]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    fitted: dict[str, Any]

    @staticmethod
    def of(explainer: AttributionExplainer) -> Recipe:
        """Return the recipe of an explainer."""
        fitted = {name: getattr(explainer, name) for name in explainer.fitted}
        return Recipe(type(explainer), *explainer.made_with, fitted)

    def build(self, device: str | None = None) -> AttributionExplainer:
        """Return the explainer; on a device, if one is given."""
        explainer = self.method(*self.args, **{**self.kwargs, **({} if device is None else {"device": device})})
        for name, value in self.fitted.items():
            setattr(explainer, name, value)
        return explainer


def recipe_of(explainer: AttributionExplainer | ExplainerSpec) -> Recipe | ExplainerSpec:
    """Return what another process makes the explainer of.

    Raises:
        OptionError: it is no explainer.
    """
    if isinstance(explainer, ExplainerSpec):
        return explainer
    if not isinstance(explainer, AttributionExplainer):
        raise OptionError(
            f"`explainer`: got {shown(explainer)}; pass an attribution method with its model, as in Occlusion(model, "
            "tokenizer), or interpreto.datasets.ExplainerSpec('occlusion', 'folder of a model')."
        )
    return Recipe.of(explainer)


def described(explainer: AttributionExplainer) -> dict[str, Any]:
    """Return all that decides an explainer's values, in JSON's types.

    Returns:
        ``method``, ``model``, ``tokenizer`` and ``options``; two explainers with equal ones return equal explanations, but
        for rounding.
    """
    return {
        "method": type(explainer).__name__,
        "model": model_identity(explainer.model),
        "tokenizer": tokenizer_identity(explainer.tokenizer),
        "options": options_of(explainer),
    }


def model_identity(model: Any) -> dict[str, str]:
    """Return class, config, weights and number format of a wrapped model; of a function, its name."""
    module = getattr(getattr(model, "forward", None), "model", None)
    if isinstance(module, nn.Module):
        first = next(module.parameters(), None)
        return {**identity(module), "dtype": "none" if first is None else str(first.dtype).removeprefix("torch.")}
    kept = {name: value for name, value in vars(model).items() if isinstance(value, (str, int, float, tuple))}
    name = getattr(model, "name", type(model).__name__)
    return {"class": type(model).__qualname__, "config": digest(plain(kept)), "weights": str(name)}


def options_of(explainer: AttributionExplainer) -> dict[str, Any]:
    """Return the options of a method that decide its values, defaults included."""
    args, kwargs = explainer.made_with
    signature = inspect.signature(type(explainer).__init__)
    renamed = {OTHER_NAMES.get(name, name): value for name, value in kwargs.items()}
    taken = {name: value for name, value in renamed.items() if name in signature.parameters}
    bound = signature.bind_partial(explainer, *args, **taken)
    bound.apply_defaults()
    several = [p.name for p in signature.parameters.values() if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    own = {name: value for name, value in bound.arguments.items() if name not in (*GIVEN_APART, *several)}
    shared = {f.name: getattr(explainer.settings, f.name) for f in fields(Settings) if f.name not in SPEED_ONLY}
    fitted = {name: getattr(explainer, name) for name in explainer.fitted}
    return {name: plain(value) for name, value in sorted({**own, **shared, **fitted}.items())}


def plain(value: Any) -> Any:
    """Return a value in JSON's types, the same in every process; of tensors and models, a digest."""
    for kinds, form in FORMS:
        if isinstance(value, kinds):
            return form(value)
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    held = {f.name: getattr(value, f.name) for f in fields(value)} if is_dataclass(value) else getattr(value, "__dict__", {})
    return {"class": type(value).__qualname__, **{name: plain(item) for name, item in held.items() if name[:1] != "_"}}


def _numbers(value: Any) -> Any:
    array = np.asarray(value.detach().cpu().double() if isinstance(value, Tensor) else value)
    if array.ndim == 0:
        return array.item()
    return f"{array.dtype}{list(array.shape)}:{hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]}"


FORMS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    ((type(None), bool, int, float, str), lambda value: value),
    (Enum, lambda value: plain(value.value)),
    ((np.generic, Tensor, np.ndarray), _numbers),
    (Mapping, lambda value: {str(key): plain(item) for key, item in value.items()}),
    ((list, tuple), lambda value: [plain(item) for item in value]),
    ((set, frozenset), lambda value: sorted((plain(item) for item in value), key=repr)),
    (nn.Module, identity),
    (PathLike, str),
)
"""Types, and how their values are written."""


def tokenizer_identity(tokenizer: Any) -> str:
    """Return the class of a tokenizer and a digest of what it does."""
    if tokenizer is None:
        return "none"
    backend = getattr(tokenizer, "backend_tokenizer", None)
    found = backend.to_str() if backend is not None else plain(getattr(tokenizer, "init_kwargs", {}))
    return f"{type(tokenizer).__name__}:{digest(found)}"
