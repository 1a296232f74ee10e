// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Digest: XXH3-64, compiled into the library so that it carries nothing.
#ifndef HEADRACE_RUNTIME_SRC_DIGEST_H
#define HEADRACE_RUNTIME_SRC_DIGEST_H

#include <cstddef>
#include <cstdint>

namespace headrace::runtime {

/// XXH3-64 of `bytes` bytes with seed 0.
uint64_t Digest(const void *data, size_t bytes);

/// The same, for a processor with AVX2: twice as fast.
uint64_t DigestAvx2(const void *data, size_t bytes);

} // namespace headrace::runtime

#endif // HEADRACE_RUNTIME_SRC_DIGEST_H
