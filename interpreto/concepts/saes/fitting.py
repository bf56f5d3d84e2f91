"""Base of explainers that are trained by gradient steps: sparse autoencoders, transcoders, crosscoders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from os import PathLike
from typing import Any, TypeVar

from interpreto.concepts.base import AnyActivations, ConceptExplainer
from interpreto.concepts.saes.options import TrainingOptions
from interpreto.concepts.saes.record import TrainingRecord
from interpreto.validation import check_flag

Trained = TypeVar("Trained", bound="TrainedConcepts")


class TrainedConcepts(ConceptExplainer, ABC):
    """Base of explainers whose concepts are trained by gradient steps.

    Attributes:
        history: One `TrainingRecord` per epoch.
    """

    history: list[TrainingRecord]

    def fit(
        self: Trained,
        activations: AnyActivations | Sequence[Any],
        overwrite: bool = False,
        tqdm_bar: bool | None = None,
        *,
        nb_epochs: int = 20,
        batch_size: int = 512,
        lr: float = 2e-3,
        warm_up: float = 0.1,
        clip_grad: float | None = 1.0,
        revive: bool = True,
        mixed_precision: bool = False,
        checkpoint: str | PathLike[str] | None = None,
        checkpoint_every: int | None = None,
        distributed: bool = False,
    ) -> Trained:
        """Train on activations, and return the explainer; `history` has one record per epoch.

        An interrupted training leaves the explainer unfitted; with a `checkpoint`, the same call resumes it.

        Activations are centered and scaled first, those of each place by itself, so that neither an offset nor a scale
        matters. Few rows that hold most of the variance, such as attention sinks, neither set the scale nor dominate the
        loss: each counts as one typical row, and an `OutlierWarning` says how many there are.

        Args:
            activations: ``(n, d)``, a dictionary of them by split point, or an `ActivationStore`, which is streamed. For
                transcoders and crosscoders those of all places: such a dictionary, as a splitter's `get_activations` returns
                it, or a sequence of tensors or stores in the order of the places; of two models, a pair of dictionaries.
            overwrite: Train anew what was trained.
            tqdm_bar: Show the progress; None: after two seconds, in terminals and notebooks.
            nb_epochs: Passes over the activations.
            batch_size: Rows per step.
            lr: Learning rate of Adam, warmed up, and decayed linearly to 0 over the last fifth of the steps.
            warm_up: Fraction of the steps over which learning rate and sparsity penalty grow.
            clip_grad: Largest norm of a step's gradient; None for any.
            revive: Once per epoch, until four fifths of the training, restart concepts that no row had in directions of
                badly explained rows.
            mixed_precision: Compute in bfloat16 where that is safe; the weights stay in float32. Without it, products are of
                the precision that ``torch.set_float32_matmul_precision`` says: ``"high"`` is TF32 on a GPU, ``"highest"``,
                torch's default, is float32. `fit` changes neither.
            checkpoint: File for the state of the training. One that is there is resumed from: the result is that of a
                training without interruption, bit for bit.
            checkpoint_every: Steps between two writings; None: once per epoch.
            distributed: Share the training among the processes of ``torch.distributed``, each of which calls `fit` with the
                same activations and options. All of them end with the same model, which is that of one process up to
                rounding. Checkpoints are written by the first; a training may go on with another number of processes.

        Raises:
            InputError: the activations hold NaN, or are all the same; a place is missing, or has another number of rows.
            OptionError: it is fitted already, an option is out of range, or the checkpoint is of another training.
            ModelError: the training diverged.
        """
        options = TrainingOptions(
            nb_epochs, batch_size, lr, warm_up, clip_grad, revive, mixed_precision, checkpoint, checkpoint_every, distributed
        )
        self._train(activations, check_flag(overwrite, "overwrite"), options, tqdm_bar)
        return self

    @abstractmethod
    def _train(self, activations: Any, overwrite: bool, options: TrainingOptions, tqdm_bar: bool | None) -> None:
        """Learn the concepts, and write their `history`."""
