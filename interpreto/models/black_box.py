"""Any function from texts to scores as a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.errors import ModelError, OptionError
from interpreto.inputs.samples import Sample
from interpreto.models.batching import is_out_of_memory
from interpreto.models.text_model import Becomes, TextModel


class BlackBox(TextModel):
    """A model of which only its scores can be asked: any function from texts to numbers. Implements `Model`.

    A scikit-learn pipeline, a model behind HTTP, a rule. `Occlusion`, `Lime`, `KernelShap` and `Sobol` explain it, and
    metrics that mask units judge the explanations, with no tokenizer: units are cut from the text, and masked units are
    dropped from it with the white space before them, or become the text that is given as ``replacement``.

    Args:
        function: Takes a list of texts to an array of scores ``(n, k)``, or ``(n,)`` for one score per text. The scores are
            explained as they are.
        labels: Name of each score; None: scores are called by their numbers.

    Examples:
        >>> from interpreto import BlackBox, Occlusion
        >>> def shouts(texts):
        ...     return [text.count("!") for text in texts]
        >>> Occlusion(BlackBox(shouts, labels=["shouting"]))("Stop it! Now!")[0].attributions
        tensor([[0., 0., 1., 0., 1.]])
    """

    def __init__(self, function: Callable[[list[str]], Any], labels: Sequence[str] | None = None) -> None:
        if not callable(function):
            raise OptionError(f"`function`: got {type(function).__name__}; pass a function from a list of texts to an array.")
        if isinstance(labels, str) or (labels is not None and not all(isinstance(label, str) for label in labels)):
            raise OptionError(f"`labels`: got {labels!r:.60}; pass the name of each score, or None.")
        self.function, self.labels = function, None if labels is None else tuple(labels)
        super().__init__("black box")

    @property
    def name(self) -> str:
        """Return the function's name, for messages."""
        return f"the black box {getattr(self.function, '__qualname__', type(self.function).__name__)!r}"

    @property
    def config(self) -> SimpleNamespace:
        """Names of the scores, and that they are explained as they are, in the form of a Hugging Face config."""
        return SimpleNamespace(id2label=dict(enumerate(self.labels or ())), problem_type="scores")

    def questions(self, sample: Sample, mask: Float[Tensor, "r u"], replacement: Becomes) -> list[str]:
        """Return the text of a sample under each mask."""
        return sample.renders(mask, replacement)

    def width(self, questions: Sequence[str]) -> None:
        """Return None: the function returns as many scores for each text."""

    def length(self, question: str) -> int:
        """Return the length of a text: a function that runs a network pads the texts of a call to the longest."""
        return len(question)

    def answers(self, questions: Sequence[str]) -> Float[Tensor, "b k"]:
        """Return what the function returns for some texts, if it is an array of numbers with a row for each."""
        texts = list(questions)
        shown = f"{texts[0]!r:.60}" + (f" and {len(texts) - 1} more" if len(texts) > 1 else "")
        try:
            answer = self.function(list(texts))
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise ModelError(f"`function`: {self.name} raised {type(error).__name__} for {shown}: {error!s:.200}") from error
        try:
            values = answer.detach().cpu() if isinstance(answer, Tensor) else torch.as_tensor(np.asarray(answer))
            values = values.to(torch.float64)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ModelError(
                f"`function`: {self.name} returned {answer!r:.60} for {shown}; "
                "it must return an array of numbers (texts, scores)."
            ) from error
        values = values[:, None] if values.ndim == 1 else values
        if values.ndim != 2 or len(values) != len(texts) or not values.shape[1]:
            raise ModelError(
                f"`function`: {self.name} returned shape {tuple(np.shape(answer))} for {len(texts)} texts ({shown}); "
                "it must return (texts, scores), or (texts,)."
            )
        if self.labels is not None and values.shape[1] != len(self.labels):
            raise ModelError(
                f"`labels`: got {len(self.labels)} ({', '.join(map(repr, self.labels)):.60}), and {self.name} returned "
                f"{values.shape[1]} scores per text."
            )
        if (missing := values.isnan().any(1)).any():
            raise ModelError(f"`function`: {self.name} returned NaN for {texts[int(missing.nonzero()[0])]!r:.60}.")
        return values
