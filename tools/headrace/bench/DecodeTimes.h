// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Times the decode steps of a package as they come, for what predicted them.
#ifndef HEADRACE_TOOLS_HEADRACE_BENCH_DECODETIMES_H
#define HEADRACE_TOOLS_HEADRACE_BENCH_DECODETIMES_H

#include "llvm/Support/Error.h"
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace headrace::tools::bench {

/// One pass of `forward`, as its trace tells it.
struct TimedPass {
  uint64_t tokens = 0;
  double seconds = 0;
  double bytes = 0; ///< That arrived over links by its end.
  /// Active experts of each routed layer; none where weights are mapped.
  std::vector<std::vector<uint32_t>> routed;
  /// By routed layer: those that were predicted, the most likely first.
  std::map<uint32_t, std::vector<uint32_t>> predicted;
};

/// A sequence of `context` random tokens and `steps` single ones behind them,
/// in the passes that the runtime made of them. Nothing is measured beside
/// them, so caches stay as a pass leaves them.
llvm::Expected<std::vector<TimedPass>>
timePasses(const std::string &package, unsigned threads, uint64_t context,
           uint64_t steps, uint64_t seed);

} // namespace headrace::tools::bench

#endif // HEADRACE_TOOLS_HEADRACE_BENCH_DECODETIMES_H
