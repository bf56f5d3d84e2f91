"""Explainers of concepts by sparse autoencoders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch

from interpreto.aliases import aliases
from interpreto.concepts.adapters.foreign_saes import Criterion, ExternalAutoencoder
from interpreto.concepts.adapters.overcomplete import find_class
from interpreto.concepts.base import ConceptAutoEncoderExplainer
from interpreto.concepts.declared import check_options, declare
from interpreto.concepts.saes.architectures import (
    BatchTopKSAE,
    JumpReLUSAE,
    MatchingPursuitSAE,
    TopKSAE,
    VanillaSAE,
)
from interpreto.concepts.saes.base import Autoencoder
from interpreto.concepts.saes.fitting import TrainedConcepts
from interpreto.concepts.saes.gated import GatedSAE
from interpreto.concepts.saes.matryoshka import MatryoshkaSAE
from interpreto.concepts.saes.options import TrainingOptions
from interpreto.concepts.saes.trainer import train
from interpreto.errors import OptionError


class SAEExplainer(TrainedConcepts, ConceptAutoEncoderExplainer):
    """Explain activations by any sparse autoencoder: one of interpreto, of overcomplete, or your own.

    A class is made and trained by `fit`, on centered and scaled activations, so that neither an offset nor a scale of the
    activations matters. A trained instance of another package is used as it is: its codes are its own, its weights are
    frozen, and no `fit` is needed. `fit` trains an instance only with ``overwrite=True``, or where ``l1`` or ``criterion``
    say how.

    Args:
        splitter: The model and where it is split; None to work on activations alone.
        concept_model: A class, made with the width, ``nb_concepts`` and the options below once the width is known; a name of
            overcomplete's, such as ``"overcomplete.sae.TopKSAE"``; or a trained instance, any object with ``encode`` and
            ``decode``.
        nb_concepts: Number of concepts; of an instance, its own.
        split_point: One of the splitter's split points, where it has several.
        device: Device of the concept model.
        random_state: Seed of everything that is drawn.
        l1: Weight of the L1 norm of a foreign model's codes; None for 0.1 where nothing else makes them sparse.
        criterion: A foreign model's loss of ``(x, x_hat, pre_codes, codes, dictionary)`` instead.
        **concept_model_options: Given to the class.

    Examples:
        >>> import torch
        >>> activations = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
        >>> explainer = SAEExplainer(None, "overcomplete.sae.TopKSAE", nb_concepts=16, top_k=2)
        >>> concepts = explainer.fit(activations, nb_epochs=2).encode_activations(activations)
        >>> int((concepts != 0).sum(1).max())
        2
    """

    concept_model: Autoencoder

    @aliases(model_with_split_points="splitter")
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
        self.history = []

    def _train(self, activations: Any, overwrite: bool, options: TrainingOptions, tqdm_bar: bool | None) -> None:
        rows = self._read_to_fit(activations, overwrite)
        self.history = []
        self.history = train(self.concept_model, rows, options, self.random_state, tqdm_bar)


def _build(model: Any, nb_concepts: int | None, random_state: int, options: dict[str, Any]) -> Autoencoder:
    found = find_class(model) if isinstance(model, str) else model
    if isinstance(found, type) and issubclass(found, Autoencoder):
        make: Any = found
        return make(20 if nb_concepts is None else nb_concepts, **options)
    if isinstance(found, Autoencoder):
        if options:
            raise OptionError(f"`concept_model`: an instance has its options already; got {', '.join(options)} as well.")
        return found
    foreign = dict(options)
    l1, criterion = foreign.pop("l1", None), foreign.pop("criterion", None)
    if foreign and not isinstance(found, type):
        raise OptionError(f"`concept_model`: an instance has its options already; got {', '.join(foreign)} as well.")
    return ExternalAutoencoder(found, nb_concepts, random_state, foreign, l1=l1, criterion=criterion)


class SAEConcepts(SAEExplainer):
    """Base of the explainers that declare their sparse autoencoder, as ``model_class``.

    Options are those of the autoencoder's constructor, and are documented there.
    """

    model_class: ClassVar[Callable[..., Autoencoder]]

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if "model_class" in vars(cls):
            declare(cls, cls.model_class)

    @aliases(model_with_split_points="splitter", top_k="k")
    def __init__(
        self,
        splitter: Any,
        nb_concepts: int = 20,
        split_point: str | None = None,
        device: torch.device | str = "cpu",
        random_state: int = 0,
        **options: Any,
    ) -> None:
        """Make an explainer.

        Args:
            splitter: The model and where it is split; None to work on activations alone.
            nb_concepts: Number of concepts.
            split_point: One of the splitter's split points, where it has several.
            device: Device of the concept model.
            random_state: Seed of everything that is drawn.
            **options: Options of the autoencoder.
        """
        check_options(type(self).__name__, self.model_class, options)
        super().__init__(splitter, self.model_class, nb_concepts, split_point, device, random_state=random_state, **options)


class VanillaSAEConcepts(SAEConcepts):
    """Concepts by a sparse autoencoder whose codes are the positive part of a linear map, with an L1 penalty.

    Examples:
        >>> import torch
        >>> activations = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
        >>> explainer = VanillaSAEConcepts(None, nb_concepts=16).fit(activations, nb_epochs=3)
        >>> [record.epoch for record in explainer.history]
        [1, 2, 3]

    References:
        Bricken et al., 2023, https://transformer-circuits.pub/2023/monosemantic-features; with ``tied=True`` Cunningham,
        Ewart, Riggs, Huben and Sharkey, ICLR 2024, https://arxiv.org/abs/2309.08600.
    """

    model_class = VanillaSAE


class TopKSAEConcepts(SAEConcepts):
    """Concepts by a sparse autoencoder that keeps each row's ``k`` largest codes.

    Examples:
        >>> import torch
        >>> activations = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
        >>> explainer = TopKSAEConcepts(None, nb_concepts=16, k=3).fit(activations, nb_epochs=3)
        >>> int((explainer.encode_activations(activations) != 0).sum(1).max())
        3

    References:
        Gao et al., 2024, https://arxiv.org/abs/2406.04093.
    """

    model_class = TopKSAE


class BatchTopKSAEConcepts(SAEConcepts):
    """Concepts by a sparse autoencoder that keeps ``k`` codes per row on average: more where there is more to say.

    Examples:
        >>> import torch
        >>> activations = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
        >>> explainer = BatchTopKSAEConcepts(None, nb_concepts=16, k=3).fit(activations, nb_epochs=3)
        >>> float((explainer.encode_activations(activations) != 0).sum(1).float().mean())
        3.0

    References:
        Bussmann, Leask & Nanda, 2024, https://arxiv.org/abs/2412.06410.
    """

    model_class = BatchTopKSAE


class GatedSAEConcepts(SAEConcepts):
    """Concepts by a sparse autoencoder with gates, whose penalty shrinks no code.

    Examples:
        >>> import torch
        >>> activations = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
        >>> explainer = GatedSAEConcepts(None, nb_concepts=16).fit(activations, nb_epochs=3)
        >>> bool((explainer.encode_activations(activations) >= 0).all())
        True

    References:
        Rajamanoharan et al., 2024, https://arxiv.org/abs/2404.16014.
    """

    model_class = GatedSAE


class MatryoshkaSAEConcepts(SAEConcepts):
    """Concepts by a sparse autoencoder whose first concepts must explain the activations by themselves.

    Examples:
        >>> import torch
        >>> activations = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
        >>> explainer = MatryoshkaSAEConcepts(None, nb_concepts=16, k=3).fit(activations, nb_epochs=3)
        >>> explainer.concept_model.beginnings
        (1, 2, 4, 8)

    References:
        Bussmann, Nabeshima, Karvonen & Nanda, 2025, https://arxiv.org/abs/2503.17547.
    """

    model_class = MatryoshkaSAE


class JumpReLUSAEConcepts(SAEConcepts):
    """Concepts by a sparse autoencoder whose codes pass a learned threshold each, and pay for their number.

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

    model_class = JumpReLUSAE


class MpSAEConcepts(SAEConcepts):
    """Concepts by a dictionary trained through matching pursuit: ``k`` times, the concept that fits best what is left.

    Examples:
        >>> import torch
        >>> activations = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
        >>> explainer = MpSAEConcepts(None, nb_concepts=16, k=3).fit(activations, nb_epochs=3)
        >>> int((explainer.encode_activations(activations) != 0).sum(1).max())
        3

    References:
        Costa et al., 2025, https://arxiv.org/abs/2506.03093.
    """

    model_class = MatchingPursuitSAE
