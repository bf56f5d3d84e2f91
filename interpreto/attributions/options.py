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
    """What every method takes, by keyword.

    granularity: What is explained: a `Granularity`, its name, or a function that cuts a text into character ranges.
    granularity_aggregation_strategy: How gradients of tokens become values of units. None: the sum for signed values,
        the mean for norms. Mask methods act on units and take none.
    inference_mode: The explained score: an `InferenceModes`, its name, or a function of the logits, row by row. None:
        logits of a classifier, log-probabilities of a generation.
    device: Where to run the model for the call; None: where it is.
    random_state: Seed of every draw, for each input alone, so that results do not depend on company; None: fresh ones.
    tqdm_bar: Show the forward passes done.
    task: What the model does, when its config does not say: ``"single-label"``, ``"multi-label"``, ``"regression"``,
        ``"generation"``.
    truncation: Explain the beginning of texts that are longer than the model takes, instead of refusing them.
    shortcuts: What the engine may save; see `EngineOptions`.
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
    """Options, read."""

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
