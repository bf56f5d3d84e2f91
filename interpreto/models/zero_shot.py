"""Zero-shot classification of images: the classes are texts, which a model compares with the image."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from interpreto.errors import OptionError
from interpreto.models.contexts import evaluating
from interpreto.models.image_text import (
    check_pairs,
    check_scores,
    compared,
    image_embeddings,
    judges_each_text,
    text_embeddings,
    text_tokenizer,
    tokenized,
)
from interpreto.models.sources import fetched
from interpreto.validation import shown


class ZeroShotClassifier(nn.Module):
    """Classify images by texts: CLIP, SigLIP and their kin, as an image classifier that every method and metric takes.

    The scores are the model's own ``logits_per_image``, one per label. The labels are embedded once, when the classifier is
    made; perturbed images run through the encoder of images alone.

    Args:
        model: Compares images with texts (`CLIPModel`, `SiglipModel`). Held as it is, not copied.
        processor: Its processor, with the tokenizer.
        labels: Texts, such as ``["a cat", "a dog"]``; or a mapping from the names of classes to their texts.
        template: Text around each label, such as ``"a photo of {}"``.
        tokenizer: Its tokenizer, where the processor holds none.

    Attributes:
        main_input_name: ``pixel_values``, as image models of transformers have it.
        label_embeddings: ``(k, d)``, of length 1.

    Raises:
        ModelError: the model does not compare images with texts.
        OptionError: there are no labels, or two of one name.

    Examples:
        >>> from interpreto import Occlusion, ZeroShotClassifier
        >>> classifier = ZeroShotClassifier.from_folder("clip", ["a cat", "a dog"])  # doctest: +SKIP
        >>> Occlusion(classifier)("photo.jpg", "a cat")  # doctest: +SKIP

    References:
        Radford et al., ICML 2021, https://arxiv.org/abs/2103.00020.
        Zhai et al., ICCV 2023, https://arxiv.org/abs/2303.15343.
    """

    main_input_name = "pixel_values"
    label_embeddings: Tensor

    def __init__(
        self,
        model: Any,
        processor: Any,
        labels: Sequence[str] | Mapping[str, str],
        *,
        template: str = "{}",
        tokenizer: Any = None,
    ) -> None:
        super().__init__()
        self.model, self.processor = check_pairs(model), processor
        texts = read_labels(labels, template)
        tokens = tokenized(model, text_tokenizer(processor, tokenizer), list(texts.values()), "`labels`")
        with torch.no_grad(), evaluating(model):
            found = text_embeddings(model, tokens)
        check_scores(model, tokens, found)
        self.register_buffer("label_embeddings", found, persistent=False)
        self.config = _config_of(model, list(texts))
        self.training = False  # of this module alone; the user's model stays as it is

    @staticmethod
    def from_folder(
        folder: str | os.PathLike[str], labels: Sequence[str] | Mapping[str, str], **options: Any
    ) -> ZeroShotClassifier:
        """Return the classifier of a model that lies in a folder, or on the hub, with its processor.

        Args:
            folder: A folder, or the id of a model of the hub.
            labels: As in the class.
            **options: As in the class.

        Raises:
            ModelError: no model can be read there, or it does not compare images with texts.
        """
        from transformers import AutoModel, AutoProcessor  # noqa: PLC0415  # slow to import

        name = os.fspath(folder)
        model = fetched(name, lambda place, offline: AutoModel.from_pretrained(place, local_files_only=offline), "model")
        processor = fetched(
            name, lambda place, offline: AutoProcessor.from_pretrained(place, local_files_only=offline), "processor"
        )
        return ZeroShotClassifier(model.eval(), processor, labels, **options)

    @property
    def explained(self) -> nn.Module:
        """Return the user's model."""
        return self.model

    def forward(self, pixel_values: Float[Tensor, "b c h w"]) -> SimpleNamespace:
        """Return the scores of images with the labels, as ``logits`` ``(b, k)``."""
        return SimpleNamespace(logits=compared(self.model, image_embeddings(self.model, pixel_values), self.label_embeddings))


def read_labels(labels: Any, template: Any) -> dict[str, str]:
    """Return the text of each class, by its name.

    Raises:
        OptionError: there are none, two have one name, or the template has no place for a label.
    """
    if not isinstance(template, str) or template.count("{}") != 1:
        raise OptionError(f"`template`: got {shown(template)}; pass a text with {{}} in the label's place.")
    pairs = list(labels.items()) if isinstance(labels, Mapping) else None
    if pairs is None and isinstance(labels, Sequence) and not isinstance(labels, str):
        pairs = [(label, label) for label in labels]
    if not pairs or not all(isinstance(part, str) and part.strip() for pair in pairs for part in pair):
        raise OptionError(
            f"`labels`: got {shown(labels)}; pass texts, such as ['a cat', 'a dog'], or a mapping from names to texts."
        )
    found = {name: template.replace("{}", text) for name, text in pairs}
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise OptionError(f"`labels`: {double!r} is there twice; name each class once.")
    return found


def _config_of(model: Any, names: Sequence[str]) -> SimpleNamespace:
    """Return the config of an image classifier, with the facts of the encoder of images."""
    vision = getattr(model.config, "vision_config", model.config)
    facts = {name: getattr(vision, name, None) for name in ("image_size", "patch_size", "num_channels")}
    kind = "multi_label_classification" if judges_each_text(model) else "single_label_classification"
    return SimpleNamespace(
        **facts, id2label=dict(enumerate(names)), problem_type=kind, name_or_path=getattr(model, "name_or_path", "")
    )
