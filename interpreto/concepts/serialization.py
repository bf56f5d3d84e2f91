"""Save and load concepts: tensors as safetensors, everything else as JSON in the header."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from interpreto.concepts.adapters.overcomplete import name_of
from interpreto.concepts.concept_model import ConceptModel, ForeignModel, restore, state_of
from interpreto.concepts.saes.record import read_history
from interpreto.errors import FileError, ModelError, OptionError
from interpreto.storage import read_file, write_file

if TYPE_CHECKING:
    from interpreto.concepts.base import ConceptExplainer

FORMAT = "interpreto concepts 1"
EXPLAINERS = "interpreto.concepts"  # the package whose public names are the explainers that a file may name
OLD_TENSORS: Mapping[tuple[str, str], tuple[str, Callable[[Tensor], Tensor]]] = {
    ("KMeans", "variance"): ("deviation", torch.sqrt),
}
"""Concept model and tensor as interpreto 0.1 wrote it: the tensor's name now, and how it is computed."""
FLOATS = (torch.float32, torch.float64)  # that concept models compute in


def save_concepts(explainer: ConceptExplainer, path: str | PathLike[str]) -> None:
    """Write an explainer of concepts to a file: whole, or not at all.

    Raises:
        ModelError: the concepts have not been learned, or cannot be written as tensors and JSON.
        FileError: the file cannot be written.
    """
    explainer.check_fitted()
    width = int(explainer.get_dictionary().shape[1])
    model = explainer.concept_model
    wrapped = model.model if isinstance(model, ForeignModel) else None
    if wrapped is not None and not (isinstance(wrapped, nn.Module) and state_of(wrapped)):
        raise ModelError(
            f"A {type(wrapped).__name__} keeps what it learned elsewhere than in tensors, so that it cannot be written; use "
            "one of interpreto's own, such as PCAConcepts, or a torch module with parameters or buffers."
        )
    tensors = {name: tensor.clone() for name, tensor in state_of(model).items()}
    facts = {
        "explainer": type(explainer).__name__,
        "concept_model": name_of(wrapped) or type(model if wrapped is None else wrapped).__name__,
        "width": width,
        "nb_concepts": explainer.nb_concepts,
        "split_point": explainer.split_point,
        "random_state": explainer.random_state,
        "options": {name: _plain(value) for name, value in explainer.concept_model_options.items()},
        "history": [asdict(record) for record in getattr(explainer, "history", [])],
    }
    if wrapped is not None:  # what a model of elsewhere consists of is known only here
        facts["tensors"] = {name: _described(tensor) for name, tensor in tensors.items()}
    try:
        json.dumps(facts)
    except (TypeError, ValueError) as error:
        raise ModelError(f"The options {explainer.concept_model_options} cannot be written as JSON ({error}).") from error
    write_file(path, FORMAT, tensors, facts)


def load_concepts(
    path: str | PathLike[str],
    splitter: Any = None,
    device: torch.device | str = "cpu",
    concept_model: Any = None,
) -> Any:
    """Load the explainer that `save` wrote. It encodes as it did, bit for bit; no code is run from the file.

    A file is loaded only if its tensors are those that the concept model declares: same names, shapes and dtypes, all of
    them finite.

    Args:
        path: Path of the file.
        splitter: The model and where it is split; None to work on activations alone.
        device: Device of the concept model.
        concept_model: The class, or an unfitted instance, where it was neither interpreto's nor overcomplete's.

    Returns:
        A fitted explainer of the class that was saved.

    Raises:
        FileError: the file is missing, damaged, or holds something else.
        OptionError: the concept model's class is needed, or the splitter has not the concepts' split point.

    Examples:
        >>> import tempfile, torch
        >>> from interpreto.concepts import PCAConcepts
        >>> explainer = PCAConcepts(None, nb_concepts=2).fit(torch.eye(3))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     explainer.save(f"{folder}/concepts.safetensors")
        ...     load_concepts(f"{folder}/concepts.safetensors")
        PCAConcepts(nb_concepts=2, split_point=None, fitted)
    """
    with torch.inference_mode(False), torch.no_grad():
        tensors, facts = read_file(path, FORMAT, "concepts")
        tensors = _renewed(tensors, facts.get("concept_model"))
        try:
            explainer = _build(facts, splitter, concept_model)
            _fill(explainer.concept_model, tensors, facts)
            if hasattr(explainer, "history"):
                explainer.history = read_history(facts["history"])
        except OptionError:
            raise
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise FileError(f"`path`: {str(path)!r} holds damaged or incomplete concepts ({_said(error)}).") from error
        return explainer.to(device)


def _renewed(tensors: Mapping[str, Tensor], concept_model: object) -> dict[str, Tensor]:
    """Return tensors by the names that they have now."""
    found = {}
    for name, tensor in tensors.items():
        new, compute = OLD_TENSORS.get((str(concept_model), name), (name, torch.Tensor.clone))
        found[new] = compute(tensor)
    return found


