"""Results of ``get_activations``: activations by split point, and predictions on request."""

from __future__ import annotations

import dis
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, no_type_check

from torch import Tensor

from interpreto.errors import InputError


class Activations(dict[str, Tensor]):
    """Activations by split point: a dictionary ``{name: (n·g, d)}``, the units of all inputs in order.

    Attributes:
        by_split_point: The dictionary itself.
        predictions: None; those of `ActivationsAndPredictions` are not.

    Examples:
        >>> import torch
        >>> activations = Activations({"encoder.layer.1": torch.zeros(3, 8)})
        >>> activations["encoder.layer.1"].shape, activations.predictions
        (torch.Size([3, 8]), None)
    """

    predictions: Tensor | None = None

    @property
    def by_split_point(self) -> Activations:
        """Return the dictionary itself."""
        return self

    @no_type_check  # which would put a frame of its own between
    def __iter__(self) -> Iterator[str]:
        if _unpacked_in_two(sys._getframe(1)):
            names = ", ".join(map(repr, self.keys()))
            raise InputError(
                f"`get_activations` returned activations by split point ({names}) and no predictions, so `activations, _ = …` "
                "would take names for activations: write `activations = …`. Splitters of classifiers return predictions too, "
                "ModelWithSplitPoints with `include_predicted_classes=True`."
            )
        return super().__iter__()


class ActivationsAndPredictions(tuple[Any, Tensor]):
    """A pair ``(activations, predictions)``, to be unpacked.

    Attributes:
        by_split_point: Activations ``(n·g, d)`` by split point.
        predictions: The class ``(n,)`` that the model predicts for each input.
    """

    by_split_point: Activations
    predictions: Tensor

    @staticmethod
    def of(first: Any, by_split_point: Activations, predictions: Tensor) -> ActivationsAndPredictions:
        """Return the pair of ``first``, the splitter's activations, and the predictions."""
        found = ActivationsAndPredictions((first, predictions))
        found.by_split_point, found.predictions = by_split_point, predictions
        return found


def _unpacked_in_two(frame: FrameType) -> bool:
    """Return True if a frame is about to unpack an iterable into two names, as ``a, b = …`` does."""
    code, at = frame.f_code.co_code, frame.f_lasti
    return at >= 0 and dis.opname[code[at]] == "UNPACK_SEQUENCE" and code[at + 1] == 2
