"""Steps of a steering while a model runs: in order, each with what it reads in the same pass."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.steering.steps import Here, Step
from interpreto.errors import InputError
from interpreto.models.generation_place import GenerationPlace
from interpreto.models.interventions import Edit


def planned(steps: Sequence[Step], place: GenerationPlace) -> dict[str, list[Edit]]:
    """Return what is done at each place, in the order of the steps: also what a step reads is read in its turn."""
    found: dict[str, list[Edit]] = {}
    for step in steps:
        turn = _Turn(step, place)
        for point in step.reads:
            found.setdefault(point, []).append(partial(turn.note, point))
        for point in step.writes:
            found.setdefault(point, []).append(partial(turn.change, point))
    return found


def unchanged(hidden: Tensor) -> Tensor:
    """Return activations as they are."""
    return hidden


def through(edits: Sequence[Edit], hidden: Tensor) -> Tensor:
    """Return activations after all edits."""
    for edit in edits:
        hidden = edit(hidden)
    return hidden


class _Turn:
    """A step of a steering while a model runs, with what it has read in the current pass."""

    def __init__(self, step: Step, place: GenerationPlace) -> None:
        self.step, self.place = step, place
        self._seen: dict[str, tuple[int, Tensor]] = {}

    def note(self, point: str, hidden: Float[Tensor, "b *l d"]) -> Float[Tensor, "b *l d"]:
        """Keep what a place holds in this pass."""
        self._seen[point] = (self.place.passes, hidden)
        return hidden

    def change(self, point: str, hidden: Float[Tensor, "b *l d"]) -> Float[Tensor, "b *l d"]:
        """Return the activations of a place after the step.

        Raises:
            InputError: the step is for another number of texts.
        """
        b, length = len(hidden), hidden.shape[1] if hidden.ndim == 3 else 1
        if self.step.rows_of_its_own not in (None, b):
            raise InputError(
                f"`strength`: got {self.step.rows_of_its_own} strengths for a batch of {b} texts; repeat the prompt for each, "
                "and generate without beams."
            )
        rows = hidden.reshape(b * length, -1)
        texts = torch.arange(b, device=hidden.device).repeat_interleave(length)
        inside = torch.ones_like(texts).bool()
        if hidden.ndim == 3:
            inside = self.place.inside(self.step.at, b, length, hidden.device).reshape(-1)
        if not bool(inside.any()):
            return hidden
        here = Here(point, {name: seen.flatten(0, -2) for name, seen in self._current(hidden)})
        if bool(inside.all()):
            return self.step(rows, texts, here).reshape(hidden.shape)
        rows = rows.clone()
        rows[inside] = self.step(rows[inside], texts[inside], here.at(inside)).to(rows)
        return rows.reshape(hidden.shape)

    def _current(self, hidden: Tensor) -> list[tuple[str, Tensor]]:
        """Return what was read in this pass, of the same tokens."""
        found = []
        for name, (number, seen) in self._seen.items():
            if number == self.place.passes and seen.shape[:-1] == hidden.shape[:-1]:
                found.append((name, seen))
        return found
