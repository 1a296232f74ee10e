// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reads config.json and generation_config.json into a plain description of the
// model, or says which key is in the way.
#ifndef HEADRACE_COMPILER_IMPORT_CONFIG_H
#define HEADRACE_COMPILER_IMPORT_CONFIG_H

#include "compiler/import/Safetensors.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace headrace {

enum class Family {
  Mixtral,
  Olmoe,
  Qwen2Moe,
  Qwen3Moe,
  GptOss,
  Llama,
  Mistral,
  Qwen2,
  Qwen3,
};

/// The family's `model_type`.
llvm::StringRef nameOf(Family family);

/// How rotary frequencies are made; the fields are those of `nn.rope_table`.
struct RopeConfig {
  enum class Kind { Default, Linear, Llama3, Yarn };
  Kind kind = Kind::Default;
  double theta = 10000.0;
  double factor = 1.0;
  double low = 1.0;
  double high = 1.0;
  int64_t original = 0;
  double attentionFactor = 1.0;
  bool truncate = true;
};

/// What differs from layer to layer.
struct LayerConfig {
  /// A mixture of experts instead of one feed-forward network.
  bool sparse = false;
  /// How many positions a token sees, itself included.
  std::optional<int64_t> window;
};

enum class QkNorm { None, PerHead, FullWidth };

/// Weights of products in few bits with a scale for each block.
struct QuantizationConfig {
  enum class Method { Fp8, Mxfp4 };
  Method method = Method::Fp8;
  /// Of fp8.
  int64_t blockRows = 0, blockColumns = 0;
  /// Modules whose weights stay in the checkpoint's own type.
  std::vector<std::string> plainModules;

  /// Whether the weight of `module` stays: it, or what it is part of, stands in
  /// the list, in full or without the names ahead of it.
  bool keeps(llvm::StringRef module) const;
};

struct ModelConfig {
  Family family = Family::Llama;
  /// Absent where config.json does not say.
  std::optional<DType> dtype;
  /// Absent where no weight is quantized.
  std::optional<QuantizationConfig> quantization;

  bool has(QuantizationConfig::Method method) const {
    return quantization && quantization->method == method;
  }

  int64_t vocabulary = 0;
  int64_t hidden = 0;
  int64_t heads = 0;
  int64_t kvHeads = 0;
  int64_t headDim = 0;
  int64_t maxContext = 0;
  double normEps = 0;
  bool tiedEmbeddings = false;

  bool qkvBias = false;
  bool outputBias = false;
  QkNorm qkNorm = QkNorm::None;
  /// A head's softmax has a score of its own beside those of the positions.
  bool sinks = false;
  /// Query, key and value are clamped to [-clipQkv, clipQkv].
  std::optional<double> clipQkv;
  RopeConfig rope;

  /// Width of a dense layer's feed-forward network.
  int64_t intermediate = 0;
  bool mlpBias = false;

  /// 0 in a dense family.
  int64_t experts = 0;
  int64_t expertsPerToken = 0;
  int64_t expertIntermediate = 0;
  /// 0 where there is no shared expert.
  int64_t sharedIntermediate = 0;
  /// The picked experts' weights are divided by their sum.
  bool normalizeTopK = false;
  /// The activation of gpt-oss's experts; see nn.glu.
  double swigluAlpha = 1.702;
  double swigluLimit = 7.0;

  std::vector<LayerConfig> layers;

  std::vector<int64_t> eos;
  std::optional<int64_t> bos;
};

struct GenerationConfig {
  /// Empty where the file does not say.
  std::vector<int64_t> eos;
  std::optional<int64_t> bos;
};

/// `file` names the text in errors.
llvm::Expected<ModelConfig> parseModelConfig(llvm::StringRef json,
                                             llvm::StringRef file);
llvm::Expected<GenerationConfig> parseGenerationConfig(llvm::StringRef json,
                                                       llvm::StringRef file);

/// Reads both files of a checkpoint. What generation_config.json says about
/// `eos` and `bos` goes before config.json; that file may be missing.
llvm::Expected<ModelConfig> readModelConfig(llvm::StringRef directory);

} // namespace headrace

#endif // HEADRACE_COMPILER_IMPORT_CONFIG_H
