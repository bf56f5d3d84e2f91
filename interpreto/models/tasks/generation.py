"""Generation: a target is a text that follows the prompt, scored in one teacher-forced pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpreto.errors import InputError, ModelError, OptionError, TargetError, TaskError
from interpreto.inputs.continuations import Continuation, ContinuationTokenizer
from interpreto.inputs.samples import Readout, Targets
from interpreto.inputs.segmentation import Tokens
from interpreto.inputs.targets import Contrast, read_continuations, read_ids
from interpreto.inputs.text import TokenizedInput
from interpreto.inputs.units import Span, Units
from interpreto.models.batching import TOKENS_A_PASS, Budget
from interpreto.models.forward import Forward
from interpreto.models.generate import Written, write
from interpreto.models.modes import Mode, mode_name
from interpreto.models.tasks.base import AGGREGATES, GenerationRequest, Task
from interpreto.models.tasks.columns import read_columns
from interpreto.models.tasks.divergence import Divergence


@dataclass(frozen=True, eq=False)
class Rival:
    """The two sides of a contrast."""

    a: Continuation
    b: Continuation


Target = Continuation | Rival


class Generation(Task):
    """Generation: targets are the tokens of a text, each scored by the logits at the token before it.

    Args:
        mode: Transformation of the logits into the explained scores; log-probabilities by default.
        tokenizer: The model's tokenizer.
        encodes: An encoder reads the prompt and a decoder the target (T5, BART).
        config: The model's config, which names the first token of an encoder-decoder's target.
        max_length: Largest number of tokens that the model takes.
        divergence: Scores predictions by what they are without the context, in place of the mode.
    """

    generates = True

    def __init__(  # noqa: PLR0917  # as it grew
        self,
        mode: Mode,
        tokenizer: Any,
        encodes: bool = False,
        config: Any = None,
        max_length: int | None = None,
        divergence: Divergence | None = None,
    ) -> None:
        self.divergence = divergence
        self.mode, self.encodes, self.max_length = mode, encodes, _longest(config, max_length) if encodes else max_length
        self.name, self.mode_name = "sequence-to-sequence generation" if encodes else "generation", mode_name(mode)
        start = getattr(config, "decoder_start_token_id", None) if encodes else None
        if encodes and start is None:
            raise ModelError("`model`: its config has no `decoder_start_token_id`; set it, so that its decoder can begin.")
        self.tokenizer, self.continuer = tokenizer, ContinuationTokenizer(tokenizer, start)

    def request(self, **asked: Any) -> GenerationRequest:
        given = {name: value for name, value in asked.items() if value is not None}
        if given.get("aggregate", "token") not in AGGREGATES:
            raise OptionError(f"`aggregate`: got {given['aggregate']!r}; pass one of {', '.join(map(repr, AGGREGATES))}.")
        return GenerationRequest(**given)

    # --- Targets

    def read_targets(self, targets: object, encodings: Sequence[TokenizedInput], single: bool) -> list[Target] | None:
        if targets is None:
            return None
        rows = read_continuations(targets, len(encodings), single)
        each = len(rows) > 1 or not isinstance(targets, (str, Contrast))
        names = [f"`targets[{i}]`" if each else "`targets`" for i in range(len(rows))]
        return [self._read_one(*of) for of in zip(rows, encodings, names, strict=True)]

    def own_targets(self, forward: Forward, encodings: Sequence[TokenizedInput], request: GenerationRequest) -> list[Target]:
        """Return the texts that the model generates, greedily by default, without the token that ends them.

        Raises:
            TargetError: the model generates nothing after an input.
        """
        written = write(
            forward,
            [encoding.input_ids for encoding in encodings],
            request.generation_kwargs,
            special_ids=self.continuer.special_ids,
            budget=Budget(request.batch_size, TOKENS_A_PASS["cuda" if forward.device.type == "cuda" else "cpu"]),
            random_state=request.random_state,
            longest=self.max_length,
        )
        return [self._written(*of) for of in zip(range(len(encodings)), encodings, written, strict=True)]

    def _written(self, i: int, encoding: TokenizedInput, written: Written) -> Continuation:
        if not written.ids:
            raise TargetError(
                f"`targets`: the model ends at once after `inputs[{i}]` ({encoding.tokens.text[-60:]!r}) and writes nothing "
                "that could be explained; pass a target."
            )
        return self.continuer.ids(list(written.ids), _words(encoding), f"`targets[{i}]`", list(written.lead))

    def _read_one(self, target: Any, encoding: TokenizedInput, name: str) -> Target:
        """Parse one target into tokens."""
        if isinstance(target, Contrast):
            sides = [self._read_one(side, encoding, f"{name} of the contrast") for side in (target.a, target.b)]
            a, b = (side for side in sides if isinstance(side, Continuation))
            if torch.equal(a.ids, b.ids):
                raise TargetError(f"{name}: the contrast is between {a.tokens.text!r} and itself.")
            return Rival(a, b)
        if isinstance(target, str):
            return self.continuer.text(target, name)
        return self.continuer.ids(read_ids(target, name), _words(encoding), name)

    # --- Samples

    def joined(self, encoding: TokenizedInput, target: Target, request: GenerationRequest) -> TokenizedInput:
        part = target.a if isinstance(target, Rival) else target
        source = len(encoding.input_ids) if self.encodes else 0
        tokens, ids = encoding.tokens, encoding.input_ids
        if part.lead:
            names = tuple(str(name) for name in self.tokenizer.convert_ids_to_tokens(list(part.lead)))
            nothing = ((0, 0),) * len(names)
            tokens = tokens.followed_by(Tokens("", nothing, names, (True,) * len(names), ()), "\n")
            ids = torch.cat([ids, torch.tensor(part.lead)])
        prompt = len(ids)
        if isinstance(target, Continuation):
            own = target.tokens if request.attribute_targets else target.tokens.without([True] * len(target.ids))
            tokens, ids = tokens.followed_by(own), torch.cat([ids, target.ids])
        longest = max(len(side.ids) for side in ((target.a, target.b) if isinstance(target, Rival) else (target,)))
        cells = 0 if encoding.picture is None else encoding.picture.cells
        self._check_length(source, prompt - cells, longest, tokens.text)
        extras = {} if self.encodes else {k: _lengthened(v, len(ids)) for k, v in encoding.extras.items()}
        own = {"units": encoding.units, "picture": encoding.picture}
        return TokenizedInput(tokens, ids, extras, source, prompt if isinstance(target, Continuation) else None, **own)

    def _check_length(self, source: int, prompt: int, target: int, text: str) -> None:
        run = prompt - source + target - 1  # the last token is predicted, not read
        if self.max_length is not None and run > self.max_length:
            raise InputError(
                f"`targets`: {text[:60]!r} and its target are {run} tokens, and the model takes {self.max_length}; "
                "shorten them."
            )

    def targets(
        self, encoding: TokenizedInput, target: Target, request: GenerationRequest, cut: Callable[[Tokens], Units]
    ) -> Targets:
        if isinstance(target, Rival):
            if self.divergence is not None:
                raise TargetError(
                    "`targets`: a contrast of divergences has no meaning; pass one text, or another inference_mode."
                )
            return self._against(encoding, target)
        assert encoding.prompt is not None
        positions = encoding.prompt - 1 + torch.arange(len(target.ids))
        weights, labels, spans = answer_rows(target.tokens, request.aggregate, cut)
        shift = len(encoding.tokens.text) - len(target.tokens.text)
        found = Targets((Readout(target.ids, positions, weights),), labels, tuple((a + shift, b + shift) for a, b in spans))
        if self.divergence is None:
            return found
        frozen = (cut(encoding.tokens).index < 0).long()
        return self.divergence.targets(found, encoding.input_ids, frozen, encoding.prompt, encoding.source)

    def _against(self, encoding: TokenizedInput, rival: Rival) -> Targets:
        """Return the targets of log P(a) − log P(b), in which the tokens that both begin with cancel."""
        a, b, before = rival.a.ids, rival.b.ids, len(encoding.input_ids) - 1
        shared = next((k for k, (i, j) in enumerate(zip(a, b, strict=False)) if i != j), min(len(a), len(b)))
        if max(len(a), len(b)) - shared <= 1:  # one token each: both are read off one row of logits
            ids = torch.cat([a[shared:], b[shared:]])
            weights = torch.tensor([[1.0] * len(a[shared:]) + [-1.0] * len(b[shared:])])
            readouts = [Readout(ids, torch.full((len(ids),), before + shared), weights, a[:shared])]
        else:
            readouts = [
                Readout(ids[shared:], before + torch.arange(shared, len(ids)), torch.full((1, len(ids) - shared), sign), ids)
                for ids, sign in ((a, 1.0), (b, -1.0))
                if len(ids) > shared
            ]
        label = " − ".join(side.tokens.text.strip() or repr(side.tokens.text) for side in (rival.a, rival.b))
        return Targets(tuple(readouts), (label,), (None,))

    def predicted(self, logits: Float[Tensor, " c"]) -> Targets:
        raise TaskError("A generation's targets are read before it is scored.")

    # --- Scores

    def read(self, logits: Float[Tensor, "b k v"], ids: Int[Tensor, "b k"] | None) -> Float[Tensor, "b k"]:
        """Return the scores of target tokens."""
        if ids is None:
            raise TaskError("`task`: a generation is scored for its targets; none were read.")
        if self.divergence is not None:
            return self.divergence.read(logits, ids)
        return read_columns(self.mode, logits, ids)


def _words(encoding: TokenizedInput) -> list[int]:
    """Return the ids of an input that are tokens, without those of an image's cells."""
    return encoding.input_ids[0 if encoding.picture is None else encoding.picture.cells :].tolist()


