"""Files of explanations: one safetensors file, with everything that is not a tensor as JSON in its header.

A file may come from elsewhere, so that all of it is checked when it is read: names, shapes, types, places in the text.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from interpreto.attributions.saved_pictures import (
    FEED,
    INPUTS,
    OTHERS,
    PICTURE,
    MisfitError,
    packed_picture,
    unpacked_picture,
)
from interpreto.errors import FileError
from interpreto.inputs.pictures import Picture
from interpreto.inputs.samples import Prediction, Readout, Sample, Targets
from interpreto.inputs.units import Span, Units
from interpreto.storage import read_file, write_file
from interpreto.validation import is_whole

FORMAT = "interpreto.attribution/2"
TENSORS = ("attributions", "base_scores", "reference_scores", "residual", "standard_error")
READOUT = {"ids": "ids", "at": "positions", "mix": "weights", "tail": "suffix"}
"""Names of a readout's tensors in files, and its attributes."""
FACTS: dict[str, tuple[type, ...]] = {
    "target_labels": (list,),
    "model_task": (str,),
    "method": (str,),
    "granularity": (str,),
    "granularity_aggregation_strategy": (str, type(None)),
    "inference_mode": (str,),
    "signed": (bool,),
    "replacement": (str, int, type(None)),
    "baseline": (str, type(None)),
    "label": (str, type(None)),
    "hook_point": (str, type(None)),
    "stopped": (str, type(None)),
}
"""Attributes of an explanation that are no tensors, and their types."""
PLACES: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "elements": (list,),
    "spans": (list,),
    "offsets": (list, type(None)),
    "target_spans": (list,),
    "source": (int,),
    "prompt": (int, type(None)),
    "prediction": (str, type(None)),
    "confidence": (float, int, type(None)),
    "picture": (str, type(None)),
}
"""Facts of the sample, and their types."""
LATER = ("hook_point", "label", "stopped", "prediction", "confidence", "picture", "offsets")
"""Facts that files of earlier versions lack; they are None there."""


def write_explanation(
    path: str | PathLike[str], sample: Sample, tensors: Mapping[str, Tensor | None], facts: Mapping[str, Any]
) -> None:
    """Write an explanation.

    Args:
        path: Where to write; what was there is replaced once the new file is complete.
        sample: The input, its units and targets.
        tensors: The numbers, by the names of `TENSORS`.
        facts: The rest, by the names of `FACTS`.

    Raises:
        FileError: The file cannot be written.
    """
    write_file(path, FORMAT, *packed(sample, tensors, facts))


