// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Writes synthetic checkpoints of known shapes, for tests and benchmarks.
#include "compiler/import/Synth.h"

#include "compiler/import/Config.h"
#include "compiler/import/Json.h"
#include "compiler/reference/ops/Encoded.h"
#include "compiler/support/OutputFile.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Signals.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/Support/xxhash.h"
#include <cmath>
#include <cstring>

using namespace llvm;

namespace headrace {

namespace {

struct Shape {
  StringRef name;
  Family family;
  int64_t layers, hidden, intermediate, heads, kvHeads, headDim;
  int64_t vocabulary, maxContext;
  double eps, theta;
  int64_t bos, eos;
  int64_t experts = 0, slots = 0, expertIntermediate = 0;
  int64_t sharedIntermediate = 0;
  bool normalizeTopK = false;
  bool tied = false;
  int64_t window = 0;
  /// Of a rope table, llama3's or for gpt-oss yarn's, where not 0.
  double ropeFactor = 0;
  int64_t ropeOriginal = 0;
};

// In an order that suits the eye: layers, hidden, intermediate, heads, KV
// heads, head size; vocabulary, context; eps, theta; bos (-1: none), eos;
// experts, slots, their width, the shared width, normalised.
const Shape shapes[] = {
    {"tiny-llama", Family::Llama, 2, 64, 96, 4, 2, 16, 256, 512, 1e-5, 1e4, 1,
     2},
    {"tiny-mistral",
     Family::Mistral,
     2,
     64,
     96,
     4,
     2,
     16,
     256,
     512,
     1e-5,
     1e4,
     1,
     2,
     0,
     0,
     0,
     0,
     false,
     false,
     /*window=*/16},
    {"tiny-qwen2", Family::Qwen2, 2, 64, 96, 4, 2, 16, 256, 512, 1e-6, 1e6, 0,
     1},
    {"tiny-qwen3", Family::Qwen3, 2, 64, 96, 4, 2, 24, 256,   512,
     1e-6,         1e6,           0, 1,  0,  0, 0, 0,  false, /*tied=*/true},
    {"tiny-mixtral", Family::Mixtral, 2, 64, 48, 4, 2, 16, 256, 512, 1e-5, 1e6,
     1, 2, 4, 2, 48, 0, true},
    {"tiny-olmoe", Family::Olmoe, 2, 64, 32, 4, 4, 16, 256, 512, 1e-5, 1e4, -1,
     255, 8, 4, 32, 0, false},
    {"tiny-qwen2-moe", Family::Qwen2Moe, 2, 64, 96, 4, 2, 16, 256, 512, 1e-6,
     1e6, 0, 1, 8, 2, 32, 48, false},
    {"tiny-qwen3-moe", Family::Qwen3Moe, 2, 64, 96, 4, 2, 24, 256, 512, 1e-6,
     1e6, 0, 1, 8, 2, 32, 0, true},
    {"tiny-gpt-oss",
     Family::GptOss,
     2,
     64,
     32,
     4,
     2,
     24,
     256,
     512,
     1e-5,
     1.5e5,
     -1,
     255,
     8,
     4,
     32,
     0,
     false,
     false,
     /*window=*/16,
     4.0,
     64},
    {"llama-3.2-1b", Family::Llama, 16,  2048,   8192,   32, 8, 64, 128256,
     131072,         1e-5,          5e5, 128000, 128001, 0,  0, 0,  0,
     false,          /*tied=*/true, 0,   32.0,   8192},
    {"olmoe", Family::Olmoe, 16, 2048, 1024, 16, 16, 128, 50304, 4096, 1e-5,
     1e4, -1, 50279, 64, 8, 1024, 0, false},
    // A quarter of OLMoE's experts: about 4 GB in bfloat16.
    {"olmoe-16e", Family::Olmoe, 16, 2048, 1024, 16, 16, 128, 50304, 4096, 1e-5,
     1e4, -1, 50279, 16, 8, 1024, 0, false},
    {"mixtral-8x7b", Family::Mixtral, 32, 4096, 14336, 32, 8, 128, 32000, 32768,
     1e-5, 1e6, 1, 2, 8, 2, 14336, 0, true},
    {"qwen3-30b-a3b", Family::Qwen3Moe, 48, 2048, 6144, 32, 4, 128, 151936,
     40960, 1e-6, 1e6, 151643, 151645, 128, 8, 768, 0, true},
    {"gpt-oss-20b",  Family::GptOss, 24,    2880, 2880,   64, 8, 64,   201088,
     131072,         1e-5,           1.5e5, -1,   200002, 32, 4, 2880, 0,
     false,          false,
     /*window=*/128, 32.0,           4096},
};

/// What a tensor holds; the last four are the two parts of a weight in fp8 and
/// of one in mxfp4, whose elements are two a byte.
enum class Fill { Ones, Normal, Codes8, Scales8, Codes4, Scales4 };

struct Tensor {
  std::string name;
  std::vector<int64_t> shape;
  Fill fill = Fill::Normal;
  DType dtype = DType::BF16;
  int64_t fanIn = 0;
  uint64_t elements = 0; ///< Bytes, of what is two a byte.

