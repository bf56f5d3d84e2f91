"""Options that every method takes."""

from __future__ import annotations

import difflib
import inspect
from dataclasses import dataclass, field, fields
from typing import Any, TypedDict

import torch

from interpreto.choices import read_member
from interpreto.errors import OptionError
from interpreto.inputs.regions import ImageGranularity
from interpreto.inputs.units import Granularity, GranularityAggregationStrategy, Splitter, read_granularity
from interpreto.models.modes import InferenceModes, Mode, read_mode
from interpreto.models.options import EngineOptions
from interpreto.models.tasks import Task
from interpreto.validation import check_optional_seed, shown

OTHER_NAMES = {
    "progress": "tqdm_bar",
    "show_progress": "tqdm_bar",
    "progress_bar": "tqdm_bar",
    "seed": "random_state",
    "n_samples": "n_perturbations",
    "nsamples": "n_perturbations",
    "num_samples": "n_perturbations",
    "max_evals": "n_perturbations",
    "n_steps": "n_perturbations",
    "num_steps": "n_perturbations",
}
"""Names that other libraries have for an option, and the present one, by which they are accepted."""
UNTIL_TOLERANCE = (
    *("KernelShap", "PermutationShap", "Banzhaf", "Lime", "GLime", "LimeWithPrior", "Rise", "Sobol", "ShapleyInteractions"),
    *("ContextCite", "SmoothGrad", "SquareGrad", "VarGrad", "GradientShap", "ExpectedGradients", "DeepLiftShap"),
)
"""Methods that sample until a tolerance: all that sample."""
PARTS = ("self", "model", "tokenizer", "batch_size", "options")


def own_options(method: type) -> list[str]:
    """Return the names of the options that a method has besides those of every method."""
    parameters = inspect.signature(method.__init__).parameters.values()
    return [p.name for p in parameters if p.name not in PARTS and p.kind is not inspect.Parameter.VAR_KEYWORD]


def _unknown(name: str, method: type, shared: list[str]) -> str:
    """Return the message of an option that a method does not have."""
    if name == "tolerance":
        taken = f"{', '.join(UNTIL_TOLERANCE[:-1])} and {UNTIL_TOLERANCE[-1]}"
        return f"`tolerance`: {method.__name__} has no standard errors to stop by; these have: {taken}."
    own = own_options(method)
    near = difflib.get_close_matches(OTHER_NAMES.get(name, name), [*own, *shared], n=1)
    hint = f" Did you mean `{near[0]}`?" if near else ""
    of_its_own = f"; its own are {', '.join(own)}" if own else ""
    return f"`{name}`: {method.__name__} has no such option; those of every method are {', '.join(shared)}{of_its_own}.{hint}"


class Options(TypedDict, total=False):
    """The keyword options of every method.

    granularity: Unit of the explanation: a `Granularity`, its name, or a function from a text to character ranges. Of images:
        an `ImageGranularity`, its name, or a function from an image to the region of each pixel.
    granularity_aggregation_strategy: Pooling of the values of tokens into values of units, for gradients. None: the sum
        of signed values, the mean of norms. Mask methods mask units as a whole, and take none.
    inference_mode: The explained score: an `InferenceModes`, its name, or a function of the logits, row by row. None:
        logits of a classifier, log-probabilities of a generation.
    device: Device on which the model is run during a call; None: its own.
    random_state: Seed of the draws of each input, whose result does not depend on the other inputs; None: a new seed per
        call.
    tqdm_bar: Show the progress; None: after two seconds, in terminals and notebooks.
    task: Task of the model, where its config does not tell: ``"single-label"``, ``"multi-label"``, ``"regression"``,
        ``"generation"``, ``"token-classification"``, ``"question-answering"``, ``"fill-mask"``,
        ``"next-sentence-prediction"``.
    truncation: Explain the beginning of texts that are longer than the model takes, instead of refusing them.
    shortcuts: Optimizations of the engine: an `EngineOptions`.
    """

    granularity: Granularity | ImageGranularity | str | Splitter
    granularity_aggregation_strategy: GranularityAggregationStrategy | str | None
    inference_mode: InferenceModes | str | Mode | None
    device: torch.device | str | int | None
    random_state: int | None
    tqdm_bar: bool | None
    task: str | Task | None
    truncation: bool
    shortcuts: EngineOptions


class GradientOptions(Options, total=False):
    """The keyword options of gradient and relevance methods: those of every method, and a hook point.

    at: Module whose activations are explained in the place of embeddings: its path, or the number of a block, negative from
        the last. Values are of the tokens' activations after that module. A named baseline is the activations of a text whose
        units have that embedding; a number or a tensor is activations. None: the embeddings.
    """

    at: str | int | None


def check_no_hook_point(at: object, method: type) -> None:
    """Raise an `OptionError` for a hook point of a method that reads no gradients there."""
    if at is not None:
        raise OptionError(
            f"`at`: got {shown(at)}; {method.__name__} reads no gradients, and explains the input. Gradient and relevance "
            "methods, such as IntegratedGradients, InputXGradient and AttnLrp, explain activations."
        )


@dataclass(frozen=True)
class Settings:
    """The options of a method, validated."""

    granularity: Any = Granularity.WORD
    granularity_aggregation_strategy: Any = None
    inference_mode: Any = None
    device: Any = None
    random_state: int | None = 0
    tqdm_bar: bool | None = None
    task: Any = None
    truncation: bool = False
    shortcuts: EngineOptions = field(default_factory=EngineOptions)

    @staticmethod
    def read(options: dict[str, Any], method: type) -> Settings:
        """Validate the options of a method.

        Args:
            options: Those of every method, also under their `OTHER_NAMES`.
            method: The class, whose own options a message names.

        Raises:
            OptionError: an option is unknown or given twice, or its value is not valid.
        """
        known = [f.name for f in fields(Settings)]
        options = {name: value for name, value in options.items() if name != "device" or value is not None}
        for name in list(options):
            present = OTHER_NAMES.get(name, name)
            if present not in known:
                raise OptionError(_unknown(name, method, known))
            if present != name:
                if present in options:
                    raise OptionError(f"`{name}`: another spelling of `{present}`, which is given too; pass one of them.")
                options[present] = options.pop(name)
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
