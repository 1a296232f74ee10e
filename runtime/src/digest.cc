// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Digest: for any x86-64 processor, and the choice of the faster one.
#include "runtime/src/digest.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace headrace::runtime {

uint64_t Digest(const void *data, size_t bytes) {
  // Every byte that reaches an arena is digested by a thread that competes with
  // kernels for a core, so it should take little time.
  static const bool has_avx2 = __builtin_cpu_supports("avx2");
  return has_avx2 ? DigestAvx2(data, bytes) : XXH3_64bits(data, bytes);
}

} // namespace headrace::runtime
