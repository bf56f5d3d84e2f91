"""Kinds of inputs: what differs between models of texts and of images. Only here are they told apart by the engine."""

from __future__ import annotations

from typing import Any

from interpreto.errors import OptionError
from interpreto.models.alternatives import ReplacedBy, TextAlternatives, read_alternatives
from interpreto.models.embeddings import EmbeddingSpace
from interpreto.models.forward import Forward
from interpreto.models.hidden_states import HiddenStates, find_hook_point
from interpreto.models.image_space import PictureReplacement, PictureSpace, read_image_replacement
from interpreto.models.images import ImageModel
from interpreto.models.masking import Replacement, read_replacement
from interpreto.models.pictured_models import PicturedModel
from interpreto.models.pictured_space import PicturedReplacement, PicturedSpace, read_pictured_replacement
from interpreto.validation import shown

AnyReplacement = Replacement | PictureReplacement | PicturedReplacement | TextAlternatives
AnySpace = EmbeddingSpace | PictureSpace | PicturedSpace


def space_of(forward: Forward, tokenizer: Any, at: object = None) -> AnySpace:
    """Return the space in which a model's inputs can be moved: of embeddings, of pixels, or of activations.

    Args:
        forward: Runs the model.
        tokenizer: Of a model of texts.
        at: Module whose activations are moved; None: inputs are.

    Raises:
        OptionError: there is no such module, or the model reads images.
    """
    if isinstance(forward.model, ImageModel):
        if at is not None:
            raise OptionError(
                f"`at`: got {shown(at)}; activations are explained of models that read texts, and this one reads images."
            )
        return PictureSpace(forward)
    if isinstance(forward.model, PicturedModel):
        if at is not None:
            raise OptionError(
                f"`at`: got {shown(at)}; activations are explained of models that read texts, and this one reads images too."
            )
        return PicturedSpace(forward)
    if at is None:
        return EmbeddingSpace(forward, tokenizer)
    return HiddenStates(forward, tokenizer, find_hook_point(forward.model, at))


def replacement_of(value: ReplacedBy, forward: Forward, tokenizer: Any) -> AnyReplacement:
    """Return what masked units become.

    Raises:
        OptionError: units of such inputs cannot become that.
    """
    if isinstance(forward.model, ImageModel):
        if isinstance(value, (str, int)):
            return read_image_replacement(value)
        raise OptionError("`replacement`: units of images are replaced by a name, not by texts.")
    if isinstance(forward.model, PicturedModel):
        return read_pictured_replacement(value)
    if isinstance(value, (str, int)):
        return read_replacement(value, tokenizer)
    return read_alternatives(value, tokenizer)


def ready(replacement: AnyReplacement, space: AnySpace) -> AnyReplacement:
    """Return the replacement with its embedding, where it needs one."""
    if isinstance(replacement, Replacement) and isinstance(space, EmbeddingSpace):
        return replacement.ready(space)
    if isinstance(replacement, PicturedReplacement) and isinstance(space, PicturedSpace):
        return replacement.ready(space)
    return replacement
