"""Tiny random models of many architectures."""

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from trainkit.attention import register

SMALL = {
    "vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2,
}  # fmt: skip
GPT = {"n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 64}
MIXTURE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
SLIDING = {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]}
LINEAR = {
    "layer_types": ["linear_attention", "full_attention"], "linear_num_value_heads": 4, "linear_num_key_heads": 4,
    "linear_key_head_dim": 8, "linear_value_head_dim": 8,
}  # fmt: skip
SSM = {"mamba_d_state": 4, "mamba_n_groups": 1, "mamba_n_heads": 8, "mamba_d_head": 8}
MLA = {
    "q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 8, "head_dim": 4,
    "num_key_value_heads": 4,
}  # fmt: skip

TRAINED: dict[str, dict[str, Any]] = {
    "apertus": {},
    "arcee": {},
    "bitnet": {},
    "cohere": {"logit_scale": 0.0625},
    "cohere2": {"logit_scale": 0.0625, **SLIDING},
    "deepseek_v3": {
        **MLA, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1,
        "moe_intermediate_size": 16, "first_k_dense_replace": 1,
    },
    "diffllama": {},
    "ernie4_5": {},
    "exaone4": SLIDING,
    "gemma": {},
    "gemma3_text": {"query_pre_attn_scalar": 8, **SLIDING},
    "glm4": {},
    "gpt2": GPT,
    "gpt_bigcode": GPT,
    "gpt_neox": {"num_key_value_heads": 4},
    "granite": {"logits_scaling": 8.0},
    "granitemoe": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "helium": {},
    "llama": {},
    "ministral": SLIDING,
    "mistral": {"sliding_window": 4},
    "mixtral": {"num_local_experts": 4},
    "olmo": {},
    "olmo2": {},
    "olmo3": SLIDING,
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "phi": {},
    "phi3": {"sliding_window": 4},
    "qwen2": {"use_sliding_window": True, **SLIDING},
    "qwen2_moe": {**MIXTURE, "shared_expert_intermediate_size": 16},
    "qwen3": {"use_sliding_window": True, **SLIDING},
    "qwen3_moe": MIXTURE,
    "seed_oss": {},
    "smollm3": {},
    "starcoder2": {"sliding_window": 4},
}  # fmt: skip

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    # Layers that carry a state from token to token, and so from document to document.
    "mamba": ({"state_size": 4}, "layers that would mix the documents"),
    "falcon_mamba": ({"state_size": 4}, "layers that would mix the documents"),
    "rwkv": ({"attention_hidden_size": 32}, "layers that would mix the documents"),
    "recurrent_gemma": ({"lru_width": 32, "attention_window_size": 8}, "layers that would mix the documents"),
    "jamba": (
        {"num_experts": 2, "mamba_d_state": 4, "mamba_dt_rank": 4, "use_mamba_kernels": False, "attn_layer_period": 2,
         "attn_layer_offset": 1},
        "layers that would mix the documents",
    ),
    "minimax": ({"num_local_experts": 4, "layer_types": LINEAR["layer_types"]}, "layers that would mix the documents"),
    "qwen3_next": ({**MIXTURE, **LINEAR, "shared_expert_intermediate_size": 16}, "packed windows"),
    "lfm2": ({"layer_types": ["conv", "full_attention"]}, "packed windows"),
    "bamba": ({**SSM, "attn_layer_indices": [1]}, "packed windows"),
    # Attention of their own, to which nobody can say where documents end.
    "bloom": ({"n_head": 4, "n_layer": 2}, "layers that would mix the documents"),
    "codegen": ({**GPT, "rotary_dim": 4}, "layers that would mix the documents"),
    "xglm": ({"d_model": 32, "num_layers": 2, "attention_heads": 4, "ffn_dim": 64}, "layers that would mix"),
    "stablelm": ({}, "does not pass document boundaries"),
    "nemotron": ({}, "does not pass document boundaries"),
    # Scores or logits that are changed on the way.
    "gemma2": ({"query_pre_attn_scalar": 8}, "uses softcap"),
    "gpt_oss": ({"num_local_experts": 4}, "uses s_aux"),
}  # fmt: skip


def tiny(kind: str, settings: dict[str, Any]) -> Any:
    """A random causal model of a type, frozen, as it is loaded for packed rows."""
    config = AutoConfig.for_model(kind, **{k: v for k, v in {**SMALL, **settings}.items() if v is not None})
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=register())
    return model.requires_grad_(False).eval()
