#!/usr/bin/env python3
"""Makes families/: tiny random checkpoints in their published layout, and goldens for them.

    python make_family_goldens.py [--out families] [--only SUBSTRING ...]

Every tensor is drawn here, under the name and with the shape that published checkpoints of the family
use, and written with safetensors. transformers then loads the directory as it would load any other
(no key may be missing, unexpected or mismatched; each fused expert tensor is compared with the stored
parts), upcast to float32, eager attention, eager experts. The goldens are what that model says.
The fp8 and mxfp4 checkpoints are quantised here, by the formula; transformers loads what the quantised
values stand for, as float32 tensors of a plain checkpoint.

One prompt of many is kept: the one whose routing decisions and greedy choices are farthest from a tie.
"""
import argparse
import json
import os
import shutil
import tempfile
import zlib

import numpy as np
import safetensors
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache

PROMPT, CONTINUATION = 40, 32
TORCH_DTYPE = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16, "fp8": torch.bfloat16,
               "mxfp4": torch.bfloat16}
DTYPE_NAME = {"f32": "float32", "bf16": "bfloat16", "f16": "float16", "fp8": "bfloat16", "mxfp4": "bfloat16"}
ROUTER_BOUND = {"f32": 1e-4, "bf16": 0.05, "f16": 0.05, "fp8": 0.05, "mxfp4": 0.05}
# Prompts are chosen by this bound for every dtype, so that a float32 checkpoint run with a narrower
# cache or narrower products still has few doubtful positions.
SEARCH_BOUND = 0.05
NO_ROUTER = 1e30
ROUTER_GAIN = 3.0

ARCHITECTURE = {
    "mixtral": "MixtralForCausalLM", "olmoe": "OlmoeForCausalLM", "qwen2_moe": "Qwen2MoeForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM", "gpt_oss": "GptOssForCausalLM", "llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM",
}

COMMON = dict(hidden_act="silu", attention_dropout=0.0, initializer_range=0.02, use_cache=True)

