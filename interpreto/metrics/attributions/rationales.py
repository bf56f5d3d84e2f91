"""Where people see the evidence: units that are marked by ranges of a text, or pixels by boxes and masks of an image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from interpreto.attributions.output import AttributionOutput
from interpreto.errors import InputError
from interpreto.validation import is_whole, shown

FLAGS = {"0", "1", "0.0", "1.0", "True", "False"}
MOSTLY = 0.5
"""Share of the pixels of a unit that lie in the object, from which on the unit is marked."""


def read_rationale(
    rationale: Any, output: AttributionOutput, position: int, argument: str = "rationales"
) -> Bool[Tensor, " g"]:
    """Return which elements of an explanation are marked.

    Raises:
        InputError: The rationale is neither one value per element nor a list of ranges within the text.
    """
    g, name = len(output.elements), f"`{argument}[{position}]`"
    values = rationale.tolist() if hasattr(rationale, "tolist") else rationale
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InputError(f"{name}: got {rationale!r}; pass 0 or 1 for each element, or character ranges (start, end).")
    values = [value.tolist() if hasattr(value, "tolist") else value for value in values]
    if (picture := output.sample.picture) is not None and not (len(values) == g and set(map(str, values)) <= FLAGS):
        return picture.pooled(read_place(rationale, output, position)[None].double())[0, : picture.units] >= MOSTLY
    if values and all(isinstance(value, (bool, int, float)) for value in values):
        if len(values) != g or any(value not in (0, 1) for value in values):
            raise InputError(f"{name}: got {len(values)} values for {g} elements; pass 0 or 1 for each, or character ranges.")
        return torch.tensor([bool(value) for value in values])
    marked = torch.zeros(g).bool()
    for item in values:
        if not _is_range(item, len(output.text)):
            raise InputError(
                f"{name}: {item!r} is not a range (start, end) within its text, which has {len(output.text)} characters."
            )
        marked |= torch.tensor([a < item[1] and item[0] < b for a, b in output.spans])
    return marked


def _is_range(item: Any, length: int) -> bool:
    whole = isinstance(item, Sequence) and len(item) == 2 and all(isinstance(i, Integral) for i in item)
    return whole and 0 <= item[0] < item[1] <= length


def read_place(place: Any, output: AttributionOutput, position: int) -> Bool[Tensor, "h w"]:
    """Return which pixels of an explained image are in the object.

    Raises:
        InputError: The place is no box within the image, no list of such, and no mask of its size.
    """
    assert output.sample.picture is not None
    h, w = output.sample.picture.regions.shape
    values = np.asarray(place.detach().cpu() if isinstance(place, Tensor) else place)
    if values.shape == (h, w) and (values.dtype == bool or set(np.unique(values).tolist()) <= {0, 1}):
        return torch.from_numpy(values.astype(bool))
    boxes = [place] if values.shape == (4,) else place
    inside, name = torch.zeros(h, w, dtype=torch.bool), f"`places[{position}]`"
    if values.ndim not in (1, 2) or values.shape[-1] != 4:
        raise InputError(f"{name}: got {shown(place)}; pass (top, left, bottom, right), a list of such, or a mask {(h, w)}.")
    for box in boxes:
        top, left, bottom, right = (v.item() if hasattr(v, "item") else v for v in box)
        fits = all(map(is_whole, (top, left, bottom, right))) and 0 <= top < bottom <= h and 0 <= left < right <= w
        if not fits:
            raise InputError(
                f"{name}: got the box {shown(tuple(box))}; pass whole numbers (top, left, bottom, right) with top < bottom "
                f"<= {h} and left < right <= {w}, in pixels of the image that the model reads."
            )
        inside[top:bottom, left:right] = True
    return inside
