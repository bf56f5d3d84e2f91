"""Tiny, randomly weighted models of many architectures, built from their configs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers

from tests import tiny

LABELS = {"id2label": {0: "negative", 1: "neutral", 2: "positive"}, "label2id": {"negative": 0, "neutral": 1, "positive": 2}}
CLASSIFIER, LANGUAGE_MODEL, SEQ2SEQ, SEQ2SEQ_CLASSIFIER = "classifier", "language model", "seq2seq", "seq2seq classifier"


@dataclass(frozen=True)
class Family:
    """One architecture.

    Attributes:
        kind: What it returns.
        model_class: Its name in transformers.
        tokenizer: Makes a tokenizer.
        settings: Of its config.
        double: It can run in float64 (experts that multiply in groups cannot), so that the loop can.
        gradients: They are compared; classifiers whose decoder reads the text again have tests of their own, and reversible
            layers refuse them outside of training.
        normalized: It normalizes embeddings first, so that input times gradient is 0 up to rounding.
        changes_itself: A forward pass of its own changes its weights or buffers.
    """

    kind: str
    model_class: str
    tokenizer: Callable[[], Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    double: bool = True
    gradients: bool = True
    normalized: bool = False
    changes_itself: bool = False

    def build(self) -> tuple[Any, Any]:
        """Return the model in evaluation mode, the same at each call, and its tokenizer."""
        tokenizer = self.tokenizer()
        of_class = getattr(transformers, self.model_class)
        ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos")}
        labels = LABELS if "classifier" in self.kind else {}
        config = of_class.config_class(**{"vocab_size": len(tokenizer), **ids, **labels, **self.settings})
        with torch.random.fork_rng():
            torch.manual_seed(31)
            model = of_class(config)
            _enlarge(model)
        return model.eval(), tokenizer


@torch.no_grad()
def _enlarge(model: Any) -> None:
    """Give matrices a gain of 2 and vectors some noise, as at its first weights a model is nearly linear."""
    for name, parameter in model.named_parameters():
        if name.endswith("A_log"):
            continue
        if parameter.dim() == 1:
            parameter.add_(0.1 * torch.randn_like(parameter))
        elif float(parameter.std()) > 0:
            parameter.mul_(2 / (parameter.std() * 32**0.5))


def _classifier(name: str, tokenizer: Callable[[], Any], settings: Mapping[str, Any], **flags: Any) -> Family:
    return Family(CLASSIFIER, f"{name}ForSequenceClassification", tokenizer, settings, **flags)


def _causal(name: str, tokenizer: Callable[[], Any], settings: Mapping[str, Any], **flags: Any) -> Family:
    whole = name if name.endswith("HeadModel") or name.endswith("WithLMHead") else f"{name}ForCausalLM"
    return Family(LANGUAGE_MODEL, whole, tokenizer, settings, **flags)


def _seq2seq(name: str, tokenizer: Callable[[], Any], settings: Mapping[str, Any], **flags: Any) -> Family:
    whole = name if name.endswith("Model") else f"{name}ForConditionalGeneration"
    return Family(SEQ2SEQ, whole, tokenizer, settings, **flags)


def _reads(name: str, tokenizer: Callable[[], Any], settings: Mapping[str, Any], **flags: Any) -> Family:
    return Family(SEQ2SEQ_CLASSIFIER, f"{name}ForSequenceClassification", tokenizer, settings, gradients=False, **flags)


_wp, _plain, _bytes = tiny.wordpiece, tiny._wordpiece_untyped, tiny.byte_bpe
_roberta, _pieces, _unigram, _xlnet = tiny.roberta_bpe, tiny.sentencepiece_bpe, tiny.unigram, tiny.xlnet_unigram

_D = tiny._DENSE
_G = tiny._GROUPED
_R = tiny._ROBERTA
_GPT = tiny._GPT
_BART, _T5 = tiny._BART, tiny._T5
_EMBEDDED = _D | {"embedding_size": 32}
_XLM = {"emb_dim": 32, "n_layers": 2, "n_heads": 2, "max_position_embeddings": 128}
_CTRL = {"n_embd": 32, "n_layer": 2, "n_head": 2, "dff": 64, "n_positions": 128}
_BLOOM = {"hidden_size": 32, "n_layer": 2, "n_head": 2}
_MPT = {"d_model": 32, "n_layers": 2, "n_heads": 2, "max_seq_len": 128}
_OPT = _D | {"ffn_dim": 64, "word_embed_proj_dim": 32}
_WINDOWED = _G | {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
_GEMMA2 = _G | {"head_dim": 16, "sliding_window": 8, "query_pre_attn_scalar": 16}
_MAMBA_HEADS = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_chunk_size": 4}
_LED = {name: value for name, value in _BART.items() if name != "max_position_embeddings"} | {
    "max_encoder_position_embeddings": 128,
    "max_decoder_position_embeddings": 128,
    "attention_window": [4, 4],
}
_REFORMER = {
    "attention_head_size": 16,
    "hidden_size": 32,
    "num_attention_heads": 2,
    "feed_forward_size": 32,
    "attn_layers": ["local", "local"],
    "local_attn_chunk_length": 4,
    "axial_pos_embds": False,
    "max_position_embeddings": 128,
    "hash_seed": 0,
    "pad_token_id": 0,
    "num_buckets": 2,
}
_JAMBA = _G | {
    "attn_layer_period": 2,
    "attn_layer_offset": 1,
    "expert_layer_period": 2,
    "expert_layer_offset": 1,
    "num_experts": 2,
    "use_mamba_kernels": False,
    "mamba_d_state": 4,
}
_DEEPSEEK = _G | {
    "num_key_value_heads": 2,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
    "n_shared_experts": 1,
}
_QWEN3_NEXT = _G | {
    "head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
    "num_experts": 2,
    "num_experts_per_tok": 1,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
}
_SQUEEZE = {f"{name}_groups": 2 for name in ("q", "k", "v", "intermediate", "output")} | {"post_attention_groups": 1}
_RECURRENT = _G | {"num_hidden_layers": 3, "head_dim": 16, "lru_width": 32, "attention_window_size": 8}

GEMMA_3N = _G | {
    "num_hidden_layers": 4,
    "head_dim": 16,
    "sliding_window": 8,
    "vocab_size_per_layer_input": 480,
    "hidden_size_per_layer_input": 8,
    "altup_num_inputs": 2,
    "laurel_rank": 4,
    "num_kv_shared_layers": 1,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "activation_sparsity_pattern": [0.0] * 4,
    "intermediate_size": [64] * 4,
}
PROPHETNET = {
    "hidden_size": 32,
    "num_encoder_layers": 2,
    "num_decoder_layers": 2,
    "num_encoder_attention_heads": 2,
    "num_decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "ngram": 2,
    "max_position_embeddings": 128,
    "decoder_start_token_id": 2,
    "disable_ngram_loss": True,
}

CLASSIFIERS = {
    "longformer": _classifier("Longformer", _roberta, _R | {"attention_window": [4, 4]}),
    "big_bird": _classifier("BigBird", _wp, _D | {"attention_type": "original_full"}),
    "fnet": _classifier("FNet", _wp, {key: value for key, value in _D.items() if key != "num_attention_heads"}),
    "roformer": _classifier("RoFormer", _wp, _EMBEDDED),
    "funnel": _classifier(
        "Funnel",
        _wp,
        {"block_sizes": [1, 1], "d_model": 32, "n_head": 2, "d_head": 16, "d_inner": 64, "num_decoder_layers": 1},
        normalized=True,
        changes_itself=True,
    ),
    "nomic_bert": _classifier("NomicBert", _wp, _D),
    "eurobert": _classifier("EuroBert", _bytes, _G),
    "mpnet": _classifier("MPNet", _plain, _D),
    "camembert": _classifier("Camembert", _roberta, _R),
    "convbert": _classifier("ConvBert", _wp, _EMBEDDED),
    "squeezebert": _classifier("SqueezeBert", _plain, _EMBEDDED | _SQUEEZE),
    "mobilebert": _classifier("MobileBert", _wp, _EMBEDDED | {"intra_bottleneck_size": 16, "true_hidden_size": 16}),
    "megatron_bert": _classifier("MegatronBert", _wp, _D),
    "yoso": _classifier("Yoso", _wp, _D | {"use_expectation": True}),
    "rembert": _classifier("RemBert", _wp, _D | {"input_embedding_size": 16, "output_embedding_size": 16}),
    "ernie": _classifier("Ernie", _wp, _D),
    "ibert": _classifier("IBert", _roberta, _R),
    "esm": _classifier("Esm", _plain, _D | {"position_embedding_type": "rotary", "mask_token_id": 4}),
    "xlm": _classifier("XLM", _wp, _XLM),
    "flaubert": _classifier("Flaubert", _wp, _XLM),
    "deberta": _classifier(
        "Deberta",
        _wp,
        _D | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_biased_input": False},
        normalized=True,
    ),
    "luke": _classifier("Luke", _roberta, _R | {"entity_vocab_size": 8, "entity_emb_size": 16}),
    "reformer": _classifier("Reformer", _pieces, _REFORMER | {"is_decoder": False}, double=False, gradients=False),
    "xmod": _classifier("Xmod", _roberta, _R | {"languages": ["en_XX"], "default_language": "en_XX"}),
    "data2vec_text": _classifier("Data2VecText", _roberta, _R),
    "layoutlm": _classifier("LayoutLM", _wp, _D),
    "xlm_roberta": _classifier("XLMRoberta", _roberta, _R),
    "xlm_roberta_xl": _classifier("XLMRobertaXL", _roberta, _R),
    "roberta_prelayernorm": _classifier("RobertaPreLayerNorm", _roberta, _R),
    "openai_gpt": _classifier("OpenAIGPT", _bytes, _GPT),
    "ctrl": _classifier("CTRL", _bytes, _CTRL),
    "bloom": _classifier("Bloom", _bytes, _BLOOM, normalized=True),
    "opt": _classifier("OPT", _bytes, _OPT),
    "mpt": _classifier("Mpt", _bytes, _MPT),
    "gemma2": _classifier("Gemma2", _pieces, _GEMMA2),
    "gpt_bigcode": _classifier("GPTBigCode", _bytes, _GPT),
    "gpt_neox": _classifier("GPTNeoX", _bytes, _D),
    "jamba": _classifier("Jamba", _pieces, _JAMBA, double=False),
    "mistral": _classifier("Mistral", _pieces, _G | {"sliding_window": 8}),
    "phi3": _classifier("Phi3", _pieces, _G | {"sliding_window": 8}),
    "umt5": _reads("UMT5", _unigram, _T5),
    "mbart": _reads("MBart", _roberta, _BART),
    "plbart": _reads("PLBart", _roberta, _BART),
    "bigbird_pegasus": _reads("BigBirdPegasus", _roberta, _BART | {"attention_type": "original_full"}),
}

LANGUAGE_MODELS = {
    "gemma": _causal("Gemma", _pieces, _G | {"head_dim": 16}),
    "gemma2": _causal("Gemma2", _pieces, _GEMMA2),
    "cohere": _causal("Cohere", _bytes, _G),
    "cohere2": _causal("Cohere2", _bytes, _WINDOWED),
    "granite": _causal("Granite", _bytes, _G | {"embedding_multiplier": 2.0, "logits_scaling": 3.0}),
    "granitemoe": _causal("GraniteMoe", _bytes, _G | {"num_local_experts": 4}, double=False),
    "stablelm": _causal("StableLm", _bytes, _G),
    "gpt_bigcode": _causal("GPTBigCode", _bytes, _GPT),
    "opt": _causal("OPT", _bytes, _OPT),
    "opt_projected": _causal("OPT", _bytes, _OPT | {"word_embed_proj_dim": 16, "do_layer_norm_before": False}),
    "bloom": _causal("Bloom", _bytes, _BLOOM, normalized=True),
    "rwkv": _causal(
        "Rwkv",
        _bytes,
        {"hidden_size": 32, "num_hidden_layers": 2, "context_length": 128, "rescale_every": 0},
        normalized=True,
    ),
    "jamba": _causal("Jamba", _pieces, _JAMBA, double=False),
    "bamba": _causal("Bamba", _bytes, _G | _MAMBA_HEADS | {"attn_layer_indices": [1], "mamba_expand": 2, "mamba_n_groups": 1}),
    "falcon_h1": _causal("FalconH1", _bytes, _G | _MAMBA_HEADS | {"mamba_d_ssm": 64}),
    "mamba2": _causal(
        "Mamba2",
        _bytes,
        {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_heads": 4,
            "head_dim": 16,
            "state_size": 8,
            "n_groups": 1,
            "chunk_size": 4,
        },
    ),
    "falcon_mamba": _causal("FalconMamba", _bytes, {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}),
    "recurrent_gemma": _causal("RecurrentGemma", _pieces, _RECURRENT),
    "qwen3_next": _causal("Qwen3Next", _bytes, _QWEN3_NEXT, double=False),
    "lfm2": _causal("Lfm2", _bytes, _G | {"layer_types": ["conv", "full_attention"], "block_multiple_of": 16}),
    "minimax": _causal(
        "MiniMax",
        _bytes,
        _G
        | {"head_dim": 16, "num_local_experts": 2, "num_experts_per_tok": 1, "block_size": 4}
        | {"layer_types": ["linear_attention", "full_attention"]},
        double=False,
        normalized=True,
    ),
    "deepseek_v2": _causal("DeepseekV2", _bytes, _DEEPSEEK, double=False),
    "deepseek_v3": _causal("DeepseekV3", _bytes, _DEEPSEEK, double=False),
    "gpt_oss": _causal(
        "GptOss", _bytes, _WINDOWED | {"head_dim": 16, "num_local_experts": 2, "num_experts_per_tok": 1}, double=False
    ),
    "llama4": _causal(
        "Llama4",
        _bytes,
        _G
        | {"head_dim": 16, "num_local_experts": 2, "attention_chunk_size": 8, "intermediate_size_mlp": 64}
        | {"moe_layers": [1], "no_rope_layers": [1, 0]},
    ),
    "qwen2_moe": _causal(
        "Qwen2Moe",
        _bytes,
        _G | {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16},
        double=False,
    ),
    "olmoe": _causal("Olmoe", _bytes, _G | {"num_experts": 4, "num_experts_per_tok": 2}, double=False),
    "gpt_neox": _causal("GPTNeoX", _bytes, _D),
    "persimmon": _causal("Persimmon", _bytes, _D),
    "phi3": _causal("Phi3", _pieces, _G | {"sliding_window": 8}),
    "mpt": _causal("Mpt", _bytes, _MPT),
    "xglm": _causal("XGLM", _bytes, {"d_model": 32, "num_layers": 2, "attention_heads": 2, "ffn_dim": 64}, double=False),
    "biogpt": _causal("BioGpt", _bytes, _D),
    "ctrl": _causal("CTRLLMHeadModel", _bytes, _CTRL),
    "openai_gpt": _causal("OpenAIGPTLMHeadModel", _bytes, _GPT),
    "smollm3": _causal("SmolLM3", _bytes, _G),
    "olmo": _causal("Olmo", _bytes, _G),
    "olmo3": _causal("Olmo3", _bytes, _WINDOWED),
    "glm": _causal("Glm", _bytes, _G | {"head_dim": 16}),
    "glm4": _causal("Glm4", _bytes, _G | {"head_dim": 16}),
    "helium": _causal("Helium", _bytes, _G | {"head_dim": 16}),
    "nanochat": _causal("NanoChat", _bytes, _G, normalized=True),
    "diffllama": _causal("DiffLlama", _bytes, _D | {"num_key_value_heads": 2}),
    "bert_decoder": _causal("BertLMHeadModel", _wp, _D | {"is_decoder": True}),
    "exaone4": _causal("Exaone4", _bytes, _G | {"sliding_window": 8, "sliding_window_pattern": 2}),
    "doge": _causal("Doge", _bytes, _G),
}

ENCODER_DECODERS = {
    "led": _seq2seq("LED", _roberta, _LED),
    "pegasus": _seq2seq("Pegasus", _roberta, _BART | {"scale_embedding": True}),
    "mbart": _seq2seq("MBart", _roberta, _BART | {"scale_embedding": True}),
    "m2m100": _seq2seq("M2M100", _roberta, _BART | {"scale_embedding": True}),
    "umt5": _seq2seq("UMT5", _unigram, _T5),
    "mt5": _seq2seq("MT5", _unigram, _T5),
    "blenderbot": _seq2seq("Blenderbot", _roberta, _BART),
    "blenderbot_small": _seq2seq("BlenderbotSmall", _roberta, _BART),
    "marian": _seq2seq("MarianMTModel", _roberta, _BART),
    "switch_transformers": _seq2seq(
        "SwitchTransformers",
        _unigram,
        _T5 | {"num_experts": 2, "expert_capacity": 64, "num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1},
        changes_itself=True,
    ),
    "longt5": _seq2seq("LongT5", _unigram, _T5 | {"local_radius": 4, "encoder_attention_type": "local"}),
    "bigbird_pegasus": _seq2seq("BigBirdPegasus", _roberta, _BART | {"attention_type": "original_full"}),
    "pegasus_x": _seq2seq("PegasusX", _roberta, _BART | {"num_global_tokens": 2, "block_size": 4}),
}

FAMILIES = {
    **{f"classifier/{name}": family for name, family in CLASSIFIERS.items()},
    **{f"language model/{name}": family for name, family in LANGUAGE_MODELS.items()},
    **{f"seq2seq/{name}": family for name, family in ENCODER_DECODERS.items()},
}
