"""Models and tokenizers as users give them: objects, pipelines, folders, ids of the hub."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from interpreto.errors import ModelError, OptionError
from interpreto.inputs.image_processors import ImageProcessor, read_image_processor, read_normalization
from interpreto.models.devices import read_device
from interpreto.models.images import ImageModel, reads_images
from interpreto.models.pictured_wrapping import reads_both
from interpreto.models.sentence_transformers import MODULES
from interpreto.models.similarity import SimilarityModel
from interpreto.models.sources import (
    fetched,
    find_processor,
    find_tokenizer,
    find_whole_processor,
    is_name,
    read_tokenizer,
)
from interpreto.validation import check_choice, shown

TASKS = {
    "classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "question-answering": "AutoModelForQuestionAnswering",
    "masked-lm": "AutoModelForMaskedLM",
    "fill-mask": "AutoModelForMaskedLM",
    "next-sentence-prediction": "AutoModelForNextSentencePrediction",
    "generation": "AutoModelForCausalLM",
    "image-classification": "AutoModelForImageClassification",
}
"""The class of transformers that loads a model for each task; of an encoder-decoder that generates, another one."""


def load(
    source: Any,
    *,
    task: str | None = None,
    device: torch.device | str | int | None = None,
    tokenizer: Any = None,
    **options: Any,
) -> tuple[nn.Module, Any]:
    """Load a model in evaluation mode, and its tokenizer.

    Args:
        source: A folder, the id of a model of the hub, or a pipeline. A folder of that name comes first; one that
            sentence-transformers wrote becomes a `SimilarityModel`.
        task: One of `TASKS`, such as ``"classification"``, ``"generation"`` or ``"fill-mask"``; None: that of the class that
            the config names.
        device: Where to put it: a `torch.device`, its name, the number of a CUDA device, or ``"auto"``; None: where it is.
        tokenizer: A tokenizer, or its folder or id, where it is not next to the model.
        **options: Options of ``from_pretrained``, such as ``dtype`` or ``revision``.

    Returns:
        What every explainer, splitter and metric takes: ``Method(*load(source))``.

    Raises:
        ModelError: there is no such folder, the hub cannot be reached, or no model can be read.
        OptionError: there is no such device or task.
        TokenizerError: no tokenizer is found.

    Examples:
        >>> import tempfile
        >>> from interpreto import Occlusion, demo, load
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for part in demo.load_classifier():
        ...         _ = part.save_pretrained(folder)
        ...     explainer = Occlusion(*load(folder))
        >>> explainer("A gorgeous film.")[0].target_labels
        ['positive']
    """
    place = None if device is None else read_device(device)
    if task is not None:
        check_choice(task, "task", TASKS)
    if is_name(source) and task is None and (Path(source).expanduser() / MODULES).is_file():
        similarity = SimilarityModel.from_folder(source)
        model, found = similarity, similarity.tokenizer
    elif is_name(source):
        model, found = _loaded(os.fspath(source), task, options), None
    else:
        model, found = taken_apart(source)
        if not isinstance(model, nn.Module):
            raise ModelError(f"`source`: got {shown(source)}; pass a folder, the id of a model of the hub, or a pipeline.")
    if tokenizer is None and reads_both(model):
        return (model if place is None else model.to(place)).eval(), find_whole_processor(model)
    if reads_images(model, tokenizer):
        processor = find_processor(model) if tokenizer is None else tokenizer
        return (model if place is None else model.to(place)).eval(), processor
    words = find_tokenizer(model) if tokenizer is None and found is None else found if tokenizer is None else tokenizer
    return (model if place is None else model.to(place)).eval(), read_tokenizer(words)


def taken_apart(model: Any, tokenizer: Any = None) -> tuple[Any, Any]:
    """Return the model and the tokenizer that a pipeline holds; other objects as they are, but for a mean and a deviation."""
    tokenizer = read_normalization(tokenizer)
    if not isinstance(model, nn.Module) and isinstance(inner := getattr(model, "model", None), nn.Module):
        own = getattr(model, "tokenizer", None) or getattr(model, "image_processor", None)
        return inner, own if tokenizer is None else tokenizer
    return model, tokenizer


def load_for_splitter(model_or_repo_id: Any, tokenizer: Any, automodel: Any, device_map: Any) -> tuple[nn.Module, Any]:
    """Return the model and its tokenizer; both are left as they are when given as objects.

    Args:
        model_or_repo_id: A model, a pipeline, a repository's id or a folder.
        tokenizer: Its tokenizer, where that is found, or None: the one next to the model.
        automodel: The class that loads a repository; None: the one its config names.
        device_map: Where a repository's model goes, as in ``from_pretrained``.

    Raises:
        OptionError: ``automodel`` or ``device_map`` say something else than a model that is loaded already.
        TokenizerError: there is no tokenizer.
        ModelError: there is no such model.
    """
    model_or_repo_id, tokenizer = taken_apart(model_or_repo_id, tokenizer)
    if isinstance(model_or_repo_id, nn.Module):
        _check_class(model_or_repo_id, automodel)
        _check_place(model_or_repo_id, device_map)
        # A compiled model may not call hooks; the model that it wraps does, on the same weights.
        model = getattr(model_or_repo_id, "_orig_mod", model_or_repo_id)
        if reads_images(model, tokenizer):
            return as_image_model(model, tokenizer)
        return model, read_tokenizer(find_tokenizer(model) if tokenizer is None else tokenizer)
    if not is_name(model_or_repo_id):
        swapped = " The model comes first, then its tokenizer." if hasattr(model_or_repo_id, "convert_ids_to_tokens") else ""
        raise OptionError(
            f"`model_or_repo_id`: got {type(model_or_repo_id).__name__}; pass a model, a repository's id or a folder.{swapped}"
        )
    source = os.fspath(model_or_repo_id)
    placed = {} if device_map is None else {"device_map": device_map}
    model = _loaded(source, None, placed, automodel, bare=True)
    if reads_images(model, tokenizer):
        return as_image_model(model, tokenizer)
    return model, read_tokenizer(source if tokenizer is None else tokenizer)


def as_image_model(model: nn.Module, processor: Any) -> tuple[ImageModel, ImageProcessor]:
    """Return a model of images as the engine runs it, and its processor; None: that which lies where the model came from."""
    found = getattr(model, "processor", None) or find_processor(model) if processor is None else processor
    return (model if isinstance(model, ImageModel) else ImageModel(model)), read_image_processor(found, model)


def _loaded(
    source: str, task: str | None, options: Mapping[str, Any], automodel: Any = None, *, bare: bool = False
) -> nn.Module:
    """Return the model of a folder or of the hub; without a head only where ``bare``."""

    def read(name: str, offline: bool) -> nn.Module:
        loader = automodel or _class_of(name, task, offline, bare)
        # A class of ours reads the config by itself, and knows no other options.
        return loader.from_pretrained(name, **options, **({"local_files_only": True} if offline else {}))

    return fetched(source, read, "model")


def _class_of(source: str, task: str | None, offline: bool, bare: bool) -> Any:
    """Return the class that loads a model: that of the task, else the one that the config names."""
    import transformers  # noqa: PLC0415  # slow to import

    config = transformers.AutoConfig.from_pretrained(source, local_files_only=offline)
    if task is not None:
        encodes = task == "generation" and getattr(config, "is_encoder_decoder", False)
        return getattr(transformers, "AutoModelForSeq2SeqLM" if encodes else TASKS[task])
    named = [name for name in config.architectures or [] if hasattr(transformers, name)]
    if named and (bare or "For" in named[0] or named[0].endswith("HeadModel")):
        return getattr(transformers, named[0])
    if named and all(hasattr(getattr(transformers, named[0]), name) for name in ("get_image_features", "get_text_features")):
        return getattr(transformers, named[0])  # its score of pairs needs no head
    if bare:
        return transformers.AutoModel
    found = f"names {named[0]}, a model without a head" if named else "names no class of transformers"
    raise ModelError(
        f"`model`: the config of {shown(source)} {found}; say what it is for by interpreto.load({source!r}, task=...), with "
        f"one of {', '.join(map(repr, TASKS))}."
    )


def _check_class(model: nn.Module, automodel: Any) -> None:
    """Refuse a class that is not the loaded model's; a class of its family, or an auto class that loads it, is accepted."""
    if automodel is None:
        return
    inner = getattr(model, "get_base_model", lambda: model)()
    mapping, config = getattr(automodel, "_model_mapping", None), getattr(inner, "config", None)
    if mapping is None:
        fits = not isinstance(automodel, type) or isinstance(inner, automodel)
    else:
        kinds: Any = mapping.get(type(config), ()) if config is not None else ()
        fits = isinstance(inner, tuple(kinds) if isinstance(kinds, (tuple, list)) else kinds)
    if not fits:
        name = getattr(automodel, "__name__", automodel)
        raise OptionError(
            f"`automodel`: got {name} next to a loaded {type(inner).__name__}, which it does not load; leave it out."
        )