  uint64_t bytes() const { return elements * (bitsOf(dtype) / 8); }
};

/// Of a block of fp8 with one scale, and of one of mxfp4.
constexpr int64_t kBlock8 = 128, kBlock4 = 32;
/// What normal numbers are multiplied by so that they use an encoding's range.
constexpr float kRange8 = 64, kRange4 = 2;

} // namespace

std::vector<StringRef> synthShapes() {
  std::vector<StringRef> names;
  for (const Shape &shape : shapes)
    names.push_back(shape.name);
  return names;
}

static StringRef architectureOf(Family family) {
  switch (family) {
  case Family::Mixtral:
    return "MixtralForCausalLM";
  case Family::Olmoe:
    return "OlmoeForCausalLM";
  case Family::Qwen2Moe:
    return "Qwen2MoeForCausalLM";
  case Family::Qwen3Moe:
    return "Qwen3MoeForCausalLM";
  case Family::GptOss:
    return "GptOssForCausalLM";
  case Family::Llama:
    return "LlamaForCausalLM";
  case Family::Mistral:
    return "MistralForCausalLM";
  case Family::Qwen2:
    return "Qwen2ForCausalLM";
  case Family::Qwen3:
    return "Qwen3ForCausalLM";
  }
  llvm_unreachable("every family is listed");
}

/// config.json, with the keys that published files of the family have.
static std::string configOf(const Shape &shape, const SynthOptions &options) {
  Family family = shape.family;
  DType dtype = options.dtype;
  std::string text;
  raw_string_ostream stream(text);
  json::OStream json(stream, 2);
  json.object([&] {
    json.attributeArray("architectures",
                        [&] { json.value(architectureOf(family)); });
    if (family == Family::Llama || family == Family::Olmoe ||
        family == Family::Qwen3 || family == Family::Qwen3Moe)
      json.attribute("attention_bias", false);
    if (family == Family::GptOss)
      json.attribute("attention_bias", true);
    json.attribute("bos_token_id", shape.bos < 0 ? json::Value(nullptr)
                                                 : json::Value(shape.bos));
    if (family == Family::Olmoe)
      json.attribute("clip_qkv", nullptr);
    if (family == Family::Qwen2Moe || family == Family::Qwen3Moe)
      json.attribute("decoder_sparse_step", 1);
    json.attribute("eos_token_id", shape.eos);
    if (family != Family::Olmoe && family != Family::Qwen2Moe)
      json.attribute("head_dim", shape.headDim);
    json.attribute("hidden_act", "silu");
    json.attribute("hidden_size", shape.hidden);
    json.attribute("intermediate_size", shape.intermediate);
    if (family == Family::GptOss)
      json.attributeArray("layer_types", [&] {
        for (int64_t layer = 0; layer < shape.layers; ++layer)
          json.value(layer % 2 ? "full_attention" : "sliding_attention");
      });
    json.attribute("max_position_embeddings", shape.maxContext);
    if (family == Family::Qwen2Moe || family == Family::Qwen3Moe) {
      json.attributeArray("mlp_only_layers", [] {});
      json.attribute("moe_intermediate_size", shape.expertIntermediate);
    }
    json.attribute("model_type", nameOf(family));
    bool local = family == Family::Mixtral || family == Family::GptOss;
    if (shape.experts && !local)
      json.attribute("norm_topk_prob", shape.normalizeTopK);
    json.attribute("num_attention_heads", shape.heads);
    if (shape.experts) {
      json.attribute(local ? "num_local_experts" : "num_experts",
                     shape.experts);
      json.attribute("num_experts_per_tok", shape.slots);
    }
    json.attribute("num_hidden_layers", shape.layers);
    json.attribute("num_key_value_heads", shape.kvHeads);
    if (options.encoding == SynthEncoding::FP8)
      json.attributeObject("quantization_config", [&] {
        json.attribute("activation_scheme", "dynamic");
        json.attribute("fmt", "e4m3");
        json.attribute("quant_method", "fp8");
        json.attributeArray("weight_block_size", [&] {
          json.value(kBlock8);
          json.value(kBlock8);
        });
      });
    if (options.encoding == SynthEncoding::MXFP4)
      json.attributeObject("quantization_config",
                           [&] { json.attribute("quant_method", "mxfp4"); });
    json.attribute("rms_norm_eps", shape.eps);
    if (shape.ropeFactor != 0) {
      json.attributeObject("rope_scaling", [&] {
        bool yarn = family == Family::GptOss;
        if (yarn) {
          json.attribute("beta_fast", 32.0);
          json.attribute("beta_slow", 1.0);
        }
        json.attribute("factor", shape.ropeFactor);
        if (!yarn) {
          json.attribute("high_freq_factor", 4.0);
          json.attribute("low_freq_factor", 1.0);
        }
        json.attribute("original_max_position_embeddings", shape.ropeOriginal);
        json.attribute("rope_type", yarn ? "yarn" : "llama3");
        if (yarn)
          json.attribute("truncate", false);
      });
    } else {
      json.attribute("rope_scaling", nullptr);
    }
    json.attribute("rope_theta", shape.theta);
    if (shape.sharedIntermediate)
      json.attribute("shared_expert_intermediate_size",
                     shape.sharedIntermediate);
    json.attribute("sliding_window", shape.window ? json::Value(shape.window)
                                                  : json::Value(nullptr));
    if (family == Family::GptOss)
      json.attribute("swiglu_limit", 7.0);
    json.attribute("tie_word_embeddings", shape.tied);
    json.attribute("torch_dtype", dtype == DType::F32   ? "float32"
                                  : dtype == DType::F16 ? "float16"
                                                        : "bfloat16");
    json.attribute("vocab_size", shape.vocabulary);
  });
  return text + "\n";
}

static std::string generationConfigOf(const Shape &shape) {
  std::string text;
  raw_string_ostream stream(text);
  json::OStream json(stream, 2);
  json.object([&] {
    if (shape.bos >= 0)
      json.attribute("bos_token_id", shape.bos);
    json.attribute("eos_token_id", shape.eos);
  });
  return text + "\n";
}

/// Every tensor of the shape, in the order of the layers.
static std::vector<Tensor> tensorsOf(const Shape &shape,
                                     const SynthOptions &options) {
  std::vector<Tensor> tensors;
  auto add = [&](const Twine &name, std::vector<int64_t> sizes, Fill fill,
                 int64_t fanIn = 0) {
    Tensor tensor;
    tensor.name = name.str();
    tensor.dtype = fill == Fill::Codes8    ? DType::F8E4M3
                   : fill == Fill::Scales8 ? DType::F32
                   : fill == Fill::Codes4 || fill == Fill::Scales4
                       ? DType::U8
                       : options.dtype;
    tensor.shape = std::move(sizes);
    tensor.fill = fill;
    tensor.fanIn = fanIn ? fanIn : tensor.shape.back();
    tensor.elements = 1;
    // Of the sizes only the number of experts is not a shape's own, and it fits
    // 16 bits.
    for (int64_t size : tensor.shape)
      tensor.elements *= size;
    tensors.push_back(std::move(tensor));
  };
  auto matrix = [&](const Twine &name, int64_t out, int64_t in) {
    add(name + ".weight", {out, in}, Fill::Normal);
  };
  // Of a product, which may be quantized.
  auto product = [&](const Twine &name, int64_t out, int64_t in) {
    if (options.encoding != SynthEncoding::FP8)
      return matrix(name, out, in);
    add(name + ".weight", {out, in}, Fill::Codes8);
    add(name + ".weight_scale_inv",
        {(out + kBlock8 - 1) / kBlock8, (in + kBlock8 - 1) / kBlock8},
        Fill::Scales8, in);
  };
  auto norm = [&](const Twine &name, int64_t size) {
    add(name + ".weight", {size}, Fill::Ones);
  };
  auto network = [&](const std::string &prefix, int64_t width) {
    product(prefix + ".gate_proj", width, shape.hidden);
    product(prefix + ".up_proj", width, shape.hidden);
    product(prefix + ".down_proj", shape.hidden, width);
  };
  Family family = shape.family;
  int64_t hidden = shape.hidden;
  int64_t q = shape.heads * shape.headDim, kv = shape.kvHeads * shape.headDim;
  bool gptOss = family == Family::GptOss;
  bool qkvBias =
      family == Family::Qwen2 || family == Family::Qwen2Moe || gptOss;

  matrix("model.embed_tokens", shape.vocabulary, hidden);
  for (int64_t layer = 0; layer < shape.layers; ++layer) {
    std::string prefix = "model.layers." + std::to_string(layer);
    norm(prefix + ".input_layernorm", hidden);
    std::pair<StringRef, int64_t> inputs[] = {
        {"q_proj", q}, {"k_proj", kv}, {"v_proj", kv}};
    for (auto [name, width] : inputs) {
      product(prefix + ".self_attn." + name, width, hidden);
      if (qkvBias)
        add(prefix + ".self_attn." + name + ".bias", {width}, Fill::Normal);
    }
    product(prefix + ".self_attn.o_proj", hidden, q);
    if (gptOss) {
      add(prefix + ".self_attn.o_proj.bias", {hidden}, Fill::Normal);
      add(prefix + ".self_attn.sinks", {shape.heads}, Fill::Normal);
    }
    if (family == Family::Olmoe) {
      norm(prefix + ".self_attn.q_norm", q);
      norm(prefix + ".self_attn.k_norm", kv);
    } else if (family == Family::Qwen3 || family == Family::Qwen3Moe) {
      norm(prefix + ".self_attn.q_norm", shape.headDim);
      norm(prefix + ".self_attn.k_norm", shape.headDim);
    }
    norm(prefix + ".post_attention_layernorm", hidden);
    if (!shape.experts) {
      network(prefix + ".mlp", shape.intermediate);
      continue;
    }
    if (gptOss) {
      int64_t experts = shape.experts, width = shape.expertIntermediate;
      std::string all = prefix + ".mlp.experts.";
      matrix(prefix + ".mlp.router", experts, hidden);
      add(prefix + ".mlp.router.bias", {experts}, Fill::Normal);
      // Two matrices [out, in] of all experts; unquantized ones are transposed.
      auto stack = [&](const std::string &name, int64_t out, int64_t in) {
        if (options.encoding != SynthEncoding::MXFP4)
          return add(name, {experts, in, out}, Fill::Normal, in);
        add(name + "_blocks", {experts, out, in / kBlock4, kBlock4 / 2},
            Fill::Codes4, in);
        add(name + "_scales", {experts, out, in / kBlock4}, Fill::Scales4, in);
      };
      stack(all + "gate_up_proj", 2 * width, hidden);
      add(all + "gate_up_proj_bias", {experts, 2 * width}, Fill::Normal);
      stack(all + "down_proj", hidden, width);
      add(all + "down_proj_bias", {experts, hidden}, Fill::Normal);
      continue;
    }
    bool mixtral = family == Family::Mixtral;
    std::string block = prefix + (mixtral ? ".block_sparse_moe" : ".mlp");
    matrix(block + ".gate", shape.experts, hidden);
    for (int64_t expert = 0; expert < shape.experts; ++expert) {
      std::string one = block + ".experts." + std::to_string(expert);
      if (!mixtral) {
        network(one, shape.expertIntermediate);
        continue;
      }
      product(one + ".w1", shape.expertIntermediate, hidden);
      product(one + ".w2", hidden, shape.expertIntermediate);
      product(one + ".w3", shape.expertIntermediate, hidden);
    }
    if (shape.sharedIntermediate) {
      network(block + ".shared_expert", shape.sharedIntermediate);
      product(block + ".shared_expert_gate", 1, hidden);
    }
  }
  norm("model.norm", hidden);
  if (!shape.tied)
    matrix("lm_head", shape.vocabulary, hidden);
  return tensors;
}

/// A number of roughly normal distribution, mean 0 and variance 1, that is a
/// function of `key` alone: the sum of four uniform numbers.
static inline float normalOf(uint64_t key) {
  uint64_t z = key * 0x9e3779b97f4a7c15u; // SplitMix64
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  z ^= z >> 31;
  int32_t sum = int32_t(z & 0xffff) + int32_t((z >> 16) & 0xffff) +
                int32_t((z >> 32) & 0xffff) + int32_t(z >> 48);
  // Four numbers from 0 to 65535: mean 131070, deviation 65536 / sqrt(3).
  return float(sum - 131070) * (1.7320508f / 65536.0f);
}

static inline uint32_t bitsOfFloat(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

/// To the nearest, ties to even; finite numbers only.
static inline uint16_t toBF16(float value) {
  uint32_t bits = bitsOfFloat(value);
  return uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

/// To the nearest, ties to even; |value| < 65504 only.
static inline uint16_t toF16(float value) {
  uint32_t bits = bitsOfFloat(value);
  uint32_t sign = (bits >> 16) & 0x8000, magnitude = bits & 0x7fffffff;
  if (magnitude < 0x38800000) {
    // Subnormal: adding 0.5 puts the last bit kept at 2^-24.
    float shifted = std::fabs(value) + 0.5f;
    return uint16_t(sign | (bitsOfFloat(shifted) - bitsOfFloat(0.5f)));
  }
  magnitude -= 0x38000000;
  return uint16_t(sign | ((magnitude + 0xfff + ((magnitude >> 13) & 1)) >> 13));
}

/// Elements `begin` to `begin + count` of a tensor, as bytes of the file.
static void fill(const Tensor &tensor, uint64_t seed, uint64_t begin,
                 uint64_t count, char *out) {
  uint64_t base = xxh3_64bits(tensor.name) ^ (seed * 0xd6e8feb86659fd93u);
  bool ones = tensor.fill == Fill::Ones;
  float scale = 1.0f / std::sqrt(float(tensor.fanIn));
  auto normal = [&](uint64_t i) { return normalOf(base + begin + i); };
  auto valueOf = [&](uint64_t i) { return ones ? 1.0f : normal(i) * scale; };
  DType dtype = tensor.dtype;
  if (tensor.fill == Fill::Codes8)
    for (uint64_t i = 0; i < count; ++i)
      out[i] = char(reference::floatToE4M3(normal(i) * kRange8));
  else if (tensor.fill == Fill::Scales8)
    for (uint64_t i = 0; i < count; ++i) // Between 0.65 and 1.35 times as much.
      support::endian::write32le(
          out + 4 * i,
          bitsOfFloat(scale / kRange8 * (1.0f + normal(i) * 0.1f)));
  else if (tensor.fill == Fill::Codes4)
    for (uint64_t i = 0; i < count; ++i) {
      uint64_t first = base + 2 * (begin + i);
      int low = reference::floatToE2M1(normalOf(first) * kRange4);
      int high = reference::floatToE2M1(normalOf(first + 1) * kRange4);
      out[i] = char(low | high << 4);
    }
  else if (tensor.fill == Fill::Scales4)
    for (uint64_t i = 0; i < count; ++i) // A power of two, or the next one.
      out[i] = char(127 + std::ilogb(scale / kRange4) + (normal(i) > 0));
  else if (dtype == DType::F32)
    for (uint64_t i = 0; i < count; ++i)
      support::endian::write32le(out + 4 * i, bitsOfFloat(valueOf(i)));
  else if (dtype == DType::F16)
    for (uint64_t i = 0; i < count; ++i)
      support::endian::write16le(out + 2 * i, toF16(valueOf(i)));
  else
    for (uint64_t i = 0; i < count; ++i)
      support::endian::write16le(out + 2 * i, toBF16(valueOf(i)));
}

/// The length field and the header of one file, padded to 8 bytes.
static std::string headerOf(ArrayRef<Tensor> tensors) {
  std::string text;
  raw_string_ostream stream(text);
  json::OStream json(stream);
  json.object([&] {
    json.attributeObject("__metadata__",
                         [&] { json.attribute("format", "pt"); });
    uint64_t offset = 0;
    for (const Tensor &tensor : tensors)
      json.attributeObject(tensor.name, [&] {
        json.attribute("dtype", nameOf(tensor.dtype));
        json.attributeArray("shape", [&] {
          for (int64_t size : tensor.shape)
            json.value(size);
        });
        json.attributeArray("data_offsets", [&] {
          json.value(int64_t(offset));
          offset += tensor.bytes();
          json.value(int64_t(offset));
        });
      });
  });
  text.resize((text.size() + 7) / 8 * 8, ' ');
  char length[8];
  support::endian::write64le(length, text.size());
  return std::string(length, 8) + text;
}

namespace {
/// Files of a directory that is not there yet.
class Writer {
public:
  /// Errors call it `shown`.
  Writer(StringRef directory, StringRef shown, const SynthOptions &options,
         uint64_t total)
      : directory(directory), shown(shown), options(options), total(total) {}

  Error write(StringRef name, function_ref<void(raw_fd_ostream &)> body) {
    SmallString<256> path(directory);
    sys::path::append(path, name);
    std::error_code code;
    raw_fd_ostream stream(path, code);
    auto failed = [&](std::error_code code) {
      return makeError(shown + "/" + name +
                       ": cannot be written: " + code.message());
    };
    if (code)
      return failed(code);
    // An interrupt at least leaves no gigabytes behind.
    sys::RemoveFileOnSignal(path);
    // Chunks are large already.
    stream.SetUnbuffered();
    body(stream);
    stream.close();
    if (stream.has_error()) {
      code = stream.error();
      stream.clear_error();
      return failed(code);
    }
    return Error::success();
  }

  Error weights(StringRef name, ArrayRef<Tensor> tensors) {
    std::vector<char> chunk(4 << 20);
    return write(name, [&](raw_fd_ostream &stream) {
      stream << headerOf(tensors);
      for (const Tensor &tensor : tensors) {
        uint64_t size = bitsOf(tensor.dtype) / 8;
        for (uint64_t at = 0; at < tensor.elements && !stream.has_error();) {
          uint64_t count =
              std::min<uint64_t>(chunk.size() / size, tensor.elements - at);
          fill(tensor, options.seed, at, count, chunk.data());
          stream.write(chunk.data(), count * size);
          at += count;
          done += count * size;
          if (options.progress)
            options.progress(done, total);
        }
      }
    });
  }

private:
  SmallString<256> directory;
  StringRef shown;
  const SynthOptions &options;
  uint64_t total, done = 0;
};
} // namespace

/// The tensors of each file, none larger than the limit where that is possible.
static std::vector<ArrayRef<Tensor>> shard(ArrayRef<Tensor> tensors,
                                           uint64_t limit) {
  std::vector<ArrayRef<Tensor>> shards;
  size_t begin = 0;
  uint64_t bytes = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    uint64_t more = tensors[i].bytes();
    if (i > begin && bytes + more > limit) {
      shards.push_back(tensors.slice(begin, i - begin));
      begin = i;
      bytes = 0;
    }
    bytes += more;
  }
  shards.push_back(tensors.drop_front(begin));
  return shards;
}

static Error writeAll(Writer &writer, const Shape &shape,
                      const std::string &config, ArrayRef<Tensor> tensors,
                      const SynthOptions &options, uint64_t total) {
  std::vector<ArrayRef<Tensor>> shards = shard(tensors, options.shardBytes);
  if (shards.size() == 1) {
    if (Error error = writer.weights("model.safetensors", tensors))
      return error;
  } else {
    std::string index;
    raw_string_ostream stream(index);
    json::OStream json(stream, 2);
    auto nameOfShard = [&](size_t i) {
      return formatv("model-{0,0+5}-of-{1,0+5}.safetensors", i + 1,
                     shards.size())
          .str();
    };
    json.object([&] {
      json.attributeObject(
          "metadata", [&] { json.attribute("total_size", int64_t(total)); });
      json.attributeObject("weight_map", [&] {
        for (auto [i, part] : enumerate(shards))
          for (const Tensor &tensor : part)
            json.attribute(tensor.name, nameOfShard(i));
      });
    });
    for (auto [i, part] : enumerate(shards))
      if (Error error = writer.weights(nameOfShard(i), part))
        return error;
    if (Error error = writer.write(
            "model.safetensors.index.json",
            [&](raw_fd_ostream &stream) { stream << index << '\n'; }))
      return error;
  }
  if (Error error = writer.write(
          "config.json", [&](raw_fd_ostream &stream) { stream << config; }))
    return error;
  return writer.write("generation_config.json", [&](raw_fd_ostream &stream) {
    stream << generationConfigOf(shape);
  });
}

Error synthesizeCheckpoint(StringRef name, StringRef directory,
                           const SynthOptions &options) {
  const Shape *known =
      find_if(shapes, [&](const Shape &shape) { return shape.name == name; });
  if (known == std::end(shapes))
    return makeError("shape " + quote(name) + " is not known; known are " +
                     join(synthShapes(), ", "));
  if (options.dtype != DType::F32 && options.dtype != DType::F16 &&
      options.dtype != DType::BF16)
    return makeError("a checkpoint of " + nameOf(options.dtype) +
                     " cannot be made; F32, F16 and BF16 can");
  bool encoded = options.encoding != SynthEncoding::None;
  if (encoded && options.dtype != DType::BF16)
    return makeError("a checkpoint of " + nameOf(options.dtype) +
                     " cannot be quantized; one of BF16 can");
  Shape shape = *known;
  bool mxfp4 = options.encoding == SynthEncoding::MXFP4;
  if (encoded && mxfp4 != (shape.family == Family::GptOss))
    return makeError(
        "shape " + quote(name) + " is not quantized to " +
        (mxfp4 ? "mxfp4; gpt-oss is" : "fp8; gpt-oss is to mxfp4"));
  if (options.experts && !shape.experts)
    return makeError("shape " + quote(name) + " has no experts");
  shape.layers = options.layers.value_or(shape.layers);
  shape.experts = options.experts.value_or(shape.experts);
  shape.slots = std::min(shape.slots, shape.experts);
  // Bounds the overrides, and keeps this file honest about the keys.
  std::string config = configOf(shape, options);
  Expected<ModelConfig> parsed =
      parseModelConfig(config, ("shape " + quote(name)));
  if (!parsed)
    return parsed.takeError();

  // Each is an entry of a header, which has a limit of its own.
  if (shape.layers * (6 * shape.experts + 32) > 1'000'000)
    return makeError("shape " + quote(name) + " with " + Twine(shape.layers) +
                     " layers of " + Twine(shape.experts) +
                     " experts has too many tensors");
  std::vector<Tensor> tensors = tensorsOf(shape, options);
  uint64_t total = 0;
  for (const Tensor &tensor : tensors) {
    uint64_t bytes = 0;
    if (__builtin_mul_overflow(tensor.elements,
                               uint64_t(bitsOf(tensor.dtype) / 8), &bytes) ||
        __builtin_add_overflow(total, bytes, &total))
      return makeError("shape " + quote(name) + " is too large");
  }

  SmallString<256> target(directory);
  if (std::error_code code = sys::fs::make_absolute(target))
    return makeError(directory + ": " + code.message());
  while (target.size() > 1 && sys::path::is_separator(target.back()))
    target.pop_back();
  if (sys::fs::exists(target)) {
    std::error_code code;
    if (!sys::fs::is_directory(target))
      return makeError(directory + ": exists and is not a directory");
    if (sys::fs::directory_iterator(target, code) !=
            sys::fs::directory_iterator() ||
        code)
      return makeError(directory + ": exists and is not empty");
  }
  StringRef parent = sys::path::parent_path(target);
  if (std::error_code code = sys::fs::create_directories(parent))
    return makeError(parent + ": cannot be made: " + code.message());
  // Headers, the other files and the file system's own needs: 1 % and 16 MiB.
  uint64_t need = total + total / 100 + (16 << 20);
  ErrorOr<sys::fs::space_info> space = sys::fs::disk_space(parent);
  if (!space)
    return makeError(parent + ": " + space.getError().message());
  if (space->available < need)
    return makeError(directory + ": needs " + Twine(need) +
                     " bytes of disk, but " + Twine(space->available) +
                     " are free");

  // All of it is written under another name first, so that nobody ever sees
  // half a checkpoint.
  OutputDirectory output;
  if (Error error = output.create(target))
    return error;
  Writer writer(output.temporaryPath(), directory, options, total);
  if (Error error = writeAll(writer, shape, config, tensors, options, total))
    return error;
  return output.finish();
}

} // namespace headrace
