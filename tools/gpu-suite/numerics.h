// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Numerics: packages against the reference on fresh inputs, and their times.
#ifndef HEADRACE_TOOLS_GPU_SUITE_NUMERICS_H
#define HEADRACE_TOOLS_GPU_SUITE_NUMERICS_H

#include "tools/gpu-suite/runner.h"

namespace headrace::suite {

/// Checks a package and prints a line of JSON for each number of tokens. A
/// result that is wrong, or an element that no kernel wrote, is a failure.
Failure CheckNumerics(const SuiteEntry &entry, const WeightPlan &plan,
                      Loaded &loaded, uint64_t seed);

/// Times a package: the median of `repeats` runs with fresh inputs, on a GPU
/// with none of its weights in the cache, and the least bytes and operations
/// such a run needs. Prints lines of JSON.
Failure Bench(const SuiteEntry &entry, const WeightPlan &plan,
              const Machine &machine, Loaded &loaded, uint64_t seed,
              int repeats);

} // namespace headrace::suite

#endif // HEADRACE_TOOLS_GPU_SUITE_NUMERICS_H
