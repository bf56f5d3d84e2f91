"""A text through a model whose feed-forward layers are concepts of transcoders and errors: what can be ablated of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpreto.concepts.circuits.ablated_model import Weights
from interpreto.concepts.circuits.coder_places import CoderPlaces, Group
from interpreto.concepts.circuits.metric import Metric
from interpreto.concepts.circuits.pairs import Read
from interpreto.errors import ModelError, OptionError
from interpreto.models.activations import ActivationRecorder
from interpreto.models.hook_points import HookPoint
from interpreto.models.interventions import Edit
from interpreto.models.several_edits import outputs_through

States = dict[str, Tensor]
"""Activations ``(l, d)`` of a text by place."""


@dataclass(frozen=True, eq=False)
class Codes:
    """Concepts of a group in a text.

    Attributes:
        group: The group.
        chosen: Those that a token of the text has, or of what takes its place.
        amounts: Amounts in the text.
        goals: Amounts in what takes its place.
    """

    group: Group
    chosen: Int[Tensor, " n"]
    amounts: Float[Tensor, "l n"]
    goals: Float[Tensor, "l n"]

    def now(self, hidden: Float[Tensor, "b l d"]) -> Float[Tensor, "b l n"]:
        """Return the amounts in activations of the place that is read.

        TopK over several layers compares concepts that are not read yet; those that the text has are active then.
        """
        coder, model = self.group.coder, self.group.coder.concept_model
        rows = hidden.to(coder.device, model.dtype)
        if model.activation == "topk" and not model.layered:
            return model.encode(rows.flatten(0, 1))[:, self.chosen].unflatten(0, hidden.shape[:2]).to(hidden.device)
        weight, bias = self.group.encoder(self.chosen)
        values = (rows @ weight.T + bias).to(hidden.device)
        if model.activation == "jumprelu":
            threshold = model.threshold[self.group.first + self.chosen].to(values)
            return torch.where(values > threshold, values.relu(), 0.0)
        return values.relu() * (self.amounts > 0) if model.activation == "topk" else values.relu()


class ReplacedModel:
    """One text whose embeddings, concepts and errors can be ablated.

    Args:
        recorder: Runs the model, at all places that are read or written.
        places: The places.
        read: The text.
        goals: What takes the place of its activations, at each place of the recorder.
        metric: Of its output.

    Attributes:
        codes: Concepts that stand at each place; None where there are none.
        states: The activations of the text by place.
    """

    def __init__(
        self, recorder: ActivationRecorder, places: CoderPlaces, read: Read, goals: Sequence[Tensor], metric: Metric
    ) -> None:
        self.recorder, self.places, self.read, self.metric = recorder, places.places, read, metric
        device = recorder.forward.device
        (own,) = recorder.record([read.row])
        for point, values in zip(recorder.hook_points, own, strict=True):
            if values.ndim != 2:
                raise OptionError(f"`splitter`: {point.name!r} gives one vector per text; choose one that gives one per token.")
        names = [point.name for point in recorder.hook_points]
        self.states: States = dict(zip(names, (values.to(device) for values in own), strict=True))
        self.goals: States = dict(zip(names, (values.to(device) for values in goals), strict=True))
        width = self.states[self.places[0].point.name].shape[1]
        for place in self.places:
            if not place.writers and (found := self.states[place.point.name].shape[1]) != width:
                raise ModelError(
                    f"`explainers`: {place.point.name!r}, which no transcoder writes, has width {found}, and hidden states "
                    f"have {width}: it is not what its block adds. Pass a transcoder for each layer."
                )
        self.codes = [None if place.home is None else self._codes(place.home) for place in self.places]

    @property
    def counts(self) -> list[int]:
        """Return the number of parts at each place: its concepts, and what they leave unexplained."""
        return [1 if codes is None else len(codes.chosen) + 1 for codes in self.codes]

    def name(self, place: int, part: int) -> str:
        """Return the name of a part of a place."""
        own, codes = self.places[place], self.codes[place]
        if codes is None or part == len(codes.chosen):
            return own.rest
        return f"{own.layer} concept {codes.group.first + int(codes.chosen[part])}"

    def writers(self, place: int) -> list[tuple[int, Codes]]:
        """Return the concepts that write a place, with the places where they stand."""
        found = [(group.home, self.codes[group.home]) for group in self.places[place].writers]
        return [(home, codes) for home, codes in found if codes is not None]

    @torch.no_grad()
    def scores(self, weights: Weights) -> Float[Tensor, " 1"]:
        """Return the metric with parts replaced: those below a part have been replaced when it is computed."""
        seen: dict[str, Tensor] = {}

        def write(place: int) -> Edit:
            return lambda hidden: hidden + self._step(place, hidden, seen, weights).to(hidden)

        logits = outputs_through(self.recorder, [self.read.row], self.edits(seen, write))
        found = self.metric(logits)
        if not found.isfinite().all():
            raise ModelError("`metric`: it is not finite (NaN or infinity) with some parts ablated.")
        return found

    def edits(self, seen: dict[str, Tensor], write: Callable[[int], Edit]) -> list[tuple[HookPoint, Edit]]:
        """Return edits in the order of the model, which write each place and note what is read.

        Args:
            seen: Takes what is read, by place.
            write: Returns the edit of a place.
        """
        numbers = {place.point.name: i for i, place in enumerate(self.places)}
        read = {codes.group.read.name for codes in self.codes if codes is not None}

        def edit(point: HookPoint) -> Edit:
            written = write(numbers[point.name]) if point.name in numbers else None

            def change(hidden: Tensor) -> Tensor:
                value = hidden if written is None else written(hidden)
                if point.name in read:
                    seen[point.name] = value.clone()  # which a block may add into
                return value

            return change

        return [(point, edit(point)) for point in self.recorder.hook_points]

    def _step(self, place: int, hidden: Float[Tensor, "b l d"], seen: States, weights: Weights) -> Float[Tensor, "b l d"]:
        """Return what is added at a place when some shares of its parts, and of the concepts that write there, are replaced."""
        moved, whole = torch.zeros_like(hidden), torch.zeros_like(hidden)
        for home, codes in self.writers(place):
            gap = codes.goals - codes.now(seen[codes.group.read.name])
            directions = codes.group.directions(place, codes.chosen).to(gap)
            moved = moved + ((weights[home][:, :-1].to(gap) * gap) @ directions).to(hidden)
            whole = whole + (gap @ directions).to(hidden)
        rest = self.goals[self.places[place].point.name].to(hidden) - hidden - whole
        return moved + weights[place][:, -1:].to(hidden) * rest

    @torch.no_grad()
    def _codes(self, group: Group) -> Codes:
        amounts, goals = (self._amounts(group, states) for states in (self.states, self.goals))
        chosen = ((amounts != 0) | (goals != 0)).any(0).nonzero()[:, 0].cpu()
        return Codes(group, chosen, amounts[:, chosen], goals[:, chosen])

    def _amounts(self, group: Group, states: States) -> Float[Tensor, "l n"]:
        """Return the amounts of all concepts of a group."""
        rows = torch.cat([states[name] for name in group.coder.read], 1)
        model = group.coder.concept_model
        found = model.encode(rows.to(group.coder.device, model.dtype)).to(rows.device)
        return found[:, group.first : group.first + group.size]
