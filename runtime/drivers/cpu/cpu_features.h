// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// CPU features: what processor and operating system together can execute.
#ifndef HEADRACE_RUNTIME_DRIVERS_CPU_CPU_FEATURES_H
#define HEADRACE_RUNTIME_DRIVERS_CPU_CPU_FEATURES_H

#include <cstddef>
#include <cstdint>

namespace headrace::runtime::cpu {

/// headrace_cpu_feature_t bits usable in this process.
uint64_t Features();

/// Writes the names of `features` ("avx512, avx512-bf16") to `out`.
void FeatureNames(uint64_t features, char *out, size_t capacity);

} // namespace headrace::runtime::cpu

#endif // HEADRACE_RUNTIME_DRIVERS_CPU_CPU_FEATURES_H
