// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Key-value pool: handing out, sharing and taking back pages.
#include "runtime/src/kv_pool.h"

#include <cstring>

namespace headrace::runtime {

Status KvPool::Create(const Allocator &allocator, uint32_t page_count,
                      uint64_t bytes_of_page) {
  uint64_t bytes;
  if (__builtin_mul_overflow(bytes_of_page, uint64_t(page_count), &bytes))
    bytes = UINT64_MAX;
  HEADRACE_RETURN_IF_ERROR(
      Mapping::Anonymous(allocator, bytes, "the key-value pool", &memory));
  page_bytes = bytes_of_page;
  references.assign(page_count, 0);
  was_used.assign(page_count, 0);
  free_pages.reserve(page_count);
  for (uint32_t page = page_count; page-- > 0;)
    free_pages.push_back(page);
  return Status();
}

uint32_t KvPool::Pop() {
  uint32_t page = free_pages.back();
  free_pages.pop_back();
  references[page] = 1;
  return page;
}

uint32_t KvPool::Take() {
  uint32_t page = Pop();
  if (was_used[page])
    std::memset(Page(page), 0, page_bytes);
  was_used[page] = 1;
  return page;
}

uint32_t KvPool::TakeCopy(uint32_t from) {
  uint32_t page = Pop();
  std::memcpy(Page(page), Page(from), page_bytes);
  was_used[page] = 1;
  return page;
}

void KvPool::Drop(uint32_t page) {
  if (--references[page] == 0)
    free_pages.push_back(page);
}

} // namespace headrace::runtime
