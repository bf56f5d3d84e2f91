"""Options of the training of sparse autoencoders and coders, validated."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from os import PathLike
from typing import Any

from interpreto.validation import check_count, check_flag, check_positive, check_probability


@dataclass(frozen=True)
class TrainingOptions:
    """Options of a training, as `TrainedConcepts.fit` describes them.

    Raises:
        OptionError: an option is out of range.
    """

    nb_epochs: int = 20
    batch_size: int = 512
    lr: float = 2e-3
    warm_up: float = 0.1
    clip_grad: float | None = 1.0
    revive: bool = True
    mixed_precision: bool = False
    checkpoint: str | PathLike[str] | None = None
    checkpoint_every: int | None = None
    distributed: bool = False

    def __post_init__(self) -> None:
        for name in ("nb_epochs", "batch_size", "checkpoint_every"):
            if getattr(self, name) is not None or name != "checkpoint_every":
                object.__setattr__(self, name, check_count(getattr(self, name), name))
        object.__setattr__(self, "lr", check_positive(self.lr, "lr"))
        object.__setattr__(self, "warm_up", check_probability(self.warm_up, "warm_up", one=False))
        if self.clip_grad is not None:
            object.__setattr__(self, "clip_grad", check_positive(self.clip_grad, "clip_grad"))
        for name in ("revive", "mixed_precision", "distributed"):
            check_flag(getattr(self, name), name)

    def facts(self) -> dict[str, Any]:
        """Return the options that make a training what it is."""
        return {k: v for k, v in asdict(self).items() if k not in ("checkpoint", "checkpoint_every", "distributed")}

    def schedule(self, step: int, steps: int) -> tuple[float, float]:
        """Return the factors of the learning rate and of the sparsity penalty.

        Args:
            step: Number of the step, from 0.
            steps: Number of all steps.
        """
        warm = min(1.0, (step + 1) / max(1.0, self.warm_up * steps))
        return warm * min(1.0, (steps - step) / (0.2 * steps)), warm
