"""Explainer of concepts by a crosscoder: one code for several places, or for two models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from interpreto.aliases import aliases
from interpreto.concepts.base import ConceptAutoEncoderExplainer
from interpreto.concepts.coders.base import CoderConcepts, read_places
from interpreto.concepts.coders.joint_splitter import OTHER
from interpreto.concepts.coders.latent_scaling import LatentScaling, latent_scaling
from interpreto.concepts.coders.wiring import Wiring
from interpreto.concepts.splitters.base import ModelSplitter
from interpreto.errors import OptionError
from interpreto.validation import check_probability

EXCLUSIVE, SHARED = 0.9, 0.2


class CrosscoderConcepts(CoderConcepts, ConceptAutoEncoderExplainer):
    """Concepts that several layers, or two models, have in common: one amount, and a direction at each place.

    ``z = act(Σ_p W_p x_p + b)`` and ``x_p ≈ D_p z + c_p``. Where a concept's directions are large tells where it lives:
    `relative_norms`, `classes`. Training drives a direction that is little used to zero, so that a concept may look as if one
    model alone had it although both do: `latent_scaling` is the control. Places need not have the same width.

    Examples:
        >>> import torch
        >>> from interpreto.concepts import CrosscoderConcepts
        >>> rows = torch.randn(256, 6, generator=torch.Generator().manual_seed(0))
        >>> crosscoder = CrosscoderConcepts(None, nb_concepts=8, places=2, k=2).fit([rows, rows], nb_epochs=2)
        >>> tuple(crosscoder.relative_norms().shape)
        (8, 2)

    References:
        Lindsey et al., 2024, https://transformer-circuits.pub/2024/crosscoders/index.html; BatchTopK and latent scaling,
        Minder, Dumas, Juang, Chughtai and Nanda, 2025, https://arxiv.org/abs/2504.02922
    """

    own_defaults: ClassVar = {"activation": "batchtopk"}

    @aliases(model_with_split_points="splitter", split_points="split_point")
    def __init__(
        self,
        splitter: Any,
        nb_concepts: int = 20,
        split_point: str | Sequence[str] | None = None,
        device: torch.device | str = "cpu",
        random_state: int = 0,
        *,
        places: int | None = None,
        **options: Any,
    ) -> None:
        """Make an explainer.

        Args:
            splitter: A splitter with the places; or a pair of splitters, of two models that read texts as the same tokens. None
                to work on activations alone.
            nb_concepts: Number of concepts.
            split_point: The places; None: all of the splitters'. Those of a second model are written ``"other:…"``.
            device: Device of the concept model.
            random_state: Seed of everything that is drawn.
            places: Number of places, where none are named.
            **options: Options that all coders have.
        """
        named = read_places(split_point, "split_point") or _all_places(splitter)
        count = len(named) or places
        if count is None or count < 2 or places not in (None, count):
            raise OptionError(
                f"`split_point`: got {len(named)} places and places={places}; a crosscoder needs two or more, by "
                "name or number."
            )
        super().__init__(
            splitter,
            nb_concepts,
            options,
            read=named,
            written=named,
            reads=count,
            writes=0,
            device=device,
            random_state=random_state,
            options={
                "places": count,
            },
        )

    def relative_norms(self) -> Float[Tensor, "c p"]:
        """Compute how large each concept's direction is at each place, as a share of all places.

        Norms are in units of the typical size of activations at the place, so that a scale of one model changes nothing.

        Returns:
            Shares ``(c, p)``, which sum to 1 over the places; NaN where a concept writes nothing.
        """
        return self.sizes() / self.sizes().sum(1, keepdim=True)

    def sizes(self) -> Float[Tensor, "c p"]:
        """Compute the norm of each concept's direction at each place, in units of the typical size of activations there."""
        self.check_fitted()
        model = self.concept_model
        parts = model.wiring.written(model.atoms)
        return torch.stack([part.norm(dim=1) for part in parts], 1) / model.units

    def classes(self, exclusive: float = EXCLUSIVE, spread: float = SHARED) -> list[str]:
        """Return whether each concept is shared by all places or exclusive to one, by its relative norms.

        Args:
            exclusive: A concept is one place's where its share there is at least this.
            spread: It is shared where its largest and smallest shares are at most this far apart.

        Returns:
            For each concept ``"shared"``, the name of a place, or ``"other"`` for what is neither.
        """
        least, most = check_probability(exclusive, "exclusive"), check_probability(spread, "spread")
        names = self.written or tuple(f"place {i}" for i in range(self.concept_model.reads))
        found = []
        for shares in self.relative_norms():
            if float(shares.max()) >= least:
                found.append(names[int(shares.argmax())])
            else:
                found.append("shared" if float(shares.max() - shares.min()) <= most else "other")
        return found

    def latent_scaling(self, activations: Any, target: str = "error") -> LatentScaling:
        """Measure whether concepts that look exclusive to one place are there in the others as well.

        Each concept's strongest direction d is fitted to what a place has: the scale β that minimizes ``Σ ‖y − β z d‖²``. With
        ``target="error"``, y is the activations less what all other concepts write: a concept that training drove to zero
        although the place has it (complete shrinkage) has a ratio near 1. With ``"reconstruction"``, y is what all concepts
        write: other concepts do its work there (latent decoupling).

        Args:
            activations: Those of all places; see `fit`. A tensor holds joint rows.
            target: ``"error"``, ``"reconstruction"`` or ``"activations"``.

        Returns:
            The scales of all concepts at all places, and their ratios.

        Raises:
            OptionError: the places have different widths, so that a direction of one has no meaning at another.

        References:
            Minder, Dumas, Juang, Chughtai and Nanda, 2025, https://arxiv.org/abs/2504.02922
        """
        model = self.concept_model
        return latent_scaling(model, self.rows(activations), self.sizes(), target)

    def _wiring(self, widths: Sequence[int]) -> Wiring:
        return Wiring(tuple(widths), tuple(widths), shared=True)


def _all_places(splitter: Any) -> list[str]:
    """Return the split points of a splitter, or of two."""
    if splitter is None:
        return []
    pair = list(splitter) if isinstance(splitter, Sequence) else [splitter]
    places = getattr(splitter, "places", None)
    if places is not None:
        return list(places)
    found = []
    for number, own in enumerate(pair):
        if not isinstance(own, ModelSplitter) or number > 1:
            raise OptionError(f"`splitter`: got {type(own).__name__}; pass a splitter, or a pair of two models' splitters.")
        found += [OTHER * number + name for name in own.split_points]
    return found
