"""Wrap models that read images and texts, as users pass them with their processors."""

from __future__ import annotations

from typing import Any

from interpreto.errors import TokenizerError
from interpreto.inputs.image_processors import is_image_processor, read_image_processor
from interpreto.inputs.pictured import ImageTextProcessor
from interpreto.inputs.pictured_chats import ImageChatProcessor
from interpreto.models.image_chats import ImageTextWriter, image_ids, writes_about_images
from interpreto.models.image_text import compares_images_with_texts, text_tokenizer
from interpreto.models.pictured_models import ImageTextSimilarity, PicturedModel
from interpreto.models.sources import find_whole_processor, is_tokenizer

AnyProcessor = ImageTextProcessor | ImageChatProcessor


def reads_both(model: Any, processor: Any = None) -> bool:
    """Return True for a model that reads images and texts, and is explained as one.

    One that writes about images is explained as a model of texts where it is given a tokenizer in the processor's place.
    """
    if isinstance(model, PicturedModel) or compares_images_with_texts(model):
        return True
    return writes_about_images(model) and not is_tokenizer(processor)


def pictured(model: Any, processor: Any) -> tuple[PicturedModel, AnyProcessor]:
    """Return a model of images and texts as the engine runs it, and its processor.

    Raises:
        TokenizerError: the processor reads images alone, or texts alone.
    """
    inner: Any = model.explained if isinstance(model, PicturedModel) else model
    if processor is None:
        processor = find_whole_processor(inner)
    if isinstance(processor, AnyProcessor):
        return (model if isinstance(model, PicturedModel) else _wrapped(model, processor)), processor
    if not is_image_processor(processor):
        raise TokenizerError(
            f"`tokenizer`: got {type(processor).__name__}, and {type(inner).__name__} reads images and texts; pass its "
            "processor (AutoProcessor.from_pretrained(...))."
        )
    tokenizer = text_tokenizer(processor)
    if compares_images_with_texts(inner):
        found: AnyProcessor = ImageTextProcessor(read_image_processor(processor, inner), tokenizer)
    else:
        config = inner.config.get_text_config()
        found = ImageChatProcessor(processor, image_ids(inner), int(getattr(config, "hidden_size", 0) or 256))
    return (model if isinstance(model, PicturedModel) else _wrapped(model, found)), found


def _wrapped(model: Any, processor: AnyProcessor) -> PicturedModel:
    if isinstance(processor, ImageChatProcessor):
        return ImageTextWriter(model)
    return ImageTextSimilarity(model, processor.tokenizer)
