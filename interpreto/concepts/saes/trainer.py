"""Training of sparse autoencoders: steps, revival of dead concepts, history, checkpoints."""

from __future__ import annotations

import json
import warnings
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import asdict, is_dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from interpreto.concepts.activations import Activations
from interpreto.concepts.concept_model import ForeignModel, state_of
from interpreto.concepts.outliers import Spread
from interpreto.concepts.saes.base import Autoencoder
from interpreto.concepts.saes.checkpoint import read_checkpoint, write_checkpoint
from interpreto.concepts.saes.memory import UNKEPT, Memory
from interpreto.concepts.saes.options import TrainingOptions
from interpreto.concepts.saes.parallel import ALONE, Part, Ranks
from interpreto.concepts.saes.record import Progress, TrainingRecord
from interpreto.concepts.saes.sparse_codes import SparseCodes, fired
from interpreto.concepts.saes.stream import Position, stream
from interpreto.concepts.store_reading import Share
from interpreto.errors import ModelError, OptionError, OutlierWarning
from interpreto.progress import progress_bar
from interpreto.storage import check_writable

ALIKE = 0.9  # cosine above which two directions are one: of these only the first is given to a dead concept


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
    precise = torch.autocast(activations.device.type, enabled=False)  # whatever the caller's precision is
    with torch.inference_mode(False), torch.enable_grad(), precise:
        try:
            return _Training(model, activations, options, random_state).run(tqdm_bar)
        except BaseException:  # KeyboardInterrupt above all
            model.forget()
            raise
        finally:
            model.ranks, model.memory = ALONE, UNKEPT


