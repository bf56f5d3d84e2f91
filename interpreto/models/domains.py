"""Kinds of inputs: what differs between models of texts and of images. Only here are they told apart by the engine."""

from __future__ import annotations

from typing import Any

from interpreto.errors import OptionError
from interpreto.models.alternatives import ReplacedBy, TextAlternatives, read_alternatives
from interpreto.models.embeddings import EmbeddingSpace
from interpreto.models.forward import Forward
from interpreto.models.image_space import PictureReplacement, PictureSpace, read_image_replacement
from interpreto.models.images import ImageModel
from interpreto.models.masking import Replacement, read_replacement

AnyReplacement = Replacement | PictureReplacement | TextAlternatives


def space_of(forward: Forward, tokenizer: Any) -> EmbeddingSpace | PictureSpace:
    """Return the space in which a model's inputs can be moved: of embeddings, or of pixels."""
    return PictureSpace(forward) if isinstance(forward.model, ImageModel) else EmbeddingSpace(forward, tokenizer)


def replacement_of(value: ReplacedBy, forward: Forward, tokenizer: Any) -> AnyReplacement:
    """Return what masked units become.

    Raises:
        OptionError: units of such inputs cannot become that.
    """
    if isinstance(forward.model, ImageModel):
        if isinstance(value, (str, int)):
            return read_image_replacement(value)
        raise OptionError("`replacement`: units of images are replaced by a name, not by texts.")
    if isinstance(value, (str, int)):
        return read_replacement(value, tokenizer)
    return read_alternatives(value, tokenizer)


def ready(replacement: AnyReplacement, space: EmbeddingSpace | PictureSpace) -> AnyReplacement:
    """Return the replacement with its embedding, where it needs one."""
    return (
        replacement.ready(space) if isinstance(replacement, Replacement) and isinstance(space, EmbeddingSpace) else replacement
    )
