// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Fuzzes the readers of config.json and generation_config.json.
#include "compiler/import/Config.h"

#include <cmath>
#include <cstdlib>

using namespace headrace;

/// For promises of the interface that must hold whatever the bytes are.
static void require(bool condition) {
  if (!condition)
    std::abort();
}

template <typename T> static bool isGood(llvm::Expected<T> &result) {
  if (result)
    return true;
  std::string message = llvm::toString(result.takeError());
  require(!message.empty() && message.find('\n') == std::string::npos);
  return false;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  llvm::StringRef text(reinterpret_cast<const char *>(data), size);
  llvm::Expected<GenerationConfig> generation =
      parseGenerationConfig(text, "f");
  isGood(generation);
  llvm::Expected<ModelConfig> parsed = parseModelConfig(text, "f");
  if (!isGood(parsed))
    return 0;

  // What the importer and the verifiers of the dialects rely on.
  const ModelConfig &config = *parsed;
  require(config.vocabulary > 0 && config.hidden > 0 && config.maxContext > 0);
  require(config.heads > 0 && config.kvHeads > 0 && config.headDim > 0);
  require(config.heads % config.kvHeads == 0 && config.headDim % 2 == 0);
  require(!config.layers.empty() && config.layers.size() <= 4096);
  require(std::isfinite(config.normEps) && config.normEps > 0);
  require(std::isfinite(config.rope.theta) && config.rope.theta > 0);
  require(std::isfinite(config.rope.factor) && config.rope.factor > 0);
  require(std::isfinite(config.rope.attentionFactor) &&
          config.rope.attentionFactor > 0);
  for (const LayerConfig &layer : config.layers) {
    require(!layer.window || *layer.window > 0);
    if (!layer.sparse)
      continue;
    require(config.expertsPerToken > 0 && config.expertIntermediate > 0);
    require(config.expertsPerToken <= config.experts);
  }
  for (int64_t id : config.eos)
    require(id >= 0 && id < config.vocabulary);
  return 0;
}
