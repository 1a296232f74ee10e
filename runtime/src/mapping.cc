// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Mapping: mmap with alignment and advice for huge pages.
#include "runtime/src/mapping.h"

#include <cerrno>
#include <cinttypes>
#include <sys/mman.h>

namespace headrace::runtime {
namespace {

constexpr uint64_t kHugePage = uint64_t(2) << 20;
/// Half of the address space: beyond it is a wrong size, not a large model.
constexpr uint64_t kMaxBytes = uint64_t(1) << 46;

} // namespace

Mapping::~Mapping() {
  if (base)
    munmap(base, bytes);
}

void Mapping::Unmap(void *base, uint64_t bytes) { munmap(base, bytes); }

Status Mapping::Anonymous(const Allocator &allocator, uint64_t bytes,
                          const char *what, Mapping *out) {
  *out = Mapping();
  if (bytes == 0)
    return Status();
  uint64_t rounded = (bytes + 4095) & ~uint64_t(4095);
  bool huge = bytes >= kHugePage;
  uint64_t reserved = huge ? rounded + kHugePage : rounded;
  void *memory = MAP_FAILED;
  if (bytes <= kMaxBytes)
    memory = mmap(nullptr, reserved, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED)
    return MakeStatus(allocator, HEADRACE_STATUS_RESOURCE_EXHAUSTED,
                      "cannot reserve %" PRIu64 " bytes for %s", bytes, what);
  if (huge) {
    // The end lies on a boundary of huge pages: weights that move have their
    // slots there, and a direct read to small pages is a long list of them.
    auto start = reinterpret_cast<uintptr_t>(memory);
    const uintptr_t end = (start + rounded + kHugePage - 1) & ~(kHugePage - 1);
    const uintptr_t begin = end - rounded;
    if (begin != start)
      munmap(memory, begin - start);
    if (uint64_t tail = start + reserved - end)
      munmap(reinterpret_cast<void *>(end), tail);
    memory = reinterpret_cast<void *>(begin);
    madvise(memory, rounded, MADV_HUGEPAGE); // advice only
  }
  out->base = memory;
  out->bytes = rounded;
  return Status();
}

Status Mapping::Arena(const Allocator &allocator, uint64_t bytes,
                      const char *what, Mapping *out) {
  *out = Mapping();
  if (bytes >= kHugePage && bytes <= kMaxBytes) {
    const uint64_t rounded = (bytes + kHugePage - 1) & ~(kHugePage - 1);
    void *memory = mmap(nullptr, rounded, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
    if (memory != MAP_FAILED) {
      out->base = memory;
      out->bytes = rounded;
      return Status();
    }
  }
  return Anonymous(allocator, bytes, what, out);
}

Status Mapping::File(const Allocator &allocator, int file, uint64_t offset,
                     uint64_t bytes, int protection, int flags,
                     const char *what, Mapping *out) {
  *out = Mapping();
  if (bytes == 0)
    return Status();
  void *memory =
      mmap(nullptr, bytes, protection, flags, file, static_cast<off_t>(offset));
  if (memory == MAP_FAILED)
    return MakeErrnoStatus(allocator, errno, what);
  out->base = memory;
  out->bytes = bytes;
  return Status();
}

Status Mapping::MakeExecutable(const Allocator &allocator) {
  if (base && mprotect(base, bytes, PROT_READ | PROT_EXEC) != 0)
    return MakeErrnoStatus(allocator, errno, "mapping the code");
  return Status();
}

} // namespace headrace::runtime
