"""Find circuits: rank the parts of a model, keep the first, and measure what they keep of its output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.base import ConceptExplainer
from interpreto.concepts.circuits.ablated_model import OUTPUTS_A_PASS, AblatedModel
from interpreto.concepts.circuits.ablation import ABLATIONS, States, replacements
from interpreto.concepts.circuits.candidates import Candidates, largest_edges
from interpreto.concepts.circuits.circuit import Circuit, Edge, Node
from interpreto.concepts.circuits.coder_circuit import INFLUENCE, Asked, CoderCircuit, transcoders_of
from interpreto.concepts.circuits.metric import metrics_of
from interpreto.concepts.circuits.pairs import Read, check_splitter, read_pairs, read_texts
from interpreto.concepts.circuits.parts import Concepts, Parts, differing
from interpreto.concepts.circuits.places import check_explainers, recorder_of, static_parts
from interpreto.concepts.circuits.tokens import place_name
from interpreto.errors import InputError, ModelError, OptionError
from interpreto.models.activations import ActivationRecorder
from interpreto.models.batching import Budget
from interpreto.models.several_edits import in_order
from interpreto.validation import check_choice, check_count, check_probability

Method = Literal["attribution", "integrated", "exact", "influence"]


def find_circuit(
    splitter: Any,
    inputs: Any,
    metric: Any = None,
    *,
    corrupt: Any = None,
    explainers: ConceptExplainer | Sequence[ConceptExplainer] | None = None,
    parts: str = "sublayers",
    ablation: str | None = None,
    reference: Any = None,
    by_token: bool | None = None,
    method: str | None = None,
    max_nodes: int = 50,
    enough: Any = None,
    edges: int = 3,
    n_steps: int = 8,
) -> Circuit:
    """Find the parts of a model that a metric of its output depends on most, and measure what they keep of it.

    Parts are ranked by what the metric loses when each is ablated, alone and within the whole model; concepts of transcoders
    by their influence over all paths of an attribution graph. The circuit has the first of them; its faithfulness is measured
    with everything else ablated. No ranking makes a circuit faithful: look at the curve over the number of nodes, which every
    drawing shows.

    Args:
        splitter: A model with split points.
        inputs: Texts, or any other form that the splitter reads. Several give one circuit for all.
        metric: See `ActivationPatching`; one for all texts, or one for each.
        corrupt: A counterpart with as many tokens for each text.
        explainers: Fitted concepts at one or several split points, whose concepts and errors are the parts. Or transcoders,
            one for each layer or one across layers: then the nodes are their concepts, their errors and the embeddings of
            the tokens, and edges are what one adds to the next where attention patterns and scales of normalizations are
            constants. A feed-forward layer that no transcoder writes is one node at each token.
        parts: Without explainers: ``"sublayers"`` (heads and feed-forward layers), ``"heads"`` or ``"layers"`` (the split
            points).
        ablation: What takes the place of a part, with transcoders also of embeddings: ``"corrupt"``, its value in the
            counterpart (as in patching); ``"position"``, its mean over texts at the same token, which must all have one
            length; ``"mean"``, its mean over all tokens of all texts, the first of each apart. None: ``"corrupt"`` where
            there are counterparts, else ``"mean"``.
        reference: Texts that means are taken over; None: the inputs, and their counterparts.
        by_token: Nodes are parts at one token, as all texts have the same number of them; False: parts at all tokens. None:
            True for one text. Nodes of transcoders are always at tokens, of one text.
        method: ``"attribution"``: to first order, one gradient for all; ``"integrated"``: the gradient averaged on the line
            to the ablated activations, each place alone; ``"exact"``: a pass for each part. Of transcoders
            ``"influence"``: the share of the output that goes through a node, over all paths of the graph, where each edge
            counts as its share of what enters its target, by size. None: ``"influence"`` of transcoders, else
            ``"attribution"``.
        max_nodes: Number of nodes of the circuit, at most.
        enough: Stop at the first size of the curve whose faithfulness is at least this; None: at ``max_nodes``.
        edges: Edges that are kept into each node, the largest; and the largest out of each.
        n_steps: Points of the integral.

    Returns:
        The circuit.

    Raises:
        OptionError, InputError, TargetError: what cannot be asked.
        ModelError: no gradient passes through an explainer's decoder, or no heads, or feed-forward layers, were found.

    Examples:
        >>> from interpreto import Contrast, ModelWithSplitPoints, demo
        >>> from interpreto.concepts import find_circuit
        >>> model, tokenizer = demo.load_classifier()
        >>> splitter = ModelWithSplitPoints(model, [0, 1, 2], tokenizer=tokenizer)
        >>> contrast = Contrast("positive", "negative")
        >>> circuit = find_circuit(splitter, "A charming film.", contrast, corrupt="A boring film.", max_nodes=5)
        >>> len(circuit.nodes), circuit.candidates, [point.size for point in circuit.curve]
        (5, 90, [0, 1, 2, 3, 5, 8, 13, 90])

    References:
        Wang et al., ICLR 2023, https://arxiv.org/abs/2211.00593; Marks et al., ICLR 2025, https://arxiv.org/abs/2403.19647;
        edges by gradients, Syed, Rager and Conmy, 2023, https://arxiv.org/abs/2310.10348; of transcoders, Dunefsky, Chlenski
        and Nanda, NeurIPS 2024, https://arxiv.org/abs/2406.11944, and by influence, Ameisen et al., 2025,
        https://transformer-circuits.pub/2025/attribution-graphs/methods.html
    """
    own = [explainers] if isinstance(explainers, ConceptExplainer) else list(explainers or [])
    coders = transcoders_of(check_splitter(splitter), own)
    if method is not None:
        check_choice(method, "method", get_args(Method))
    ablation = ("mean" if corrupt is None else "corrupt") if ablation is None else check_choice(ablation, "ablation", ABLATIONS)
    if ablation == "corrupt" and corrupt is None:
        raise OptionError("`ablation`: 'corrupt' needs counterparts; pass `corrupt` too.")
    reads, others = _read(splitter, inputs, corrupt)
    means = read_texts(splitter, reference, "reference") if reference else []
    wanted = None if enough is None else check_probability(enough, "enough")
    asked = Asked(ablation, check_count(max_nodes, "max_nodes"), wanted, check_count(edges, "edges", 0))
    if coders:
        CoderCircuit.check(method, by_token, reads)
        return CoderCircuit(splitter, coders, reads[0], others[0] if others else None, means).find(metric, asked)
    if method == INFLUENCE:
        raise OptionError("`method`: 'influence' is over paths between concepts of transcoders; pass these as `explainers`.")
    check_explainers(splitter, own)
    for explainer in own:
        if not explainer.has_differentiable_displacement:
            raise ModelError(f"`explainers`: no gradient passes through the decoder of {type(explainer).__name__}.")
    model = _Setting(splitter, ablation, own, parts, means).ablated(reads, others, metric)
    return _Search(model, _by_token(by_token, reads), method or "attribution", check_count(n_steps, "n_steps")).circuit(asked)


def _read(splitter: Any, inputs: Any, corrupt: Any) -> tuple[list[Read], list[Read] | None]:
    if corrupt is None:
        return read_texts(splitter, inputs, "inputs"), None
    pairs = read_pairs(splitter, inputs, corrupt)
    return [a for a, _ in pairs], [b for _, b in pairs]


def _by_token(by_token: bool | None, reads: Sequence[Read]) -> bool:
    if by_token is None:
        return len(reads) == 1
    lengths = {len(read.row) for read in reads}
    if by_token and len(lengths) > 1:
        raise InputError(
            f"`by_token`: the texts have {sorted(lengths)} tokens, and nodes at tokens need one length; pass False."
        )
    return by_token


@dataclass(frozen=True, eq=False)
class _Setting:
    """Where parts are, and what takes their place."""

    splitter: Any
    ablation: str
    explainers: list[ConceptExplainer]
    parts: str
    reference: list[Read]

    def ablated(self, reads: list[Read], corrupt: list[Read] | None, metric: Any) -> AblatedModel:
        """Return the model with what can be ablated of it."""
        static = None if self.explainers else static_parts(self.splitter, self.parts, reads[0].row)
        first = recorder_of(self.splitter, static, self.explainers)
        points = in_order(first, reads[0].row, first.hook_points)
        order = [first.hook_points.index(point) for point in points]
        recorder = ActivationRecorder(self.splitter.model, self.splitter.tokenizer, points, first.budget.rows, "hooks")
        others = self.reference or [*reads, *(corrupt or [])]
        goals = replacements(recorder, self.ablation, reads, others, corrupt)
        states = [list(states) for states in recorder.record([read.row for read in reads])]
        for point, state in zip(points, states[0], strict=True):
            if state.ndim != 2:
                raise OptionError(f"`splitter`: {point.name!r} gives one vector per text; choose one that gives one per token.")
        found = [static[i] for i in order] if static is not None else self._concepts(recorder, order, states, goals)
        metrics, width = metrics_of(self.splitter, recorder, reads, corrupt, metric)
        tokens = max(1, min(recorder.budget.tokens, OUTPUTS_A_PASS // width))
        return AblatedModel(recorder, found, reads, goals, metrics, Budget(recorder.budget.rows, tokens))

    def _concepts(self, recorder: ActivationRecorder, order: list[int], states: States, goals: States) -> list[Parts]:
        """Return the concepts that ablation changes, and the error, at each place."""
        found: list[Parts] = []
        for place, i in enumerate(order):
            rows, other = (torch.cat([own[place] for own in group]) for group in (states, goals))
            chosen = differing(self.explainers[i], rows, other)
            found.append(Concepts(recorder.hook_points[place], self.explainers[i], chosen))
        return found


class _Search:
    """Ranks nodes, and measures circuits of the first of them."""

    def __init__(self, model: AblatedModel, by_token: bool, method: str, n_steps: int) -> None:
        self.model, self.by_token, self.method, self.n_steps = model, by_token, method, n_steps
        length = len(model.reads[0].row) if by_token else 1
        self.candidates = Candidates(model, [len(part.names) for part in model.parts], length)

    def circuit(self, asked: Asked) -> Circuit:
        """Return the circuit."""
        effects = self.effects()
        order = effects.abs().argsort(descending=True, stable=True)
        order = order[effects[order] != 0].tolist()
        ends = self.candidates.ends()
        curve, size = self.candidates.curve(order, ends, asked.most, asked.enough)
        nodes = tuple(self._node(i, float(effects[i])) for i in order[:size])
        metric = self.model.metrics[0].name
        metric = metric if len({own.name for own in self.model.metrics}) == 1 else f"{metric} (and of other texts)"
        return Circuit(
            nodes,
            self._edges(order[:size], asked.edges) if asked.edges else (),
            tuple(read.text for read in self.model.reads),
            self.model.reads[0].tokens if self.by_token else (),
            tuple(place_name(part.point.name) for part in self.model.parts),
            metric,
            *ends,
            curve,
            len(self.candidates),
            asked.ablation,
            self.method,
        )

    def effects(self) -> Float[Tensor, " k"]:
        """Return what the metric loses with each node, the mean over texts."""
        if self.method == "exact":
            return self._exact()
        none, places = self.candidates.filled(0.0), range(len(self.model.parts))
        if self.method == "attribution":
            slopes = self.model.gradients(none, list(places))
        else:
            points, weights = np.polynomial.legendre.leggauss(self.n_steps)
            slopes = []
            for p in places:
                total: Any = 0.0
                for at, share in zip((points + 1) / 2, weights / 2, strict=True):
                    moved = [torch.full_like(w, at) if q == p else w for q, w in enumerate(none)]
                    total = total + share * self.model.gradients(moved, [p])[0]
                slopes.append(total)
        return torch.cat([-self._summed(values.float()).mean(0).flatten().cpu() for values in slopes])

    def _summed(self, values: Float[Tensor, "b l n"]) -> Float[Tensor, "b k n"]:
        return values if self.by_token else values.sum(1, keepdim=True)

    def _exact(self) -> Float[Tensor, " k"]:
        own = self.candidates
        base = own.score(own.filled(0.0))
        return torch.tensor([base - own.score(own.weights([i], inside=1.0)) for i in range(len(own))])

    def _place(self, node: int) -> tuple[int, int | None, int]:
        """Return place, token and part of a node."""
        place, token, part = self.candidates.place(node)
        return place, token if self.by_token else None, part

    def _node(self, number: int, effect: float) -> Node:
        place, token, part = self._place(number)
        return Node(self.model.parts[place].names[part], place, token, effect)

    def _edges(self, nodes: list[int], most: int) -> tuple[Edge, ...]:
        places = [self._place(node) for node in nodes]
        weights = torch.zeros(len(nodes), len(nodes) + 1)  # to each node, and to the output
        for j, found in enumerate(self.model.flows(places)):
            for i, (place, token, part) in enumerate(places):
                values = found[place][:, part]
                weights[i, j] = float(values.sum() if token is None else values[token])
        return largest_edges(weights, most)
