"""Evidence in rounds: masks that depend on the scores of earlier ones, of many samples in lock step."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.attributions.aggregations.base import Estimate
from interpreto.attributions.evidence import Evidence, Explained, Parts
from interpreto.attributions.perturbations.base import Perturbator, over_units
from interpreto.inputs.samples import MaskVariants, Sample
from interpreto.models.protocol import Need

Play = Generator[Float[Tensor, "p u"], Float[Tensor, "p t"], Estimate]
"""Generator that yields masks, is sent their scores, and returns the attributions."""


class AdaptivePerturbator(Perturbator):
    """Choose masks in rounds, each by the scores of those before it."""

    @abstractmethod
    def rounds(self, sample: Sample, generator: torch.Generator) -> Play:
        """Yield masks ``(p, u)`` of the sample's players, receive their scores ``(p, t)``, and return the estimate."""


@dataclass
class _State:
    """A sample whose rounds are not over."""

    index: int
    given: Sample
    play: Play
    mask: Tensor
    sample: Sample | None = None  # with its targets, after the first round
    base: Tensor | None = None


class Rounds(Evidence):
    """Scores of masked inputs, asked for in rounds; the masks of all samples of a round share batches."""

    needs: ClassVar[Need] = "scores"

    def estimates(self, model: Any, samples: Sequence[Sample], parts: Parts) -> Iterator[Explained]:
        assert isinstance(parts.perturbator, AdaptivePerturbator)
        open_states = []
        for index, sample in enumerate(samples):
            play = parts.perturbator.rounds(sample, parts.generator())
            open_states.append(_State(index, sample, play, next(play)))
        found: dict[int, Explained] = {}
        while open_states:
            asked = [MaskVariants(self._asked(state, parts), over_units(state.mask, state.given)) for state in open_states]
            left = []
            for state, (_, outputs) in zip(open_states, model.scores(iter(asked)), strict=True):
                done = self._told(state, outputs, parts)
                if done is None:
                    left.append(state)
                else:
                    found[state.index] = done
            open_states = left
        yield from (found[index] for index in range(len(samples)))

    @staticmethod
    def _asked(state: _State, parts: Parts) -> Sample:
        return parts.asked(state.given) if state.sample is None else state.sample

    @staticmethod
    def _told(state: _State, outputs: Float[Tensor, "r t"], parts: Parts) -> Explained | None:
        """Send a sample its scores; return its attributions where that was the last round."""
        if state.sample is None:
            state.sample, scores = parts.with_targets(state.given, outputs)
            state.base = scores[0]
        else:
            scores = outputs
        assert state.base is not None
        try:
            state.mask = state.play.send(scores[1:])
        except StopIteration as end:
            return Explained(state.sample, replace(end.value), state.base)
        return None
