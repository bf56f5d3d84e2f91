"""From where concepts are written to where others are read: activations at both ends, and the model between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.base import ConceptAutoEncoderExplainer, ConceptExplainer
from interpreto.concepts.coders.base import CoderConcepts
from interpreto.concepts.coders.joint_splitter import OTHER, JointSplitter
from interpreto.concepts.joint_rows import JOINT
from interpreto.concepts.splitters.base import TokenSplitter
from interpreto.errors import OptionError
from interpreto.inputs.samples import Sample
from interpreto.inputs.split_inputs import SplitInput
from interpreto.models.hook_points import find_hook_points
from interpreto.models.several_edits import activations_through, in_order


@dataclass(frozen=True, eq=False)
class Start:
    """A batch of texts where the acting concepts are written.

    Attributes:
        hidden: The activations there, of several places one after the other.
        codes: Amounts of the concepts.
        rest: What the concepts leave unexplained of the activations; None where concepts reconstruct nothing.
        resting: The activations at all places where the other concepts are read, before anything moves; None where all of
            these are behind.
    """

    hidden: Float[Tensor, "b l d"]
    codes: Float[Tensor, "b l c"]
    rest: Float[Tensor, "b l d"] | None
    resting: Float[Tensor, "b l e"] | None


class FlowPath:
    """A model from the places where one explainer's concepts are written to those where another's are read.

    Most explainers read and write one place, their split point. Transcoders and crosscoders have several: all written places
    are set together, and what the model would compute there from earlier ones is replaced.

    Args:
        source: Fitted concepts that act.
        target: Fitted concepts that are acted on.
        row: A text, by which the order of the places is found.

    Attributes:
        source_name: Names of the places that are written.
        target_name: Names of the places that are read.

    Raises:
        OptionError: nothing is read behind the first place that is written.
    """

    def __init__(self, source: ConceptExplainer, target: ConceptExplainer, row: SplitInput) -> None:
        self.source, self.target, self.splitter = source, target, token_splitter(source, "source")
        model, self.recorder = self.splitter.model, self.splitter.recorder
        self.written = find_hook_points(model, _places(source, "written"))
        self.read = find_hook_points(model, _places(target, "read"))
        self.source_name, self.target_name = (JOINT.join(p.name for p in points) for points in (self.written, self.read))
        self._first = source.first_written if isinstance(source, CoderConcepts) else 0
        self._ends = [point.name for point in self.written]
        self._behind = self._order_of(row)

    def _order_of(self, row: SplitInput) -> set[str]:
        """Return the places that are read behind the first one that is written."""
        if len(self.written) == len(self.read) == 1:
            return {self.read[0].name}  # the run itself tells
        every = {point.name: point for point in (*self.written, *self.read)}
        order = [point.name for point in in_order(self.recorder, row, list(every.values()))]
        self.written = sorted(self.written, key=lambda point: order.index(point.name))
        first = order.index(self.written[0].name)
        behind = {point.name for point in self.read if order.index(point.name) > first}
        if not behind:
            raise OptionError(f"`target`: {self.target_name!r} is not reached after {self.source_name!r}; choose later places.")
        return behind

    @torch.no_grad()
    def start(self, samples: list[Sample]) -> Start:
        """Return a batch of texts where the acting concepts are written.

        Raises:
            OptionError: there is one vector per text.
        """
        rows = self.source.own_splitter().batch_activations(samples, self.source.split_point)
        if rows.ndim == 2:
            raise OptionError(f"`source`: {self.source_name!r} gives one vector per text; choose an earlier module.")
        codes, hidden = encoded(self.source, rows), rows[..., self._first :]
        resting = None
        if len(self._behind) < len(self.read):
            every = self.target.own_splitter().batch_activations(samples, self.target.split_point)
            resting = torch.cat(_parts(self.target, every, "read"), -1)
        return Start(hidden, codes, self._rest(rows, codes), resting)

    def moves(self, codes: Float[Tensor, "u c"], hidden: Float[Tensor, "u d"]) -> Callable[[Tensor], Tensor]:
        """Return what changed concepts add where they are written, as a function of them."""
        displacement = self.source.displacement(codes, None if self._first else hidden)
        return lambda changed: displacement(changed)[:, self._first :]

    def reached(self, rows: list[SplitInput], hidden: Tensor, resting: Tensor | None) -> Tensor:
        """Return the activations where concepts are read, when those where others are written are given.

        Args:
            rows: The batch.
            hidden: Activations of the written places.
            resting: Those of the places that are read, before anything moved.
        """
        if len(self.written) == len(self.read) == 1:
            return self.recorder.run_on(rows, self.written[0], hidden, self.read)[1][0]
        ends = dict(zip(self._ends, _parts(self.source, hidden, "written"), strict=True))
        behind = [point for point in self.read if point.name in self._behind]
        given = [(point, ends[point.name]) for point in self.written]
        found = dict(zip([p.name for p in behind], activations_through(self.recorder, rows, given, behind), strict=True))
        if resting is not None:
            still = zip(self.read, _parts(self.target, resting, "read"), strict=True)
            found = {point.name: part.repeat(len(rows) // len(part), 1, 1) for point, part in still} | found
            found |= {name: part for name, part in ends.items() if name in found and name not in self._behind}
        return torch.cat([found[point.name].to(hidden) for point in self.read], -1)

    def _rest(self, rows: Float[Tensor, "b l d"], codes: Float[Tensor, "b l c"]) -> Float[Tensor, "b l e"] | None:
        """Return what the acting concepts leave unexplained where they are written."""
        flat, amounts = rows.flatten(0, 1), codes.flatten(0, 1)
        if isinstance(self.source, CoderConcepts):
            rebuilt = torch.cat(self.source.written_rows(amounts, flat), -1)
        elif isinstance(self.source, ConceptAutoEncoderExplainer):
            rebuilt = self.source.decode_concepts(amounts, flat)
        else:
            return None
        return (flat[:, self._first :] - rebuilt.to(flat)).unflatten(0, rows.shape[:2])


def encoded(explainer: ConceptExplainer, hidden: Float[Tensor, "*b d"]) -> Float[Tensor, "*b c"]:
    """Return the amounts of concepts in activations of any shape."""
    return explainer.encode_activations(hidden.reshape(-1, hidden.shape[-1])).unflatten(0, hidden.shape[:-1])


def token_splitter(explainer: ConceptExplainer, role: str) -> TokenSplitter:
    """Return the splitter of concepts of tokens; of several places, that of their model.

    Raises:
        OptionError: it splits something else, or two models.
    """
    splitter = explainer.own_splitter()
    if isinstance(splitter, JointSplitter):
        if any(place.startswith(OTHER) for place in splitter.places):
            raise OptionError(
                f"`{role}`: a {type(explainer).__name__} of two models; nothing passes from one model to the other, so pass "
                "concepts of one model."
            )
        return splitter.splitters[0]
    if not isinstance(splitter, TokenSplitter):
        raise OptionError("`source`, `target`: use concepts of ModelWithSplitPoints or SplitterForGeneration.")
    return splitter


def _places(explainer: ConceptExplainer, end: str) -> list[str]:
    """Return the names of the places that concepts are read at, or written."""
    if isinstance(explainer, CoderConcepts):
        return list(explainer.read if end == "read" else explainer.written)
    return [explainer.split_point or ""]


def _parts(explainer: ConceptExplainer, rows: Float[Tensor, "*b d"], end: str) -> list[Tensor]:
    """Return the activations of each place that is read, or written, apart."""
    if not isinstance(explainer, CoderConcepts):
        return [rows]
    wiring = explainer.concept_model.wiring
    if end == "read":
        return list(rows[..., : wiring.read_width].split(wiring.reads, -1))
    return wiring.written(rows)
