"""Concepts by sparse autoencoders."""

from __future__ import annotations

from os import PathLike
from typing import Any, TypeVar

import torch

from interpreto.concepts.adapters.foreign_saes import Criterion, ExternalAutoencoder
from interpreto.concepts.adapters.overcomplete import find_class
from interpreto.concepts.base import AnyActivations, ConceptAutoEncoderExplainer
from interpreto.concepts.saes.architectures import (
    BatchTopKSAE,
    JumpReLUSAE,
    MatchingPursuitSAE,
    TopKSAE,
    VanillaSAE,
)
from interpreto.concepts.saes.base import Autoencoder
from interpreto.concepts.saes.trainer import TrainingOptions, TrainingRecord, train
from interpreto.errors import OptionError

SAE = TypeVar("SAE", bound="SAEExplainer")


class SAEExplainer(ConceptAutoEncoderExplainer):
    """Concepts by any sparse autoencoder: one of this package, of overcomplete, or your own torch module.

    Activations are centred and scaled before they reach it, and what it gives is brought back, so that neither an offset nor
    a scale of the activations matters.

    Args:
        splitter: See `ConceptAutoEncoderExplainer`.
        concept_model: A class, made with the width, ``nb_concepts`` and the options below once the width is known; an
            instance; or a name of overcomplete's, such as ``"overcomplete.sae.TopKSAE"``.
        nb_concepts: Number of concepts; of an instance, its own.
        split_point: See `ConceptAutoEncoderExplainer`.
        device: See `ConceptAutoEncoderExplainer`.
        random_state: See `ConceptAutoEncoderExplainer`.
        l1: Weight of the L1 norm of a foreign model's codes; None for 0.1 where nothing else makes them sparse.
        criterion: A foreign model's loss of ``(x, x_hat, pre_codes, codes, dictionary)`` instead.
        **concept_model_options: Given to the class.

    Attributes:
        history: One `TrainingRecord` an epoch.

    Examples:
        >>> import torch
        >>> activations = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
        >>> explainer = SAEExplainer(None, "overcomplete.sae.TopKSAE", nb_concepts=16, top_k=2)
        >>> concepts = explainer.fit(activations, nb_epochs=2).encode_activations(activations)
        >>> int((concepts != 0).sum(1).max())
        2
    """

    concept_model: Autoencoder

    def __init__(
        self,
        splitter: Any,
        concept_model: Any,
        nb_concepts: int | None = None,
        split_point: str | None = None,
        device: torch.device | str = "cpu",
        *,
        random_state: int = 0,
        l1: float | None = None,
        criterion: Criterion | None = None,
        **concept_model_options: Any,
    ) -> None:
        foreign = {name: value for name, value in (("l1", l1), ("criterion", criterion)) if value is not None}
        options = {**foreign, **concept_model_options}
        model = _build(concept_model, nb_concepts, random_state, options)
        super().__init__(splitter, model, split_point, device, random_state=random_state, options=options)
        self.history: list[TrainingRecord] = []

    def fit(
        self: SAE,
        activations: AnyActivations,
        overwrite: bool = False,
        tqdm_bar: bool = False,
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
    ) -> SAE:
        """Train on activations, and answer the explainer itself; `history` tells how it went.

        A training that is interrupted leaves the explainer unfitted; with a `checkpoint`, the same call goes on from there.

        Args:
            activations: ``(n, d)``, a dictionary of them by split point, or an `ActivationStore`, which is streamed.
            overwrite: Train anew what was trained.
            tqdm_bar: Show the progress.
            nb_epochs: Passes over the activations.
            batch_size: Rows of a step.
            lr: Learning rate of Adam, warmed up, and left in a straight line to 0 over the last fifth of the steps.
            warm_up: Fraction of the steps over which learning rate and sparsity penalty grow.
            clip_grad: Largest norm of a step's gradient; None for any.
            revive: Once an epoch, until four fifths of the training, let concepts that no row had start anew from
                what is explained worst.
            mixed_precision: Compute in bfloat16 where that is safe; the weights stay in float32.
            checkpoint: File for the state of the training. One that is there is resumed from: the result is that of a
                training without interruption, bit for bit.
            checkpoint_every: Steps between two writings; None for once an epoch.

        Raises:
            InputError: the activations hold NaN, or are all the same.
            OptionError: it is fitted already, an option is out of range, or the checkpoint is of another training.
            ModelError: the training diverged.
        """
        rows = self._read_to_fit(activations, overwrite)
        options = TrainingOptions(
            nb_epochs, batch_size, lr, warm_up, clip_grad, revive, mixed_precision, checkpoint, checkpoint_every
        )
        self.history = []
        self.history = train(self.concept_model, rows, options, self.random_state, tqdm_bar)
        return self


