// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Faulty allocator: a host's allocator that fails where a test says.
#ifndef HEADRACE_TESTS_RUNTIME_FAULTY_ALLOCATOR_H
#define HEADRACE_TESTS_RUNTIME_FAULTY_ALLOCATOR_H

#include <headrace/allocator.h>

#include <atomic>
#include <cstdlib>

namespace headrace::tests {

/// Fails one allocation, and counts what is not given back.
struct FaultyAllocator {
  std::atomic<int64_t> live_bytes{0};
  std::atomic<int64_t> calls{0};
  int64_t fail_at = -1; // number of the call that fails; -1: none
  bool fail_onwards = false;

  headrace_allocator_t Interface() {
    return {this,
            [](void *self, size_t bytes, size_t alignment) -> void * {
              auto &allocator = *static_cast<FaultyAllocator *>(self);
              int64_t call = allocator.calls++;
              if (call == allocator.fail_at ||
                  (allocator.fail_onwards && allocator.fail_at >= 0 &&
                   call > allocator.fail_at))
                return nullptr;
              allocator.live_bytes += static_cast<int64_t>(bytes);
              size_t rounded = (bytes + alignment - 1) / alignment * alignment;
              return alignment < sizeof(void *)
                         ? std::malloc(bytes)
                         : std::aligned_alloc(alignment, rounded);
            },
            [](void *self, void *pointer, size_t bytes, size_t) {
              auto &allocator = *static_cast<FaultyAllocator *>(self);
              allocator.live_bytes -= static_cast<int64_t>(bytes);
              std::free(pointer);
            }};
  }
};

} // namespace headrace::tests

#endif // HEADRACE_TESTS_RUNTIME_FAULTY_ALLOCATOR_H
