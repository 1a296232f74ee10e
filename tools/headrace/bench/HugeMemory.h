// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Huge memory: what a probe of a disk reads to.
#ifndef HEADRACE_TOOLS_HEADRACE_BENCH_HUGEMEMORY_H
#define HEADRACE_TOOLS_HEADRACE_BENCH_HUGEMEMORY_H

#include "llvm/Support/Error.h"
#include <cstdint>

namespace headrace::tools::bench {

/// Touched memory of huge pages, where the system gives them, as the arena of
/// a session is: a direct read to small pages is a list of them, and a disk
/// that has to walk it is less than half as fast.
class HugeMemory {
public:
  static llvm::Expected<HugeMemory> make(size_t bytes);
  HugeMemory(HugeMemory &&other) : base(other.base), size(other.size) {
    other.base = nullptr;
  }
  ~HugeMemory();

  /// Aligned to a huge page.
  uint8_t *data() const;

private:
  HugeMemory(void *base, size_t size) : base(base), size(size) {}

  void *base;
  size_t size; ///< Of the mapping.
};

} // namespace headrace::tools::bench

#endif // HEADRACE_TOOLS_HEADRACE_BENCH_HUGEMEMORY_H
