"""Small random models of the causal classes of Transformers, made from the defaults of each class's own config."""

from __future__ import annotations

import re
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

VOCABULARY = 96
LENGTH = 64
WINDOW = 8
_SIZES = {
    r"vocab_size|vocab_size_per_layer_input": VOCABULARY,
    r".*(key_value_heads|kv_heads|n_head_kv|num_query_groups)": 2,
    r".*(attention_heads|n_heads?|num_heads)": 4,
    r".*(num_.*layers|n_layers?|num_blocks|decoder_layers|encoder_layers)": 4,
    r".*head_dim": 8,
    r".*(hidden_size|n_embd|d_model|dim|emb_dim|word_embed_proj_dim|lru_width|dim_model|embedding_size)": 32,
    r".*(intermediate_size|ffn_dim|n_inner|d_ff|dim_ff)": 64,
    r".*(num_experts|n_routed_experts|num_local_experts)": 4,
    r".*(experts_per_tok|top_k|num_selected)": 2,
    r".*(max_position_embeddings|n_positions|n_ctx|max_seq_len|context_length)": LENGTH,
    r".*(sliding_window|window_size|attention_chunk_size)": WINDOW,
    r"q_lora_rank|kv_lora_rank": 16,
    r"qk_rope_head_dim|qk_nope_head_dim": 4,
}
_LATENT = {
    **{"head_dim": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "qk_head_dim": 16, "num_key_value_heads": 4},
    **{"n_group": 1, "topk_group": 1, "topk_method": "greedy", "num_experts_per_tok": 2},
}
_PADDED = {"pad_token_id": 1, "max_position_embeddings": LENGTH + 2}  # RoBERTa counts positions from behind the padding
MORE: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("axk1", "axk2", "deepseek_v2", "deepseek_v3", "deepseek_v32", "glm4_moe_lite"), _LATENT),
    **dict.fromkeys(("glm_moe_dsa", "longcat_flash", "minicpm3", "sarvam_mla", "youtu"), _LATENT),
    **dict.fromkeys(("camembert", "data2vec-text", "roberta", "roberta-prelayernorm", "xlm-roberta"), _PADDED),
    "xlm-roberta-xl": _PADDED,
    "bamba": {"attn_layer_indices": [1, 3], "mamba_n_heads": 8, "mamba_d_head": 8},
    "big_bird": {"attention_type": "original_full", "max_position_embeddings": 512},
    "codegen": {"rotary_dim": 4},
    "cwm": {"bos_token_id": 0, "eos_token_id": 1},
    "doge": {"keep_window_size": LENGTH},  # beyond, it keeps the best keys, and equal ones are as good
    "dots1": {"n_shared_experts": 1, "n_routed_experts": 4, "num_experts_per_tok": 2},
    "gemma4_text": {"num_kv_shared_layers": 0},
    "gemma4_unified_text": {"num_kv_shared_layers": 0},
    "gemma3n_text": {
        "num_kv_shared_layers": 0,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "intermediate_size": [64] * 4,
        "altup_num_inputs": 2,
    },
    "ernie4_5_moe": {"moe_k": 2, "moe_num_experts": 4},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]], "num_layers": 4},
    "gptj": {"rotary_dim": 4},
    "granitemoehybrid": {
        "layer_types": ["mamba", "attention", "mamba", "attention"],
        "mamba_n_heads": 8,
        "mamba_d_head": 8,
    },
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8, "moe_topk": 2, "num_experts": 4},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "lfm2_moe": {"layer_types": ["conv", "full_attention", "conv", "full_attention"]},
    "mamba2": {"num_heads": 8, "head_dim": 8},
    "ministral": {"head_dim": 8},
    "modernbert-decoder": {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
    "nemotron": {"head_dim": 8, "num_key_value_heads": 2},
    "zaya": {"num_experts_per_tok": 1},
}
"""What a class needs besides smaller sizes."""


def settings(name: str) -> tuple[type[Any], dict[str, Any]]:
    """Return the class of a text model's config and its fields: its own defaults, made small."""
    default = CONFIG_MAPPING[name]().get_text_config()
    small: dict[str, Any] = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    for field, value in vars(default).items():
        if isinstance(value, int) and not isinstance(value, bool):
            size = next((size for pattern, size in _SIZES.items() if re.fullmatch(pattern, field)), None)
            if size is not None:
                small[field] = size
    if hasattr(default, "is_decoder"):
        small["is_decoder"] = True
    return type(default), {**small, **MORE.get(name, {})}


def small_model(name: str, **more: Any) -> Any:
    """Return a random model in fp32 whose predictions are far from uniform, and no two of whose weights are equal."""
    config, fields = settings(name)
    make: Any = AutoModelForCausalLM.from_config
    torch.manual_seed(0)
    model = make(config(**{**fields, **more}), dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3)
            else:
                parameter.add_(torch.randn_like(parameter) / 10)
    return model
