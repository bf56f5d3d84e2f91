"""State that all texts of a summary share: the downstream model, the unit, names of the outputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.base import ConceptExplainer
from interpreto.concepts.downstream import Downstream
from interpreto.concepts.importance import METHODS, effects_of
from interpreto.concepts.output_names import Names
from interpreto.concepts.outputs import windows_with_targets
from interpreto.concepts.splitters.granularities import ActivationGranularity, Unit, read_unit
from interpreto.concepts.views import About
from interpreto.inputs.samples import Sample
from interpreto.inputs.units import GranularityAggregationStrategy
from interpreto.models.modes import InferenceModes
from interpreto.validation import check_choice

WINDOW = 64  # texts whose effects are in memory at once
MEAN = GranularityAggregationStrategy.MEAN


@dataclass(frozen=True)
class SummaryCall:
    """State that all texts of a call share."""

    downstream: Downstream
    unit: Unit
    naming: Names
    method: str
    batch_size: int | None

    @staticmethod
    def of(
        explainer: ConceptExplainer, granularity: Any, method: str, *, names: Any, mode: Any, batch_size: int | None = None
    ) -> SummaryCall:
        check_choice(method, "method", METHODS)
        if granularity is None:
            per_text = explainer.own_splitter().default_granularity is ActivationGranularity.SAMPLE
            granularity = ActivationGranularity.SAMPLE if per_text else ActivationGranularity.WORD
        downstream = Downstream(explainer, read_unit(granularity), inference_mode=mode)
        naming = Names(downstream.splitter.tokenizer, downstream.task, names)
        return SummaryCall(downstream, downstream.granularity, naming, method, batch_size)

    @property
    def word(self) -> str:
        """Return the name of a unit."""
        if self.unit is ActivationGranularity.SAMPLE:
            return "text"
        return getattr(self.unit, "value", "unit").replace("_", " ")

    @property
    def score_unit(self) -> str:
        """Return the unit of the scores."""
        known = {mode.value: mode.unit for mode in InferenceModes}
        mode = str(getattr(self.downstream.task, "mode_name", "score"))
        return known.get(mode, mode)

    def about(self, texts: int | None) -> About:
        """Return where the numbers come from.

        Args:
            texts: Size of the data set; None: the numbers are those of one text.
        """
        per = " per unit of concept" if self.method == "gradient" else ""
        scale = "|effect|"
        if self.unit not in (ActivationGranularity.SAMPLE, ActivationGranularity.CLS_TOKEN):
            scale = f"sum over {self.word if self.word.endswith('s') else self.word + 's'} of |effect|"
        if texts is not None:
            scale = scale if scale == "|effect|" else f"the {scale}"
            over = "tokens" if self.downstream.generates else f"{texts} texts" if texts > 1 else "1 text"
            scale = f"mean over {over} of {scale}"
        return About(
            explainer=type(self.downstream.explainer).__name__,
            split_point=self.downstream.explainer.split_point,
            granularity=self.word,
            method=self.method,
            unit=self.score_unit + per,
            scale=scale,
            output="token" if self.downstream.generates else "class",
        )

    def windows(self, inputs: Any, targets: Any) -> Iterator[list[Sample]]:
        """Yield some inputs at a time, with their targets."""
        of, task = self.downstream.splitter, self.downstream.task
        return windows_with_targets(of, task, inputs, targets, granularity=self.unit, size=WINDOW)

    def effects(self, samples: Sequence[Sample]) -> list[Tensor]:
        """Compute the effects ``(t, u, c)`` of each text."""
        return effects_of(self.downstream, samples, self.method, batch_size=self.batch_size)

    def codes(self, samples: Sequence[Sample]) -> list[Float[Tensor, "u c"]]:
        """Return the concepts of the units of each text."""
        if not samples:
            return []
        explainer = self.downstream.explainer
        with torch.no_grad():
            rows = explainer.encode_activations(self.downstream.splitter.activations_of(samples, MEAN, explainer.split_point))
        return list(rows.float().cpu().split([len(sample.units) for sample in samples]))

    def read(self, sample: Sample) -> tuple[Float[Tensor, "u c"], Float[Tensor, " t"]]:
        """Return the concepts of the units and the scores of the outputs of one text."""

        def read(_: list[int]) -> list[tuple[Tensor, Tensor]]:
            with torch.no_grad():
                batch = self.downstream.batch([sample])
                return [(batch.concepts.float().cpu(), batch.scores(batch.concepts[None])[0, 0].float().cpu())]

        return self.downstream.map([sample], read)[0]
