"""Training of sparse autoencoders: steps, revival of dead concepts, history, checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from interpreto.concepts.activations import Activations
from interpreto.concepts.saes.architectures import BatchTopKSAE, check_positive
from interpreto.concepts.saes.base import Autoencoder
from interpreto.concepts.saes.checkpoint import read_checkpoint, write_checkpoint
from interpreto.concepts.saes.record import Progress, TrainingRecord
from interpreto.errors import ModelError, OptionError
from interpreto.progress import tqdm
from interpreto.storage import check_writable


@dataclass(frozen=True)
class TrainingOptions:
    """How a sparse autoencoder is trained.

    Attributes:
        nb_epochs: Passes over the activations.
        batch_size: Rows of a step.
        lr: Adam's learning rate, reached in the warm-up, left in a straight line to 0 over the last fifth of the steps.
        warm_up: Fraction of the steps over which the learning rate and the sparsity penalty grow to their full size.
        clip_grad: Largest norm of a step's gradient; None for any.
        revive: Let concepts that no row had since the last revival start anew from what is explained worst; so once an
            epoch, until four fifths of the training.
        mixed_precision: Compute in bfloat16 where that is safe; the weights stay in float32.
        checkpoint: File to write the state of the training to, and to resume from when it is there.
        checkpoint_every: Steps between two writings; None for once an epoch.
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
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise OptionError(f"`{name}`: got {value!r}; pass an integer of at least 1.")
        check_positive(self.lr, "lr")
        if not 0 <= self.warm_up < 1:
            raise OptionError(f"`warm_up`: got {self.warm_up}; pass a fraction of the training, from 0 to below 1.")
        if self.clip_grad is not None:
            check_positive(self.clip_grad, "clip_grad")


def train(
    model: Autoencoder, activations: Activations, options: TrainingOptions, random_state: int, tqdm_bar: bool
) -> list[TrainingRecord]:
    """Train a model anew, or from where the checkpoint stands; one record an epoch.

    A training that does not come to its end leaves no model behind, but its checkpoint.
    """
    if options.checkpoint is not None:
        check_writable(options.checkpoint, "checkpoint")
    try:
        return _Run(model, activations, options, random_state).run(tqdm_bar)
    except BaseException:  # KeyboardInterrupt above all
        model.forget()
        raise


class _Run:
    """One training."""

    def __init__(self, model: Autoencoder, activations: Activations, options: TrainingOptions, random_state: int) -> None:
        self.model, self.activations, self.options, self.random_state = model, activations, options, random_state
        with torch.no_grad():
            model.start(activations, random_state)
        model.requires_grad_(True)
        on_gpu = activations.device.type == "cuda"
        self.optimizer = torch.optim.Adam(model.parameters(), lr=options.lr, fused=on_gpu)
        self.steps_per_epoch = -(-activations.n // options.batch_size)
        self.steps = options.nb_epochs * self.steps_per_epoch
        device = activations.device
        fired = torch.zeros(model.nb_concepts, dtype=torch.bool, device=device)
        self.progress = Progress(0, torch.zeros(4, dtype=torch.float64, device=device), fired, [])

    def run(self, tqdm_bar: bool) -> list[TrainingRecord]:
        path = None if self.options.checkpoint is None else Path(self.options.checkpoint)
        if path is not None and path.exists():
            read_checkpoint(path, self.facts(), self.model, self.optimizer, self.progress)
        every = self.options.checkpoint_every or self.steps_per_epoch
        with tqdm(total=self.steps, initial=self.progress.step, desc=type(self.model).__name__, disable=not tqdm_bar) as bar:
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
        if isinstance(self.model, BatchTopKSAE):
            with torch.no_grad():
                self.model.calibrate(self.activations, self.random_state)
        return self.progress.history

    def rest_of_epoch(self) -> Iterator[Tensor]:
        """The batches of this epoch that are still to come."""
        epoch, done = divmod(self.progress.step, self.steps_per_epoch)
        generator = Generator().manual_seed((self.random_state * 1_000_003 + epoch) % 2**63)
        for i, rows in enumerate(self.activations.batches(self.options.batch_size, generator)):
            if i >= done:
                yield rows.float()

    def step(self, rows: Tensor) -> None:
        options, model, progress = self.options, self.model, self.progress
        rate, sparsity = self.schedule(progress.step)
        for group in self.optimizer.param_groups:
            group["lr"] = options.lr * rate
        with torch.autocast(rows.device.type, torch.bfloat16, enabled=options.mixed_precision):
            learned = model.learn(rows, sparsity)
        residual = rows - learned.reconstruction.float()
        unexplained = residual.square().sum(1).mean()
        loss = unexplained + learned.penalty
        self.optimizer.zero_grad()
        loss.backward()
        with torch.no_grad():
            model.constrain_gradients()
            if options.clip_grad is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), options.clip_grad)
            self.optimizer.step()
            model.constrain()
            active = learned.codes != 0
            progress.fired |= active.any(0)
            numbers = torch.stack([loss.detach(), unexplained.detach(), active.sum() / len(rows), loss.new_ones(())])
            progress.sums += numbers.double() * len(rows)
            progress.step += 1
            if options.revive and progress.step % self.steps_per_epoch == 0 and progress.step <= 0.8 * self.steps:
                self.revive(residual)

    def schedule(self, step: int) -> tuple[float, float]:
        """Factors of the learning rate and of the sparsity penalty."""
        warm = min(1.0, (step + 1) / max(1.0, self.options.warm_up * self.steps))
        return warm * min(1.0, (self.steps - step) / (0.2 * self.steps)), warm

    def revive(self, residual: Tensor) -> None:
        """New directions for the concepts that no row had: residuals, drawn by how much of them is unexplained."""
        dead = (~self.progress.fired).nonzero()[:, 0]
        if len(dead) == 0:
            return
        generator = Generator().manual_seed((self.random_state * 1_000_003 + self.progress.step) % 2**63)
        weights = residual.double().square().sum(1).cpu()
        if not bool(weights.sum() > 0):
            return
        drawn = torch.multinomial(weights, len(dead), replacement=True, generator=generator)
        self.model.revive(dead, residual[drawn.to(residual.device)])
        for state in self.optimizer.state.values():
            for name in ("exp_avg", "exp_avg_sq"):
                if state[name].shape[:1] == (self.model.nb_concepts,):
                    state[name][dead] = 0

    def close_epoch(self) -> None:
        """Write the epoch's record, and begin the next."""
        progress = self.progress
        loss, unexplained, l0, _ = (progress.sums / progress.sums[3]).tolist()
        if not loss < float("inf"):
            raise ModelError(f"The training diverged before step {progress.step} (loss {loss}); pass a smaller `lr`.")
        dead = float((~progress.fired).double().mean())
        epoch = progress.step // self.steps_per_epoch
        progress.history.append(TrainingRecord(epoch, progress.step, loss, 1 - unexplained, l0, dead))
        progress.sums.zero_()
        progress.fired.zero_()

    def facts(self) -> dict[str, Any]:
        """What must be the same for a training to be resumed."""
        facts = {k: v for k, v in asdict(self.options).items() if k not in ("checkpoint", "checkpoint_every")}
        names = ("nb_concepts", "k", "l1", "l0", "bandwidth", "start_threshold")
        facts |= {name: getattr(self.model, name) for name in names if hasattr(self.model, name)}
        facts |= {"model": type(self.model).__name__, "random_state": self.random_state}
        return facts | {"rows": self.activations.n, "width": self.activations.d}
