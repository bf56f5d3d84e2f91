"""A Hugging Face model, or any module with its interface, as explainers and metrics run it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from copy import copy
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.inputs.samples import EmbeddingVariants, MaskVariants, Sample
from interpreto.inputs.split_inputs import SplitInput
from interpreto.models.activations import ActivationRecorder
from interpreto.models.alternatives import ReplacedBy, TextAlternatives
from interpreto.models.attention_flow import Attended, AttentionRule
from interpreto.models.attention_rows import Aim, AttentionScorer
from interpreto.models.batching import TOKENS_A_PASS, Budget
from interpreto.models.domains import AnyReplacement, ready, replacement_of, space_of
from interpreto.models.forward import Forward
from interpreto.models.gradients import GradientReducer, MakesReducer
from interpreto.models.hidden_states import HiddenStates
from interpreto.models.hook_points import HookPoint
from interpreto.models.options import EngineOptions
from interpreto.models.point_rows import Aim as PointAim
from interpreto.models.point_rows import AtInput
from interpreto.models.points import PointScorer
from interpreto.models.protocol import MakesRules, Need, Recorded
from interpreto.models.report import EngineLog
from interpreto.models.rows import Read, RowRunner
from interpreto.models.scorer import MaskScorer
from interpreto.models.wrappers import model_name


class HuggingFaceModel:
    """Scores, gradients and activations of a Hugging Face model. Implements `Model`.

    Args:
        model: Any module that takes ``input_ids`` and ``attention_mask``. Left as it was after every session.
        tokenizer: Its tokenizer.
        device: Where to run it; None: where it is.
        options: Optimizations.
        outputs: Takes what a task reads out of what the model returns; None: its logits.
        at: Module whose activations are moved in the place of embeddings: its path, or a block's number; None: embeddings.
    """

    provides: frozenset[Need] = frozenset(("scores", "gradients", "record", "attention"))

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        device: torch.device | str | int | None = None,
        options: EngineOptions | None = None,
        outputs: Callable[..., Tensor] | None = None,
        at: object = None,
    ) -> None:
        self.options = EngineOptions() if options is None else options
        self.forward = Forward(model, device, self.options.kept_logits, outputs)
        self.tokenizer, self.space = tokenizer, space_of(self.forward, tokenizer, at)
        self._replacement: AnyReplacement | None = None
        self._runner: RowRunner | None = None
        self._recorders: dict[tuple[Any, ...], ActivationRecorder] = {}

    @property
    def name(self) -> str:
        """Return the name of the model's class."""
        return model_name(self.forward.model)

    def replacement(self, value: ReplacedBy) -> AnyReplacement:
        """Return the replacement of that name, if the model can be given it."""
        found = replacement_of(value, self.forward, self.tokenizer)
        if found.name in ("mean", "zero"):
            _ = self.forward.embeddings.first  # a model without embeddings is refused here, not in the middle of a call
        return found

    def configured(
        self,
        read: Read,
        *,
        replacement: AnyReplacement | None = None,
        batch_size: int | None = None,
        on_pass: Callable[[], object] = lambda: None,
    ) -> HuggingFaceModel:
        """Return the same model, ready for a call.

        Args:
            read: Takes scores out of its outputs.
            replacement: What masked units become.
            batch_size: Rows per forward pass; None: as many as the token budget holds.
            on_pass: Called after each forward pass.
        """
        model = copy(self)
        rows = getattr(self.forward.model, "rows_a_pass", None) if batch_size is None else batch_size
        budget = Budget(rows, TOKENS_A_PASS["cuda" if self.forward.device.type == "cuda" else "cpu"])
        model._runner = RowRunner(self.forward, budget, read, self.options, on_pass)
        model._replacement = replacement
        self.forward.log = EngineLog(self.options)
        return model

    @property
    def log(self) -> EngineLog:
        """Return the log of the optimizations of the last call."""
        return self.forward.log

    @property
    def runner(self) -> RowRunner:
        """Return the runner of this call."""
        assert self._runner is not None, "configured() comes first"
        return self._runner

    def session(self) -> AbstractContextManager[None]:
        """Return a context manager in which the model can be run: by this thread alone, in evaluation mode."""
        return self.forward.session()

    def scores(self, variants: Iterable[MaskVariants]) -> Iterator[tuple[MaskVariants, Float[Tensor, "p1 t"]]]:
        """Return the scores of each sample's perturbed inputs; see `Model`."""
        assert self._replacement is not None
        return MaskScorer(self.runner, ready(self._replacement, self.space)).scores(variants)

    def draws(self, sample: Sample) -> int:
        """Return the number of draws that a sample has of a replacement by texts."""
        assert isinstance(self._replacement, TextAlternatives)
        return self._replacement.draws(sample)

    def with_draw(self, draw: int) -> HuggingFaceModel:
        """Return the same model with one draw of its replacement by texts."""
        assert isinstance(self._replacement, TextAlternatives)
        model = copy(self)
        model._replacement = self._replacement.at(draw)
        return model

    @property
    def samples_draws(self) -> bool:
        """True if the draws of its replacement by texts are a sample of a background."""
        return isinstance(self._replacement, TextAlternatives) and self._replacement.sampled

    def embed(self, sample: Sample) -> Float[Tensor, "l d"]:
        """Return the embeddings of a sample's tokens."""
        return self.space.embed(sample)

    def scores_at(self, points: Sequence[tuple[Sample, Tensor]]) -> list[Tensor]:
        """Return the scores ``(r, t)`` of each sample with its embeddings replaced by each of ``(r, l, d)``."""
        return self._points().scores(points)

    def gradients(
        self, variants: Sequence[EmbeddingVariants], reducers: Sequence[GradientReducer], rules: MakesRules | None = None
    ) -> None:
        """Hand the gradients at each sample's points to its reducer, by backward rules if there are any."""
        self._points(rules).gradients(variants, reducers)

    def gradients_at_inputs(
        self,
        variants: Sequence[EmbeddingVariants],
        asked: Sequence[Sample],
        aim: PointAim,
        reducer: MakesReducer,
        rules: MakesRules | None = None,
    ) -> list[AtInput]:
        """Return the targets, scores and gradients of samples at their inputs, out of the same forward passes."""
        return self._points(rules).gradients_at_inputs(variants, asked, aim, reducer)

    def _points(self, rules: MakesRules | None = None) -> PointScorer:
        hidden = self.space if isinstance(self.space, HiddenStates) else None
        return PointScorer(self.runner, None if rules is None else rules(), hidden)

    def attention(self, samples: Sequence[Sample], rule: AttentionRule, aim: Aim) -> list[Attended]:
        """Return what a rule makes of the attention of each sample: a row per score."""
        return AttentionScorer(self.runner, aim).rows(samples, rule)

    def record(self, samples: Iterable[Sample], at: Sequence[HookPoint], gradients: bool = False) -> Iterator[Recorded]:
        """Yield the activations of each sample at hook points, in order. The model is as it was between two of them.

        Args:
            samples: Inputs; read some at a time.
            at: Where; see `find_hook_points`.
            gradients: The activations keep their graph, and stay where the model is; else they are on the CPU.

        Raises:
            ModelError: a hook point gives neither a vector per token nor one per text.
        """
        recorder = self._recorder(at)
        for some in recorder.windows(samples):
            found = recorder.record([SplitInput.of(sample) for sample in some], gradients)
            for sample, activations in zip(some, found, strict=True):
                yield Recorded(sample, tuple(activations))

    def run_from(
        self, samples: Sequence[Sample], at: HookPoint, hidden: Tensor, to: Sequence[HookPoint] = ()
    ) -> tuple[Tensor, list[Tensor]]:
        """Return outputs of a batch run on from activations at a hook point, differentiable in them.

        Args:
            samples: The batch.
            at: Where the activations are given.
            hidden: ``(b, l, d)``, padded on the right, or ``(b, d)`` where there are no tokens.
            to: Further hook points, which the model reaches after ``at``.

        Returns:
            Outputs ``(b, c)`` or ``(b, l, v)`` in float32, and the activations ``(b, l, d)`` or ``(b, d)`` at each of ``to``.

        Raises:
            OptionError: the model does not reach a point of ``to`` after ``at``.
        """
        return self._recorder([at]).run_on([SplitInput.of(sample) for sample in samples], at, hidden, to)

    def _recorder(self, points: Sequence[HookPoint]) -> ActivationRecorder:
        """Return what reads activations at these points, with what it has measured of the model."""
        rows = None if self._runner is None else self._runner.budget.rows
        key = (rows, *((point.name, point.side) for point in points))
        if key not in self._recorders:
            model = self.forward.model
            forward = Forward(model, self.forward.wanted_device, outputs=self.forward.outputs)
            self._recorders[key] = ActivationRecorder(model, self.tokenizer, points, rows, "hooks", forward=forward)
        return self._recorders[key]
