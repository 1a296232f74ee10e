// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Times the decode steps of a package as they come, for what predicted them.
#ifndef HEADRACE_TOOLS_HEADRACE_BENCH_DECODETIMES_H
#define HEADRACE_TOOLS_HEADRACE_BENCH_DECODETIMES_H

#include "llvm/Support/Error.h"
#include <cstdint>
#include <string>
#include <vector>

namespace headrace::tools::bench {

/// Seconds of `steps` steps of one random token each, one after another, in a
/// sequence of `context` random tokens; `warmUp` steps before them are not
/// counted. Nothing is measured beside them, so caches stay as a step leaves
/// them.
llvm::Expected<std::vector<double>>
timeDecodeSteps(const std::string &package, unsigned threads, uint64_t context,
                uint64_t warmUp, uint64_t steps, uint64_t seed);

} // namespace headrace::tools::bench

#endif // HEADRACE_TOOLS_HEADRACE_BENCH_DECODETIMES_H