def _build(model: Any, nb_concepts: int | None, random_state: int, options: dict[str, Any]) -> Autoencoder:
    found = find_class(model) if isinstance(model, str) else model
    if isinstance(found, type) and issubclass(found, Autoencoder):
        make: Any = found
        return make(20 if nb_concepts is None else nb_concepts, **options)
    if isinstance(found, Autoencoder):
        if options:
            raise OptionError(f"`concept_model`: an instance has its options already; got {', '.join(options)} beside it.")
        return found
    foreign = dict(options)
    l1, criterion = foreign.pop("l1", None), foreign.pop("criterion", None)
    if foreign and not isinstance(found, type):
        raise OptionError(f"`concept_model`: an instance has its options already; got {', '.join(foreign)} beside it.")
    return ExternalAutoencoder(found, nb_concepts, random_state, foreign, l1=l1, criterion=criterion)


class VanillaSAEConcepts(SAEExplainer):
    """Concepts by a sparse autoencoder whose codes are the positive part of a linear map, with an L1 penalty.

    Args:
        splitter: See `ConceptAutoEncoderExplainer`.
        nb_concepts: Number of concepts.
        split_point: See `ConceptAutoEncoderExplainer`.
        device: See `ConceptAutoEncoderExplainer`.
        random_state: See `ConceptAutoEncoderExplainer`.
        l1: Weight of the penalty against the unexplained fraction of the variance.

    Examples:
        >>> import torch
        >>> activations = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
        >>> explainer = VanillaSAEConcepts(None, nb_concepts=16).fit(activations, nb_epochs=3)
        >>> [record.epoch for record in explainer.history]
        [1, 2, 3]

    References:
        Bricken et al., 2023, https://transformer-circuits.pub/2023/monosemantic-features.
    """

    def __init__(
        self,
        splitter: Any,
        nb_concepts: int = 20,
        split_point: str | None = None,
        device: torch.device | str = "cpu",
        random_state: int = 0,
        *,
        l1: float = 0.1,
    ) -> None:
        super().__init__(splitter, VanillaSAE, nb_concepts, split_point, device, random_state=random_state, l1=l1)


class TopKSAEConcepts(SAEExplainer):
    """Concepts by a sparse autoencoder that keeps each row's ``k`` largest codes.

    Args:
        splitter: See `ConceptAutoEncoderExplainer`.
        nb_concepts: Number of concepts.
        split_point: See `ConceptAutoEncoderExplainer`.
        device: See `ConceptAutoEncoderExplainer`.
        random_state: See `ConceptAutoEncoderExplainer`.
        k: Concepts of a row; None for a tenth of them, at most 32.

    Examples:
        >>> import torch
        >>> activations = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
        >>> explainer = TopKSAEConcepts(None, nb_concepts=16, k=3).fit(activations, nb_epochs=3)
        >>> int((explainer.encode_activations(activations) != 0).sum(1).max())
        3

    References:
        Gao et al., 2024, https://arxiv.org/abs/2406.04093.
    """

    def __init__(
        self,
        splitter: Any,
        nb_concepts: int = 20,
        split_point: str | None = None,
        device: torch.device | str = "cpu",
        random_state: int = 0,
        *,
        k: int | None = None,
    ) -> None:
        super().__init__(splitter, TopKSAE, nb_concepts, split_point, device, random_state=random_state, k=k)


