"""Backward passes by other rules than the chain rule, and what relevance propagation and DeepLift share.

Rules keep every value of the forward pass (up to rounding) and replace local derivatives, so that gradient × input is the
relevance of each token.
"""

from __future__ import annotations

import warnings
from abc import ABC
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from interpreto.errors import CompletenessWarning
from interpreto.models.rule_names import ACTIVATIONS
from interpreto.models.secants import Function, Pairs
from interpreto.models.watching import Watcher, variable


class BackwardRules(Watcher, ABC):
    """Local derivatives that take the place of the chain rule's.

    Attributes:
        paired: The rows of a batch are followed by as many rows of baselines. The rules also hold where scores are read from
            the model's outputs; other rules begin at the outputs, with the derivative of the score.
        pairs: Where tensors hold rows and baselines, of paired rules.
        without_rule: Functions that have no rule, by their names.
        missed: Names of those that the model called.
    """

    paired: ClassVar[bool] = False
    without_rule: ClassVar[Mapping[Function, str]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.pairs = Pairs()
        self.missed: set[str] = set()

    def plain(self, function: Function, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
        """Return the function's value with its own derivative; take note of a function whose derivative is no rule."""
        if function in self.without_rule and any(map(variable, arguments)):
            self.missed.add(self.without_rule[function])
        return function(*arguments, **options)

    def warn_of_missed(self) -> None:
        """Warn of the functions that were called and have no rule."""
        if self.missed:
            warnings.warn(
                f"The model calls {', '.join(sorted(self.missed))}, for which this method has no rule: values pass it by its "
                "gradient, and may be wrong. Compare them with a mask method or IntegratedGradients.",
                CompletenessWarning,
                stacklevel=2,
            )


def apart(function: Function, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return options by which an activation leaves its input as it is: a rule needs both."""
    return {**options, "inplace": False} if function in ACTIVATIONS and options.get("inplace") else options


def normalization(
    function: Function, arguments: tuple[Any, ...], options: Mapping[str, Any], scaled: Callable[..., Tensor]
) -> Tensor:
    """Return layer or RMS normalization whose scale follows a rule."""
    names = ["input", "normalized_shape", "weight", *(["bias"] if function is F.layer_norm else []), "eps"]
    given = {**dict(zip(names, arguments, strict=False)), **options}
    x, weight, bias = given["input"], given.get("weight"), given.get("bias")
    dims = tuple(range(-len(given["normalized_shape"]), 0))
    if function is F.layer_norm:
        x = x - x.mean(dims, keepdim=True)
    eps = given.get("eps")
    out = scaled(x, (1e-5 if function is F.layer_norm else torch.finfo(x.dtype).eps) if eps is None else eps, dims)
    out = out if weight is None else out * weight
    return out if bias is None else out + bias
