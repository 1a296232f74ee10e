// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The inner loops that find out what one core can do: read memory, multiply.
#ifndef HEADRACE_TOOLS_HEADRACE_BENCH_PROBELOOPS_H
#define HEADRACE_TOOLS_HEADRACE_BENCH_PROBELOOPS_H

#include <cstddef>
#include <cstdint>
#include <vector>

namespace headrace::tools::bench {

/// One way of reading a buffer from its first byte to its last. `bytes` is a
/// multiple of 64 KiB and `data` aligned to 64.
struct ReadLoop {
  const char *name;
  uint64_t (*read)(const uint8_t *data, size_t bytes);
};

/// The ways that this processor has; which one is fastest differs between
/// processors and between one and several threads, so all are tried.
std::vector<ReadLoop> readLoops();

/// Independent products and sums in registers only.
struct MultiplyLoop {
  const char *name;
  const char *type;  ///< Of the operands, as in #tier.compute.
  double operations; ///< Of one round: products and sums counted apart.
  void (*multiply)(uint64_t rounds);
};

/// One loop for each type of operand that the processor has an instruction for,
/// the one with the most products a second first: bfloat16, or float32 FMA
/// where the processor has no such instruction.
std::vector<MultiplyLoop> multiplyLoops();

} // namespace headrace::tools::bench

#endif // HEADRACE_TOOLS_HEADRACE_BENCH_PROBELOOPS_H
