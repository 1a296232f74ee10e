// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Status: the owning C++ form of headrace_status_t and how one is made.
#ifndef HEADRACE_RUNTIME_SRC_STATUS_H
#define HEADRACE_RUNTIME_SRC_STATUS_H

#include "headrace/status.h"
#include "runtime/src/memory.h"

namespace headrace::runtime {

/// Owns a headrace_status_t.
class [[nodiscard]] Status {
public:
  Status() = default;
  explicit Status(headrace_status_t raw) : raw(raw) {}
  Status(Status &&other) noexcept : raw(other.Release()) {}
  Status &operator=(Status &&other) noexcept {
    if (this != &other) {
      headrace_status_free(raw);
      raw = other.Release();
    }
    return *this;
  }
  ~Status() { headrace_status_free(raw); }

  bool IsOk() const { return !raw; }
  headrace_status_code_t Code() const { return headrace_status_code(raw); }
  const char *Message() const { return headrace_status_message(raw); }
  headrace_status_t Release() { return std::exchange(raw, nullptr); }

private:
  headrace_status_t raw = nullptr;
};

/// Makes a failure with a printf-style message, cut to one line of at most 1023
/// bytes. Without memory the code alone is kept.
Status MakeStatus(const Allocator &allocator, headrace_status_code_t code,
                  const char *format, ...) noexcept
    __attribute__((format(printf, 3, 4)));

/// Makes a failure from errno: not found, permission denied, resource exhausted
/// or io.
Status MakeErrnoStatus(const Allocator &allocator, int error,
                       const char *action) noexcept;

} // namespace headrace::runtime

#define HEADRACE_RETURN_IF_ERROR(expression)                                   \
  do {                                                                         \
    if (::headrace::runtime::Status status_ = (expression); !status_.IsOk())   \
      return status_;                                                          \
  } while (0)

#endif // HEADRACE_RUNTIME_SRC_STATUS_H
