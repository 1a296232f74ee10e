// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Guard: the one place where an exception becomes a status.
#ifndef HEADRACE_RUNTIME_SRC_GUARD_H
#define HEADRACE_RUNTIME_SRC_GUARD_H

#include "runtime/src/status.h"

#include <exception>

namespace headrace::runtime {

/// Runs `body`, which returns a Status, and lets nothing escape. Every C entry
/// that does more than read a field goes through here.
template <typename Body>
headrace_status_t Guard(const Allocator &allocator, Body &&body) noexcept {
  // A copy: the body may release the object that owns the allocator.
  Allocator kept = allocator;
  try {
    return body().Release();
  } catch (const std::bad_alloc &) {
    return MakeStatus(kept, HEADRACE_STATUS_RESOURCE_EXHAUSTED, "out of memory")
        .Release();
  } catch (const std::exception &error) {
    return MakeStatus(kept, HEADRACE_STATUS_INTERNAL, "%s", error.what())
        .Release();
  } catch (...) {
    return MakeStatus(kept, HEADRACE_STATUS_INTERNAL, "unknown exception")
        .Release();
  }
}

/// For failures before there is an object whose allocator could be used.
inline headrace_status_t InvalidArgument(const char *message) noexcept {
  return MakeStatus(DefaultAllocator(), HEADRACE_STATUS_INVALID_ARGUMENT, "%s",
                    message)
      .Release();
}

} // namespace headrace::runtime

#endif // HEADRACE_RUNTIME_SRC_GUARD_H
