"""From concepts to concepts: how much of a concept after one layer comes from each concept after an earlier one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpreto.concepts.base import ConceptExplainer
from interpreto.concepts.circuits.flow_path import FlowPath, Start, encoded, token_splitter
from interpreto.concepts.circuits.tokens import token_names
from interpreto.errors import InputError, ModelError, OptionError
from interpreto.inputs.samples import Sample
from interpreto.inputs.split_inputs import SplitInput
from interpreto.models.batching import map_batches
from interpreto.validation import check_choice, check_count, is_whole, shown

Method = Literal["gradient", "gradient_x_concept", "ablation"]


@dataclass(frozen=True, eq=False, repr=False)
class ConceptFlow:
    """Effects of the concepts at one split point on concepts at a later one, in one text.

    Attributes:
        text: The text.
        tokens: Names of its ``l`` tokens.
        source: Split point of the ``a`` concepts that act; of transcoders and crosscoders, the places that they write.
        target: Split point of the concepts that are acted on; of transcoders and crosscoders, the places that they read.
        concepts: The ``k`` concepts that are acted on.
        positions: Token at which each of these is read; 0 where there is one row of activations per text.
        amounts: Amount of each of these there.
        source_amounts: Amount of each acting concept at each token.
        values: Effect of each acting concept at each token on each of the ``k``, in units of these; for ``"gradient"``, per
            unit of the acting concept.
        error: Effect of what the acting concepts leave unexplained at each token; NaN where concepts reconstruct nothing.
        method: ``"gradient"``, ``"gradient_x_concept"`` or ``"ablation"``.
    """

    text: str
    tokens: tuple[str, ...]
    source: str
    target: str
    concepts: Int[Tensor, " k"]
    positions: Int[Tensor, " k"]
    amounts: Float[Tensor, " k"]
    source_amounts: Float[Tensor, "l a"]
    values: Float[Tensor, "k l a"]
    error: Float[Tensor, "k l"]
    method: str

    def top(self, row: int = 0, k: int = 10) -> list[tuple[str, int, float]]:
        """Return the largest effects on one of the concepts, by magnitude: token, acting concept, effect.

        Args:
            row: Number of the concept among `concepts`.
            k: Number of effects.
        """
        if not -len(self.concepts) <= row < len(self.concepts):
            raise OptionError(f"`row`: got {row}, and there are {len(self.concepts)} concepts.")
        flat = self.values[row].flatten()
        order = flat.abs().argsort(descending=True, stable=True)[: check_count(k, "k")].tolist()
        width = self.values.shape[2]
        return [(self.tokens[i // width], i % width, float(flat[i])) for i in order if flat[i] != 0]

    def __repr__(self) -> str:
        concepts = ", ".join(map(str, self.concepts.tolist()))
        return f"ConceptFlow({self.text[:40]!r}, {self.source!r} → {self.target!r}, concepts {concepts}, {self.method})"


def concept_to_concept(
    source: ConceptExplainer,
    target: ConceptExplainer,
    inputs: Any,
    *,
    concepts: Sequence[int] | int | None = None,
    at: str | int = "last",
    method: str = "gradient_x_concept",
    k: int = 5,
) -> list[ConceptFlow]:
    """Compute how concepts at one split point change concepts at a later one.

    The model runs on from the earlier split point, where activations are moved by changed concepts; everything else of them
    stays as it is. The gradient of a sparse code is that of its pre-activation where the code is active, and zero where it
    is not: the choice of active concepts (TopK, the thresholds of JumpReLU) is kept as it is.

    Transcoders and crosscoders act where they write, and are acted on where they read. Of several written places each holds
    its own activations and what changed concepts write there; what the model would make of the change in one of them at the
    next is not added. Only what is read behind the first written place can change.

    Args:
        source: Fitted concepts of the earlier split point, whose splitter reads the inputs.
        target: Fitted concepts of the later split point of the same model; or, of a cross-layer transcoder, the same ones.
        inputs: Texts, or any other form that the splitter reads; all their tokens count.
        concepts: The later concepts that are explained; None: the ``k`` with the largest amounts where they are read.
        at: Token at which they are read: ``"last"``, ``"largest"`` (the token with most of each concept), or a number.
        method: ``"gradient"``: ∂z_b/∂z_a; ``"gradient_x_concept"``: this times z_a; ``"ablation"``: what z_b loses when z_a
            of one token is set to zero.
        k: Number of concepts, where ``concepts`` names none.

    Returns:
        For each text a `ConceptFlow`.

    Raises:
        ModelError: concepts are not fitted, or their encoder or decoder passes no gradient.
        OptionError: the split points are not in this order, or belong to different models, as those of a crosscoder of two.
        InputError: there is no text.

    Examples:
        >>> from interpreto import ModelWithSplitPoints, demo
        >>> from interpreto.concepts import SemiNMFConcepts, concept_to_concept
        >>> model, tokenizer = demo.load_classifier()
        >>> splitter = ModelWithSplitPoints(model, [0, 1], tokenizer=tokenizer)
        >>> rows = splitter.get_activations([sentence.text for sentence in demo.load_sentences()[:50]])
        >>> earlier, later = (SemiNMFConcepts(splitter, 4, name).fit(rows) for name in splitter.split_points)
        >>> flow = concept_to_concept(earlier, later, "A charming film.", concepts=2, at=0)[0]
        >>> tuple(flow.values.shape), flow.concepts.tolist(), flow.positions.tolist()
        ((1, 6, 4), [2], [0])

    References:
        Marks et al., ICLR 2025, https://arxiv.org/abs/2403.19647
    """
    check_choice(method, "method", get_args(Method))
    choice = _Choice(_read_concepts(concepts, target), _read_at(at), min(check_count(k, "k"), target.nb_concepts))
    return _Flows(source, target, method, choice)(inputs)


def _read_concepts(concepts: Any, target: ConceptExplainer) -> list[int] | None:
    if concepts is None:
        return None
    asked = [concepts] if is_whole(concepts) else list(concepts)
    for i in asked:
        if not is_whole(i) or not 0 <= int(i) < target.nb_concepts:
            raise OptionError(f"`concepts`: got {shown(i)}; pass numbers from 0 to {target.nb_concepts - 1}.")
    return [int(i) for i in asked]


def _read_at(at: Any) -> str | int:
    return int(at) if is_whole(at) else check_choice(at, "at", ("last", "largest"))


@dataclass(frozen=True, eq=False)
class _Asked:
    """Concepts of one text that are explained."""

    concepts: Int[Tensor, " k"]
    positions: Int[Tensor, " k"]
    amounts: Float[Tensor, " k"]


@dataclass(frozen=True)
class _Choice:
    """Choose the explained concepts of a text."""

    concepts: list[int] | None
    at: str | int
    k: int

    def of(self, codes: Float[Tensor, "l c"]) -> _Asked:
        """Return which concepts of a text are explained, and where they are read."""
        length = len(codes)
        if isinstance(self.at, int) and not -length <= self.at < length:
            raise OptionError(f"`at`: got {self.at}, and a text has {length} tokens.")
        if self.at == "largest":
            best = codes.max(0)
            values, places = best.values, best.indices
        else:
            token = length - 1 if self.at == "last" else int(self.at) % length
            values, places = codes[token], torch.full_like(codes[0], token, dtype=torch.long)
        chosen = values.topk(self.k).indices if self.concepts is None else torch.tensor(self.concepts, device=codes.device)
        return _Asked(chosen, places[chosen], values[chosen])


@dataclass(frozen=True, eq=False)
class _Text:
    """One text at the earlier split point, and the amounts of the explained concepts that follow."""

    path: FlowPath
    row: SplitInput
    hidden: Float[Tensor, "l d"]
    codes: Float[Tensor, "l c"]
    resting: Float[Tensor, "1 l e"] | None
    asked: _Asked
    base: Float[Tensor, " k"]


Step = Callable[[_Text, Sequence[Sequence[int]]], Tensor]
"""Return what the tokens of some cells, token and concept, are moved by."""


class _Flows:
    """Runs the model from one split point to the other."""

    def __init__(self, source: ConceptExplainer, target: ConceptExplainer, method: str, choice: _Choice) -> None:
        self.source, self.target, self.method, self.choice = source, target, method, choice
        self.splitter = token_splitter(source, "source")
        if self.splitter.model is not token_splitter(target, "target").model:
            raise OptionError("`target`: its concepts are of another model than those of `source`.")
        if method != "ablation":
            for role, fits in (
                ("source", source.has_differentiable_displacement),
                ("target", target.has_differentiable_concept_encoder),
            ):
                if not fits:
                    name = type(getattr(self, role)).__name__
                    raise ModelError(f"`method`: no gradient passes through {name} of `{role}`; use method='ablation'.")

    def __call__(self, inputs: Any) -> list[ConceptFlow]:
        samples = self.splitter.samples(inputs, "all_tokens")
        if not samples:
            raise InputError("`inputs`: there is nothing in it; pass texts, or an iterable of them.")
        path = FlowPath(self.source, self.target, SplitInput.of(samples[0]))
        with self.splitter.session(samples) as mixed:
            lengths = [len(sample) for sample in samples]
            budget = self.splitter.budget()
            return map_batches(lengths, lambda picked: self._of(path, [samples[i] for i in picked]), budget, mixed)

    def _of(self, path: FlowPath, samples: list[Sample]) -> list[ConceptFlow]:
        rows = [SplitInput.of(sample) for sample in samples]
        start = path.start(samples)
        with torch.no_grad():
            found = encoded(self.target, path.reached(rows, start.hidden, start.resting))
            found = found if found.ndim == 3 else found[:, None]
            asked = [self.choice.of(own[: len(row)]) for own, row in zip(found, rows, strict=True)]
        compute = self._by_ablation if self.method == "ablation" else self._by_gradient
        values, errors = compute(path, rows, start, asked)
        flows = []
        for i, (sample, row) in enumerate(zip(samples, rows, strict=True)):
            own, effects, rest = start.codes[i, : len(row)], values[i][:, : len(row)], errors[i][:, : len(row)]
            flows.append(
                ConceptFlow(
                    sample.text,
                    token_names(self.splitter.tokenizer, sample.input_ids),
                    path.source_name,
                    path.target_name,
                    asked[i].concepts.cpu(),
                    asked[i].positions.cpu(),
                    asked[i].amounts.float().cpu(),
                    own.detach().float().cpu(),
                    effects.detach().float().cpu(),
                    rest.detach().float().cpu(),
                    self.method,
                )
            )
        return flows

    def _read(self, reached: Tensor, asked: Sequence[_Asked]) -> Float[Tensor, "b k"]:
        """Return the amounts of the explained concepts of some texts."""
        reached = reached if reached.ndim == 3 else reached[:, None]
        places = torch.stack([own.positions for own in asked]).to(reached.device)
        at = reached.gather(1, places[..., None].expand(-1, -1, reached.shape[-1]))
        chosen = torch.stack([own.concepts for own in asked])
        codes = encoded(self.target, at)
        return codes.gather(2, chosen[..., None].to(codes.device))[..., 0]

    def _by_gradient(
        self, path: FlowPath, rows: list[SplitInput], start: Start, asked: Sequence[_Asked]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return the effects ``(k, l, a)`` of concepts, and ``(k, l)`` of the rest, for each text."""
        codes, hidden, left = start.codes, start.hidden, start.rest
        with torch.enable_grad():
            at = codes.detach().clone().requires_grad_()
            share = hidden.new_zeros(*hidden.shape[:2], 1, requires_grad=True)
            move = path.moves(codes.flatten(0, 1), hidden.flatten(0, 1))
            moved = hidden + move(at.flatten(0, 1)).to(hidden).view_as(hidden)
            moved = moved if left is None else moved + share * left
            totals = self._read(path.reached(rows, moved, start.resting), asked).sum(0)
        values, errors = [], []
        for total in totals if totals.requires_grad else ():
            of_codes, of_rest = torch.autograd.grad(total, [at, share], retain_graph=True, allow_unused=True)
            values.append(torch.zeros_like(codes) if of_codes is None else of_codes)
            errors.append(hidden.new_zeros(hidden.shape[:2]) if of_rest is None else of_rest[..., 0])
        if not values:
            values, errors = [torch.zeros_like(codes)] * len(totals), [hidden.new_zeros(hidden.shape[:2])] * len(totals)
        if left is None:
            errors = [torch.full_like(part, torch.nan) for part in errors]
        found = torch.stack(values, 1)
        found = found * codes[:, None] if self.method == "gradient_x_concept" else found
        return list(found), list(torch.stack(errors, 1))

    @torch.no_grad()
    def _by_ablation(
        self, path: FlowPath, rows: list[SplitInput], start: Start, asked: Sequence[_Asked]
    ) -> tuple[list[Tensor], list[Tensor]]:
        values, errors = [], []
        for i, row in enumerate(rows):
            n = len(row)
            own, resting = start.hidden[i, :n], None if start.resting is None else start.resting[i : i + 1, :n]
            base = self._read(path.reached([row], own[None], resting), [asked[i]])[0]
            text = _Text(path, row, own, start.codes[i, :n], resting, asked[i], base)
            cells = text.codes.nonzero().tolist()
            value = text.codes.new_zeros(len(base), *text.codes.shape)
            for (t, a), effect in zip(cells, self._lost(text, cells, self._without), strict=True):
                value[:, t, a] = effect.to(value)
            values.append(value)
            error = own.new_full((len(base), n), torch.nan)
            if start.rest is not None:
                every = [[t, -1] for t in range(n)]
                rest = start.rest[i]
                error = torch.stack(self._lost(text, every, lambda _, some, rest=rest: -rest[[t for t, _ in some]]), 1)
            errors.append(error)
        return values, errors

    def _without(self, text: _Text, cells: Sequence[Sequence[int]]) -> Float[Tensor, "m d"]:
        """Return what each cell's token is moved by when its concept is set to zero."""
        tokens = [t for t, _ in cells]
        before = text.codes[tokens]
        changed = before.clone()
        changed[torch.arange(len(cells)), [a for _, a in cells]] = 0.0
        return text.path.moves(before, text.hidden[tokens])(changed)

    def _lost(self, text: _Text, cells: list[list[int]], step: Step) -> list[Float[Tensor, " k"]]:
        """Return what the explained concepts lose with each cell, a batch of copies of the text at a time."""

        def run(picked: list[int]) -> list[Tensor]:
            some = [cells[i] for i in picked]
            moved = text.hidden.repeat(len(some), 1, 1)
            moved[torch.arange(len(some)), [t for t, _ in some]] += step(text, some).to(moved)
            found = self._read(text.path.reached([text.row] * len(some), moved, text.resting), [text.asked] * len(some))
            return list(text.base - found)

        return map_batches([len(text.row)] * len(cells), run, self.splitter.budget()) if cells else []
