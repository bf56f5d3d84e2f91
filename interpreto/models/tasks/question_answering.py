"""Extractive question answering: a start and an end logit per token; a target is a part of the context."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpreto.errors import InputError, ModelError, OptionError, TargetError, TaskError
from interpreto.inputs.boundaries import Span
from interpreto.inputs.places import Place, characters_of, find_place, find_tokens, is_span, place_of
from interpreto.inputs.samples import Readout, Targets
from interpreto.inputs.segmentation import Tokens
from interpreto.inputs.targets import Contrast, one_each
from interpreto.inputs.text import TokenizedInput
from interpreto.inputs.units import Units
from interpreto.models.forward import Forward
from interpreto.models.logits import per_token, promoted
from interpreto.models.modes import InferenceModes, Mode, mode_name
from interpreto.models.tasks.base import GenerationRequest, Task, no_generation
from interpreto.models.tasks.predictions import outputs_at
from interpreto.validation import check_count, shown

LONGEST = 15  # tokens of an answer, as pipelines have it
ACCEPTED = (
    "None (the best answer), a text that the context has, its characters (start, end) in the context, the answer "
    "of a pipeline ({'start', 'end'}), tokens ({'start_token', 'end_token'}), or a Contrast of two; for several inputs, one or "
    "a list for each"
)


@dataclass(frozen=True)
class Answer:
    """A target: a part of the context; of a contrast, both parts."""

    places: tuple[Place, ...]

    @property
    def label(self) -> str:
        """Return what the target is called."""
        return " − ".join(place.text for place in self.places)


class QuestionAnswering(Task):
    """Extractive question answering: the input is a pair (question, context), a target a part of the context.

    The score of an answer is the log-probability that it begins at its first token plus the log-probability that it ends at
    its last, over all tokens of the input: with ``inference_mode="logits"`` the sum of the two logits, with ``"softmax"`` the
    mean of the two probabilities.

    Args:
        mode: Transformation of the logits, over the tokens of the input.
        longest: Most tokens of the answer that is taken for the best.
    """

    name = "question answering"

    def __init__(self, mode: Mode, longest: int = LONGEST) -> None:
        if not isinstance(mode, InferenceModes):
            raise OptionError(
                f"`inference_mode`: got {shown(mode)}; the outputs of question answering are read over tokens, by "
                "'log_softmax', 'softmax', 'logits' or 'sigmoid'."
            )
        self.mode, self.mode_name, self.longest = mode, mode_name(mode), check_count(longest, "longest")
        self.outputs, self.holds = SpanOutputs(), self._holds

    def request(self, **asked: Any) -> GenerationRequest:
        return no_generation(asked, "two logits per token")

    # --- Targets

    def read_targets(
        self, targets: object, encodings: Sequence[TokenizedInput], single: bool
    ) -> list[tuple[Answer, ...]] | None:
        contexts = [context_of(encoding.tokens, f"`inputs[{i}]`") for i, encoding in enumerate(encodings)]
        if targets is None:
            return None
        if _is_one(targets):
            rows: list[Any] = [targets] * len(encodings)
        elif isinstance(targets, (list, tuple)) and single and len(encodings) == 1:
            rows = [targets]
        elif isinstance(targets, Iterable):
            rows = list(one_each(list(targets), len(encodings)))
        else:
            raise TargetError(f"`targets`: got {shown(targets)}; pass {ACCEPTED}.")
        return [
            self._answers(row, encoding.tokens, context, f"`targets[{i}]`")
            for i, (row, encoding, context) in enumerate(zip(rows, encodings, contexts, strict=True))
        ]

    def _answers(self, row: Any, tokens: Tokens, context: Span, name: str) -> tuple[Answer, ...]:
        items = [row] if _is_one(row) else row
        if not isinstance(items, (list, tuple)) or not items:
            raise TargetError(f"{name}: got {shown(row)}; pass {ACCEPTED}.")
        found = []
        for item in items:
            sides = (item.a, item.b) if isinstance(item, Contrast) else (item,)
            places = tuple(_place(side, tokens, context, name) for side in sides)
            if len(places) > 1 and places[0].positions == places[1].positions:
                raise TargetError(f"{name}: the contrast is between {places[0].text!r} and itself.")
            found.append(Answer(places))
        return tuple(found)

    def own_targets(
        self, forward: Forward, encodings: Sequence[TokenizedInput], request: GenerationRequest
    ) -> list[tuple[Answer, ...]]:
        """Return the likeliest answer of each context: the best start and end in order, at most `longest` tokens."""
        positions = [torch.arange(len(encoding.input_ids)) for encoding in encodings]
        found = outputs_at(forward, encodings, positions, lambda outputs: promoted(outputs[..., :2]), request.batch_size)
        return [
            (Answer((place_of(encoding.tokens, self._best(encoding.tokens, logits, i)),)),)
            for i, (encoding, logits) in enumerate(zip(encodings, found, strict=True))
        ]

    def _best(self, tokens: Tokens, logits: Float[Tensor, "l 2"], i: int) -> range:
        start, end = context_of(tokens, f"`inputs[{i}]`")
        inside = [start <= a <= b <= end and not frozen for (a, b), frozen in zip(tokens.offsets, tokens.frozen, strict=True)]
        allowed = torch.tensor(inside)
        both = (allowed[:, None] & allowed).triu().tril(self.longest - 1)
        if not bool(both.any()):
            raise InputError(f"`inputs[{i}]`: the context {tokens.text[start:end][:60]!r} has no token.")
        scores = (logits[:, None, 0] + logits[None, :, 1]).masked_fill(~both, -torch.inf)
        first, last = divmod(int(scores.argmax()), len(allowed))
        return range(first, last + 1)

    def joined(self, encoding: TokenizedInput, target: Any, request: GenerationRequest) -> TokenizedInput:
        return encoding

    def targets(
        self, encoding: TokenizedInput, target: Sequence[Answer], request: GenerationRequest, cut: Callable[[Tokens], Units]
    ) -> Targets:
        places = [(i, sign, place) for i, answer in enumerate(target) for sign, place in zip((1.0, -1.0), answer.places)]  # noqa: B905
        ids = torch.tensor([0, 1] * len(places))
        positions = torch.tensor([position for _, _, p in places for position in (p.positions[0], p.positions[-1])])
        weights = torch.zeros(len(target), len(ids))
        part = 0.5 if self.mode in (InferenceModes.SOFTMAX, InferenceModes.SIGMOID) else 1.0
        for k, (i, sign, _) in enumerate(places):
            weights[i, 2 * k : 2 * k + 2] = sign * part
        spans = tuple(answer.places[0].span for answer in target)
        return Targets((Readout(ids, positions, weights, causal=False),), tuple(answer.label for answer in target), spans)

    def predicted(self, logits: Float[Tensor, " c"]) -> Targets:
        raise TaskError("The targets of question answering are read before it is scored.")

    # --- Scores

    def read(self, logits: Float[Tensor, ...], ids: Int[Tensor, "b k"] | None) -> Float[Tensor, "b k"]:
        if ids is None:
            raise TaskError("`task`: question answering is scored for its targets; none were read.")
        found, ids = promoted(per_token(logits)), ids.to(logits.device)
        score = _column(found, ids)
        if self.mode in (InferenceModes.LOG_SOFTMAX, InferenceModes.SOFTMAX):
            score = score - _column(found, ids + 2)
            return score if self.mode is InferenceModes.LOG_SOFTMAX else score.exp()
        return self.mode(score)

    def _holds(self, logits: Float[Tensor, "b k c"], ids: Int[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        """Return 1 where the likeliest start, or end, is at the token."""
        ids = ids.to(logits.device)
        return (_column(logits, ids) >= _column(logits, ids + 4)).float()


class SpanOutputs:
    """Take the outputs of each token from what a model returns: both logits, their normalizers and their maxima.

    Start and end logits are ``(b, l)`` each; the normalizer (log Σ exp) and the maximum of a row are over its own tokens, so
    that padding plays no part.
    """

    takes_lengths = True

    def __call__(self, output: Any, lengths: Int[Tensor, " b"] | None = None) -> Float[Tensor, "b l 6"]:
        start, end = getattr(output, "start_logits", None), getattr(output, "end_logits", None)
        if start is None or end is None:
            raise ModelError(
                f"`model`: returned {type(output).__name__} without start_logits and end_logits, by which questions are "
                "answered."
            )
        logits = promoted(torch.stack([start, end], -1))
        inside = torch.ones(logits.shape[:2], dtype=torch.bool, device=logits.device)
        if lengths is not None:
            padding = logits.shape[1] - int(lengths.max())  # virtual tokens of an adapter come first
            inside = torch.arange(logits.shape[1], device=logits.device) < lengths.to(logits.device)[:, None] + padding
        seen = logits.masked_fill(~inside[..., None], -torch.inf)
        whole = torch.cat([seen.logsumexp(1), seen.amax(1)], -1)
        return torch.cat([logits, whole[:, None].expand(-1, logits.shape[1], -1)], -1)


def context_of(tokens: Tokens, name: str) -> Span:
    """Return the characters of the context, which is the second text of a pair.

    Raises:
        InputError: there is one text alone.
    """
    if len(tokens.segments) < 2:
        raise InputError(f"{name}: got one text ({tokens.text[:40]!r}); question answering takes a pair (question, context).")
    return tokens.segments[1][0], tokens.segments[-1][1]


def _place(item: Any, tokens: Tokens, context: Span, name: str) -> Place:
    """Return the place of an answer within a context."""
    if isinstance(item, Mapping) and "start_token" in item:
        return find_tokens(tokens, item["start_token"], item.get("end_token", item["start_token"]), name)
    if isinstance(item, Mapping):
        return find_place(tokens, characters_of(item, name), name, context)
    if not isinstance(item, str) and not is_span(item):
        raise TargetError(f"{name}: got {shown(item)}; pass {ACCEPTED}.")
    return find_place(tokens, item, name, context)


def _is_one(item: object) -> bool:
    """Return True for one answer, not a list of them."""
    return isinstance(item, (str, Mapping, Contrast)) or (isinstance(item, tuple) and is_span(item))


def _column(values: Float[Tensor, "b k c"], ids: Int[Tensor, "b k"]) -> Float[Tensor, "b k"]:
    return values.gather(2, ids[..., None])[..., 0]