def answer_rows(
    tokens: Tokens, aggregate: str, cut: Callable[[Tokens], Units]
) -> tuple[Float[Tensor, "t k"] | None, tuple[str, ...], list[Span]]:
    """Return the weights of a target's tokens in each row (None: one token per row), and the rows' labels and characters."""
    if aggregate == "sequence":
        whole = min(a for a, _ in tokens.offsets), max(b for _, b in tokens.offsets)
        return torch.ones(1, len(tokens.names)), (tokens.text.strip() or repr(tokens.text),), [whole]
    if aggregate == "token":
        texts = [tokens.text[a:b] for a, b in tokens.offsets]
        shown = tuple(t if t.strip() else name for t, name in zip(texts, tokens.names, strict=True))
        return None, shown, list(tokens.offsets)
    units = cut(tokens)
    groups = [(int(unit), token) for token, unit in enumerate(units.index)]
    keys = list(dict.fromkeys(unit if unit >= 0 else -1 - token for unit, token in groups))  # frozen tokens stay alone
    weights = torch.zeros(len(keys), len(groups))
    for unit, token in groups:
        weights[keys.index(unit if unit >= 0 else -1 - token), token] = 1.0
    labels = tuple(units.texts[key] if key >= 0 else tokens.names[-1 - key] for key in keys)
    return weights, labels, [units.spans[key] if key >= 0 else tokens.offsets[-1 - key] for key in keys]


def _longest(config: Any, longest: int | None) -> int | None:
    """Return the largest number of tokens that a decoder takes; some (LED's) take fewer than their encoders."""
    own = getattr(config, "max_decoder_position_embeddings", None)
    return own if longest is None or (own is not None and own < longest) else longest


def _lengthened(values: Int[Tensor, " l"], length: int) -> Int[Tensor, " m"]:
    """Extend values of the prompt's tokens to those of the target by the last of them."""
    return torch.cat([values, values[-1:].expand(length - len(values))])