class _Training:
    """A training in progress."""

    def __init__(self, model: Autoencoder, activations: Activations, options: TrainingOptions, random_state: int) -> None:
        self.model, self.activations, self.options, self.random_state = model, activations, options, random_state
        model.memory = Memory()
        self.ranks = model.ranks = Ranks.of_this_training(options.distributed)
        if self.ranks.world > 1 and isinstance(model, ForeignModel):
            raise OptionError(
                "`distributed`: foreign autoencoders, which may normalize by the whole batch, are trained in one process; got "
                f"{type(model.model).__name__}."
            )
        with torch.no_grad():
            self.spread = self.start()
        _warn_of_outliers(self.spread, activations.n)
        model.requires_grad_(True)
        fused = activations.device.type in ("cpu", "cuda")
        self.optimizer = torch.optim.Adam(model.parameters(), lr=options.lr, fused=fused)
        self.optimizer.zero_grad()  # of a foreign model that was trained elsewhere
        self.steps_per_epoch = -(-activations.n // options.batch_size)
        self.steps = options.nb_epochs * self.steps_per_epoch
        device = activations.device
        none = torch.zeros(model.nb_concepts, dtype=torch.bool, device=device)
        self.progress = Progress(0, torch.zeros(6, dtype=torch.float64, device=device), none, [])

    def start(self) -> Spread:
        """Draw the weights; those of the first process count, and its center and scale."""
        model, activations = self.model, self.activations
        self.ranks.check_alike(json.dumps(self.facts(), sort_keys=True), activations.device)
        spread = model.start(activations, self.random_state)
        numbers = torch.tensor([spread.scale, spread.cut, spread.variance], dtype=torch.float64, device=activations.device)
        self.ranks.share_first([*state_of(model).values(), spread.center, numbers])
        scale, cut, variance = numbers.tolist()
        return replace(spread, scale=scale, cut=cut, variance=variance)

    def run(self, tqdm_bar: bool | None) -> list[TrainingRecord]:
        """Run the steps that are left, and return the history."""
        path = None if self.options.checkpoint is None else Path(self.options.checkpoint)
        if path is not None and self.ranks.any(torch.tensor(path.exists(), device=self.activations.device)):
            self.resume(path)
        every = self.options.checkpoint_every or self.steps_per_epoch
        shown = tqdm_bar if self.ranks.rank == 0 else False
        with progress_bar(total=self.steps, initial=self.progress.step, desc=type(self.model).__name__, shown=shown) as bar:
            while self.progress.step < self.steps:
                with closing(self.steps_of_epoch()) as steps:
                    for _ in steps:
                        bar.update()
                        if self.progress.step % self.steps_per_epoch == 0:
                            bar.set_postfix(asdict(self.progress.history[-1]))
                        if path is not None and (self.progress.step % every == 0 or self.progress.step == self.steps):
                            self.save(path)
        self.model.requires_grad_(False)
        with torch.no_grad():
            self.model.calibrate(self.activations, self.spread, self.random_state)
            self.ranks.share_first(state_of(self.model).values())
        return self.progress.history

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint, which all processes read; its sums are the first one's."""
        read_checkpoint(path, self.facts(), self.model, self.optimizer, self.progress)
        if self.ranks.rank != 0:
            self.progress.sums.zero_()

    def save(self, path: Path) -> None:
        """Write a checkpoint, in the first process, with what all have counted."""
        progress = self.progress
        counted = replace(progress, sums=self.ranks.total(progress.sums), fired=self.ranks.any(progress.fired))
        if self.ranks.rank == 0:
            write_checkpoint(path, self.facts(), self.model, self.optimizer, counted)

    def steps_of_epoch(self) -> Generator[None, None, None]:
        """Take the steps of this epoch that are still to come, and close it."""
        size = self.options.batch_size
        with closing(self.rest_of_epoch()) as batches:
            for rows, places in batches:
                done = self.progress.step % self.steps_per_epoch * size
                part = self.ranks.part(self.model.normalized(rows), places, min(size, self.activations.n - done))
                self.step(part)
                if self.progress.step % self.steps_per_epoch == 0:
                    self.close_epoch()
                yield

    def rest_of_epoch(self) -> Generator[Share, None, None]:
        """Return this process's rows of the batches of this epoch that are still to come."""
        epoch, done = divmod(self.progress.step, self.steps_per_epoch)
        generator = torch.Generator().manual_seed((self.random_state * 1_000_003 + epoch) % 2**63)
        position = Position(done, (self.ranks.rank, self.ranks.world))
        return stream(self.activations, self.options.batch_size, generator, position)

    def step(self, part: Part) -> None:
        """Take an optimizer step on normalized rows."""
        options, model, progress, rows = self.options, self.model, self.progress, part.rows
        rate, sparsity = options.schedule(progress.step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = options.lr * rate
        targets = rows[:, model.first_target :]
        weights = self.weights(targets) if part.counts else targets.new_zeros(len(targets))
        # within another autocast, its cache would keep the weights of the first step
        with torch.autocast(rows.device.type, torch.bfloat16, enabled=options.mixed_precision, cache_enabled=False):
            learned = model.learn(rows, sparsity, weights)
        residual = targets - learned.reconstruction.float()
        errors = residual.square().sum(1)
        loss = (weights * errors).mean() + learned.penalty
        (loss if part.share == 1 else loss * part.share).backward()
        with torch.no_grad():
            self.ranks.sum_gradients(model.parameters())
            model.constrain_gradients()
            if options.clip_grad is not None:
                _clip(model.parameters(), options.clip_grad)
            self.optimizer.step()
            model.constrain()
            if part.counts:
                self.record(loss, errors, weights == 1, learned.codes)
            model.memory.give_back([parameter.grad for parameter in model.parameters()])
            if isinstance(learned.codes, Tensor):
                model.memory.give_back([learned.codes])
            self.optimizer.zero_grad()
            progress.step += 1
            ends = progress.step % self.steps_per_epoch == 0
            if ends and not float(self.ranks.total(progress.sums)[0]) < float("inf"):
                raise ModelError(f"The training diverged before step {progress.step}; pass a smaller `lr`.")
            if options.revive and ends and progress.step <= 0.8 * self.steps:
                self.revive(self.ranks.gathered(residual, part), self.ranks.gathered(weights, part))

    def weights(self, targets: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
        """Return the weight of each row in the loss: an outlier counts as a row of typical norm, by its relative error."""
        if self.spread.cut == float("inf"):
            return targets.new_ones(len(targets))
        squares = targets.square().sum(1)
        return torch.where(squares > (self.spread.cut / self.spread.scale) ** 2, 1 / squares, 1.0)

    def record(self, loss: Tensor, errors: Tensor, ordinary: Tensor, codes: Tensor | SparseCodes) -> None:
        """Add a step to the sums of the epoch."""
        progress, n = self.progress, len(errors)
        has, number = fired(codes)
        progress.fired |= has
        sums = (loss.detach() * n, errors.sum(), number, ordinary.sum(), (errors * ordinary).sum())
        progress.sums[:5] += torch.stack([number.double() for number in sums])
        progress.sums[5] += n

    def revive(self, residual: Float[Tensor, "b d"], weights: Float[Tensor, " b"]) -> None:
        """Restart the concepts that no row had, in the directions of residuals drawn by their share of the loss."""
        dead = (~self.ranks.any(self.progress.fired)).nonzero()[:, 0]
        generator = torch.Generator().manual_seed((self.random_state * 1_000_003 + self.progress.step) % 2**63)
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
        loss, errors, active, ordinary, ordinary_errors, rows = self.ranks.total(progress.sums).tolist()
        variance = self.spread.variance / self.spread.scale**2  # 1 where there are no outliers
        progress.history.append(
            TrainingRecord(
                epoch=progress.step // self.steps_per_epoch,
                step=progress.step,
                loss=loss / rows,
                explained_variance=1 - errors / rows / variance,
                l0=active / rows,
                dead_fraction=float((~self.ranks.any(progress.fired)).double().mean()),
                ordinary_explained_variance=1 - ordinary_errors / max(1.0, ordinary),
            )
        )
        progress.sums.zero_()
        progress.fired.zero_()

    def facts(self) -> dict[str, Any]:
        """Return what must be the same for a training to be resumed."""
        facts = self.options.facts()
        own = {name: getattr(self.model, name) for name in self.model.deciding if hasattr(self.model, name)}
        facts |= {name: _as_in_a_file(value) for name, value in own.items() if value is not False}  # as before there were flags
        facts |= {"model": type(self.model).__name__, "random_state": self.random_state}
        return facts | {"rows": self.activations.n, "width": self.activations.d}


def _as_in_a_file(value: Any) -> Any:
    return json.loads(json.dumps(asdict(value) if is_dataclass(value) and not isinstance(value, type) else value))


def _clip(parameters: Iterable[nn.Parameter], most: float) -> None:
    """Scale the gradients so that their norm is at most this."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients]))
    scale = (most / (norm + 1e-6)).clamp_max(1.0)
    if scale.device.type != "cpu" or bool(scale < 1):  # to ask a GPU would be to wait for it
        for gradient in gradients:
            gradient.mul_(scale)


def _distinct_directions(
    residual: Float[Tensor, "b d"], weights: Float[Tensor, " b"], count: int, generator: torch.Generator
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
            stacklevel=6,  # where `fit` is called
        )