# form: "classic" writes rope_theta / rope_scaling / torch_dtype by hand, as published files have them;
# "v5" writes what transformers 5 itself saves (rope_parameters, dtype, layer_types).
CASES = {
    "mixtral-f32": dict(form="classic", cfg=dict(
        vocab_size=256, hidden_size=48, intermediate_size=20, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, num_local_experts=5, num_experts_per_tok=2, max_position_embeddings=256,
        rms_norm_eps=1e-5, rope_theta=1000000.0, sliding_window=None, tie_word_embeddings=False,
        output_router_logits=False, router_aux_loss_coef=0.02, bos_token_id=1, eos_token_id=2)),
    "mixtral-bf16": dict(form="v5", cfg=dict(
        vocab_size=272, hidden_size=56, head_dim=16, intermediate_size=20, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, num_local_experts=8, num_experts_per_tok=2,
        max_position_embeddings=256, rms_norm_eps=1e-5, rope_theta=10000.0, sliding_window=None,
        tie_word_embeddings=False, router_aux_loss_coef=0.02, bos_token_id=1, eos_token_id=2)),
    "olmoe-f32": dict(form="v5", cfg=dict(
        vocab_size=256, hidden_size=48, intermediate_size=12, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, num_experts=7, num_experts_per_tok=3, norm_topk_prob=False, clip_qkv=1.25,
        attention_bias=False, max_position_embeddings=256, rms_norm_eps=1e-5, rope_theta=10000.0,
        tie_word_embeddings=False, router_aux_loss_coef=0.01, pad_token_id=1, bos_token_id=None,
        eos_token_id=255)),
    "olmoe-bf16": dict(form="classic", cfg=dict(
        vocab_size=260, hidden_size=64, intermediate_size=12, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, num_experts=11, num_experts_per_tok=4, norm_topk_prob=True, clip_qkv=None,
        attention_bias=False, max_position_embeddings=256, rms_norm_eps=1e-5, rope_theta=10000.0,
        rope_scaling=None, tie_word_embeddings=False, output_router_logits=False,
        router_aux_loss_coef=0.01, pad_token_id=1, eos_token_id=259)),
    "qwen2_moe-f32": dict(form="classic", cfg=dict(
        vocab_size=256, hidden_size=48, intermediate_size=40, moe_intermediate_size=12,
        shared_expert_intermediate_size=20, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, num_experts=5, num_experts_per_tok=2, norm_topk_prob=False,
        decoder_sparse_step=1, mlp_only_layers=[0], max_position_embeddings=256, max_window_layers=3,
        sliding_window=24, use_sliding_window=False, rms_norm_eps=1e-6, rope_theta=1000000.0,
        tie_word_embeddings=True, output_router_logits=False, router_aux_loss_coef=0.001,
        bos_token_id=251, eos_token_id=251)),
    "qwen2_moe-bf16": dict(form="v5", cfg=dict(
        vocab_size=264, hidden_size=56, intermediate_size=40, moe_intermediate_size=12,
        shared_expert_intermediate_size=24, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, num_experts=8, num_experts_per_tok=4, norm_topk_prob=True,
        decoder_sparse_step=2, mlp_only_layers=[], max_position_embeddings=256, max_window_layers=4,
        sliding_window=None, use_sliding_window=False, rms_norm_eps=1e-6, rope_theta=1000000.0,
        tie_word_embeddings=False, router_aux_loss_coef=0.001, bos_token_id=261, eos_token_id=263)),
    "qwen3_moe-f32": dict(form="v5", cfg=dict(
        vocab_size=256, hidden_size=48, head_dim=16, intermediate_size=40, moe_intermediate_size=12,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, num_experts=7,
        num_experts_per_tok=3, norm_topk_prob=False, decoder_sparse_step=1, mlp_only_layers=[],
        attention_bias=False, max_position_embeddings=256, sliding_window=None, use_sliding_window=False,
        rms_norm_eps=1e-6, rope_theta=1000000.0, tie_word_embeddings=False,
        router_aux_loss_coef=0.001, bos_token_id=251, eos_token_id=253)),
    "qwen3_moe-bf16": dict(form="classic", shards=3, eos_list=[253, 251], cfg=dict(
        vocab_size=256, hidden_size=64, head_dim=20, intermediate_size=72, moe_intermediate_size=12,
        num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=1, num_experts=9,
        num_experts_per_tok=4, norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[1],
        attention_bias=False, max_position_embeddings=256, max_window_layers=3, sliding_window=None,
        use_sliding_window=False, rms_norm_eps=1e-6, rope_theta=1000000.0, rope_scaling=None,
        tie_word_embeddings=False, output_router_logits=False, router_aux_loss_coef=0.001,
        bos_token_id=251, eos_token_id=253)),
    "gpt_oss-f32": dict(form="classic", cfg=dict(
        vocab_size=256, hidden_size=48, head_dim=16, intermediate_size=20, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, num_local_experts=7, num_experts_per_tok=3,
        experts_per_token=3, attention_bias=True, layer_types=["sliding_attention", "full_attention",
        "sliding_attention"], sliding_window=9, swiglu_limit=1.5, max_position_embeddings=256,
        initial_context_length=32, rms_norm_eps=1e-5, rope_theta=150000.0,
        rope_scaling=dict(beta_fast=4.0, beta_slow=0.5, factor=8.0, original_max_position_embeddings=32,
                          rope_type="yarn", truncate=False),
        tie_word_embeddings=False, output_router_logits=False, router_aux_loss_coef=0.9,
        pad_token_id=253, eos_token_id=252)),
    "gpt_oss-bf16": dict(form="v5", cfg=dict(
        vocab_size=264, hidden_size=64, head_dim=16, intermediate_size=24, num_hidden_layers=4,
        num_attention_heads=6, num_key_value_heads=2, num_local_experts=8, num_experts_per_tok=4,
        attention_bias=True, sliding_window=13, swiglu_limit=1.25, max_position_embeddings=256,
        rms_norm_eps=1e-5, rope_parameters=dict(
            beta_fast=32.0, beta_slow=1.0, factor=4.0, original_max_position_embeddings=64,
            rope_theta=150000.0, rope_type="yarn", truncate=False),
        tie_word_embeddings=False, router_aux_loss_coef=0.9, pad_token_id=262, bos_token_id=263,
        eos_token_id=261)),
    "gpt_oss-mxfp4": dict(form="classic", cfg=dict(
        vocab_size=256, hidden_size=96, head_dim=16, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=6, num_key_value_heads=2, num_local_experts=5, num_experts_per_tok=2,
        attention_bias=True, layer_types=["sliding_attention", "full_attention"], sliding_window=11,
        swiglu_limit=1.5, max_position_embeddings=256, rms_norm_eps=1e-5, rope_theta=150000.0,
        rope_scaling=dict(beta_fast=32.0, beta_slow=1.0, factor=4.0, original_max_position_embeddings=64,
                          rope_type="yarn", truncate=False),
        tie_word_embeddings=False, output_router_logits=False, router_aux_loss_coef=0.9,
        pad_token_id=253, eos_token_id=252, quantization_config=dict(
            quant_method="mxfp4", modules_to_not_convert=[
                "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]))),
    "qwen3_moe-fp8": dict(form="classic", scale_dtype=torch.float32, cfg=dict(
        vocab_size=256, hidden_size=192, head_dim=24, intermediate_size=136, moe_intermediate_size=144,
        num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2, num_experts=5,
        num_experts_per_tok=2, norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[1],
        attention_bias=False, max_position_embeddings=256, max_window_layers=2, sliding_window=None,
        use_sliding_window=False, rms_norm_eps=1e-6, rope_theta=1000000.0, rope_scaling=None,
        tie_word_embeddings=False, output_router_logits=False, router_aux_loss_coef=0.001,
        bos_token_id=251, eos_token_id=253, quantization_config=dict(
            activation_scheme="dynamic", fmt="e4m3", quant_method="fp8", weight_block_size=[128, 128],
            modules_to_not_convert=["lm_head", "model.layers.0.mlp.gate", "model.layers.1.self_attn.o_proj"]))),
    "llama-f32": dict(form="classic", eos_list=[252, 254], cfg=dict(
        vocab_size=256, hidden_size=48, head_dim=16, intermediate_size=40, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, attention_bias=False, mlp_bias=False,
        max_position_embeddings=256, rms_norm_eps=1e-5, rope_theta=10000.0,
        rope_scaling=dict(factor=4.0, high_freq_factor=4.0, low_freq_factor=1.0,
                          original_max_position_embeddings=32, rope_type="llama3"),
        pretraining_tp=1, tie_word_embeddings=False, bos_token_id=250, eos_token_id=[252, 254])),
    "llama-bf16": dict(form="classic", cfg=dict(
        vocab_size=300, hidden_size=80, intermediate_size=72, num_hidden_layers=2, num_attention_heads=5,
        num_key_value_heads=1, max_position_embeddings=256, rms_norm_eps=1e-6, rope_theta=10000.0,
        rope_scaling=None, pretraining_tp=1, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2)),
    "llama-fp8": dict(form="classic", scale_dtype=torch.bfloat16, cfg=dict(
        vocab_size=256, hidden_size=160, intermediate_size=264, num_hidden_layers=2, num_attention_heads=5,
        num_key_value_heads=1, max_position_embeddings=256, rms_norm_eps=1e-6, rope_theta=10000.0,
        rope_scaling=None, pretraining_tp=1, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2,
        quantization_config=dict(activation_scheme="dynamic", quant_method="fp8", weight_block_size=[128, 128]))),
    "llama-f16": dict(form="v5", cfg=dict(
        vocab_size=260, hidden_size=72, intermediate_size=72, num_hidden_layers=2, num_attention_heads=6,
        num_key_value_heads=3, attention_bias=False, mlp_bias=False, max_position_embeddings=256,
        rms_norm_eps=1e-5, rope_parameters=dict(rope_type="linear", factor=2.0, rope_theta=10000.0),
        pretraining_tp=1, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2)),
    "mistral-f32": dict(form="classic", cfg=dict(
        vocab_size=256, hidden_size=48, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, rms_norm_eps=1e-5, rope_theta=10000.0,
        sliding_window=24, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2)),
    "mistral-bf16": dict(form="v5", cfg=dict(
        vocab_size=268, hidden_size=72, head_dim=16, intermediate_size=72, num_hidden_layers=2,
        num_attention_heads=6, num_key_value_heads=2, max_position_embeddings=256, rms_norm_eps=1e-5,
        rope_theta=1000000.0, sliding_window=17, tie_word_embeddings=False, bos_token_id=1,
        eos_token_id=2)),
    "qwen2-f32": dict(form="v5", cfg=dict(
        vocab_size=256, hidden_size=60, intermediate_size=72, num_hidden_layers=2, num_attention_heads=6,
        num_key_value_heads=2, max_position_embeddings=256, max_window_layers=1, sliding_window=24,
        use_sliding_window=False, rms_norm_eps=1e-6, rope_theta=1000000.0, tie_word_embeddings=True,
        bos_token_id=251, eos_token_id=253)),
    "qwen2-bf16": dict(form="classic", cfg=dict(
        vocab_size=270, hidden_size=64, intermediate_size=72, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, max_window_layers=1, sliding_window=20,
        use_sliding_window=True, rms_norm_eps=1e-6, rope_theta=1000000.0, tie_word_embeddings=False,
        bos_token_id=251, eos_token_id=253)),
    "qwen3-f32": dict(form="classic", cfg=dict(
        vocab_size=256, hidden_size=48, head_dim=20, intermediate_size=72, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, attention_bias=False, max_position_embeddings=256,
        max_window_layers=2, sliding_window=None, use_sliding_window=False, rms_norm_eps=1e-6,
        rope_theta=1000000.0, rope_scaling=None, tie_word_embeddings=True, bos_token_id=251,
        eos_token_id=253)),
    "qwen3-bf16": dict(form="v5", cfg=dict(
        vocab_size=260, hidden_size=72, head_dim=16, intermediate_size=40, num_hidden_layers=3,
        num_attention_heads=6, num_key_value_heads=2, attention_bias=False, max_position_embeddings=256,
        max_window_layers=3, sliding_window=None, use_sliding_window=False, rms_norm_eps=1e-6,
        rope_theta=1000000.0, tie_word_embeddings=False, bos_token_id=251, eos_token_id=253)),
}


def is_moe_layer(family, cfg, layer):
    if family in ("mixtral", "olmoe", "gpt_oss"):
        return True
    if family in ("qwen2_moe", "qwen3_moe"):
        return layer not in cfg["mlp_only_layers"] and (layer + 1) % cfg["decoder_sparse_step"] == 0
    return False


def draw_tensors(family, cfg, dtype, seed):
    """The checkpoint, name -> tensor, in the layout published files of this family have."""
    gen = torch.Generator().manual_seed(seed)
    out = {}

    def normal(name, *shape, std):
        out[name] = (torch.randn(*shape, generator=gen) * std).to(dtype)

    # What float32 is held to is so tight that gains do not matter; in bf16 every product of a gain above 1
    # makes the rounding of the one before it larger than it is in a trained model.
    strong = dtype != torch.bfloat16
    qkvo, ffn, head = (1.2, 1.5, 2.0) if strong else (1.0, 1.0, 1.0)

    def linear(name, rows, cols, bias=False, gain=qkvo):
        normal(name + ".weight", rows, cols, std=gain / cols**0.5)
        if bias:
            normal(name + ".bias", rows, std=0.3)

    def norm(name, width):
        out[name + ".weight"] = (1 + 0.1 * torch.randn(width, generator=gen)).to(dtype)

    H, V = cfg["hidden_size"], cfg["vocab_size"]
    heads, kv = cfg["num_attention_heads"], cfg["num_key_value_heads"]
    hd = cfg.get("head_dim") or H // heads
    qkv_bias = family in ("qwen2", "qwen2_moe", "gpt_oss")
    tied = cfg["tie_word_embeddings"]
    normal("model.embed_tokens.weight", V, H, std=2.0 / H**0.5 if tied else 1.0)
    for i in range(cfg["num_hidden_layers"]):
        p = f"model.layers.{i}"
        norm(f"{p}.input_layernorm", H)
        for which, rows in (("q", heads * hd), ("k", kv * hd), ("v", kv * hd)):
            linear(f"{p}.self_attn.{which}_proj", rows, H, bias=qkv_bias)
        linear(f"{p}.self_attn.o_proj", H, heads * hd, bias=family == "gpt_oss")
        if family == "gpt_oss":
            normal(f"{p}.self_attn.sinks", heads, std=1.5)
        if family in ("qwen3", "qwen3_moe"):
            norm(f"{p}.self_attn.q_norm", hd)
            norm(f"{p}.self_attn.k_norm", hd)
        if family == "olmoe":
            norm(f"{p}.self_attn.q_norm", heads * hd)
            norm(f"{p}.self_attn.k_norm", kv * hd)
        norm(f"{p}.post_attention_layernorm", H)
        if family == "gpt_oss":
            # All experts in one tensor, input channels first, gate and up in turn.
            experts, width = cfg["num_local_experts"], cfg["intermediate_size"]
            linear(f"{p}.mlp.router", experts, H, bias=True, gain=ROUTER_GAIN)
            normal(f"{p}.mlp.experts.gate_up_proj", experts, H, 2 * width, std=ffn / H**0.5)
            normal(f"{p}.mlp.experts.gate_up_proj_bias", experts, 2 * width, std=0.3)
            normal(f"{p}.mlp.experts.down_proj", experts, width, H, std=ffn / width**0.5)
            normal(f"{p}.mlp.experts.down_proj_bias", experts, H, std=0.3)
        elif is_moe_layer(family, cfg, i):
            block = f"{p}.block_sparse_moe" if family == "mixtral" else f"{p}.mlp"
            names = ("w1", "w3", "w2") if family == "mixtral" else ("gate_proj", "up_proj", "down_proj")
            experts = cfg.get("num_local_experts") or cfg["num_experts"]
            width = cfg.get("moe_intermediate_size") or cfg["intermediate_size"]
            linear(f"{block}.gate", experts, H, gain=ROUTER_GAIN)
            for e in range(experts):
                linear(f"{block}.experts.{e}.{names[0]}", width, H, gain=ffn)
                linear(f"{block}.experts.{e}.{names[1]}", width, H, gain=ffn)
                linear(f"{block}.experts.{e}.{names[2]}", H, width, gain=ffn)
            if family == "qwen2_moe":
                s = cfg["shared_expert_intermediate_size"]
                linear(f"{block}.shared_expert.gate_proj", s, H, gain=ffn)
                linear(f"{block}.shared_expert.up_proj", s, H, gain=ffn)
                linear(f"{block}.shared_expert.down_proj", H, s, gain=ffn)
                linear(f"{block}.shared_expert_gate", 1, H)
        else:
            linear(f"{p}.mlp.gate_proj", cfg["intermediate_size"], H, gain=ffn)
            linear(f"{p}.mlp.up_proj", cfg["intermediate_size"], H, gain=ffn)
            linear(f"{p}.mlp.down_proj", H, cfg["intermediate_size"], gain=ffn)
    norm("model.norm", H)
    if not tied:
        linear("lm_head", V, H, gain=head)
    return out


def e4m3(x):
    """The values of OCP E4M3 nearest to x (ties to even), and their bytes."""
    magnitude = x.abs().double()
    # Three bits of fraction; below 2^-6 the exponent stays.
    exponent = torch.frexp(magnitude)[1].clamp(min=-5) - 1
    units = torch.round(torch.ldexp(magnitude, 3 - exponent)).long()  # torch.round: ties to even
    exponent, units = torch.where(units == 16, exponent + 1, exponent), torch.where(units == 16, 8, units)
    code = torch.where(units >= 8, (exponent.long() + 7) * 8 + units - 8, units)
    assert int(code.max()) < 0x7f, "beyond 448"
    value = torch.ldexp(units.double(), exponent - 3)
    negative = torch.signbit(x)
    return torch.where(negative, -value, value), torch.where(negative, code + 128, code).to(torch.uint8)


def quantise(tensors, config, scale_dtype):
    """The tensors of an fp8 checkpoint, and those that they stand for, as float32."""
    rows, columns = config["weight_block_size"]
    plain = config.get("modules_to_not_convert", []) + ["lm_head", "embed_tokens"]
    stored, meant = {}, {}
    for name, t in tensors.items():
        module = name.removesuffix(".weight")
        if t.dim() != 2 or any(f".{p}." in f".{module}." for p in plain):
            stored[name], meant[name] = t, t.float()
            continue
        out, width = t.shape
        scales = torch.zeros(-(-out // rows), -(-width // columns))
        for i in range(scales.shape[0]):
            for j in range(scales.shape[1]):
                block = t[i * rows:(i + 1) * rows, j * columns:(j + 1) * columns]
                scales[i, j] = block.float().abs().max() / 448
        scales = scales.to(scale_dtype)
        each = scales.double().repeat_interleave(rows, 0)[:out].repeat_interleave(columns, 1)[:, :width]
        # A scale that was rounded down would take its block's largest value beyond 448.
        values, codes = e4m3((t.double() / each).clamp(-448, 448))
        stored[name] = codes.view(torch.float8_e4m3fn)
        stored[f"{module}.weight_scale_inv"] = scales
        assert torch.equal(stored[name].double(), values)
        meant[name] = (values * each).float()
    return stored, meant


def e2m1(x):
    """The 4-bit values nearest to x (ties to even), and their codes."""
    magnitude = x.abs()
    exponent = (torch.frexp(magnitude)[1] - 1).clamp(min=0)
    units = torch.round(torch.ldexp(magnitude, 1 - exponent)).long()
    exponent, units = torch.where(units == 4, exponent + 1, exponent), torch.where(units == 4, 2, units)
    code = torch.where(units >= 2, (exponent.long() + 1) * 2 + units - 2, units)
    assert int(code.max()) < 8, "beyond 6"
    value = torch.ldexp(units.to(x.dtype), exponent - 1)
    negative = torch.signbit(x)
    return torch.where(negative, -value, value), torch.where(negative, code + 8, code).to(torch.uint8)


def quantise_mxfp4(tensors):
    """The same of an mxfp4 checkpoint: its experts are [experts, out, in / 32, 16], input channels last."""
    stored, meant = {}, {}
    for name, t in tensors.items():
        if not name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            stored[name], meant[name] = t, t.float()
            continue
        blocks = t.transpose(1, 2).double().unflatten(2, (-1, 32))
        # The largest value of a block gets the exponent of 4; what is beyond 6 becomes 6.
        exponent = torch.frexp(blocks.abs().amax(-1, keepdim=True))[1] - 1 - 2
        values, codes = e2m1(torch.ldexp(blocks, -exponent).clamp(-6, 6))
        stored[f"{name}_blocks"] = (codes[..., 0::2] | codes[..., 1::2] << 4).contiguous()
        stored[f"{name}_scales"] = (exponent.squeeze(-1) + 127).to(torch.uint8)
        meant[name] = torch.ldexp(values, exponent).flatten(2).transpose(1, 2).float().contiguous()
    return stored, meant


def write_json(path, value):
    with open(path, "w") as f:
        json.dump(value, f, indent=2)
        f.write("\n")


def save_tensors(tensors, path):
    save_file(tensors, path, metadata={"format": "pt"})
    os.chmod(path, 0o644)


def write_checkpoint(directory, family, case, dtype_key, tensors):
    os.makedirs(directory)
    cfg = dict(COMMON, **case["cfg"])
    if case["form"] == "classic":
        cfg.update(architectures=[ARCHITECTURE[family]], model_type=family, torch_dtype=DTYPE_NAME[dtype_key])
        write_json(f"{directory}/config.json", dict(sorted(cfg.items())))
    else:
        if "rope_parameters" not in cfg:
            cfg["rope_parameters"] = dict(rope_theta=cfg.pop("rope_theta"), rope_type="default")
        config = AutoConfig.for_model(family, **cfg)
        config.architectures = [ARCHITECTURE[family]]
        config.dtype = DTYPE_NAME[dtype_key]
        config.save_pretrained(directory)
    generation = {"_from_model_config": True} if case["form"] == "classic" else {}
    for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
        if cfg.get(key) is not None:
            generation[key] = cfg[key]
    if "eos_list" in case:
        generation["eos_token_id"] = case["eos_list"]
    generation["transformers_version"] = transformers.__version__
    write_json(f"{directory}/generation_config.json", generation)

    shards = case.get("shards", 1)
    if shards == 1:
        save_tensors(tensors, f"{directory}/model.safetensors")
        return generation
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    parts, filled = [{} for _ in range(shards)], 0
    for name, t in tensors.items():
        parts[min(shards - 1, filled * shards // total)][name] = t
        filled += t.numel() * t.element_size()
    weight_map = {}
    for n, part in enumerate(parts, 1):
        file = f"model-{n:05d}-of-{shards:05d}.safetensors"
        save_tensors(part, f"{directory}/{file}")
        weight_map.update({name: file for name in part})
    write_json(f"{directory}/model.safetensors.index.json",
               {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))})
    return generation


def stored_tensors(directory):
    stored = {}
    for file in sorted(os.listdir(directory)):
        if file.endswith(".safetensors"):
            stored.update(load_file(f"{directory}/{file}"))
    return stored


def load_model(directory, dtype=torch.float32):
    model, info = AutoModelForCausalLM.from_pretrained(
        directory, dtype=dtype, attn_implementation="eager", experts_implementation="eager",
        output_loading_info=True)
    for key in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        assert not info.get(key), (directory, key, info[key])
    return model.eval()


def check_loaded(model, directory):
    """Each parameter of the loaded model is exactly what the files hold."""
    stored = stored_tensors(directory)
    used = set()

    def take(name):
        used.add(name)
        return stored[name].float()

    for name, p in model.named_parameters():
        if ".experts." in name and model.config.model_type != "gpt_oss":
            block = name.rsplit(".experts.", 1)[0]
            if model.config.model_type == "mixtral":
                block = block.replace(".mlp", ".block_sparse_moe")
                gate, up, down = "w1", "w3", "w2"
            else:
                gate, up, down = "gate_proj", "up_proj", "down_proj"
            for e in range(p.shape[0]):
                at = f"{block}.experts.{e}"
                if name.endswith("gate_up_proj"):
                    want = torch.cat([take(f"{at}.{gate}.weight"), take(f"{at}.{up}.weight")])
                else:
                    want = take(f"{at}.{down}.weight")
                assert torch.equal(p[e], want), (name, e)
            continue
        at = name
        if model.config.model_type == "mixtral":
            at = at.replace(".mlp.gate.", ".block_sparse_moe.gate.")
        assert torch.equal(p, take(at)), name
    assert used == set(stored), set(stored) - used


class Routers:
    """Collects the router logits of every MoE layer of the last forward."""

    def __init__(self, model):
        self.logits, self.top_k = [], getattr(model.config, "num_experts_per_tok", 0)
        for name, module in model.named_modules():
            if type(module).__name__.endswith("TopKRouter"):
                module.register_forward_hook(lambda m, i, o: self.logits.append(o[0].detach().float()))

    def clear(self):
        self.logits.clear()

    def margin(self, tokens):
        """[tokens] min over layers of (k-th minus (k+1)-th largest router logit)."""
        if not self.logits:
            return torch.full((tokens,), NO_ROUTER)
        per_layer = []
        for l in self.logits:
            top = l.sort(dim=-1, descending=True).values
            per_layer.append(top[:, self.top_k - 1] - top[:, self.top_k])
        return torch.stack(per_layer).min(dim=0).values


@torch.no_grad()
def greedy(model, prompts, steps):
    """Greedy continuation with the cache. Returns ids and the logits of every position but the last."""
    cache = DynamicCache(config=model.config)
    logits = model(prompts, past_key_values=cache, use_cache=True).logits
    seen, ids = [logits], []
    for step in range(steps):
        nxt = seen[-1][:, -1].argmax(-1, keepdim=True)
        ids.append(nxt)
        if step + 1 < steps:
            seen.append(model(nxt, past_key_values=cache, use_cache=True).logits)
    return torch.cat(ids, 1), torch.cat(seen, 1)


def top2_margin(logits):
    top = logits.topk(2, dim=-1).values
    return top[..., 0] - top[..., 1]


def special_ids(generation):
    ids = []
    for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
        v = generation.get(key)
        ids += v if isinstance(v, list) else [] if v is None else [v]
    return sorted(set(ids))


@torch.no_grad()
def clear_of_ties(model, routers, prompts, allowed, gen, rounds=120):
    """Draws again, in each row, the first token whose routing is close to a tie, until few rows have one."""
    if not routers.top_k:
        return prompts
    rows = torch.arange(len(prompts))
    for _ in range(rounds):
        routers.clear()
        model(prompts, use_cache=False)
        close = routers.margin(prompts.numel()).view(prompts.shape) < SEARCH_BOUND
        bad = close.any(1)
        if not bad.any():
            break
        at = close.int().argmax(1)
        fresh = allowed[torch.randint(len(allowed), (len(prompts),), generator=gen)]
        prompts[rows[bad], at[bad]] = fresh[bad]
    return prompts


@torch.no_grad()
def choose_prompt(model, routers, vocab, special, seed, batches=4, batch=256):
    gen = torch.Generator().manual_seed(seed)
    allowed = torch.tensor([i for i in range(vocab) if i not in special])
    best = None
    for _ in range(batches):
        prompts = allowed[torch.randint(len(allowed), (batch, PROMPT), generator=gen)]
        prompts = clear_of_ties(model, routers, prompts, allowed, gen)
        ids, _ = greedy(model, prompts, CONTINUATION)
        full = torch.cat([prompts, ids], 1)
        routers.clear()
        logits = model(full, use_cache=False).logits
        below = (routers.margin(full.numel()).view(full.shape) < SEARCH_BOUND).sum(1)
        choice = top2_margin(logits)[:, PROMPT - 1:-1].min(1).values
        for b in range(batch):
            cont = ids[b].tolist()
            if any(i in special for i in cont) or len(set(cont)) < 12 or below[b] > 3:
                continue
            score = choice[b].item() / (1 + below[b].item())
            if best is None or score > best[0]:
                best = (score, prompts[b].tolist())
    assert best, "no usable prompt"
    return best[1]


@torch.no_grad()
def write_goldens(directory, model, prompt, bound, extra=None):
    """The golden files of one checkpoint, from float32 runs without and with the cache."""
    routers = Routers(model)
    prompt_t = torch.tensor([prompt])
    ids, cached = greedy(model, prompt_t, CONTINUATION)
    full = torch.cat([prompt_t, ids], 1)
    routers.clear()
    logits = model(full, use_cache=False).logits[0]
    margin = routers.margin(full.shape[1])
    top2 = top2_margin(logits)
    assert logits.dtype == torch.float32
    assert logits[len(prompt) - 1:-1].argmax(-1).tolist() == ids[0].tolist(), "cache changes the choice"
    cache_error = (cached[0] - logits[:-1]).abs().max().item()
    std = logits.std().item()
    assert cache_error < 2e-4 * max(std, 1.0), cache_error
    below = int((margin < bound).sum())
    assert below <= 0.05 * len(margin), (directory, below)
    golden = {
        "transformers": transformers.__version__, "torch": torch.__version__,
        "safetensors": safetensors.__version__,
        "prompt": list(prompt), "continuation": ids[0].tolist(), "logits_std": std,
        "router_margin_bound": bound, "positions_below_router_margin_bound": below,
        "cached_vs_uncached_max_abs_logit_difference": cache_error,
    }
    golden.update(extra or {})
    np.save(f"{directory}/golden_logits.npy", logits.numpy().astype(np.float32))
    np.save(f"{directory}/golden_router_margin.npy", margin.numpy().astype(np.float32))
    np.save(f"{directory}/golden_top2_margin.npy", top2.numpy().astype(np.float32))
    return golden, logits, margin


@torch.no_grad()
def native_error(directory, dtype, tokens, logits):
    """How far transformers' own evaluation in the stored dtype is from the float32 golden."""
    other = load_model(directory, dtype)(torch.tensor([tokens]), use_cache=False).logits[0].float()
    d = other - logits
    return {"max_abs": d.abs().max().item(), "rms": d.pow(2).mean().sqrt().item()}


def dump_golden(path, golden):
    lines = [f"  {json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in golden.items()]
    with open(path, "w", encoding="utf-8") as f:
        f.write("{\n" + ",\n".join(lines) + "\n}\n")


def write_meant(directory, family, case, tensors):
    """The checkpoint without its encoding, for transformers."""
    plain = dict(case, cfg={k: v for k, v in case["cfg"].items() if k != "quantization_config"})
    write_checkpoint(directory, family, plain, "f32", tensors)


def make(root, name):
    case = CASES[name]
    family, dtype_key = name.rsplit("-", 1)
    directory = f"{root}/{name}"
    shutil.rmtree(directory, ignore_errors=True)
    seed = zlib.crc32(name.encode())
    tensors = draw_tensors(family, case["cfg"], TORCH_DTYPE[dtype_key], seed)
    loaded = directory
    if "quantization_config" in case["cfg"]:
        tensors, meant = (quantise_mxfp4(tensors) if dtype_key == "mxfp4" else
                          quantise(tensors, case["cfg"]["quantization_config"], case["scale_dtype"]))
        loaded = f"{tempfile.mkdtemp()}/{name}"
        write_meant(loaded, family, case, meant)
    generation = write_checkpoint(directory, family, case, dtype_key, tensors)
    model = load_model(loaded)
    check_loaded(model, loaded)
    prompt = choose_prompt(model, Routers(model), case["cfg"]["vocab_size"], special_ids(generation), seed + 1)
    model = load_model(loaded)  # without the search's hooks
    golden, logits, margin = write_goldens(directory, model, prompt, ROUTER_BOUND[dtype_key], {"seed": seed})
    if dtype_key in ("bf16", "f16"):
        golden["native_dtype_logit_error"] = native_error(
            directory, TORCH_DTYPE[dtype_key], golden["prompt"] + golden["continuation"], logits)
    dump_golden(f"{directory}/golden.json", golden)
    if loaded != directory:
        shutil.rmtree(os.path.dirname(loaded))
    size = sum(os.path.getsize(f"{directory}/{f}") for f in os.listdir(directory) if f.endswith(".safetensors"))
    choice = top2_margin(logits)[PROMPT - 1:-1].min().item()
    print(f"{name:16s} {size:7d} B  std {golden['logits_std']:.3f}  below bound "
          f"{golden['positions_below_router_margin_bound']}, below {SEARCH_BOUND} {(margin < SEARCH_BOUND).sum()}  "
          f"least margin router {margin.min():.3g} choice {choice:.3g}  "
          f"cache {golden['cached_vs_uncached_max_abs_logit_difference']:.1e}  "
          f"{golden.get('native_dtype_logit_error', '')} distinct {len(set(golden['continuation']))}", flush=True)


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=os.path.join(here, "families"))
    parser.add_argument("--only", nargs="*", default=[])
    args = parser.parse_args()
    torch.set_num_threads(2)
    transformers.utils.logging.disable_progress_bar()
    for name in CASES:
        if not args.only or any(s in name for s in args.only):
            make(args.out, name)


if __name__ == "__main__":
    main()
