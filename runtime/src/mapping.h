// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Mapping: owned ranges of memory from the operating system.
#ifndef HEADRACE_RUNTIME_SRC_MAPPING_H
#define HEADRACE_RUNTIME_SRC_MAPPING_H

#include "runtime/src/status.h"

namespace headrace::runtime {

/// Owns one mmap; empty by default.
class Mapping {
public:
  Mapping() = default;
  Mapping(Mapping &&other) noexcept
      : base(std::exchange(other.base, nullptr)),
        bytes(std::exchange(other.bytes, 0)) {}
  Mapping &operator=(Mapping &&other) noexcept {
    std::swap(base, other.base);
    std::swap(bytes, other.bytes);
    return *this;
  }
  ~Mapping();

  /// Zeroed memory. From the size of a huge page on it is advised to use them,
  /// and its end lies on a boundary of them. No bytes are an empty mapping.
  /// `what` names it in a failure.
  static Status Anonymous(const Allocator &allocator, uint64_t bytes,
                          const char *what, Mapping *out);

  /// The same for the bytes of a level: in huge pages that the machine has set
  /// aside, if there are enough, else as above.
  static Status Arena(const Allocator &allocator, uint64_t bytes,
                      const char *what, Mapping *out);

  /// A range of a file; `offset` is a multiple of the page size.
  static Status File(const Allocator &allocator, int file, uint64_t offset,
                     uint64_t bytes, int protection, int flags,
                     const char *what, Mapping *out);

  /// Changes an anonymous mapping from written to executed.
  Status MakeExecutable(const Allocator &allocator);

  /// Gives up the range to the caller, who ends it with Unmap().
  void *Release() {
    bytes = 0;
    return std::exchange(base, nullptr);
  }
  static void Unmap(void *base, uint64_t bytes);

  uint8_t *Data() const { return static_cast<uint8_t *>(base); }
  uint64_t Bytes() const { return bytes; }

private:
  void *base = nullptr;
  uint64_t bytes = 0;
};

} // namespace headrace::runtime

#endif // HEADRACE_RUNTIME_SRC_MAPPING_H
