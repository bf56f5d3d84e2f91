"""Activation patching: a part of one text's activations in the place of another's, and what that does to the output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interpreto.concepts.base import ConceptExplainer
from interpreto.concepts.circuits.metric import Metric, predicted, read_metrics
from interpreto.concepts.circuits.pairs import Read, check_splitter, read_pairs
from interpreto.concepts.circuits.parts import Concepts, Parts, differing, one_hot
from interpreto.concepts.circuits.patching_output import DENOISE, NOISE, PatchingOutput
from interpreto.concepts.circuits.places import check_explainers, recorder_of, static_parts
from interpreto.concepts.output_names import Names
from interpreto.concepts.outputs import task_of
from interpreto.errors import ModelError, OptionError
from interpreto.inputs.split_inputs import SplitInput
from interpreto.models.activations import ActivationRecorder
from interpreto.models.batching import Budget, map_batches
from interpreto.models.several_edits import outputs_through
from interpreto.progress import progress_bar
from interpreto.rounding import noise_of
from interpreto.statistics import spearman
from interpreto.validation import check_choice, check_count

Method = Literal["exact", "attribution", "integrated"]
Directions = Literal["both", "denoise", "noise"]
PARTS = ("layers", "heads", "sublayers")
OUTPUTS_A_PASS = 2**25  # logits that are held at once


class ActivationPatching:
    """Replaces parts of the activations of one text by those of another, one by one, and reads a metric of the output.

    The parts are the activations of each token at each split point; the heads of each attention; or concepts, with what
    they leave unexplained as one part more. Where a part of the clean text is put into the corrupt one (denoising), the
    change says what suffices to bring the answer back; the other way (noising), what the answer needs.

    Args:
        splitter: A model with split points, in whose place activations are exchanged.
        metric: A `Contrast` of two classes, or of two tokens that may follow the text; one class or token; a list of these,
            one per pair; or a function from logits ``(m, c)`` or ``(m, l, v)`` to ``(m,)``. None: the output that the model
            predicts for the clean text less the one it predicts for the corrupt text.
        method: ``"exact"``: a pass for each part. ``"attribution"``: to first order, of one gradient. ``"integrated"``: the
            gradient averaged on the line from one text's activations to the other's, all parts of a place at once; at a
            place that all information goes through, it sums to the gap of the metric.
        explainers: Fitted concepts at some of the split points: their concepts are the parts.
        parts: Without explainers, ``"layers"`` (the split points), ``"heads"``, or ``"sublayers"`` (heads and feed-forward
            layers). Heads are those of the split points that end in ``:input``, which are inputs of attentions' output
            layers; without such, those of all blocks.
        directions: ``"both"``, ``"denoise"`` or ``"noise"``.
        check: Largest cells of an approximation that are patched exactly too; `PatchingOutput.agreement` compares. 0: none.
        n_steps: Points of the integral.

    Raises:
        OptionError: the splitter reads no tokens, or an option is out of range.
        ModelError: no gradient passes through an explainer's decoder.

    Examples:
        >>> from interpreto import Contrast, ModelWithSplitPoints, demo
        >>> from interpreto.concepts import ActivationPatching
        >>> model, tokenizer = demo.load_classifier()
        >>> splitter = ModelWithSplitPoints(model, [0, 1, 2], tokenizer=tokenizer)
        >>> patching = ActivationPatching(splitter, Contrast("positive", "negative"))
        >>> output = patching("A charming film.", "A boring film.")[0]
        >>> output.tokens
        ('[CLS]', 'a', 'charming', 'film', '.', '[SEP]')
        >>> part, token, _ = output.top(1)[0]
        >>> part, output.tokens[token]
        ('layer 2', '[CLS]')

    References:
        Meng et al., NeurIPS 2022, https://arxiv.org/abs/2202.05262; Zhang and Nanda, ICLR 2024,
        https://arxiv.org/abs/2309.16042; attribution patching, Syed, Rager and Conmy, 2023,
        https://arxiv.org/abs/2310.10348; of concepts, Marks et al., ICLR 2025, https://arxiv.org/abs/2403.19647
    """

    def __init__(
        self,
        splitter: Any,
        metric: Any = None,
        method: str = "exact",
        explainers: ConceptExplainer | Sequence[ConceptExplainer] | None = None,
        *,
        parts: str = "layers",
        directions: str = "both",
        check: int = 50,
        n_steps: int = 32,
    ) -> None:
        self.splitter, self.metric = check_splitter(splitter), metric
        self.method = check_choice(method, "method", get_args(Method))
        check_choice(directions, "directions", get_args(Directions))
        self.directions = (DENOISE, NOISE) if directions == "both" else (directions,)
        self.check, self.n_steps = check_count(check, "check", 0), check_count(n_steps, "n_steps")
        self.parts = check_choice(parts, "parts", PARTS)
        self.explainers = [explainers] if isinstance(explainers, ConceptExplainer) else list(explainers or [])
        check_explainers(self.splitter, self.explainers)
        for explainer in self.explainers:
            if self.method != "exact" and not explainer.has_differentiable_displacement:
                raise ModelError(
                    f"`method`: no gradient passes through the decoder of {type(explainer).__name__}; use method='exact'."
                )

    def __call__(self, clean: Any, corrupt: Any, *, tqdm_bar: bool | None = None) -> list[PatchingOutput]:
        """Return the changes of the metric by each part of each pair.

        Args:
            clean: Texts, or any other form that the splitter reads.
            corrupt: As many others; each has as many tokens as its counterpart.
            tqdm_bar: Show the pairs done; None: after two seconds, in terminals and notebooks.

        Returns:
            A result for each pair, in order.

        Raises:
            InputError: a pair has unequal numbers of tokens; the message says which, and where the texts part.
            TargetError: the metric's targets are not outputs of the model.
            ModelError: the model has no heads that could be found.
        """
        pairs = read_pairs(self.splitter, clean, corrupt)
        static = None if self.explainers else static_parts(self.splitter, self.parts, pairs[0][0].row)
        recorder = recorder_of(self.splitter, static, self.explainers)
        own = self.metric is not None
        metrics = read_metrics(self.metric, self.splitter, len(pairs)) if own else [None] * len(pairs)
        found = []
        with progress_bar(desc=self.method, unit=" pairs", total=len(pairs), shown=tqdm_bar) as bar:
            for i, (pair, metric) in enumerate(zip(pairs, metrics, strict=True)):
                with recorder.session([read.row for read in pair]):
                    found.append(self._of(recorder, static, pair, (i, metric)))
                bar.update(1)
        return found

    def _of(
        self,
        recorder: ActivationRecorder,
        static: list[Parts] | None,
        pair: tuple[Read, Read],
        given: tuple[int, Metric | None],
    ) -> PatchingOutput:
        """Return the result of one pair, whose number and metric are given."""
        rows = [read.row for read in pair]
        logits = outputs_through(recorder, rows, [])
        number, metric = given
        if metric is None:
            names = Names(self.splitter.tokenizer, task_of(self.splitter))
            metric = predicted(logits[0], logits[1], names, number)
        scores = metric(logits)
        budget = _budget(recorder.budget, logits)
        grids = [
            _Grid(recorder, row, own, metric, budget)
            for row, own in zip(rows, self._divided(recorder, static, rows), strict=True)
        ]
        changes, exact, agreement = {}, {}, {}
        for direction in self.directions:
            base = 1 if direction == DENOISE else 0
            grid, score = grids[base], float(scores[base])
            if self.method == "exact":
                changes[direction] = grid.exact(score)
                continue
            changes[direction] = grid.gradient(*self._nodes())
            exact[direction], agreement[direction] = self._checked(grid, changes[direction], score)
        clean, corrupt = pair
        return PatchingOutput(
            clean.text,
            corrupt.text,
            clean.tokens,
            corrupt.tokens,
            tuple(name for place in grids[0].places for name in place.parts.names),
            metric.name,
            float(scores[0]),
            float(scores[1]),
            changes,
            self.method,
            exact,
            agreement,
        )

    def _nodes(self) -> tuple[list[float], list[float]]:
        """Return the points of the line at which the gradient is taken, and their weights."""
        if self.method == "attribution":
            return [0.0], [1.0]
        points, weights = np.polynomial.legendre.leggauss(self.n_steps)
        return ((points + 1) / 2).tolist(), (weights / 2).tolist()

    def _divided(
        self, recorder: ActivationRecorder, static: list[Parts] | None, rows: Sequence[SplitInput]
    ) -> tuple[list[_Place], list[_Place]]:
        """Return the activations at all places, of the clean text with the corrupt one's to come, and the reverse."""
        both: tuple[list[_Place], list[_Place]] = ([], [])
        for i, (a, b) in enumerate(zip(*recorder.record(rows), strict=True)):
            point = recorder.hook_points[i]
            if a.ndim != 2:
                raise OptionError(f"`splitter`: {point.name!r} gives one vector per text; choose one that gives one per token.")
            explainer = None if static is not None else self.explainers[i]
            parts = static[i] if explainer is None else Concepts(point, explainer, differing(explainer, a, b))  # type: ignore[index]  # not None
            both[0].append(_Place(parts, a, b))
            both[1].append(_Place(parts, b, a))
        return both

    def _checked(self, grid: _Grid, changes: Float[Tensor, "r l"], base: float) -> tuple[Float[Tensor, "r l"], float]:
        """Return the exact changes of the largest cells, NaN elsewhere, and how well both agree on their order."""
        found = torch.full_like(changes, torch.nan)
        if not self.check:
            return found, float("nan")
        chosen = torch.zeros(changes.numel(), dtype=torch.bool)
        chosen[changes.abs().flatten().topk(min(self.check, changes.numel())).indices] = True
        inside = chosen.view_as(changes) & (changes != 0)
        exact = grid.exact(base, inside)
        found[inside] = exact[inside]
        agree = float(spearman(changes[inside], exact[inside])) if int(inside.sum()) > 2 else float("nan")
        return found, agree


