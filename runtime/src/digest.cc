// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Digest: the one translation unit that holds xxHash.
#include "runtime/src/digest.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace headrace::runtime {

uint64_t Digest(const void *data, size_t bytes) {
  return XXH3_64bits(data, bytes);
}

} // namespace headrace::runtime
