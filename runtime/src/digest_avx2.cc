// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Digest: for processors with AVX2. This file alone is compiled for them.
#include "runtime/src/digest.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

static_assert(XXH_VECTOR == XXH_AVX2, "this file is compiled with -mavx2");

namespace headrace::runtime {

uint64_t DigestAvx2(const void *data, size_t bytes) {
  return XXH3_64bits(data, bytes);
}

} // namespace headrace::runtime