def _budget(budget: Budget, logits: Tensor) -> Budget:
    """Return the size of a pass whose logits can be held."""
    if logits.ndim < 3:
        return Budget(budget.rows, budget.tokens)
    return Budget(budget.rows, max(1, min(budget.tokens, OUTPUTS_A_PASS // logits.shape[-1])))


@dataclass(frozen=True, eq=False)
class _Place:
    """Activations of a text at a hook point, and those that take their place."""

    parts: Parts
    hidden: Float[Tensor, "l d"]
    other: Float[Tensor, "l d"]


@dataclass(frozen=True, eq=False)
class _Grid:
    """One text with all its parts: what happens to the metric where they are replaced."""

    recorder: ActivationRecorder
    row: Any
    places: list[_Place]
    metric: Metric
    budget: Budget

    def exact(self, base: float, inside: Bool[Tensor, "r l"] | None = None) -> Float[Tensor, "r l"]:
        """Return the change of the metric with each part replaced alone, zero where nothing differs.

        Args:
            base: The metric of the text itself.
            inside: The cells that are asked for; None: all.
        """
        found, first = [], 0
        for place in self.places:
            n = len(place.parts.names)
            wanted = place.parts.differ(place.hidden, place.other)  # (l, n)
            if inside is not None:
                wanted = wanted & inside[first : first + n].T
            first += n
            values = torch.zeros(wanted.shape)
            cells = wanted.nonzero().tolist()
            if cells:
                change = self._replaced(place, cells) - base
                values[wanted] = torch.where(change.abs() <= noise_of(base), 0.0, change)  # no more than rounding
            found.append(values.T)
        return torch.cat(found)

    @torch.no_grad()
    def _replaced(self, place: _Place, cells: list[list[int]]) -> Float[Tensor, " m"]:
        """Return the metric with each of some cells, token and part, replaced."""

        def run(picked: list[int]) -> Tensor:
            tokens, parts = torch.tensor([cells[i] for i in picked]).T
            weights = one_hot(parts, len(place.parts.names))
            step = place.parts.step(place.hidden[tokens][:, None], place.other[tokens][:, None], weights)
            moved = place.hidden.repeat(len(picked), 1, 1)
            moved[torch.arange(len(picked)), tokens] += step[:, 0]
            return self._scores(place, moved)[:, None]

        return map_batches([len(self.row)] * len(cells), run, self.budget)[:, 0].float()

    def gradient(self, nodes: Sequence[float], shares: Sequence[float]) -> Float[Tensor, "r l"]:
        """Return the weighted sum of the metric's slopes at some points of the line to the other text's activations.

        Args:
            nodes: The points, 0 the text's own activations and 1 the other's.
            shares: Weight of each.
        """
        return torch.cat([self._slopes(place, nodes, shares) for place in self.places])

    def _slopes(self, place: _Place, nodes: Sequence[float], shares: Sequence[float]) -> Float[Tensor, "n l"]:
        def run(picked: list[int]) -> Tensor:
            at = torch.tensor([nodes[i] for i in picked], dtype=torch.float32)[:, None, None]
            size = len(picked), len(self.row), len(place.parts.names)
            with torch.enable_grad():
                weights = at.expand(size).clone().requires_grad_()
                hidden, other = (values.expand(size[0], -1, -1) for values in (place.hidden, place.other))
                total = self._scores(place, hidden + place.parts.step(hidden, other, weights)).sum()
            if not total.requires_grad:
                return torch.zeros(size)
            return torch.autograd.grad(total, weights)[0]

        found = map_batches([len(self.row)] * len(nodes), run, self.budget)
        return torch.einsum("a,aln->nl", torch.tensor(shares, dtype=torch.float32), found.float())

    def _scores(self, place: _Place, hidden: Float[Tensor, "m l d"]) -> Float[Tensor, " m"]:
        logits, _ = self.recorder.run_on([self.row] * len(hidden), place.parts.point, hidden)
        found = self.metric(logits)
        if not found.isfinite().all():
            raise ModelError("`metric`: it is not finite (NaN or infinity) with some part replaced.")
        return found