class BatchTopKSAEConcepts(SAEExplainer):
    """Concepts by a sparse autoencoder that keeps ``k`` codes a row on average: more where there is more to say.

    Args:
        splitter: See `ConceptAutoEncoderExplainer`.
        nb_concepts: Number of concepts.
        split_point: See `ConceptAutoEncoderExplainer`.
        device: See `ConceptAutoEncoderExplainer`.
        random_state: See `ConceptAutoEncoderExplainer`.
        k: Concepts of a row on average; None for a tenth of them, at most 32.

    Examples:
        >>> import torch
        >>> activations = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
        >>> explainer = BatchTopKSAEConcepts(None, nb_concepts=16, k=3).fit(activations, nb_epochs=3)
        >>> float((explainer.encode_activations(activations) != 0).sum(1).float().mean())
        3.0

    References:
        Bussmann, Leask & Nanda, 2024, https://arxiv.org/abs/2412.06410.
    """

    def __init__(
        self,
        splitter: Any,
        nb_concepts: int = 20,
        split_point: str | None = None,
        device: torch.device | str = "cpu",
        random_state: int = 0,
        *,
        k: int | None = None,
    ) -> None:
        super().__init__(splitter, BatchTopKSAE, nb_concepts, split_point, device, random_state=random_state, k=k)


class JumpReLUSAEConcepts(SAEExplainer):
    """Concepts by a sparse autoencoder whose codes pass a learned threshold each, and pay for their number.

    Args:
        splitter: See `ConceptAutoEncoderExplainer`.
        nb_concepts: Number of concepts.
        split_point: See `ConceptAutoEncoderExplainer`.
        device: See `ConceptAutoEncoderExplainer`.
        random_state: See `ConceptAutoEncoderExplainer`.
        l0: Weight of the mean number of a row's concepts against the unexplained fraction of the variance: a concept is
            worth having where it explains more than that.
        bandwidth: Of the pre-activations that move a threshold, in units of the typical norm of a centred row.

    Examples:
        >>> import torch
        >>> activations = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
        >>> explainer = JumpReLUSAEConcepts(None, nb_concepts=16).fit(activations, nb_epochs=3)
        >>> concepts = explainer.encode_activations(activations)
        >>> bool((concepts >= 0).all())
        True

    References:
        Rajamanoharan et al., 2024, https://arxiv.org/abs/2407.14435.
    """

    def __init__(
        self,
        splitter: Any,
        nb_concepts: int = 20,
        split_point: str | None = None,
        device: torch.device | str = "cpu",
        random_state: int = 0,
        *,
        l0: float = 3e-3,
        bandwidth: float = 0.03,
    ) -> None:
        super().__init__(
            splitter, JumpReLUSAE, nb_concepts, split_point, device, random_state=random_state, l0=l0, bandwidth=bandwidth
        )


class MpSAEConcepts(SAEExplainer):
    """Concepts by a dictionary trained through matching pursuit: ``k`` times, the concept that fits best what is left.

    Args:
        splitter: See `ConceptAutoEncoderExplainer`.
        nb_concepts: Number of concepts.
        split_point: See `ConceptAutoEncoderExplainer`.
        device: See `ConceptAutoEncoderExplainer`.
        random_state: See `ConceptAutoEncoderExplainer`.
        k: Choices for a row; None for a tenth of the concepts, at most 32.

    Examples:
        >>> import torch
        >>> activations = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
        >>> explainer = MpSAEConcepts(None, nb_concepts=16, k=3).fit(activations, nb_epochs=3)
        >>> int((explainer.encode_activations(activations) != 0).sum(1).max())
        3

    References:
        Costa et al., 2025, https://arxiv.org/abs/2506.03093.
    """

    def __init__(
        self,
        splitter: Any,
        nb_concepts: int = 20,
        split_point: str | None = None,
        device: torch.device | str = "cpu",
        random_state: int = 0,
        *,
        k: int | None = None,
    ) -> None:
        super().__init__(splitter, MatchingPursuitSAE, nb_concepts, split_point, device, random_state=random_state, k=k)
