// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Writes synthetic checkpoints of known shapes, for tests and benchmarks.
#ifndef HEADRACE_COMPILER_IMPORT_SYNTH_H
#define HEADRACE_COMPILER_IMPORT_SYNTH_H

#include "compiler/import/Safetensors.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <cstdint>
#include <optional>
#include <vector>

namespace headrace {

/// What the weights of products are quantized to, as published checkpoints are:
/// those of a layer to e4m3 with a scale for each 128 by 128 (fp8), or the
/// experts of gpt-oss to e2m1 with one for each 32 channels (mxfp4).
enum class SynthEncoding { None, FP8, MXFP4 };

struct SynthOptions {
  /// F32, F16 or BF16; with an encoding only BF16, which is that of the rest.
  DType dtype = DType::BF16;
  SynthEncoding encoding = SynthEncoding::None;
  uint64_t seed = 0;
  /// In place of what the shape says.
  std::optional<int64_t> layers;
  std::optional<int64_t> experts;
  /// A checkpoint with more weight bytes than this is cut into shards.
  uint64_t shardBytes = 5'000'000'000;
  /// Called now and then with the weight bytes written and those to write.
  llvm::function_ref<void(uint64_t done, uint64_t total)> progress;
};

/// The names that synthesizeCheckpoint knows.
std::vector<llvm::StringRef> synthShapes();

/// Writes config.json, generation_config.json and the weights of the shape
/// into `directory`, which must be new or empty; afterwards it holds either
/// everything or, after an error, nothing. Weights are normal numbers with a
/// standard deviation of 1 / sqrt(fan-in), norms are 1. Quantized ones have
/// scales that differ from block to block, so their deviation is that within a
/// factor of two. The same shape, options and seed give the same bytes, and a
/// tensor's bytes depend only on the seed, its name, shape and type.
llvm::Error synthesizeCheckpoint(llvm::StringRef shape,
                                 llvm::StringRef directory,
                                 const SynthOptions &options = {});

} // namespace headrace

#endif // HEADRACE_COMPILER_IMPORT_SYNTH_H