def _build(facts: Mapping[str, Any], splitter: Any, concept_model: Any) -> Any:
    """Make the unfitted explainer that a file describes."""
    name, options = facts["explainer"], facts["options"]
    if not isinstance(options, dict):
        raise TypeError(f"options {options!r}")
    package = importlib.import_module(EXPLAINERS)
    make: Any = getattr(package, name, None) if name in package.__all__ else None
    if not (isinstance(make, type) and callable(getattr(make, "encode_activations", None)) and not inspect.isabstract(make)):
        raise ValueError(f"an explainer {name!r}, which this version does not know")
    if "concept_model" in inspect.signature(make).parameters:
        kind = facts["concept_model"] if concept_model is None else concept_model
        if isinstance(kind, str) and not kind.startswith("overcomplete."):
            raise OptionError(f"`concept_model`: these are concepts of a {kind}; pass its class, or an unfitted instance.")
        options = {**(options if isinstance(kind, (type, str)) else {}), "concept_model": kind}
    arguments = {"split_point": facts["split_point"], "random_state": facts["random_state"], **options}
    try:
        return make(splitter, nb_concepts=facts["nb_concepts"], **arguments)
    except OptionError as error:
        if str(error).startswith(("`split_point`", "`concept_model`")):  # the caller's
            raise
        raise ValueError(str(error)) from error


def _fill(model: ConceptModel, tensors: dict[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Put a file's tensors into a model, after checking that they are the model's own."""
    width, count = facts["width"], model.nb_concepts
    if not (isinstance(width, int) and width >= 1 and count == facts["nb_concepts"]):
        raise ValueError(f"a width of {width!r}, and {facts['nb_concepts']!r} concepts")
    if isinstance(model, ForeignModel):
        model.allocate(width, torch.device("cpu"))
        _check_listed(tensors, facts.get("tensors"))
    else:
        _check_declared(model, tensors, {"c": count, "d": width})
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ValueError(f"NaN or infinity in {name!r}")
    restore(model, tensors)
    if isinstance(model, ForeignModel):
        model.loaded()
    model.requires_grad_(False)
    if tuple(model.get_dictionary().shape) != (count, width):
        raise ValueError(f"a dictionary of shape {tuple(model.get_dictionary().shape)}, not {(count, width)}")


def _check_listed(tensors: Mapping[str, Tensor], listed: Mapping[str, Any] | None) -> None:
    """Raise a `ValueError` unless the tensors are those that the header lists."""
    found = {name: _described(tensor) for name, tensor in tensors.items()}
    if listed is not None and found != dict(listed):
        odd = sorted(name for name in {*found, *listed} if found.get(name) != listed.get(name))
        raise ValueError(f"other tensors than were saved: {', '.join(odd)}")


def _check_declared(model: ConceptModel, tensors: Mapping[str, Tensor], sizes: dict[str, int]) -> None:
    """Raise a `ValueError` unless the tensors have the names, shapes and dtypes that a model declares."""
    fresh = state_of(model)
    missing, unknown = sorted({*fresh} - {*tensors}), sorted({*tensors} - {*fresh})
    if missing or unknown:
        told = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has {', '.join(unknown)} as well"] * bool(unknown)
        raise ValueError(f"a {type(model).__name__} that {' and '.join(told)}")
    dtypes = {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()}
    if len(dtypes) > 1 or not dtypes <= {*FLOATS}:
        raise ValueError(f"tensors of {', '.join(sorted(map(str, dtypes)))}")
    for name, tensor in tensors.items():
        if tensor.is_floating_point() != fresh[name].is_floating_point() or (
            not tensor.is_floating_point() and tensor.dtype != fresh[name].dtype
        ):
            raise ValueError(f"{name!r} of {tensor.dtype}")
        axes = model.axes[name].split() if name in model.axes else None
        if axes is not None and not _fits(tuple(tensor.shape), axes, sizes):
            raise ValueError(f"{name!r} of shape {tuple(tensor.shape)}, not ({', '.join(axes)}) with {sizes}")


def _fits(shape: tuple[int, ...], axes: list[str], sizes: dict[str, int]) -> bool:
    """Return whether a shape has these axes; sizes of axes not seen before are taken from it."""
    wanted = [int(axis) if axis.isdigit() else sizes.setdefault(axis, size) for axis, size in zip(axes, shape, strict=False)]
    return len(axes) == len(shape) and wanted == list(shape)


def _described(tensor: Tensor) -> list[Any]:
    """Return dtype and shape as JSON has them."""
    return [str(tensor.dtype).removeprefix("torch."), *tensor.shape]


def _plain(value: Any) -> Any:
    """Return numpy's numbers as Python's, and anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value


def _said(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)
