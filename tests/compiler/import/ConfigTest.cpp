// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Which keys of config.json and generation_config.json are read, ignored and
// refused.
#include "compiler/import/Config.h"

#include "tests/compiler/import/Files.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"
#include <cmath>

using namespace headrace;
using namespace headrace::test;
using llvm::json::Array;
using llvm::json::Object;
using llvm::json::Value;

namespace {

Object dense(llvm::StringRef family) {
  Object config{{"model_type", family},     {"vocab_size", 100},
                {"hidden_size", 64},        {"intermediate_size", 96},
                {"num_hidden_layers", 4},   {"num_attention_heads", 4},
                {"num_key_value_heads", 2}, {"max_position_embeddings", 128},
                {"rms_norm_eps", 1e-5},     {"hidden_act", "silu"}};
  if (family == "mistral")
    config["sliding_window"] = nullptr;
  if (family == "qwen3")
    config["head_dim"] = 16;
  return config;
}

Object sparse(llvm::StringRef family) {
  Object config = dense(family);
  config["num_experts"] = 8;
  config["num_experts_per_tok"] = 2;
  if (family != "mixtral")
    config["norm_topk_prob"] = false;
  if (family.starts_with("qwen"))
    config["moe_intermediate_size"] = 32;
  if (family == "qwen2_moe")
    config["shared_expert_intermediate_size"] = 48;
  return config;
}

llvm::Expected<ModelConfig> parse(Object config) {
  std::string text = llvm::formatv("{0}", Value(std::move(config))).str();
  return parseModelConfig(text, "config.json");
}

ModelConfig good(Object config) {
  llvm::Expected<ModelConfig> result = parse(std::move(config));
  if (result)
    return *result;
  ADD_FAILURE() << llvm::toString(result.takeError());
  ModelConfig fallback;
  fallback.layers.resize(4);
  return fallback;
}

/// The error without its "config.json: ".
std::string bad(Object config) {
  std::string message = errorOf(parse(std::move(config)));
  expectOneLine(message);
  llvm::StringRef rest = message;
  EXPECT_TRUE(rest.consume_front("config.json: ")) << message;
  return rest.str();
}

Object with(Object config, llvm::StringRef key, Value value) {
  config[key] = std::move(value);
  return config;
}

Object without(Object config, llvm::StringRef key) {
  config.erase(key);
  return config;
}

std::vector<int64_t> windows(const ModelConfig &config) {
  std::vector<int64_t> result;
  for (const LayerConfig &layer : config.layers)
    result.push_back(layer.window.value_or(0));
  return result;
}

std::vector<bool> sparsity(const ModelConfig &config) {
  std::vector<bool> result;
  for (const LayerConfig &layer : config.layers)
    result.push_back(layer.sparse);
  return result;
}

TEST(Config, Llama) {
  ModelConfig config = good(dense("llama"));
  EXPECT_EQ(config.family, Family::Llama);
  EXPECT_EQ(config.vocabulary, 100);
  EXPECT_EQ(config.heads, 4);
  EXPECT_EQ(config.kvHeads, 2);
  EXPECT_EQ(config.headDim, 16);
  EXPECT_EQ(config.layers.size(), 4u);
  EXPECT_EQ(config.experts, 0);
  EXPECT_FALSE(config.dtype);
  EXPECT_FALSE(config.qkvBias);
  EXPECT_FALSE(config.tiedEmbeddings);
  EXPECT_EQ(config.qkNorm, QkNorm::None);
  EXPECT_EQ(config.rope.kind, RopeConfig::Kind::Default);
  EXPECT_EQ(config.rope.theta, 10000.0);
  EXPECT_TRUE(config.eos.empty());
  EXPECT_FALSE(config.bos);

  EXPECT_EQ(good(without(dense("llama"), "num_key_value_heads")).kvHeads, 4);
  EXPECT_EQ(good(with(dense("llama"), "head_dim", 32)).headDim, 32);
  config = good(with(dense("llama"), "attention_bias", true));
  EXPECT_TRUE(config.qkvBias && config.outputBias);
  EXPECT_TRUE(good(with(dense("llama"), "mlp_bias", true)).mlpBias);
}

TEST(Config, FamiliesDiffer) {
  EXPECT_TRUE(good(dense("qwen2")).qkvBias);
  EXPECT_FALSE(good(dense("qwen2")).outputBias);
  EXPECT_EQ(good(dense("qwen3")).qkNorm, QkNorm::PerHead);
  ModelConfig olmoe = good(with(sparse("olmoe"), "clip_qkv", 8));
  EXPECT_EQ(olmoe.qkNorm, QkNorm::FullWidth);
  EXPECT_EQ(olmoe.clipQkv, 8.0);
  EXPECT_EQ(olmoe.expertIntermediate, 96);
  EXPECT_FALSE(olmoe.normalizeTopK);
  ModelConfig mixtral = good(sparse("mixtral"));
  EXPECT_TRUE(mixtral.normalizeTopK);
  EXPECT_EQ(mixtral.rope.theta, 1e6);
  ModelConfig qwen2Moe = good(sparse("qwen2_moe"));
  EXPECT_TRUE(qwen2Moe.qkvBias);
  EXPECT_EQ(qwen2Moe.sharedIntermediate, 48);
  EXPECT_EQ(qwen2Moe.expertIntermediate, 32);
  EXPECT_FALSE(good(with(sparse("qwen2_moe"), "qkv_bias", false)).qkvBias);
  EXPECT_EQ(good(sparse("qwen3_moe")).qkNorm, QkNorm::PerHead);
}

TEST(Config, DTypes) {
  EXPECT_EQ(good(with(dense("llama"), "torch_dtype", "bfloat16")).dtype,
            DType::BF16);
  EXPECT_EQ(good(with(dense("llama"), "dtype", "float16")).dtype, DType::F16);
  EXPECT_EQ(good(with(dense("llama"), "dtype", "torch.float32")).dtype,
            DType::F32);
  EXPECT_EQ(bad(with(dense("llama"), "dtype", "float8_e4m3fn")),
            "dtype 'float8_e4m3fn' is not supported; float32, float16 and "
            "bfloat16 are");
  EXPECT_EQ(bad(with(with(dense("llama"), "dtype", "float16"), "torch_dtype",
                     "float32")),
            "'dtype' and 'torch_dtype' differ");
}

TEST(Config, RopeTables) {
  EXPECT_EQ(good(with(dense("llama"), "rope_theta", 5e5)).rope.theta, 5e5);
  ModelConfig config = good(with(dense("llama"), "rope_scaling",
                                 Object{{"type", "linear"}, {"factor", 2}}));
  EXPECT_EQ(config.rope.kind, RopeConfig::Kind::Linear);
  EXPECT_EQ(config.rope.factor, 2.0);
  Object llama3{{"rope_type", "llama3"},
                {"factor", 32.0},
                {"low_freq_factor", 1.0},
                {"high_freq_factor", 4.0},
                {"original_max_position_embeddings", 64}};
  config = good(with(dense("llama"), "rope_scaling", Object(llama3)));
  EXPECT_EQ(config.rope.kind, RopeConfig::Kind::Llama3);
  EXPECT_EQ(config.rope.original, 64);
  EXPECT_EQ(config.rope.high, 4.0);
  llama3["rope_theta"] = 7e5;
  config = good(with(dense("llama"), "rope_parameters", Object(llama3)));
  EXPECT_EQ(config.rope.theta, 7e5);
  Object yarn{{"rope_type", "yarn"},
              {"factor", 4.0},
              {"original_max_position_embeddings", 32}};
  config = good(with(dense("qwen3"), "rope_scaling", Object(yarn)));
  EXPECT_EQ(config.rope.kind, RopeConfig::Kind::Yarn);
  EXPECT_EQ(config.rope.low, 1.0);
  EXPECT_EQ(config.rope.high, 32.0);
  EXPECT_DOUBLE_EQ(config.rope.attentionFactor, 0.1 * std::log(4.0) + 1);
  yarn["attention_factor"] = 1.5;
  EXPECT_EQ(good(with(dense("qwen3"), "rope_scaling", Object(yarn)))
                .rope.attentionFactor,
            1.5);

  auto ropeError = [&](Object rope) {
    return bad(with(dense("llama"), "rope_scaling", std::move(rope)));
  };
  EXPECT_EQ(ropeError(Object{{"rope_type", "dynamic"}, {"factor", 2.0}}),
            "'rope_scaling': rope type 'dynamic' is not supported");
  EXPECT_EQ(ropeError(Object{{"rope_type", "longrope"}}),
            "'rope_scaling': rope type 'longrope' is not supported");
  EXPECT_EQ(ropeError(Object{{"rope_type", "linear"}}),
            "'rope_scaling': lacks 'factor'");
  EXPECT_EQ(ropeError(Object{{"rope_type", "linear"}, {"factor", 0}}),
            "'rope_scaling': expected 'factor' to be a positive number, but "
            "got 0");
  EXPECT_EQ(ropeError(Object{{"rope_type", "linear"}, {"type", "yarn"}}),
            "'rope_scaling': 'rope_type' and 'type' differ");
  EXPECT_EQ(ropeError(Object{{"rope_type", "default"}, {"factor", 2.0}}),
            "'rope_scaling': key 'factor' is not supported, and it could "
            "change the result");
  EXPECT_EQ(ropeError(Object{{"partial_rotary_factor", 0.5}}),
            "'rope_scaling': 'partial_rotary_factor' is 0.5, but only 1 is "
            "supported");
  EXPECT_TRUE(
      good(with(dense("llama"), "rope_scaling", Object(yarn))).rope.truncate);
  yarn["truncate"] = false;
  EXPECT_FALSE(
      good(with(dense("llama"), "rope_scaling", Object(yarn))).rope.truncate);
  llama3["low_freq_factor"] = 4.0;
  EXPECT_EQ(ropeError(Object(llama3)),
            "'rope_scaling': expected 'low_freq_factor' to be less than "
            "'high_freq_factor'");
  EXPECT_EQ(bad(with(with(dense("llama"), "rope_scaling", Object{}),
                     "rope_parameters", Object{})),
            "has both 'rope_scaling' and 'rope_parameters'");
  EXPECT_EQ(bad(with(dense("llama"), "rope_parameters",
                     Object{{"full_attention", Object{{"factor", 2.0}}}})),
            "'rope_parameters': key 'full_attention' is not supported, and it "
            "could change the result");
}

TEST(Config, Windows) {
  EXPECT_EQ(windows(good(with(dense("mistral"), "sliding_window", 24))),
            (std::vector<int64_t>{24, 24, 24, 24}));
  EXPECT_EQ(windows(good(dense("mistral"))),
            (std::vector<int64_t>{0, 0, 0, 0}));
  EXPECT_EQ(bad(without(dense("mistral"), "sliding_window")),
            "lacks 'sliding_window'");
  EXPECT_EQ(bad(with(dense("mistral"), "sliding_window", 0)),
            "expected 'sliding_window' to be an integer from 1 to 2147483647, "
            "but got 0");
  EXPECT_EQ(bad(with(dense("llama"), "sliding_window", 8)),
            "'sliding_window' is 8, but only null is supported");

  for (llvm::StringRef family : {"qwen2", "qwen3"}) {
    Object config = with(dense(family), "sliding_window", 8);
    EXPECT_EQ(windows(good(Object(config))),
              (std::vector<int64_t>{0, 0, 0, 0}));
    config["use_sliding_window"] = true;
    EXPECT_EQ(bad(Object(config)), "lacks 'max_window_layers'");
    config["max_window_layers"] = 1;
    EXPECT_EQ(windows(good(Object(config))),
              (std::vector<int64_t>{0, 8, 8, 8}));
    config["layer_types"] = Array{"sliding_attention", "full_attention",
                                  "full_attention", "sliding_attention"};
    EXPECT_EQ(windows(good(Object(config))),
              (std::vector<int64_t>{8, 0, 0, 8}));
    config["use_sliding_window"] = false;
    EXPECT_EQ(bad(Object(config)), "'layer_types' has sliding_attention, but "
                                   "no window is in use");
  }
  Object config = with(with(sparse("qwen2_moe"), "sliding_window", 8),
                       "use_sliding_window", true);
  config["max_window_layers"] = 2;
  EXPECT_EQ(bad(Object(config)),
            "'use_sliding_window' needs 'layer_types' in this family");
  config["layer_types"] = Array{"sliding_attention", "full_attention",
                                "full_attention", "full_attention"};
  EXPECT_EQ(windows(good(Object(config))), (std::vector<int64_t>{8, 0, 0, 0}));
  config = with(with(sparse("qwen3_moe"), "sliding_window", 8),
                "use_sliding_window", true);
  EXPECT_EQ(windows(good(Object(config))), (std::vector<int64_t>{8, 8, 8, 8}));
  config["max_window_layers"] = 2;
  EXPECT_EQ(bad(Object(config)),
            "'max_window_layers' is 2, but only 0 is supported with "
            "'use_sliding_window' in this family");

  EXPECT_EQ(bad(with(dense("qwen2"), "layer_types", Array{"full_attention"})),
            "expected 'layer_types' to have 4 elements, but got 1");
  EXPECT_EQ(bad(with(dense("qwen2"), "layer_types",
                     Array{"full_attention", "linear_attention", 1, 2})),
            "layer type \"linear_attention\" is not supported");
  EXPECT_EQ(bad(with(with(dense("mistral"), "sliding_window", 8), "layer_types",
                     Array{"full_attention", "full_attention", "full_attention",
                           "full_attention"})),
            "'layer_types' contradicts 'sliding_window', and this family has "
            "one for all layers");
}

TEST(Config, GptOss) {
  Object object =
      with(without(sparse("gpt_oss"), "norm_topk_prob"), "sliding_window", 8);
  EXPECT_EQ(bad(Object(object)), "lacks 'head_dim'");
  object["head_dim"] = 16;
  ModelConfig config = good(Object(object));
  EXPECT_TRUE(config.sinks && config.qkvBias && config.outputBias);
  EXPECT_EQ(config.rope.theta, 150000.0);
  EXPECT_EQ(config.swigluAlpha, 1.702);
  EXPECT_EQ(config.swigluLimit, 7.0);
  EXPECT_EQ(config.expertIntermediate, config.intermediate);
  EXPECT_EQ(windows(config), (std::vector<int64_t>{8, 0, 8, 0}));
  EXPECT_EQ(sparsity(config), (std::vector<bool>{true, true, true, true}));
  EXPECT_EQ(windows(good(with(Object(object), "layer_types",
                              Array{"full_attention", "full_attention",
                                    "sliding_attention", "full_attention"}))),
            (std::vector<int64_t>{0, 0, 8, 0}));
  EXPECT_EQ(windows(good(with(Object(object), "sliding_window", nullptr))),
            (std::vector<int64_t>{0, 0, 0, 0}));
  EXPECT_EQ(bad(without(Object(object), "sliding_window")),
            "lacks 'sliding_window'");
  EXPECT_EQ(good(with(Object(object), "swiglu_limit", 1.5)).swigluLimit, 1.5);
  EXPECT_FALSE(good(with(Object(object), "attention_bias", false)).qkvBias);
  // Second names of what other keys say.
  object["experts_per_token"] = 2;
  good(Object(object));
  EXPECT_EQ(bad(with(Object(object), "experts_per_token", 3)),
            "'experts_per_token' is 3, but only 2 is supported");
  object["rope_scaling"] = Object{{"rope_type", "yarn"},
                                  {"factor", 4.0},
                                  {"truncate", false},
                                  {"original_max_position_embeddings", 32}};
  object["initial_context_length"] = 32;
  EXPECT_FALSE(good(Object(object)).rope.truncate);
  EXPECT_EQ(bad(with(Object(object), "initial_context_length", 64)),
            "'initial_context_length' is 64, but only 32 is supported");
}

TEST(Config, Experts) {
  EXPECT_EQ(sparsity(good(sparse("mixtral"))),
            (std::vector<bool>{true, true, true, true}));
  EXPECT_EQ(sparsity(good(with(sparse("qwen2_moe"), "decoder_sparse_step", 2))),
            (std::vector<bool>{false, true, false, true}));
  EXPECT_EQ(
      sparsity(good(with(sparse("qwen3_moe"), "mlp_only_layers", Array{0, 2}))),
      (std::vector<bool>{false, true, false, true}));
  Object local = without(sparse("qwen3_moe"), "num_experts");
  EXPECT_EQ(bad(Object(local)), "lacks 'num_experts'");
  EXPECT_EQ(good(with(Object(local), "num_local_experts", 5)).experts, 5);
  EXPECT_EQ(bad(with(sparse("qwen3_moe"), "num_local_experts", 5)),
            "'num_experts' and 'num_local_experts' differ");
  EXPECT_EQ(bad(with(sparse("olmoe"), "num_experts_per_tok", 9)),
            "expected 'num_experts_per_tok' to be at most the number of "
            "experts, but got 9 and 8");
  EXPECT_EQ(bad(with(sparse("olmoe"), "num_experts_per_tok", 0)),
            "expected 'num_experts_per_tok' to be an integer from 1 to "
            "2147483647, but got 0");
  EXPECT_EQ(bad(without(sparse("olmoe"), "norm_topk_prob")),
            "lacks 'norm_topk_prob'");
  EXPECT_EQ(bad(with(sparse("qwen3_moe"), "mlp_only_layers", Array{4})),
            "'mlp_only_layers' names layer 4, but there are 4");
  EXPECT_EQ(bad(with(sparse("qwen3_moe"), "mlp_only_layers", 1)),
            "expected 'mlp_only_layers' to be a list, but got 1");
  EXPECT_EQ(
      bad(without(sparse("qwen2_moe"), "shared_expert_intermediate_size")),
      "lacks 'shared_expert_intermediate_size'");
  EXPECT_EQ(bad(with(dense("llama"), "num_experts", 8)),
            "key 'num_experts' is not supported, and it could change the "
            "result");
}

TEST(Config, RefusesWhatItDoesNotKnow) {
  EXPECT_EQ(llvm::StringRef(bad(dense("gpt2"))).substr(0, 37),
            "model_type 'gpt2' is not supported; s");
  EXPECT_EQ(bad(without(dense("llama"), "model_type")), "lacks 'model_type'");
  EXPECT_EQ(bad(with(dense("llama"), "model_type", 1)), "lacks 'model_type'");
  EXPECT_EQ(bad(with(dense("llama"), "quantization_config",
                     Object{{"quant_method", "gptq"}})),
            "'quantization_config': 'quant_method' is \"gptq\", but only "
            "\"fp8\" is supported in this family");
  EXPECT_EQ(bad(with(dense("llama"), "attention_multiplier", 0.5)),
            "key 'attention_multiplier' is not supported, and it could change "
            "the result");
  EXPECT_EQ(bad(with(dense("llama"), "hidden_act", "gelu")),
            "'hidden_act' is \"gelu\", but only \"silu\" is supported");
  EXPECT_EQ(bad(without(dense("llama"), "hidden_act")), "lacks 'hidden_act'");
  EXPECT_EQ(bad(with(dense("mistral"), "attention_bias", true)),
            "'attention_bias' is true, but only false is supported");
  EXPECT_EQ(bad(with(dense("llama"), "architectures",
                     Array{"LlamaForSequenceClassification"})),
            "architecture \"LlamaForSequenceClassification\" is not "
            "supported; LlamaForCausalLM is");
  // Of several, always the same one.
  EXPECT_EQ(bad(with(with(dense("llama"), "zeta", 1), "alpha", 1)),
            "key 'alpha' is not supported, and it could change the result");
  // Null says nothing.
  good(with(dense("llama"), "attention_multiplier", nullptr));
  good(with(dense("llama"), "quantization_config", nullptr));
}

Object fp8() {
  return Object{{"quant_method", "fp8"},
                {"activation_scheme", "dynamic"},
                {"fmt", "e4m3"},
                {"weight_block_size", Array{128, 64}},
                {"modules_to_not_convert", Array{"lm_head", "layers.1.mlp"}}};
}

TEST(Config, Fp8) {
  EXPECT_FALSE(good(dense("llama")).quantization);
  ModelConfig config = good(with(dense("llama"), "quantization_config", fp8()));
  ASSERT_TRUE(config.quantization);
  EXPECT_EQ(config.quantization->blockRows, 128);
  EXPECT_EQ(config.quantization->blockColumns, 64);
  EXPECT_TRUE(config.quantization->keeps("lm_head"));
  EXPECT_TRUE(config.quantization->keeps("model.layers.1.mlp.gate_proj"));
  EXPECT_FALSE(config.quantization->keeps("model.layers.11.mlp.gate_proj"));
  EXPECT_FALSE(config.quantization->keeps("model.layers.1.mlp_proj"));

  auto refused = [&](llvm::StringRef key, Value value) {
    return bad(with(dense("llama"), "quantization_config",
                    with(fp8(), key, std::move(value))));
  };
  EXPECT_EQ(
      refused("activation_scheme", "static"),
      "'quantization_config': 'activation_scheme' is \"static\", but only "
      "\"dynamic\" is supported");
  EXPECT_EQ(refused("fmt", "e5m2"), "'quantization_config': 'fmt' is \"e5m2\", "
                                    "but only \"e4m3\" is supported");
  EXPECT_EQ(refused("scale_fmt", "ue8m0"),
            "'quantization_config': key 'scale_fmt' is not supported, and it "
            "could change the result");
  for (Value size : {Value(nullptr), Value(Array{128}), Value(Array{0, 128}),
                     Value(Array{128, 1.5})})
    EXPECT_EQ(refused("weight_block_size", std::move(size)),
              "'quantization_config': expected 'weight_block_size' to be two "
              "positive integers");
  EXPECT_EQ(refused("modules_to_not_convert", Array{1}),
            "'quantization_config': expected 'modules_to_not_convert' to hold "
            "strings, but got 1");
  EXPECT_EQ(bad(with(dense("llama"), "quantization_config", Object{})),
            "'quantization_config': lacks 'quant_method'");
}

TEST(Config, Mxfp4) {
  Object quantization{
      {"quant_method", "mxfp4"},
      {"modules_to_not_convert",
       Array{"model.layers.*.self_attn", "model.layers.*.mlp.router"}}};
  auto gptOss = [&](Object object) {
    Object config =
        with(without(sparse("gpt_oss"), "norm_topk_prob"), "sliding_window", 8);
    config["head_dim"] = 16;
    return with(std::move(config), "quantization_config", std::move(object));
  };
  EXPECT_TRUE(
      good(gptOss(quantization)).has(QuantizationConfig::Method::Mxfp4));
  EXPECT_EQ(bad(gptOss(with(quantization, "modules_to_not_convert",
                            Array{"model.layers.0.mlp.experts"}))),
            "'quantization_config': 'modules_to_not_convert' has "
            "'model.layers.0.mlp.experts', but experts are what mxfp4 "
            "quantizes");
  EXPECT_EQ(bad(gptOss(with(quantization, "dequantize", true))),
            "'quantization_config': 'dequantize' is true, but only false is "
            "supported");
  EXPECT_EQ(bad(gptOss(fp8())),
            "'quantization_config': 'quant_method' is \"fp8\", but only "
            "\"mxfp4\" is supported in this family");
}

TEST(Config, IgnoresWhatIsHarmless) {
  Object config = dense("llama");
  config["_name_or_path"] = "x";
  config["attention_dropout"] = 0.1;
  config["initializer_range"] = 0.02;
  config["pad_token_id"] = -1;
  config["pretraining_tp"] = 2;
  config["transformers_version"] = "5.0";
  config["use_cache"] = false;
  good(std::move(config));
}

TEST(Config, RefusesBadValues) {
  EXPECT_EQ(bad(without(dense("llama"), "vocab_size")), "lacks 'vocab_size'");
  EXPECT_EQ(bad(with(dense("llama"), "hidden_size", "64")),
            "expected 'hidden_size' to be an integer from 1 to 2147483647, but "
            "got \"64\"");
  EXPECT_EQ(bad(with(dense("llama"), "hidden_size", -64)),
            "expected 'hidden_size' to be an integer from 1 to 2147483647, but "
            "got -64");
  EXPECT_EQ(bad(with(dense("llama"), "num_hidden_layers", 1000000)),
            "expected 'num_hidden_layers' to be an integer from 1 to 4096, but "
            "got 1000000");
  EXPECT_EQ(bad(with(dense("llama"), "rms_norm_eps", 0)),
            "expected 'rms_norm_eps' to be a positive number, but got 0");
  EXPECT_EQ(bad(with(dense("llama"), "tie_word_embeddings", 1)),
            "expected 'tie_word_embeddings' to be true or false, but got 1");
  EXPECT_EQ(bad(with(dense("llama"), "num_attention_heads", 5)),
            "expected 'num_attention_heads' to be a multiple of "
            "'num_key_value_heads', but got 5 and 2");
  EXPECT_EQ(bad(with(dense("llama"), "num_attention_heads", 6)),
            "expected 'hidden_size' to be a multiple of 'num_attention_heads', "
            "but got 64 and 6");
  EXPECT_EQ(bad(with(dense("llama"), "head_dim", 15)),
            "expected an even head size for the rotary embedding, but got 15");
  EXPECT_EQ(bad(without(dense("qwen3"), "head_dim")), "lacks 'head_dim'");
  EXPECT_EQ(bad(without(dense("qwen2"), "num_key_value_heads")),
            "lacks 'num_key_value_heads'");
  EXPECT_EQ(bad(with(sparse("olmoe"), "head_dim", 32)),
            "expected 'hidden_size' to be 'num_attention_heads' times the head "
            "size, but got 64 and 4 times 32");
  EXPECT_EQ(bad(with(sparse("olmoe"), "clip_qkv", -1)),
            "expected 'clip_qkv' to be a positive number, but got -1");
}

TEST(Config, RefusesBadText) {
  for (llvm::StringRef text :
       {"", "{", "[]", "nul", "{\"a\":1,\"a\":2}", "{\"a\":NaN}", "\xff"})
    expectOneLine(errorOf(parseModelConfig(text, "config.json")));
  EXPECT_EQ(errorOf(parseModelConfig(std::string(1 << 20, '{'), "config.json")),
            "config.json: nested deeper than 32 levels");
}

TEST(Config, EndTokens) {
  ModelConfig config = good(with(
      with(dense("llama"), "eos_token_id", Array{7, 9, 7}), "bos_token_id", 1));
  EXPECT_EQ(config.eos, (std::vector<int64_t>{7, 9}));
  EXPECT_EQ(config.bos, 1);
  EXPECT_EQ(good(with(dense("llama"), "eos_token_id", 7)).eos,
            (std::vector<int64_t>{7}));
  EXPECT_EQ(bad(with(dense("llama"), "eos_token_id", 100)),
            "'eos_token_id' is 100, but the vocabulary has 100 tokens");
  EXPECT_EQ(bad(with(dense("llama"), "eos_token_id", Array{1, -1})),
            "expected 'eos_token_id' to hold integers from 0 to 2147483647, "
            "but got -1");
}

TEST(Config, GenerationConfigGoesFirst) {
  TempDir dir;
  Object config =
      with(with(dense("llama"), "eos_token_id", 2), "bos_token_id", 1);
  dir.write("config.json",
            llvm::formatv("{0}", Value(std::move(config))).str());
  auto read = [&] { return readModelConfig(dir.path()); };
  EXPECT_EQ(read()->eos, (std::vector<int64_t>{2}));
  dir.write("generation_config.json",
            R"({"eos_token_id":[5,6],"temperature":0.6,"anything":{}})");
  EXPECT_EQ(read()->eos, (std::vector<int64_t>{5, 6}));
  EXPECT_EQ(read()->bos, 1);
  dir.write("generation_config.json", R"({"eos_token_id":null})");
  EXPECT_EQ(read()->eos, (std::vector<int64_t>{2}));
  dir.write("generation_config.json", R"({"eos_token_id":1000})");
  EXPECT_EQ(errorOf(read()), "generation_config.json: 'eos_token_id' is 1000, "
                             "but the vocabulary has 100 tokens");
  dir.write("generation_config.json", R"({"eos_token_id":"x"})");
  EXPECT_EQ(errorOf(read()),
            "generation_config.json: expected 'eos_token_id' to hold integers "
            "from 0 to 2147483647, but got \"x\"");
  dir.write("generation_config.json", "{");
  expectOneLine(errorOf(read()));
  EXPECT_EQ(errorOf(readModelConfig(dir.file("absent"))),
            "config.json: cannot be read: No such file or directory");
}

} // namespace
