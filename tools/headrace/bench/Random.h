// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Random numbers for weights and inputs: fast, and the same everywhere.
#ifndef HEADRACE_TOOLS_HEADRACE_BENCH_RANDOM_H
#define HEADRACE_TOOLS_HEADRACE_BENCH_RANDOM_H

#include <cstdint>

namespace headrace::tools::bench {

/// SplitMix64.
class Random {
public:
  explicit Random(uint64_t seed) : state(seed) {}

  uint64_t bits() {
    uint64_t z = state += 0x9E3779B97F4A7C15;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
  }
  /// Mean 0, deviation 1: the sum of four uniform numbers, near enough to
  /// normal for what only has to look like weights, and ten times as fast.
  float normal() {
    uint64_t z = bits();
    auto sum = int32_t((z & 0xffff) + (z >> 16 & 0xffff) + (z >> 32 & 0xffff) +
                       (z >> 48));
    constexpr float kScale = 1.7320508f / 65536; // sqrt(3) for variance 4/12
    return float(sum - 131070) * kScale;
  }
  /// In [0, limit).
  uint64_t below(uint64_t limit) { return bits() % limit; }

private:
  uint64_t state;
};

} // namespace headrace::tools::bench

#endif // HEADRACE_TOOLS_HEADRACE_BENCH_RANDOM_H
