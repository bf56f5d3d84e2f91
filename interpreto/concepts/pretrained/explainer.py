"""Concepts of a published sparse autoencoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import torch

from interpreto.aliases import aliases
from interpreto.concepts.base import AnyActivations, ConceptAutoEncoderExplainer
from interpreto.concepts.pretrained.model import PublishedSAE, model_class
from interpreto.errors import OptionError


class PublishedSAEConcepts(ConceptAutoEncoderExplainer):
    """Concepts by a sparse autoencoder that somebody has published; `load_sae` makes it.

    Codes and directions are the publisher's, in the publisher's units. Everything that takes concepts takes these:
    interpretations, effects, edits, metrics, pages, files.

    Args:
        splitter: The model and where it is split; None to work on activations alone.
        nb_concepts: Number of concepts.
        split_point: One of the splitter's split points, where it has several.
        device: Device of the concept model.
        random_state: Not used: nothing is drawn.
        published: What the files say of it: layout, model, hook.
        **options: How it computes its codes; see `PublishedSAE`.

    Attributes:
        published: What the files say of it.
        variance_explained: Share of the variance of the model's activations that it explained when it was loaded, on plain
            sentences; None where that was not measured.
    """

    concept_model: PublishedSAE

    @aliases(model_with_split_points="splitter")
    def __init__(
        self,
        splitter: Any,
        nb_concepts: int,
        split_point: str | None = None,
        device: torch.device | str = "cpu",
        random_state: int = 0,
        *,
        published: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        make = model_class(options.get("normalization"), options.get("centers_rows", False))
        try:
            model = make(nb_concepts, **options)
        except TypeError as error:
            raise OptionError(f"`options`: got {', '.join(options)}; a published autoencoder has others ({error}).") from error
        self.published = dict(published or {})
        self.variance_explained: float | None = None
        kept = {**options, "published": self.published}
        super().__init__(splitter, model, split_point, device, random_state=random_state, options=kept)

    def fit(self, activations: AnyActivations, overwrite: bool = False) -> NoReturn:
        """Refuse: it was trained by its publisher.

        Raises:
            OptionError: always.
        """
        raise OptionError("`fit`: a published autoencoder is used as it is; to train one, take TopKSAEConcepts, say.")
