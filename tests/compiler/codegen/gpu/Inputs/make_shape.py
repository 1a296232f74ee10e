# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes a checkpoint of one layer of a published shape whose weights are a hole
in the file: enough to compile, nothing to run.

usage: make_shape.py NAME DIR
"""
import json
import os
import struct
import sys


def attention(hidden, heads, kv_heads, head_dim):
    return {
        "self_attn.q_proj.weight": [heads * head_dim, hidden],
        "self_attn.k_proj.weight": [kv_heads * head_dim, hidden],
        "self_attn.v_proj.weight": [kv_heads * head_dim, hidden],
        "self_attn.o_proj.weight": [hidden, heads * head_dim],
        "input_layernorm.weight": [hidden],
        "post_attention_layernorm.weight": [hidden],
    }


def gated(prefix, hidden, inner, names=("gate_proj", "up_proj", "down_proj")):
    gate, up, down = names
    return {
        f"{prefix}.{gate}.weight": [inner, hidden],
        f"{prefix}.{up}.weight": [inner, hidden],
        f"{prefix}.{down}.weight": [hidden, inner],
    }


def olmoe_1b_7b():
    config = dict(
        model_type="olmoe", architectures=["OlmoeForCausalLM"], hidden_size=2048,
        intermediate_size=1024, num_attention_heads=16, num_key_value_heads=16,
        num_experts=64, num_experts_per_tok=8, norm_topk_prob=False,
        vocab_size=50304, rms_norm_eps=1e-5, rope_theta=10000.0)
    layer = attention(2048, 16, 16, 128)
    layer |= {"self_attn.q_norm.weight": [2048], "self_attn.k_norm.weight": [2048]}
    layer |= {"mlp.gate.weight": [64, 2048]}
    for e in range(64):
        layer |= gated(f"mlp.experts.{e}", 2048, 1024)
    return config, layer


def qwen3_30b_a3b():
    config = dict(
        model_type="qwen3_moe", architectures=["Qwen3MoeForCausalLM"],
        hidden_size=2048, intermediate_size=6144, moe_intermediate_size=768,
        num_attention_heads=32, num_key_value_heads=4, head_dim=128,
        num_experts=128, num_experts_per_tok=8, norm_topk_prob=True,
        decoder_sparse_step=1, mlp_only_layers=[], vocab_size=151936,
        rms_norm_eps=1e-6, rope_theta=1000000.0)
    layer = attention(2048, 32, 4, 128)
    layer |= {"self_attn.q_norm.weight": [128], "self_attn.k_norm.weight": [128]}
    layer |= {"mlp.gate.weight": [128, 2048]}
    for e in range(128):
        layer |= gated(f"mlp.experts.{e}", 2048, 768)
    return config, layer


def qwen3_30b_a3b_fp8():
    """Its products in blocks of 8-bit floats, as published."""
    config, layer = qwen3_30b_a3b()
    config |= dict(quantization_config=dict(
        quant_method="fp8", fmt="e4m3", activation_scheme="dynamic",
        weight_block_size=[128, 128]))
    tensors = {}
    for name, shape in layer.items():
        if not name.endswith("_proj.weight"):
            tensors[name] = shape
            continue
        tensors[name] = ("F8_E4M3", shape)
        tensors[name + "_scale_inv"] = ("F32", [-(-size // 128) for size in shape])
    return config, tensors


def mixtral_8x7b():
    config = dict(
        model_type="mixtral", architectures=["MixtralForCausalLM"],
        hidden_size=4096, intermediate_size=14336, num_attention_heads=32,
        num_key_value_heads=8, num_local_experts=8, num_experts_per_tok=2,
        vocab_size=32000, rms_norm_eps=1e-5, rope_theta=1000000.0)
    layer = attention(4096, 32, 8, 128)
    layer |= {"block_sparse_moe.gate.weight": [8, 4096]}
    for e in range(8):
        layer |= gated(f"block_sparse_moe.experts.{e}", 4096, 14336,
                       ("w1", "w3", "w2"))
    return config, layer


def llama_3_2_1b():
    config = dict(
        model_type="llama", architectures=["LlamaForCausalLM"], hidden_size=2048,
        intermediate_size=8192, num_attention_heads=32, num_key_value_heads=8,
        head_dim=64, vocab_size=128256, rms_norm_eps=1e-5, rope_theta=500000.0)
    return config, attention(2048, 32, 8, 64) | gated("mlp", 2048, 8192)


def gpt_oss_20b():
    """Its experts in mxfp4, as published."""
    config = dict(
        model_type="gpt_oss", architectures=["GptOssForCausalLM"], hidden_size=2880,
        intermediate_size=2880, num_attention_heads=64, num_key_value_heads=8,
        head_dim=64, num_local_experts=32, num_experts_per_tok=4, attention_bias=True,
        layer_types=["sliding_attention"], sliding_window=128, swiglu_limit=7.0,
        vocab_size=201088, rms_norm_eps=1e-5, rope_theta=150000.0,
        quantization_config=dict(quant_method="mxfp4", modules_to_not_convert=[
            "model.layers.*.self_attn", "model.layers.*.mlp.router",
            "model.embed_tokens", "lm_head"]),
        rope_scaling=dict(rope_type="yarn", factor=32.0, beta_fast=32.0, beta_slow=1.0,
                          original_max_position_embeddings=4096, truncate=False))
    layer = attention(2880, 64, 8, 64)
    layer |= {"self_attn.sinks": [64], "self_attn.q_proj.bias": [4096],
              "self_attn.k_proj.bias": [512], "self_attn.v_proj.bias": [512],
              "self_attn.o_proj.bias": [2880], "mlp.router.weight": [32, 2880],
              "mlp.router.bias": [32], "mlp.experts.gate_up_proj_bias": [32, 5760],
              "mlp.experts.down_proj_bias": [32, 2880]}
    for name, rows in (("gate_up_proj", 5760), ("down_proj", 2880)):
        layer[f"mlp.experts.{name}_blocks"] = ("U8", [32, rows, 90, 16])
        layer[f"mlp.experts.{name}_scales"] = ("U8", [32, rows, 90])
    return config, layer


SHAPES = {"gpt-oss-20b": gpt_oss_20b, "olmoe-1b-7b": olmoe_1b_7b, "qwen3-30b-a3b": qwen3_30b_a3b,
          "qwen3-30b-a3b-fp8": qwen3_30b_a3b_fp8,
          "mixtral-8x7b": mixtral_8x7b, "llama-3.2-1b": llama_3_2_1b}


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in SHAPES:
        sys.exit(__doc__ + "names: " + ", ".join(SHAPES))
    config, layer = SHAPES[sys.argv[1]]()
    config |= dict(num_hidden_layers=1, max_position_embeddings=4096,
                   hidden_act="silu", tie_word_embeddings=False,
                   torch_dtype="bfloat16", eos_token_id=0)
    hidden, words = config["hidden_size"], config["vocab_size"]
    shapes = {"model.embed_tokens.weight": [words, hidden],
              "model.norm.weight": [hidden], "lm_head.weight": [words, hidden]}
    shapes |= {f"model.layers.0.{name}": shape for name, shape in layer.items()}
    header, at = {}, 0
    for name, shape in shapes.items():
        dtype, shape = shape if isinstance(shape, tuple) else ("BF16", shape)
        size = {"BF16": 2, "F8_E4M3": 1, "U8": 1, "F32": 4}[dtype]
        for dim in shape:
            size *= dim
        header[name] = dict(dtype=dtype, shape=shape, data_offsets=[at, at + size])
        at += size
    os.makedirs(sys.argv[2], exist_ok=True)
    with open(os.path.join(sys.argv[2], "config.json"), "w") as file:
        json.dump(config, file)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(sys.argv[2], "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + at)


main()
