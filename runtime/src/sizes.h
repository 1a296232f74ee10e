// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Arithmetic on sizes that cannot overflow.
#ifndef HEADRACE_RUNTIME_SRC_SIZES_H
#define HEADRACE_RUNTIME_SRC_SIZES_H

#include <cstdint>

namespace headrace::runtime {

/// True when `offset + bytes` is at most `end`, without overflow.
inline bool Fits(uint64_t offset, uint64_t bytes, uint64_t end) {
  return offset <= end && bytes <= end - offset;
}

/// a + b and a * b, or UINT64_MAX where that does not fit.
inline uint64_t Sum(uint64_t a, uint64_t b) {
  uint64_t sum;
  return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}
inline uint64_t Product(uint64_t a, uint64_t b) {
  uint64_t product;
  return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

} // namespace headrace::runtime

#endif // HEADRACE_RUNTIME_SRC_SIZES_H