def _check_place(model: nn.Module, device_map: Any) -> None:
    """Refuse a device that the loaded model is not on; ``"auto"`` and its kin leave the place open."""
    if device_map is None or device_map in ("auto", "balanced", "balanced_low_0", "sequential"):
        return
    placed = getattr(model, "hf_device_map", None)
    asked = list(device_map.values()) if isinstance(device_map, dict) else [device_map]
    if isinstance(device_map, dict) and placed is not None and placed == device_map:
        return
    there = {parameter.device for parameter in model.parameters()}
    if len(there) != 1 or not all(_is_on(place, next(iter(there))) for place in asked):
        shown = ", ".join(sorted(map(str, there)))
        raise OptionError(f"`device_map`: got {device_map!r} next to a loaded model, which is on {shown}; leave it out.")


def _is_on(place: Any, device: torch.device) -> bool:
    try:
        asked = torch.device(place)
    except (RuntimeError, TypeError, ValueError):
        return False
    return asked.type == device.type and asked.index in (None, device.index)


class AnyLanguageModel:
    """Load a repository as a language model, whether its decoder reads the text or an encoder does."""

    @staticmethod
    def from_pretrained(source: str, **placed: Any) -> nn.Module:
        offline = bool(placed.get("local_files_only", False))
        return _class_of(source, "generation", offline, bare=False).from_pretrained(source, **placed)
