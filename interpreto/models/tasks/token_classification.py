"""Token classification: a row of logits per token; a target is a word or an entity, and its tag."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpreto.errors import TargetError, TaskError
from interpreto.inputs.places import Place, characters_of, find_place, is_span, place_of
from interpreto.inputs.samples import Readout, Targets
from interpreto.inputs.segmentation import Tokens
from interpreto.inputs.targets import Contrast, one_each
from interpreto.inputs.text import TokenizedInput
from interpreto.inputs.units import Units
from interpreto.models.forward import Forward
from interpreto.models.logits import per_token
from interpreto.models.modes import Mode, mode_name
from interpreto.models.tasks.base import GenerationRequest, Task, no_generation
from interpreto.models.tasks.columns import read_columns
from interpreto.models.tasks.predictions import outputs_at
from interpreto.validation import is_whole, shown

OUTSIDE = "O"
"""Tag of tokens that are in no entity."""
ACCEPTED = (
    "None (every entity that the model finds), a pair (place, tag) such as ('Paris', 'LOC'), an entity of a pipeline, or a "
    "list of these; for several inputs, one or a list for each. A place is a word of the text, its characters (start, end), "
    "or the number of a token"
)


@dataclass(frozen=True)
class Mention:
    """A target: tokens and the tag of each.

    Attributes:
        place: Where.
        tags: The class of each token; of a contrast, of both sides.
        label: What the target is called.
    """

    place: Place
    tags: tuple[tuple[int, ...], ...]
    label: str


class TokenClassification(Task):
    """Token classification: named entities, parts of speech. A target is a place in the text and a tag.

    The score of a target is the mean of the scores of its tokens, each for its own class: of an entity ``LOC`` the first
    token's ``B-LOC`` and the others' ``I-LOC``, or ``LOC`` where the model has no such prefixes. With
    ``inference_mode="softmax"`` the score of a predicted entity is the one that a pipeline of transformers states
    (``aggregation_strategy="simple"``).

    Args:
        mode: Transformation of the logits of each token into the explained scores.
        id2label: Names of the classes.
    """

    name = "token classification"

    def __init__(self, mode: Mode, id2label: dict[int, str] | None = None) -> None:
        self.mode, self.mode_name, self.id2label = mode, mode_name(mode), id2label or {}

    def request(self, **asked: Any) -> GenerationRequest:
        return no_generation(asked, "a row of logits per token")

    # --- Targets

    def read_targets(
        self, targets: object, encodings: Sequence[TokenizedInput], single: bool
    ) -> list[tuple[Mention, ...]] | None:
        if targets is None:
            return None
        if _is_one(targets):
            rows: list[Any] = [[targets]] * len(encodings)
        elif not isinstance(targets, Iterable) or isinstance(targets, (str, Mapping)):
            raise TargetError(f"`targets`: got {shown(targets)}; pass {ACCEPTED}.")
        else:
            rows = list(targets)
            rows = [rows] if single and len(encodings) == 1 else list(one_each(rows, len(encodings)))
        return [
            self._mentions(row, encoding.tokens, f"`targets[{i}]`")
            for i, (row, encoding) in enumerate(zip(rows, encodings, strict=True))
        ]

    def _mentions(self, row: Any, tokens: Tokens, name: str) -> tuple[Mention, ...]:
        items = [row] if _is_one(row) else row
        if not isinstance(items, (list, tuple)) or not items:
            raise TargetError(f"{name}: got {shown(row)}; pass {ACCEPTED}.")
        return tuple(self._mention(item, tokens, name) for item in items)

    def _mention(self, item: Any, tokens: Tokens, name: str) -> Mention:
        if not _is_one(item):
            raise TargetError(f"{name}: got {shown(item)}; pass {ACCEPTED}.")
        where, tag = item if not isinstance(item, Mapping) else (characters_of(item, name), _tag_of(item, name))
        place = find_place(tokens, where, name)
        sides = (tag.a, tag.b) if isinstance(tag, Contrast) else (tag,)
        tags = tuple(self._classes(side, len(place.positions), name) for side in sides)
        if len(tags) > 1 and tags[0] == tags[1]:
            raise TargetError(f"{name}: the contrast is between {sides[0]!r} and itself.")
        names = [self.id2label.get(side, str(side)) if is_whole(side) else str(side) for side in sides]
        return Mention(place, tags, f"{place.text}: {' − '.join(names)}")

    def _classes(self, tag: Any, count: int, name: str) -> tuple[int, ...]:
        """Return the class of each of some tokens that are tagged alike."""
        if is_whole(tag):
            if tag < 0:
                raise TargetError(f"{name}: class {tag} is not in 0..{len(self.id2label) - 1}.")
            return (int(tag),) * count
        ids = {label: i for i, label in self.id2label.items()}
        if tag in ids:
            return (ids[tag],) * count
        first, rest = ids.get(f"B-{tag}"), ids.get(f"I-{tag}")
        if first is None and rest is None:
            kinds = sorted({entity_of(label)[1] for label in ids})
            near = difflib.get_close_matches(str(tag), kinds, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise TargetError(f"{name}: no tag is called {shown(tag)}; there are {', '.join(map(repr, kinds[:10]))}.{hint}")
        first, rest = rest if first is None else first, first if rest is None else rest
        return tuple(i for i in (first, *(rest,) * (count - 1)) if i is not None)

    def own_targets(
        self, forward: Forward, encodings: Sequence[TokenizedInput], request: GenerationRequest
    ) -> list[tuple[Mention, ...]]:
        """Return the entities that the model finds in each input.

        Raises:
            TargetError: it finds none in one of them.
        """
        positions = [torch.arange(len(encoding.input_ids)) for encoding in encodings]
        found = outputs_at(forward, encodings, positions, lambda logits: logits.argmax(-1), request.batch_size)
        return [self._found(encoding.tokens, tags.tolist()) for encoding, tags in zip(encodings, found, strict=True)]

    def _found(self, tokens: Tokens, tags: Sequence[int]) -> tuple[Mention, ...]:
        mentions = []
        for kind, positions in entities([self.label(tag) for tag in tags], tokens.frozen):
            place = place_of(tokens, positions)
            mentions.append(Mention(place, (tuple(tags[i] for i in positions),), f"{place.text}: {kind}"))
        if not mentions:
            raise TargetError(
                f"`targets`: the model finds no entity in {tokens.text[:60]!r} (every token is {OUTSIDE!r}); pass a target, "
                "such as a pair (word, tag), or leave this input out."
            )
        return tuple(mentions)

    def joined(self, encoding: TokenizedInput, target: Any, request: GenerationRequest) -> TokenizedInput:
        return encoding

    def targets(
        self, encoding: TokenizedInput, target: Sequence[Mention], request: GenerationRequest, cut: Callable[[Tokens], Units]
    ) -> Targets:
        ids, positions, rows = [], [], []
        for mention in target:
            row = {}
            for sign, tags in zip((1.0, -1.0), mention.tags, strict=False):
                for position, tag in zip(mention.place.positions, tags, strict=True):
                    row[len(ids)] = sign / len(tags)
                    ids.append(tag)
                    positions.append(position)
            rows.append(row)
        weights = torch.tensor([[row.get(k, 0.0) for k in range(len(ids))] for row in rows])
        alone = len(ids) == len(rows)
        readout = Readout(torch.tensor(ids), torch.tensor(positions), None if alone else weights, causal=False)
        spans = tuple(mention.place.span for mention in target)
        return Targets((readout,), tuple(mention.label for mention in target), spans)

    def predicted(self, logits: Float[Tensor, " c"]) -> Targets:
        raise TaskError("The targets of a token classification are read before it is scored.")

    # --- Scores

    def read(self, logits: Float[Tensor, ...], ids: Int[Tensor, "b k"] | None) -> Float[Tensor, "b k"]:
        if ids is None:
            raise TaskError("`task`: a token classification is scored for its targets; none were read.")
        logits = per_token(logits)
        if int(ids.max()) >= logits.shape[-1]:
            raise TargetError(f"`targets`: class {int(ids.max())} is not in 0..{logits.shape[-1] - 1}.")
        return read_columns(self.mode, logits, ids)

    def label(self, tag: int) -> str:
        """Return the name of a class; its id where it has none."""
        return self.id2label.get(tag, str(tag))


def entities(labels: Sequence[str], special: Sequence[bool]) -> list[tuple[str, list[int]]]:
    """Group tokens into entities as the pipelines of transformers do: ``B-`` begins one, and ``I-`` goes on.

    A tag without either prefix goes on too, so that neighbors of one tag are one entity. Special tokens are in none.

    Args:
        labels: The tag of each token.
        special: True for special tokens.

    Returns:
        The kind of each entity and the numbers of its tokens.

    Examples:
        >>> entities(["O", "B-PER", "I-PER", "B-PER", "LOC", "LOC"], [False] * 6)
        [('PER', [1, 2]), ('PER', [3]), ('LOC', [4, 5])]
    """
    groups: list[tuple[str, list[int]]] = []
    before = None
    for i, (label, out) in enumerate(zip(labels, special, strict=True)):
        begins, kind = entity_of(label)
        if out or label == OUTSIDE:
            before = None
        elif kind == before and not begins:
            groups[-1][1].append(i)
        else:
            groups.append((kind, [i]))
            before = kind
    return groups


def entity_of(label: str) -> tuple[bool, str]:
    """Return whether a tag begins an entity, and the kind of the entity."""
    return label.startswith("B-"), label[2:] if label[:2] in ("B-", "I-") else label


def _is_one(item: object) -> bool:
    """Return True for one target, not a list of them."""
    if isinstance(item, Mapping):
        return True
    if not isinstance(item, tuple) or len(item) != 2:
        return False
    where, tag = item
    return (is_whole(where) or isinstance(where, str) or is_span(where)) and (is_whole(tag) or isinstance(tag, (str, Contrast)))


def _tag_of(item: Mapping[str, Any], name: str) -> Any:
    """Return the tag that an entity of a pipeline has."""
    for key in ("entity_group", "entity", "tag", "label"):
        if key in item:
            return item[key]
    raise TargetError(f"{name}: got a mapping of {shown(sorted(map(str, item)))}; it must have 'entity' or 'tag'.")