def packed(
    sample: Sample, tensors: Mapping[str, Tensor | None], facts: Mapping[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the facts of an explanation, as a file holds them."""
    assert sample.targets is not None
    written = {name: value for name, value in tensors.items() if value is not None}
    written |= {"input_ids": sample.input_ids, "unit_index": sample.units.index}
    written |= {f"extras.{name}": value for name, value in sample.inputs.items()}
    if (picture := sample.picture) is not None:
        written |= packed_picture(picture)
    for i, readout in enumerate(sample.targets.readouts):
        parts = {name: getattr(readout, attribute) for name, attribute in READOUT.items()}
        written |= {f"reading.{i}.{name}": value for name, value in parts.items() if value is not None}
    places = {
        "text": sample.text,
        "elements": list(sample.units.texts),
        "spans": list(sample.units.spans),
        "offsets": list(sample.offsets),
        "target_spans": list(sample.targets.spans),
        "source": sample.source,
        "prompt": sample.prompt,
        "prediction": None if sample.prediction is None else sample.prediction.label,
        "confidence": None if sample.prediction is None else sample.prediction.probability,
        "picture": None if sample.picture is None else sample.picture.name,
        "causal": [readout.causal for readout in sample.targets.readouts],
    }
    return written, {**facts, **places}


def read_explanation(path: str | PathLike[str]) -> dict[str, Any]:
    """Read what `write_explanation` wrote.

    Returns:
        The attributes of an `AttributionOutput`.

    Raises:
        FileError: The file is missing, holds something else, or its parts do not fit each other.
    """
    return unpacked(*read_file(path, FORMAT, "an explanation"), path)


def unpacked(tensors: Mapping[str, Tensor], facts: Mapping[str, Any], path: str | PathLike[str]) -> dict[str, Any]:
    """Return the attributes of an explanation out of what `packed` made of it.

    Raises:
        FileError: its parts do not fit each other.
    """
    facts = {**dict.fromkeys(LATER), **facts}
    try:
        _check_facts(facts)
        _check_numbers(tensors, len(facts["target_labels"]), len(facts["elements"]))
        units = _units(tensors, facts)
        targets = Targets(
            _readouts(tensors, facts), tuple(facts["target_labels"]), tuple(_spans(facts, "target_spans", empty=True))
        )
        inputs = {name.removeprefix("extras."): value for name, value in tensors.items() if name.startswith("extras.")}
        picture = _picture(tensors, facts, units)
        places = {"source": facts["source"], "prompt": facts["prompt"], "prediction": _prediction(facts), "picture": picture}
        places["offsets"] = _offsets(tensors, facts)
        _check_places(tensors["input_ids"], inputs, facts)
    except _InconsistentError as error:
        raise FileError(f"`path`: {str(path)!r} holds an inconsistent explanation: {error}.") from error
    sample = Sample(facts["text"], tensors["input_ids"], units, inputs, targets, **places)
    numbers = {name: tensors[name] for name in TENSORS if name in tensors}
    return {"sample": sample, **numbers, **{name: facts[name] for name in FACTS}}


def _prediction(facts: Mapping[str, Any]) -> Prediction | None:
    confidence = facts["confidence"]
    if confidence is not None and not 0 <= confidence <= 1:
        raise _InconsistentError(f"`confidence` is {confidence}")
    return None if facts["prediction"] is None else Prediction(facts["prediction"], confidence)


class _InconsistentError(Exception):
    """Parts of a file do not fit each other."""


def _check_facts(facts: Mapping[str, Any]) -> None:
    for name, types in (FACTS | PLACES).items():
        if name not in facts:
            raise _InconsistentError(f"it lacks `{name}`")
        if type(facts[name]) not in types:
            raise _InconsistentError(f"`{name}` is of type {type(facts[name]).__name__}")
    for name in ("target_labels", "elements"):
        if not all(isinstance(text, str) for text in facts[name]):
            raise _InconsistentError(f"`{name}` is no list of texts")
    if not facts["target_labels"]:
        raise _InconsistentError("it has no targets")
    if facts["replacement"] is not None and isinstance(facts["replacement"], int) and facts["replacement"] < 0:
        raise _InconsistentError(f"`replacement` is the token {facts['replacement']}")


def _check_numbers(tensors: Mapping[str, Tensor], t: int, u: int) -> None:
    """Check the shapes, types and finiteness of the explanation's numbers."""
    shapes = {name: (t, u) if name in ("attributions", "standard_error") else (t,) for name in TENSORS}
    for name in ("attributions", "base_scores", "input_ids", "unit_index", "reading.0.ids"):
        if name not in tensors:
            raise _InconsistentError(f"it lacks the tensor `{name}`")
    for name, shape in shapes.items():
        value = tensors.get(name)
        if value is None:
            continue
        _check_shape(value, name, shape, f"{t} targets and {u} units")
        if not value.is_floating_point():
            raise _InconsistentError(f"`{name}` holds {value.dtype}")
        bad = value.isinf() if name in ("attributions", "standard_error", "residual") else ~value.isfinite()
        if bool(bad.any()):
            raise _InconsistentError(f"`{name}` is not finite")


def _check_shape(value: Tensor, name: str, shape: tuple[int, ...], of: str) -> None:
    if tuple(value.shape) != shape:
        raise _InconsistentError(f"`{name}` has shape {tuple(value.shape)} for {of}")


def _check_ids(value: Tensor, name: str, low: int, high: int | None) -> None:
    """Check that a tensor holds whole numbers within ``low`` and ``high``."""
    if value.dtype not in (torch.int64, torch.int32):
        raise _InconsistentError(f"`{name}` holds {value.dtype}")
    if value.numel() and (int(value.min()) < low or (high is not None and int(value.max()) > high)):
        raise _InconsistentError(f"`{name}` holds numbers out of range")


def _units(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Units:
    index, count = tensors["unit_index"], len(facts["elements"])
    spans = [span for span in _spans(facts, "spans", empty=False) if span is not None]
    if len(spans) != count:
        raise _InconsistentError(f"it has {len(spans)} `spans` for {count} units")
    if tensors["input_ids"].dim() != 1:
        raise _InconsistentError(f"`input_ids` has shape {tuple(tensors['input_ids'].shape)}")
    _check_shape(index, "unit_index", (len(tensors["input_ids"]),), f"{len(tensors['input_ids'])} tokens")
    _check_ids(index, "unit_index", -1, count - 1)
    return Units(index, tuple(facts["elements"]), tuple(spans))


def _offsets(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> tuple[Span, ...]:
    """Return the characters of each token; of no token where they are not known."""
    found = tuple(span for span in _spans({**facts, "offsets": facts["offsets"] or []}, "offsets", empty=False) if span)
    if found and len(found) != len(tensors["input_ids"]):
        raise _InconsistentError(f"it has {len(found)} `offsets` for {len(tensors['input_ids'])} tokens")
    return found


def _picture(tensors: Mapping[str, Tensor], facts: Mapping[str, Any], units: Units) -> Picture | None:
    """Read the image that an explanation is about; None: it is about a text."""
    try:
        picture = unpacked_picture(tensors, str(facts["picture"] or ""), len(units))
    except MisfitError as error:
        raise _InconsistentError(str(error)) from error
    if picture is None:
        return None
    own = tensors["input_ids"][: picture.cells]  # tokens of a text may follow
    alone = len(tensors["input_ids"]) == picture.cells
    if not torch.equal(picture.ids, own) or (alone and picture.units != len(units)):
        raise _InconsistentError("`input_ids` are not those of its image")
    return picture


def _spans(facts: Mapping[str, Any], name: str, *, empty: bool) -> list[Span | None]:
    """Read places in the text; None is one where ``empty``."""
    found: list[Span | None] = []
    for span in facts[name]:
        if span is None and empty:
            found.append(None)
            continue
        if not isinstance(span, list) or len(span) != 2 or not all(is_whole(end) for end in span):
            raise _InconsistentError(f"`{name}` holds {span!r}")
        start, end = span
        if not 0 <= start <= end <= len(facts["text"]):
            raise _InconsistentError(f"`{name}` holds ({start}, {end}) for a text of {len(facts['text'])} characters")
        found.append((start, end))
    return found


def _readouts(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> tuple[Readout, ...]:
    count = len([name for name in tensors if name.startswith("reading.") and name.endswith(".ids")])
    causal = facts.get("causal", [True] * count)  # files of the first edition have none
    if not isinstance(causal, list) or len(causal) != count or not all(isinstance(flag, bool) for flag in causal):
        raise _InconsistentError(f"`causal` is no list of {count} flags")
    known = {f"reading.{i}.{name}" for i in range(count) for name in READOUT} | {"input_ids", "unit_index", *TENSORS}
    known |= {*PICTURE, *FEED}
    if unknown := sorted(name for name in tensors if name not in known and not name.startswith(("extras.", OTHERS, INPUTS))):
        raise _InconsistentError(f"it has an unknown tensor `{unknown[0]}`")
    if len(facts["target_spans"]) != len(facts["target_labels"]):
        raise _InconsistentError(
            f"it has {len(facts['target_spans'])} `target_spans` for {len(facts['target_labels'])} targets"
        )
    return tuple(_readout(tensors, i, causal[i], len(facts["target_labels"])) for i in range(count))


def _readout(tensors: Mapping[str, Tensor], i: int, causal: bool, t: int) -> Readout:
    parts = {attribute: tensors.get(f"reading.{i}.{name}") for name, attribute in READOUT.items()}
    ids, positions, weights, suffix = (parts[name] for name in READOUT.values())
    if ids is None or ids.dim() != 1:
        raise _InconsistentError(f"`reading.{i}.ids` is no row of numbers")
    _check_ids(ids, f"reading.{i}.ids", 0, None)
    length = len(tensors["input_ids"])
    if suffix is not None:
        if suffix.dim() != 1:
            raise _InconsistentError(f"`reading.{i}.tail` has shape {tuple(suffix.shape)}")
        _check_ids(suffix, f"reading.{i}.tail", 0, None)
        length += len(suffix)
    if positions is not None:
        _check_shape(positions, f"reading.{i}.at", (len(ids),), f"{len(ids)} outputs")
        _check_ids(positions, f"reading.{i}.at", -1, length - 1)
    if weights is None:
        _check_shape(ids, f"reading.{i}.ids", (t,), f"{t} targets")
    else:
        _check_shape(weights, f"reading.{i}.mix", (t, len(ids)), f"{t} targets and {len(ids)} outputs")
        if not weights.is_floating_point() or not bool(weights.isfinite().all()):
            raise _InconsistentError(f"`reading.{i}.mix` is not finite")
    return Readout(ids, positions, weights, suffix, causal)


def _check_places(ids: Tensor, inputs: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    _check_ids(ids, "input_ids", 0, None)
    for name in ("source", "prompt"):
        if facts[name] is not None and not 0 <= facts[name] <= len(ids):
            raise _InconsistentError(f"`{name}` is {facts[name]} for {len(ids)} tokens")
    for name, value in inputs.items():
        if value.dim() == 0 or len(value) != len(ids):
            raise _InconsistentError(f"`extras.{name}` has shape {tuple(value.shape)} for {len(ids)} tokens")
