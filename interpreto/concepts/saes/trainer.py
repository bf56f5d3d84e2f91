"""Training of sparse autoencoders: steps, revival of dead concepts, history, checkpoints."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from interpreto.concepts.activations import Activations
from interpreto.concepts.outliers import Spread
from interpreto.concepts.saes.base import Autoencoder
from interpreto.concepts.saes.checkpoint import read_checkpoint, write_checkpoint
from interpreto.concepts.saes.record import Progress, TrainingRecord
from interpreto.errors import ModelError, OutlierWarning
from interpreto.progress import progress_bar
from interpreto.storage import check_writable
from interpreto.validation import check_count, check_positive, check_probability

ALIKE = 0.9  # cosine above which two directions are one: of these only the first is given to a dead concept


@dataclass(frozen=True)
class TrainingOptions:
    """Options of the training of a sparse autoencoder.

    Attributes:
        nb_epochs: Passes over the activations.
        batch_size: Rows per step.
        lr: Learning rate of Adam, reached in the warm-up, decayed linearly to 0 over the last fifth of the steps.
        warm_up: Fraction of the steps over which the learning rate and the sparsity penalty grow to their full size.
        clip_grad: Largest norm of a step's gradient; None for any.
        revive: Once per epoch, until four fifths of the training, restart the concepts that no row had since the last
            revival, in directions of badly explained rows.
        mixed_precision: Compute in bfloat16 where that is safe; the weights stay in float32.
        checkpoint: File to write the state of the training to, and to resume from if it exists.
        checkpoint_every: Steps between two checkpoints; None: once per epoch.

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

    def __post_init__(self) -> None:
        for name in ("nb_epochs", "batch_size", "checkpoint_every"):
            if getattr(self, name) is not None or name != "checkpoint_every":
                object.__setattr__(self, name, check_count(getattr(self, name), name))
        object.__setattr__(self, "lr", check_positive(self.lr, "lr"))
        object.__setattr__(self, "warm_up", check_probability(self.warm_up, "warm_up", one=False))
        if self.clip_grad is not None:
            object.__setattr__(self, "clip_grad", check_positive(self.clip_grad, "clip_grad"))


def train(
    model: Autoencoder, activations: Activations, options: TrainingOptions, random_state: int, tqdm_bar: bool | None
) -> list[TrainingRecord]:
    """Train a model anew, or from its checkpoint.

    A training that does not reach its end leaves the model untrained; its checkpoint stays.

    Returns:
        One record per epoch.

    Raises:
        InputError: the activations hold NaN, or all rows are equal.
        OptionError, FileError: the checkpoint is of another training, or cannot be written or read.
        ModelError: the training diverged.
    """
    if options.checkpoint is not None:
        check_writable(options.checkpoint, "checkpoint")
    with torch.inference_mode(False), torch.enable_grad():
        try:
            return _Training(model, activations, options, random_state).run(tqdm_bar)
        except BaseException:  # KeyboardInterrupt above all
            model.forget()
            raise


