"""Concepts in a file: tensors as safetensors, all else as JSON in its header."""

from __future__ import annotations

import importlib
from dataclasses import asdict
from os import PathLike
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from interpreto.concepts.adapters.foreign_models import ExternalModel
from interpreto.concepts.adapters.foreign_saes import ExternalAutoencoder
from interpreto.concepts.adapters.overcomplete import name_of
from interpreto.concepts.concept_model import restore, state_of
from interpreto.concepts.saes.trainer import TrainingRecord
from interpreto.errors import FileError, ModelError, OptionError
from interpreto.storage import read_file, write_file

if TYPE_CHECKING:
    from interpreto.concepts.base import ConceptExplainer

FORMAT = "interpreto concepts 1"
GENERIC = ("DictionaryLearningExplainer", "SAEExplainer")
"""Explainers of any concept model, which is named or given."""


def save_concepts(explainer: ConceptExplainer, path: str | PathLike[str]) -> None:
    """Write an explainer; see `ConceptAutoEncoderExplainer.save`."""
    explainer.check_fitted()
    model = explainer.concept_model
    foreign = getattr(model, "model", None)
    if isinstance(model, ExternalModel) and not (isinstance(foreign, nn.Module) and state_of(foreign)):
        raise ModelError(
            f"A {type(foreign).__name__} keeps what it learned elsewhere than in tensors, so that it cannot be written; use "
            "one of interpreto's own, such as PCAConcepts, or a torch module with parameters or buffers."
        )
    facts = {
        "explainer": type(explainer).__name__,
        "concept_model": name_of(foreign) or (type(foreign or model).__name__),
        "width": int(explainer.get_dictionary().shape[1]),
        "nb_concepts": explainer.nb_concepts,
        "split_point": explainer.split_point,
        "random_state": explainer.random_state,
        "options": explainer.concept_model_options,
        "history": [asdict(record) for record in getattr(explainer, "history", [])],
    }
    tensors = {name: tensor.clone() for name, tensor in state_of(model).items()}
    try:
        write_file(path, FORMAT, tensors, facts)
    except TypeError as error:
        raise ModelError(f"The options {explainer.concept_model_options} cannot be written as JSON ({error}).") from error


def load_concepts(
    path: str | PathLike[str],
    splitter: Any = None,
    device: torch.device | str = "cpu",
    concept_model: Any = None,
) -> Any:
    """The explainer that `save` wrote; it encodes as it did, bit for bit. No code is run from the file.

    Args:
        path: Of the file.
        splitter: The model and where it is split; None to work on activations alone.
        device: Where the concept model computes.
        concept_model: The class, or an unfitted instance, where it was neither interpreto's nor overcomplete's.

    Raises:
        FileError: the file is missing or holds something else.
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
    tensors, facts = read_file(path, FORMAT, "concepts")
    try:
        explainer = _build(facts, splitter, device, concept_model)
        model = explainer.concept_model
        if isinstance(model, ExternalAutoencoder):
            model.allocate(facts["width"], torch.device("cpu"))
        restore(model, tensors)
        if isinstance(model, (ExternalModel, ExternalAutoencoder)):
            model.loaded()
        if hasattr(explainer, "history"):
            explainer.history = [TrainingRecord(**record) for record in facts["history"]]
        model.requires_grad_(False)
    except (KeyError, TypeError, AttributeError) as error:
        raise FileError(f"`path`: {str(path)!r} holds incomplete concepts ({error}).") from error
    return explainer.to(device)


def _build(facts: dict[str, Any], splitter: Any, device: torch.device | str, concept_model: Any) -> Any:
    """Make the unfitted explainer; its class is found by its name among the public ones."""
    name, options = facts["explainer"], dict(facts["options"])
    common: dict[str, Any] = {"split_point": facts["split_point"], "random_state": facts["random_state"]}
    explainers = importlib.import_module("interpreto.concepts")
    found: Any = getattr(explainers, name, None) if name in explainers.__all__ else None
    if not hasattr(found, "encode_activations"):
        raise FileError(f"`path`: holds concepts of {name!r}, which this version does not know.")
    if name not in GENERIC:
        return found(splitter, facts["nb_concepts"], **common, **options)
    kind = facts["concept_model"] if concept_model is None else concept_model
    if concept_model is None and not kind.startswith("overcomplete."):
        raise OptionError(f"`concept_model`: these are concepts of a {kind}; pass its class, or an unfitted instance.")
    instance = not isinstance(kind, (type, str))
    return found(splitter, kind, facts["nb_concepts"], **common, **({} if instance else options))
