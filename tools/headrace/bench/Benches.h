// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What `headrace bench` can time.
#ifndef HEADRACE_TOOLS_HEADRACE_BENCH_BENCHES_H
#define HEADRACE_TOOLS_HEADRACE_BENCH_BENCHES_H

#include "tools/headrace/bench/Layer.h"
#include "tools/headrace/bench/Report.h"
#include "llvm/Support/Error.h"
#include <cstdint>
#include <string>
#include <vector>

namespace headrace::tools::bench {

struct LayerBenchOptions {
  LayerShape shape;
  std::vector<int64_t> tokens;
  unsigned threads = 1;
  int repeats = 21;
  std::string cpu = "native";
  uint64_t seed = 0;
};

/// Times one layer, compiled from model IR through every phase.
llvm::Error benchLayer(const LayerBenchOptions &options, Report &report);

struct ModelBenchOptions {
  std::string model; ///< A checkpoint directory or a package.
  std::vector<int64_t> contexts;
  int64_t decodeTokens = 32;
  int64_t prefill = 512; ///< 0: none.
  unsigned threads = 1;
  int repeats = 5; ///< Of the prefill and of the start.
  std::string cpu = "native";
  uint64_t seed = 0;
};

/// Times a whole model: its start, its prefill, and decode steps at contexts.
llvm::Error benchModel(const ModelBenchOptions &options, Report &report);

struct TierBenchOptions {
  std::string package; ///< With a plan.
  std::vector<int32_t> prompt = {1};
  int64_t decodeTokens = 64;
  unsigned threads = 1;
  bool pageCache = false; ///< Weights come out of the page cache.
  bool againstMmap = false;
  uint64_t seed = 0;
};

/// Decodes with all weights in fast memory, with half of that, a quarter and
/// the least that will do, and prints what moved and how long it took.
llvm::Error benchTiers(const TierBenchOptions &options);

/// Runs the witness of the package's certificate as planned. Fails where the
/// high-water mark of a level is above its certified peak or below 1/1.05 of
/// it, or the process holds more than 16 MiB beyond the arenas.
llvm::Error benchWitness(const TierBenchOptions &options);

} // namespace headrace::tools::bench

#endif // HEADRACE_TOOLS_HEADRACE_BENCH_BENCHES_H
