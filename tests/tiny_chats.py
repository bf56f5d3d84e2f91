"""Small models that write about images, with random weights, and their processors, built in memory."""

from __future__ import annotations

import functools
from typing import Any

import torch
import transformers
from torch import nn
from transformers import PreTrainedTokenizerFast

from tests.tiny import RELEASE, _byte_bpe

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}PLACE{% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PLACES = {
    "llava": "<image>",
    "llava_next": "<image>",
    "idefics3": "<image>",
    "qwen2_vl": "<|vision_start|><|image_pad|><|vision_end|>",
    "paligemma": "<image>",
    "gemma3": "<start_of_image>",
}
"""What a template of each family writes in an image's place."""
WITH_TEMPLATE = [family for family in PLACES if family != "paligemma"]
TOKENS = {
    "idefics3": ["<fake_token_around_image>", "<global-img>", "<end_of_utterance>"]
    + [f"<row_{i + 1}_col_{j + 1}>" for i in range(6) for j in range(6)],
    "qwen2_vl": ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"],
    "gemma3": ["<start_of_image>", "<end_of_image>", "<image_soft_token>"],
}
TEXT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 48,
    "head_dim": 16,
    "max_position_embeddings": 512,
}
SIDE, PATCH = 16, 8
VISION = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "image_size": SIDE,
    "patch_size": PATCH,
}


