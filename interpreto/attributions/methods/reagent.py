"""ReAGent: importance that is updated by random replacements until the most important units are enough."""

from __future__ import annotations

from typing import Any

from typing_extensions import Unpack

from interpreto.attributions.base import AttributionExplainer
from interpreto.attributions.games.rounds import Rounds
from interpreto.attributions.options import Options
from interpreto.attributions.perturbations.recursive import RecursivePerturbator
from interpreto.models.black_box import BlackBox
from interpreto.models.modes import InferenceModes
from interpreto.models.tasks import Classification, Task, resolve_task
from interpreto.models.wrapping import read_model


class ReAGent(AttributionExplainer):
    """Replace random units again and again; those whose replacement lowers the probability become more important.

    A drop Δ of the probability moves the replaced units by the logit of ½ + ½Δ, and the others by its negative. The recursion
    ends where the most important units alone keep enough of the probability. Values are shares that sum to 1, without a sign.

    Replaced units become ``replacement``, where the paper draws tokens from a masked language model; and the paper ends when
    the target is among the likeliest tokens, which needs all of the model's outputs.

    Args:
        n_perturbations: Most perturbed inputs for one target.
        replaced: Share of the units that is replaced at random, in (0, 1).
        kept: Share of the units that is tried alone, in (0, 1).
        enough: Share of the probability that these must keep for the recursion to end, in (0, 1).

    Raises:
        OptionError: A number is out of range.

    Examples:
        >>> from interpreto import ReAGent, demo
        >>> explanation = ReAGent(*demo.load_classifier())("A gorgeous, moving film.")[0]
        >>> round(float(explanation.attributions.sum()), 5)
        1.0

    References:
        Zhao and Shan, 2024, https://arxiv.org/abs/2402.00794.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        batch_size: int | None = None,
        *,
        n_perturbations: int = 300,
        replaced: float = 0.3,
        kept: float = 0.3,
        enough: float = 0.5,
        replacement: str | int = "auto",
        **options: Unpack[Options],
    ) -> None:
        model, tokenizer = read_model(model, tokenizer)
        if options.get("inference_mode") is None and not isinstance(model, BlackBox):
            options["inference_mode"] = _probability(resolve_task(model, tokenizer, None, options.get("task")))
        parts = {"perturbator": RecursivePerturbator(n_perturbations, replaced, kept, enough), "evidence": Rounds()}
        super().__init__(model, tokenizer, batch_size, replacement=replacement, signed=False, **parts, **options)


def _probability(task: Task) -> InferenceModes | None:
    """Return the mode in which the scores of a task are probabilities; None where they are none."""
    kind = task.kind if isinstance(task, Classification) else "single-label"
    return {"single-label": InferenceModes.SOFTMAX, "multi-label": InferenceModes.SIGMOID}.get(kind)