class _Training:
    """A training in progress."""

    def __init__(self, model: Autoencoder, activations: Activations, options: TrainingOptions, random_state: int) -> None:
        self.model, self.activations, self.options, self.random_state = model, activations, options, random_state
        with torch.no_grad():
            self.spread = model.start(activations, random_state)
        _warn_of_outliers(self.spread, activations.n)
        model.requires_grad_(True)
        on_gpu = activations.device.type == "cuda"
        self.optimizer = torch.optim.Adam(model.parameters(), lr=options.lr, fused=on_gpu)
        self.steps_per_epoch = -(-activations.n // options.batch_size)
        self.steps = options.nb_epochs * self.steps_per_epoch
        device = activations.device
        fired = torch.zeros(model.nb_concepts, dtype=torch.bool, device=device)
        self.progress = Progress(0, torch.zeros(6, dtype=torch.float64, device=device), fired, [])

    def run(self, tqdm_bar: bool | None) -> list[TrainingRecord]:
        """Run the steps that are left, and return the history."""
        path = None if self.options.checkpoint is None else Path(self.options.checkpoint)
        if path is not None and path.exists():
            read_checkpoint(path, self.facts(), self.model, self.optimizer, self.progress)
        every = self.options.checkpoint_every or self.steps_per_epoch
        with progress_bar(total=self.steps, initial=self.progress.step, desc=type(self.model).__name__, shown=tqdm_bar) as bar:
            while self.progress.step < self.steps:
                for rows in self.rest_of_epoch():
                    self.step(self.model.normalized(rows))
                    bar.update()
                    if self.progress.step % self.steps_per_epoch == 0:
                        self.close_epoch()
                        bar.set_postfix(asdict(self.progress.history[-1]))
                    if path is not None and (self.progress.step % every == 0 or self.progress.step == self.steps):
                        write_checkpoint(path, self.facts(), self.model, self.optimizer, self.progress)
        self.model.requires_grad_(False)
        with torch.no_grad():
            self.model.calibrate(self.activations, self.spread, self.random_state)
        return self.progress.history

    def rest_of_epoch(self) -> Iterator[Float[Tensor, "b d"]]:
        """Yield the batches of this epoch that are still to come."""
        epoch, done = divmod(self.progress.step, self.steps_per_epoch)
        generator = Generator().manual_seed((self.random_state * 1_000_003 + epoch) % 2**63)
        for i, rows in enumerate(self.activations.batches(self.options.batch_size, generator)):
            if i >= done:
                yield rows.float()

    def step(self, rows: Float[Tensor, "b d"]) -> None:
        """Take an optimizer step on normalized rows."""
        options, model, progress = self.options, self.model, self.progress
        rate, sparsity = self.schedule(progress.step)
        for group in self.optimizer.param_groups:
            group["lr"] = options.lr * rate
        targets = rows[:, model.first_target :]
        weights = self.weights(targets)
        with torch.autocast(rows.device.type, torch.bfloat16, enabled=options.mixed_precision):
            learned = model.learn(rows, sparsity, weights)
        residual = targets - learned.reconstruction.float()
        errors = residual.square().sum(1)
        loss = (weights * errors).mean() + learned.penalty
        self.optimizer.zero_grad()
        loss.backward()
        with torch.no_grad():
            model.constrain_gradients()
            if options.clip_grad is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), options.clip_grad)
            self.optimizer.step()
            model.constrain()
            self.record(loss, errors, weights == 1, learned.codes != 0)
            if options.revive and progress.step % self.steps_per_epoch == 0 and progress.step <= 0.8 * self.steps:
                self.revive(residual, weights)

    def weights(self, targets: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
        """Return the weight of each row in the loss: an outlier counts as a row of typical norm, by its relative error."""
        squares = targets.square().sum(1)
        return torch.where(squares > (self.spread.cut / self.spread.scale) ** 2, 1 / squares, 1.0)

    def record(self, loss: Tensor, errors: Tensor, ordinary: Tensor, active: Tensor) -> None:
        """Add a step to the sums of the epoch."""
        progress, n = self.progress, len(errors)
        progress.fired |= active.any(0)
        sums = (loss.detach() * n, errors.sum(), active.sum(), ordinary.sum(), (errors * ordinary).sum())
        progress.sums[:5] += torch.stack([number.double() for number in sums])
        progress.sums[5] += n
        progress.step += 1

    def schedule(self, step: int) -> tuple[float, float]:
        """Return the factors of the learning rate and of the sparsity penalty."""
        warm = min(1.0, (step + 1) / max(1.0, self.options.warm_up * self.steps))
        return warm * min(1.0, (self.steps - step) / (0.2 * self.steps)), warm

    def revive(self, residual: Float[Tensor, "b d"], weights: Float[Tensor, " b"]) -> None:
        """Restart the concepts that no row had, in the directions of residuals drawn by their share of the loss."""
        dead = (~self.progress.fired).nonzero()[:, 0]
        generator = Generator().manual_seed((self.random_state * 1_000_003 + self.progress.step) % 2**63)
        drawn = _distinct_directions(residual, weights, len(dead), generator)
        if len(drawn) == 0:
            return
        revived = dead[: len(drawn)]
        self.model.revive(revived, residual[drawn])
        for state in self.optimizer.state.values():
            for name in ("exp_avg", "exp_avg_sq"):
                if state[name].shape[:1] == (self.model.nb_concepts,):
                    state[name][revived] = 0

    def close_epoch(self) -> None:
        """Write the epoch's record, and begin the next."""
        progress = self.progress
        loss, errors, active, ordinary, ordinary_errors, rows = progress.sums.tolist()
        if not loss < float("inf"):
            raise ModelError(f"The training diverged before step {progress.step} (loss {loss}); pass a smaller `lr`.")
        variance = self.spread.variance / self.spread.scale**2  # 1 where there are no outliers
        progress.history.append(
            TrainingRecord(
                epoch=progress.step // self.steps_per_epoch,
                step=progress.step,
                loss=loss / rows,
                explained_variance=1 - errors / rows / variance,
                l0=active / rows,
                dead_fraction=float((~progress.fired).double().mean()),
                ordinary_explained_variance=1 - ordinary_errors / max(1.0, ordinary),
            )
        )
        progress.sums.zero_()
        progress.fired.zero_()

    def facts(self) -> dict[str, Any]:
        """Return what must be the same for a training to be resumed."""
        facts = {k: v for k, v in asdict(self.options).items() if k not in ("checkpoint", "checkpoint_every")}
        names = ("nb_concepts", "k", "l1", "l0", "bandwidth", "start_threshold")
        facts |= {name: getattr(self.model, name) for name in names if hasattr(self.model, name)}
        beginnings: Any = getattr(self.model, "beginnings", None)
        if beginnings is not None:
            facts["beginnings"] = list(beginnings)  # as a file holds it
        facts |= {"model": type(self.model).__name__, "random_state": self.random_state}
        return facts | {"rows": self.activations.n, "width": self.activations.d}


def _distinct_directions(
    residual: Float[Tensor, "b d"], weights: Float[Tensor, " b"], count: int, generator: Generator
) -> Int[Tensor, " k"]:
    """Draw rows without replacement, by their weighted squared residual, and drop those too close to one drawn before."""
    shares = (weights * residual.square().sum(1)).double().cpu()
    count = min(count, int((shares > 0).sum()))
    if count == 0:
        return torch.empty(0, dtype=torch.int64, device=residual.device)
    drawn = torch.multinomial(shares, count, replacement=False, generator=generator).to(residual.device)
    directions = torch.nn.functional.normalize(residual[drawn], dim=1)
    alike = (directions @ directions.T > ALIKE).tril(-1).any(1)
    return drawn[~alike]


def _warn_of_outliers(spread: Spread, rows: int) -> None:
    if spread.outliers:
        warnings.warn(
            f"{spread.outliers} of {rows} activations hold {spread.share:.1%} of the variance, as those of first tokens often "
            "do (attention sinks). Center and scale are those of the other rows, and each of these counts as one typical row; "
            "compare `explained_variance` with `ordinary_explained_variance` in `history`, or leave such tokens out.",
            OutlierWarning,
            stacklevel=4,
        )