def tokenizer(family: str) -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer with the placeholders of a family."""
    name = "extra_special_tokens" if RELEASE >= (5,) else "additional_special_tokens"
    more = ["<|im_start|>", "<image>", *TOKENS.get(family, [])]
    options: dict[str, Any] = {"eos_token": "<|im_end|>", name: more}
    if family == "paligemma":
        options["bos_token"] = "<bos>"
    found = PreTrainedTokenizerFast(tokenizer_object=_byte_bpe(), **options)
    if family == "gemma3":
        found.boi_token, found.eoi_token, found.image_token = TOKENS["gemma3"]
        found.boi_token_id, found.image_token_id = found.convert_tokens_to_ids([found.boi_token, found.image_token])
    if family == "qwen2_vl":
        found.image_token, found.video_token = "<|image_pad|>", "<|video_pad|>"
    return found


def of_pil(family: str, name: str, **options: Any) -> Any:
    """Return an image processor that needs no torchvision, whatever this version of transformers calls it."""
    try:
        module = __import__(f"transformers.models.{family}.image_processing_pil_{family}", fromlist=[name])
        return getattr(module, f"{name}Pil")(**options)
    except ImportError:
        return getattr(transformers, name)(**options)


SQUARE = {"size": {"height": SIDE, "width": SIDE}}
CROPPED = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}


def processor(family: str, words: PreTrainedTokenizerFast) -> Any:
    """Return the processor of a family."""
    template = TEMPLATE.replace("PLACE", PLACES[family]) if family in WITH_TEMPLATE else None
    patches = {"patch_size": PATCH, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    if family == "llava":
        images = of_pil("clip", "CLIPImageProcessor", **CROPPED)
        return transformers.LlavaProcessor(images, words, chat_template=template, **patches)
    if family == "llava_next":
        grids = [[SIDE, 2 * SIDE], [2 * SIDE, SIDE], [2 * SIDE, 2 * SIDE]]
        images = of_pil("llava_next", "LlavaNextImageProcessor", image_grid_pinpoints=grids, **CROPPED)
        return transformers.LlavaNextProcessor(images, words, chat_template=template, **patches)
    if family == "idefics3":
        options = {"size": {"longest_edge": 2 * SIDE}, "max_image_size": {"longest_edge": SIDE}}
        images = of_pil("idefics3", "Idefics3ImageProcessor", **options)
        return transformers.Idefics3Processor(images, words, image_seq_len=1, chat_template=template)
    if family == "paligemma":
        images = of_pil("siglip", "SiglipImageProcessor", **SQUARE)
        images.image_seq_length = (SIDE // PATCH) ** 2
        return transformers.PaliGemmaProcessor(images, words)
    if family == "gemma3":
        images = of_pil("gemma3", "Gemma3ImageProcessor", **SQUARE)
        return transformers.Gemma3Processor(images, words, image_seq_length=4, chat_template=template)
    images = of_pil("qwen2_vl", "Qwen2VLImageProcessor", patch_size=4, size={"shortest_edge": 16 * 16, "longest_edge": 32 * 32})
    found = object.__new__(transformers.Qwen2VLProcessor)  # its video processor needs torchvision
    found.image_processor, found.tokenizer, found.chat_template = images, words, template
    found.image_token, found.video_token = words.image_token, words.video_token
    found.image_token_id, found.video_token_id = words.convert_tokens_to_ids([words.image_token, words.video_token])
    return found


def config(family: str, words: PreTrainedTokenizerFast) -> Any:
    """Return the config of a family's model."""
    text = {**TEXT, "vocab_size": len(words), "pad_token_id": None, "bos_token_id": None, "eos_token_id": words.eos_token_id}
    image = {"image_token_id": words.convert_tokens_to_ids("<image>")}
    index = {"image_token_index": image["image_token_id"]}
    if family in ("llava", "llava_next"):
        name = {"llava": "LlavaConfig", "llava_next": "LlavaNextConfig"}[family]
        more = index
        if family == "llava_next":
            more = {**index, "image_grid_pinpoints": [[SIDE, 2 * SIDE], [2 * SIDE, SIDE], [2 * SIDE, 2 * SIDE]]}
        return getattr(transformers, name)(
            vision_config={"model_type": "clip_vision_model", "projection_dim": 16, **VISION},
            text_config={"model_type": "llama", **text},
            **more,
        )
    if family == "idefics3":
        return transformers.Idefics3Config(
            vision_config={**VISION}, text_config={"model_type": "llama", **text}, scale_factor=2, pad_token_id=0, **image
        )
    if family == "paligemma":
        vision = {"model_type": "siglip_vision_model", "projection_dim": 32, **VISION}
        return transformers.PaliGemmaConfig(
            vision_config=vision, text_config={"model_type": "gemma", **text}, projection_dim=32, **index
        )
    if family == "gemma3":
        ids = words.convert_tokens_to_ids(TOKENS["gemma3"])
        vision = {"model_type": "siglip_vision_model", **VISION}
        places = {"boi_token_index": ids[0], "eoi_token_index": ids[1], "image_token_index": ids[2]}
        return transformers.Gemma3Config(
            vision_config=vision, text_config={**text, "sliding_window": 64}, mm_tokens_per_image=4, **places
        )
    ids = dict(zip(TOKENS["qwen2_vl"], words.convert_tokens_to_ids(TOKENS["qwen2_vl"]), strict=True))
    vision = {"depth": 2, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2, "patch_size": 4}
    rope = {"rope_type": "default", "type": "mrope", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
    return transformers.Qwen2VLConfig(
        vision_config=vision,
        text_config={**text, ("rope_parameters" if RELEASE >= (5,) else "rope_scaling"): rope},
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )


KINDS = {
    "llava": "Llava",
    "llava_next": "LlavaNext",
    "idefics3": "Idefics3",
    "qwen2_vl": "Qwen2VL",
    "paligemma": "PaliGemma",
    "gemma3": "Gemma3",
}


@functools.cache
def writer(family: str) -> tuple[Any, Any]:
    """Return a model that writes about images, and its processor; the same ones on every call."""
    words = tokenizer(family)
    made = processor(family, words)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = getattr(transformers, f"{KINDS[family]}ForConditionalGeneration")(config(family, words))
        for parameter in model.parameters():  # no layer is the identity, and none saturates
            nn.init.normal_(parameter, std=0.1) if parameter.ndim == 1 else nn.init.normal_(parameter, std=0.15)
        for name, parameter in model.named_parameters():
            if "norm" in name and name.endswith("weight") and not family.endswith("gemma") and family != "gemma3":
                parameter.data += 1
    model.generation_config.eos_token_id = words.eos_token_id
    return model.eval(), made
