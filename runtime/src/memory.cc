// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Memory: the C library's allocator as the default one.
#include "runtime/src/memory.h"

#include <cstdlib>

namespace headrace::runtime {
namespace {

void *AllocateAligned(void *, size_t bytes, size_t alignment) {
  if (alignment <= alignof(std::max_align_t))
    return std::malloc(bytes);
  void *pointer = nullptr;
  return posix_memalign(&pointer, alignment, bytes) == 0 ? pointer : nullptr;
}

void FreeAligned(void *, void *pointer, size_t, size_t) { std::free(pointer); }

constexpr Allocator kDefaultAllocator = {nullptr, AllocateAligned, FreeAligned};

} // namespace

const Allocator &DefaultAllocator() { return kDefaultAllocator; }

} // namespace headrace::runtime
