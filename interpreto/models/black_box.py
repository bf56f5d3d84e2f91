"""Any function from texts to scores as a model: masks are rendered as text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpreto.errors import InputError, ModelError, OptionError
from interpreto.inputs.characters import CharacterReader
from interpreto.inputs.samples import MaskVariants, Sample
from interpreto.inputs.units import Granularity
from interpreto.models.batching import Budget, is_out_of_memory, map_batches, windows
from interpreto.models.options import EngineOptions
from interpreto.models.protocol import Need
from interpreto.models.report import EngineLog
from interpreto.models.rows import Read
from interpreto.models.scorer import finite, mixed, unique_rows

TEXTS_A_CALL = 64  # where `batch_size` does not say
WINDOW = 64  # calls whose texts are rendered together
WITHOUT = {
    "one_pass": "a black box returns one row of scores per text, and all its targets are read off it",
    "kept_logits": "a black box returns scores, and has no logits of single tokens",
    "prefix": "a black box reads whole texts, and has no keys and values to share",
    "shared_backward": "a black box has no gradients",
    "mixed_lengths": "a black box reads texts, which are not padded",
}
"""Why optimizations do not apply; ``distinct`` does."""


class TextReplacement:
    """Text that masked units become.

    Attributes:
        name: ``"drop"``, or the text.
        text: The text; None: units are dropped.
    """

    token_id = None

    def __init__(self, value: str) -> None:
        self.name, self.text = value, None if value == "drop" else value


class BlackBox:
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

    provides: frozenset[Need] = frozenset(("scores",))

    def __init__(self, function: Callable[[list[str]], Any], labels: Sequence[str] | None = None) -> None:
        if not callable(function):
            raise OptionError(f"`function`: got {type(function).__name__}; pass a function from a list of texts to an array.")
        if isinstance(labels, str) or (labels is not None and not all(isinstance(label, str) for label in labels)):
            raise OptionError(f"`labels`: got {labels!r:.60}; pass the name of each score, or None.")
        self.function, self.labels = function, None if labels is None else tuple(labels)
        self._asked, self.options = [0], EngineOptions()
        self.log = EngineLog(self.options, WITHOUT)
        self._read: Read | None = None
        self._replacement = TextReplacement("drop")
        self._batch_size: int | None = None
        self._on_pass: Callable[[], object] = lambda: None

    @property
    def name(self) -> str:
        """Return the function's name, for messages."""
        return f"the black box {getattr(self.function, '__qualname__', type(self.function).__name__)!r}"

    @property
    def config(self) -> SimpleNamespace:
        """Names of the scores, and that they are explained as they are, in the form of a Hugging Face config."""
        return SimpleNamespace(id2label=dict(enumerate(self.labels or ())), problem_type="scores")

    @property
    def asked(self) -> int:
        """Number of texts that the function was given so far."""
        return self._asked[0]

    def replacement(self, value: str | int) -> TextReplacement:
        """Return the replacement of that name."""
        if not isinstance(value, str):
            raise OptionError(
                f"`replacement`: got {value!r}; a black box reads texts: pass 'drop' or a text, such as '[MASK]'."
            )
        return TextReplacement("drop" if value == "auto" else value)

    def configured(
        self,
        read: Read,
        *,
        replacement: TextReplacement | None = None,
        batch_size: int | None = None,
        on_pass: Callable[[], object] = lambda: None,
    ) -> BlackBox:
        """Return the same model, ready for a call; see `HuggingFaceModel.configured`."""
        self.log = EngineLog(self.options, WITHOUT)  # read by `report` after the call
        box = copy(self)
        box._read, box._batch_size, box._on_pass = read, batch_size, on_pass
        box._replacement = TextReplacement("drop") if replacement is None else replacement
        return box

    def with_options(self, options: EngineOptions | None) -> BlackBox:
        """Return the same function with these optimizations, and a report of its own."""
        box = copy(self)
        box.options = EngineOptions() if options is None else options
        box.log = EngineLog(box.options, WITHOUT)
        return box

    def reader(self, granularity: Any) -> CharacterReader:
        """Return what reads its inputs where there is no tokenizer."""
        if granularity in (Granularity.TOKEN, Granularity.ALL_TOKENS):
            raise OptionError(
                f"`granularity`: got {granularity.value!r}, and {self.name} has no tokenizer; pass 'word', 'sentence' or "
                "'paragraph', a function that cuts a text, or a tokenizer."
            )
        return CharacterReader()

    def session(self) -> AbstractContextManager[None]:
        """Return a context manager that does nothing: there is nothing to restore."""
        return nullcontext()

    def scores(self, variants: Iterable[MaskVariants]) -> Iterator[tuple[MaskVariants, Float[Tensor, "p1 t"]]]:
        """Yield the scores of each sample's perturbed inputs; see `Model`. Equal texts are asked for once."""
        limit = WINDOW * (self._batch_size or TEXTS_A_CALL)
        for window in windows(variants, lambda v: len(v.mask) + 1, limit):
            masks = [self._masks(v) for v in window]
            texts = [
                [v.sample.render(row, self._replacement.text) for row in mask]
                for v, (mask, _) in zip(window, masks, strict=True)
            ]
            outputs = self._outputs_of_each([text for own in texts for text in own]).split([*map(len, texts)])
            for v, own, (_, inverse) in zip(window, outputs, masks, strict=True):
                yield v, finite(self._scores(own, v.sample), v.sample)[inverse]

    def _masks(self, v: MaskVariants) -> tuple[Float[Tensor, "r u"], Int[Tensor, " p1"]]:
        """Return the masks to render, an empty one among them, and the number of each asked one; the first is empty."""
        mask = torch.cat([v.mask.new_zeros(1, v.mask.shape[1]), v.mask])
        if not self.options.distinct:
            return mask, torch.arange(len(mask))
        distinct, inverse = unique_rows(mask)
        if len(distinct) < len(mask):
            self.log.use("distinct")
        return distinct, inverse

    def _outputs_of_each(self, texts: list[str]) -> Float[Tensor, "n k"]:
        """Return the outputs for texts, some of which may be equal."""
        if not self.options.distinct:
            return self._outputs(texts)
        numbers = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        if len(numbers) < len(texts):
            self.log.use("distinct")
        return self._outputs(list(numbers))[[numbers[text] for text in texts]]

    def _outputs(self, texts: list[str]) -> Float[Tensor, "n k"]:
        budget = Budget(self._batch_size or TEXTS_A_CALL, 0)

        def outputs_of(picked: list[int]) -> Tensor:
            outputs = self._checked([texts[i] for i in picked])
            self._on_pass()
            return outputs

        return map_batches([1] * len(texts), outputs_of, budget)  # nothing is padded, so lengths do not matter

    def _checked(self, texts: list[str]) -> Float[Tensor, "b k"]:
        """Return what the function returns for some texts, if it is an array of numbers with a row for each."""
        self._asked[0] += len(texts)
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

    def _scores(self, outputs: Float[Tensor, "r k"], sample: Sample) -> Float[Tensor, "r t"]:
        if sample.targets is None:
            return outputs
        assert self._read is not None
        scores = []
        for readout in sample.targets.readouts:
            if readout.positions is not None or readout.suffix is not None:
                raise InputError(f"`targets`: {self.name} returns one row of scores per text, and none per token.")
            scores.append(mixed(self._read(outputs, readout.ids.expand(len(outputs), -1)), readout))
        return torch.stack(scores).sum(0)
