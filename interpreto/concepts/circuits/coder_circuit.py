"""Circuits of transcoders: the concepts, errors and tokens of the largest influence on an output, in one text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from interpreto.concepts.base import ConceptExplainer
from interpreto.concepts.circuits.ablated_model import OUTPUTS_A_PASS
from interpreto.concepts.circuits.ablation import replacements
from interpreto.concepts.circuits.attribution_graph import AttributionGraph, DirectEffects
from interpreto.concepts.circuits.candidates import Candidates, largest_edges
from interpreto.concepts.circuits.circuit import Circuit, Node
from interpreto.concepts.circuits.coder_places import CoderPlaces
from interpreto.concepts.circuits.metric import metrics_of
from interpreto.concepts.circuits.pairs import Read
from interpreto.concepts.circuits.replaced_model import ReplacedModel
from interpreto.concepts.coders.base import CoderConcepts
from interpreto.concepts.coders.transcoders import LayerConcepts
from interpreto.concepts.splitters.base import TokenSplitter
from interpreto.errors import InputError, OptionError
from interpreto.models.activations import ActivationRecorder
from interpreto.models.batching import Budget

INFLUENCE = "influence"
"""Name of the ranking by influence over paths."""


def transcoders_of(splitter: TokenSplitter, explainers: Sequence[ConceptExplainer]) -> list[LayerConcepts]:
    """Return explainers that are transcoders, all of them; none where no explainer reads or writes several places.

    Raises:
        OptionError: some are and others are not; one is a crosscoder; or one is of another model.
    """
    if not any(isinstance(explainer, CoderConcepts) for explainer in explainers):
        return []
    found = []
    for i, explainer in enumerate(explainers):
        name = type(explainer).__name__
        if explainer.own_splitter().model is not splitter.model:
            raise OptionError(f"`explainers[{i}]`: its concepts are of another model than the splitter's.")
        if not isinstance(explainer, CoderConcepts):
            raise OptionError(
                f"`explainers[{i}]`: got {name} next to transcoders; pass either transcoders, or concepts of one place each."
            )
        if not isinstance(explainer, LayerConcepts):
            raise OptionError(
                f"`explainers[{i}]`: a {name} reads the places that it writes, so that its concepts have no order in which one "
                "could act on the next; pass transcoders, or see concept_to_concept."
            )
        found.append(explainer)
    return found


@dataclass(frozen=True, eq=False)
class Asked:
    """Hold what a circuit is asked to be.

    Attributes:
        ablation: See `find_circuit`.
        most: Number of nodes, at most.
        enough: Faithfulness that is enough; None: as many nodes as there may be.
        edges: Edges that are kept into each node.
    """

    ablation: str
    most: int
    enough: float | None
    edges: int


@dataclass(frozen=True, eq=False)
class CoderCircuit:
    """Finds the circuit of one text in transcoders.

    Attributes:
        splitter: The model.
        coders: Its transcoders.
        read: The text.
        corrupt: Its counterpart, if there is one.
        reference: Texts that means are taken over.
    """

    splitter: TokenSplitter
    coders: Sequence[LayerConcepts]
    read: Read
    corrupt: Read | None
    reference: Sequence[Read]

    @staticmethod
    def check(method: str | None, by_token: bool | None, reads: Sequence[Read]) -> None:
        """Refuse what has no meaning for transcoders.

        Raises:
            OptionError: another ranking is asked for, or nodes at all tokens.
            InputError: there are several texts.
        """
        if method not in (None, INFLUENCE):
            raise OptionError(f"`method`: got {method!r}; nodes of transcoders are ranked by {INFLUENCE!r}.")
        if by_token is False:
            raise OptionError("`by_token`: got False; nodes of transcoders are at tokens.")
        if len(reads) > 1:
            raise InputError(
                f"`inputs`: got {len(reads)} texts; edges between concepts of transcoders are of one text, whose attention "
                "patterns they hold constant; pass one at a time."
            )

    def find(self, metric: Any, asked: Asked) -> Circuit:
        """Return the circuit."""
        model, budget = self._model(metric, asked.ablation)
        own = Candidates(model, model.counts, len(self.read.row))
        depth = len(model.places)
        graph = AttributionGraph.of(DirectEffects(model, own, budget), depth)
        influence, effects = graph.influence(depth), graph.effects(depth)
        order = influence.argsort(descending=True, stable=True)
        order = order[influence[order] > 0]
        ends = own.ends()
        curve, size = own.curve(graph.nodes[order].tolist(), ends, asked.most, asked.enough)
        nodes = []
        for k in order[:size].tolist():
            place, token, part = own.place(int(graph.nodes[k]))
            amount = None if graph.amounts[k].isnan() else float(graph.amounts[k])
            nodes.append(Node(model.name(place, part), place, token, float(effects[k]), float(influence[k]), amount))
        first = graph.nodes < own.sizes[0]
        entering, unexplained = first.to(influence), (graph.amounts.isnan() & ~first).to(influence)
        replacement, completeness = graph.scores(unexplained, entering, depth)
        return Circuit(
            tuple(nodes),
            largest_edges(graph.between(order[:size].tolist()), asked.edges) if asked.edges else (),
            (self.read.text,),
            self.read.tokens,
            tuple(place.name for place in model.places),
            model.metric.name,
            *ends,
            curve,
            len(own),
            asked.ablation,
            INFLUENCE,
            replacement,
            completeness,
        )

    def _model(self, metric: Any, ablation: str) -> tuple[ReplacedModel, Budget]:
        """Return what can be ablated, and the size of a pass."""
        places = CoderPlaces.of(self.splitter, self.coders, self.read.row)
        rows = self.splitter.recorder.budget.rows
        recorder = ActivationRecorder(self.splitter.model, self.splitter.tokenizer, places.points, rows, "hooks")
        corrupt = None if self.corrupt is None else [self.corrupt]
        others = self.reference or [self.read, *(corrupt or [])]
        (goals,) = replacements(recorder, ablation, [self.read], others, corrupt)
        (own,), width = metrics_of(self.splitter, recorder, [self.read], corrupt, metric)
        tokens = max(1, min(recorder.budget.tokens, OUTPUTS_A_PASS // width))
        return ReplacedModel(recorder, places, self.read, goals, own), Budget(rows, tokens)
