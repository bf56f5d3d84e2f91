"""Attribution graphs: direct effects of concepts, errors and tokens on concepts and on the output, and their influence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpreto.concepts.circuits.candidates import Candidates
from interpreto.concepts.circuits.circuit import OUTPUT
from interpreto.concepts.circuits.replaced_model import ReplacedModel
from interpreto.models.batching import Budget, map_batches
from interpreto.models.interventions import Edit
from interpreto.models.linear_pass import linear_outputs

ROWS = 4096
"""Concepts whose incoming edges are computed, at most: those of the largest influence."""
CELLS = 2**27
"""Edges that are held, at most, those of no weight included."""
ROUND = 256
"""Concepts whose edges are computed before influences are computed again."""


class DirectEffects:
    """Computes what each part adds to the pre-activation of a concept, or to the metric, along paths without other parts.

    The model is linear on these paths: attention patterns and the scales of normalizations are constants, and what feed-forward
    layers add is constant but for a skip connection of their transcoder. So the parts of all earlier places, and the biases
    of the model and of the transcoders, sum to a pre-activation exactly.

    Args:
        model: The text, and its parts.
        candidates: Numbers of the parts.
        budget: Size of a pass.

    Attributes:
        nodes: Numbers of the parts that are there: active concepts, and all that is no concept.
    """

    def __init__(self, model: ReplacedModel, candidates: Candidates, budget: Budget) -> None:
        self.model, self.candidates, self.budget = model, candidates, budget
        self.errors = [self._error(place) for place in range(len(model.places))]
        self.nodes = (self.amounts() != 0).nonzero()[:, 0]  # NaN too

    def amounts(self) -> Float[Tensor, " k"]:
        """Return the amount of each candidate that is a concept; NaN of all others."""
        found = []
        for (length, _), codes in zip(self.candidates.shapes, self.model.codes, strict=True):
            rest = torch.full((length, 1), torch.nan)
            found.append((rest if codes is None else torch.cat([codes.amounts.cpu().double(), rest], 1)).flatten())
        return torch.cat([part.double() for part in found])

    def of(self, targets: Sequence[int]) -> Float[Tensor, "r k"]:
        """Return what each part adds to each of some targets.

        Args:
            targets: Numbers of concepts, or -1 for the metric.

        Returns:
            Direct effects, zero where no path leads; on the CPU.
        """
        return map_batches(
            [len(self.model.read.row)] * len(targets), lambda p: self._rows([targets[i] for i in p]), self.budget
        )

    def _rows(self, targets: list[int]) -> Float[Tensor, "r k"]:
        """Return the direct effects on some targets, each read from its own copy of the text."""
        leaves: dict[int, Tensor] = {}
        seen: dict[str, Tensor] = {}

        def constant(place: int) -> Edit:
            def change(hidden: Tensor) -> Tensor:
                leaves[place] = hidden.detach().requires_grad_()
                own = leaves[place].clone()  # which Falcon adds into
                return own + self._skipped(place, seen) if self._skips(place) else own

            return change

        with torch.enable_grad():
            rows = [self.model.read.row] * len(targets)
            logits = linear_outputs(self.model.recorder, rows, self.model.edits(seen, constant))
            total = logits.new_zeros(())
            for i, target in enumerate(targets):
                total = total + _wide(self._value(target, i, seen, logits))
        at = [leaves[place] for place in range(len(leaves))]
        found = torch.autograd.grad(total, at, allow_unused=True) if total.requires_grad else [None] * len(at)
        slopes = [_wide(torch.zeros_like(a) if slope is None else slope) for slope, a in zip(found, at, strict=True)]
        return torch.cat([self._products(place, slopes).flatten(1) for place in range(len(at))], 1).cpu()[:, self.nodes]

    def _value(self, target: int, copy: int, seen: dict[str, Tensor], logits: Tensor) -> Float[Tensor, ""]:
        """Return what is explained: the metric of a copy of the text, or a pre-activation without its bias."""
        if target == OUTPUT:
            return self.model.metric(logits[copy : copy + 1])[0]
        place, token, part = self.candidates.place(target)
        codes = self.model.codes[place]
        assert codes is not None
        weight, _ = codes.group.encoder(codes.chosen[part : part + 1])
        hidden = seen[codes.group.read.name][copy, token]
        return (hidden.to(torch.promote_types(hidden.dtype, weight.dtype)) * weight[0].to(hidden.device)).sum()

    def _products(self, place: int, slopes: Sequence[Tensor]) -> Float[Tensor, "r l n"]:
        """Return the parts of a place times what the targets make of them."""
        rest = (slopes[place] * self.errors[place]).sum(-1, keepdim=True)
        codes = self.model.codes[place]
        if codes is None:
            return rest
        own = torch.zeros(*rest.shape[:2], len(codes.chosen), dtype=rest.dtype, device=rest.device)
        for written in codes.group.written:
            own = own + slopes[written] @ codes.group.directions(written, codes.chosen).to(rest).T
        return torch.cat([own * codes.amounts.to(rest), rest], -1)

    @torch.no_grad()
    def _error(self, place: int) -> Float[Tensor, "l d"]:
        """Return what no concept explains at a place: all of it where no transcoder writes."""
        found = _wide(self.model.states[self.model.places[place].point.name].clone())
        for _, codes in self.model.writers(place):
            found -= (codes.amounts @ codes.group.directions(place, codes.chosen).to(codes.amounts)).to(found)
        for group in self.model.places[place].writers[:1]:
            coder = group.coder.concept_model
            found -= coder.wiring.written(coder.decoder_bias)[group.written[place]].to(found)
            if coder.has_skip:
                read = self.model.states[group.read.name]
                found -= (read.to(coder.dtype) @ coder.skip.T.to(read.device)).to(found)
        return found

    def _skips(self, place: int) -> bool:
        return any(group.coder.concept_model.has_skip for group in self.model.places[place].writers)

    def _skipped(self, place: int, seen: dict[str, Tensor]) -> Tensor:
        """Return zero, with the derivatives of a skip connection."""
        (group,) = self.model.places[place].writers
        hidden, skip = seen[group.read.name], group.coder.concept_model.skip
        return (hidden - hidden.detach()) @ skip.T.to(hidden)


@dataclass(frozen=True, eq=False)
class AttributionGraph:
    """Direct effects between the parts of a text that are there.

    Attributes:
        nodes: Numbers of the parts among the candidates.
        amounts: Amount of each part that is a concept; NaN of all others.
        output: What each part adds to the metric.
        targets: Concepts whose incoming edges were computed: their places among `nodes`.
        rows: What each part adds to each of these.
    """

    nodes: Int[Tensor, " k"]
    amounts: Float[Tensor, " k"]
    output: Float[Tensor, " k"]
    targets: Int[Tensor, " r"]
    rows: Float[Tensor, "r k"]

    @staticmethod
    def of(effects: DirectEffects, depth: int) -> AttributionGraph:
        """Compute the edges into the output, and then into the concepts of the largest influence, some at a time.

        Args:
            effects: Computes edges.
            depth: Number of places.
        """
        nodes, amounts = effects.nodes, effects.amounts()[effects.nodes]
        (output,) = effects.of([OUTPUT])
        graph = AttributionGraph(nodes, amounts, output, torch.zeros(0, dtype=torch.long), output.new_zeros(0, len(output)))
        most = min(ROWS, max(ROUND, CELLS // len(nodes)))
        while len(graph.targets) < most:
            waiting = graph.influence(depth)
            waiting[amounts.isnan()] = 0.0
            waiting[graph.targets] = 0.0
            order = waiting.argsort(descending=True, stable=True)[: min(ROUND, most - len(graph.targets))]
            order = order[waiting[order] > 0]
            if not len(order):
                break
            rows = torch.cat([graph.rows, effects.of(nodes[order].tolist())])
            graph = AttributionGraph(nodes, amounts, output, torch.cat([graph.targets, order]), rows)
        return graph

    def influence(self, depth: int) -> Float[Tensor, " k"]:
        """Return the influence of each part on the output, over all paths.

        Each edge counts as its share of all that enters its target, by size.
        """
        return self._over_paths(_shares(self.output[None])[0], _shares(self.rows), depth)

    def effects(self, depth: int) -> Float[Tensor, " k"]:
        """Return what the metric has from each part, over all paths, with signs."""
        gains = self.rows / self.amounts[self.targets, None].to(self.rows)
        return self._over_paths(self.output, gains, depth)

    def scores(self, unexplained: Float[Tensor, " k"], entering: Float[Tensor, " k"], depth: int) -> tuple[float, float]:
        """Return the replacement score and the completeness score.

        Args:
            unexplained: 1 for errors.
            entering: 1 for embeddings.
            depth: Number of places.
        """
        influence = self.influence(depth)
        of_errors, of_tokens = float((influence * unexplained).sum()), float((influence * entering).sum())
        shares = torch.cat([_shares(self.output[None]), _shares(self.rows)])
        weights = torch.cat([influence.new_ones(1), influence[self.targets]])
        explained = 1 - (shares * unexplained).sum(1)
        total = of_errors + of_tokens
        return (of_tokens / total if total else float("nan")), float((explained * weights).sum() / weights.sum())

    def between(self, nodes: Sequence[int]) -> Float[Tensor, "n m"]:
        """Return the edges from some parts to each of them, and to the output in the last column."""
        where = {int(target): row for row, target in enumerate(self.targets)}
        found = torch.zeros(len(nodes), len(nodes) + 1, dtype=self.output.dtype)
        for j, node in enumerate(nodes):
            if node in where:
                found[:, j] = self.rows[where[node], nodes]
        found[:, -1] = self.output[nodes]
        return found

    def _over_paths(self, start: Float[Tensor, " k"], steps: Float[Tensor, "r k"], depth: int) -> Float[Tensor, " k"]:
        """Return the sum over paths: start + start·A + start·A² + …, which ends, as no path returns."""
        total, last = start.clone(), start
        for _ in range(depth):
            last = last[self.targets] @ steps
            total += last
        return total


def _wide(values: Tensor) -> Tensor:
    """Return numbers in float32, or as they are in float64."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _shares(rows: Float[Tensor, "r k"]) -> Float[Tensor, "r k"]:
    """Return sizes as shares of their sum in each row; zeros where all are zero."""
    sizes = rows.abs()
    return sizes / sizes.sum(1, keepdim=True).clamp_min(torch.finfo(sizes.dtype).tiny)
