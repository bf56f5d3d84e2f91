"""Options that every method takes."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, fields
from typing import Any, TypedDict

import torch

from interpreto.choices import read_member
from interpreto.errors import OptionError
from interpreto.inputs.units import Granularity, GranularityAggregationStrategy, Splitter, read_granularity
from interpreto.models.modes import InferenceModes, Mode, read_mode
from interpreto.models.options import EngineOptions
from interpreto.models.tasks import Task
from interpreto.validation import check_optional_seed, shown


class Options(TypedDict, total=False):
    """The keyword options of every method.

    granularity: Unit of the explanation: a `Granularity`, its name, or a function from a text to character ranges.
    granularity_aggregation_strategy: Pooling of the values of tokens into values of units, for gradients. None: the sum
        of signed values, the mean of norms. Mask methods mask units as a whole, and take none.
    inference_mode: The explained score: an `InferenceModes`, its name, or a function of the logits, row by row. None:
        logits of a classifier, log-probabilities of a generation.
    device: Device on which the model is run during a call; None: its own.
    random_state: Seed of the draws of each input, whose result does not depend on the other inputs; None: a new seed per
        call.
    tqdm_bar: Show the number of forward passes.
    task: Task of the model, where its config does not tell: ``"single-label"``, ``"multi-label"``, ``"regression"``,
        ``"generation"``, ``"token-classification"``, ``"question-answering"``, ``"fill-mask"``,
        ``"next-sentence-prediction"``.
    truncation: Explain the beginning of texts that are longer than the model takes, instead of refusing them.
    shortcuts: Optimizations of the engine: an `EngineOptions`.
    """

    granularity: Granularity | str | Splitter
    granularity_aggregation_strategy: GranularityAggregationStrategy | str | None
    inference_mode: InferenceModes | str | Mode | None
    device: torch.device | str | None
    random_state: int | None
    tqdm_bar: bool
    task: str | Task | None
    truncation: bool
    shortcuts: EngineOptions


@dataclass(frozen=True)
class Settings:
    """The options of a method, validated."""

    granularity: Any = Granularity.WORD
    granularity_aggregation_strategy: Any = None
    inference_mode: Any = None
    device: Any = None
    random_state: int | None = 0
    tqdm_bar: bool = False
    task: Any = None
    truncation: bool = False
    shortcuts: EngineOptions = field(default_factory=EngineOptions)

    @staticmethod
    def read(options: dict[str, Any], method: str) -> Settings:
        """Validate the options of a method.

        Raises:
            OptionError: an option is unknown, or its value is not valid.
        """
        known = [f.name for f in fields(Settings)]
        for name in options:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f" Did you mean `{near[0]}`?" if near else ""
                raise OptionError(f"`{name}`: {method} has no such option; those of every method are {', '.join(known)}.{hint}")
        strategy = options.get("granularity_aggregation_strategy")
        if strategy is not None:
            strategy = read_member(GranularityAggregationStrategy, strategy, "granularity_aggregation_strategy")
        mode, shortcuts = options.get("inference_mode"), options.get("shortcuts", EngineOptions())
        if not isinstance(shortcuts, EngineOptions):
            raise OptionError(f"`shortcuts`: got {shown(shortcuts)}; pass interpreto.models.EngineOptions(...).")
        return Settings(
            **options
            | {
                "granularity": read_granularity(options.get("granularity", Granularity.WORD)),
                "granularity_aggregation_strategy": strategy,
                "inference_mode": None if mode is None else read_mode(mode),
                "random_state": check_optional_seed(options.get("random_state", 0)),
            }
        )
