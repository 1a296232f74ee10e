// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Maps, aligns and touches.
#include "tools/headrace/bench/HugeMemory.h"

#include <cerrno>
#include <cstring>
#include <sys/mman.h>

using namespace headrace::tools::bench;

static constexpr size_t kHugePage = size_t(2) << 20;

llvm::Expected<HugeMemory> HugeMemory::make(size_t bytes) {
  const size_t size = bytes + kHugePage;
  void *base = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED)
    return llvm::createStringError("no memory to read to: %s", strerror(errno));
  HugeMemory memory(base, size);
  madvise(memory.data(), bytes, MADV_HUGEPAGE); // advice only
  memset(memory.data(), 1, bytes);
  return memory;
}

HugeMemory::~HugeMemory() {
  if (base)
    munmap(base, size);
}

uint8_t *HugeMemory::data() const {
  auto address = reinterpret_cast<uintptr_t>(base);
  return reinterpret_cast<uint8_t *>((address + kHugePage - 1) &
                                     ~(kHugePage - 1));
}
