// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Key-value pool: handing out, sharing and taking back pages.
#include "runtime/src/kv_pool.h"

namespace headrace::runtime {

Status KvPool::Create(headrace_device_t *device, Executor *writer,
                      uint8_t *place, uint32_t page_count,
                      const abi::KvCache &cache) {
  uint64_t bytes;
  if (__builtin_mul_overflow(cache.page_bytes(), uint64_t(page_count), &bytes))
    bytes = UINT64_MAX;
  if (!place)
    HEADRACE_RETURN_IF_ERROR(
        device->Allocate(bytes, "the key-value pool", &memory));
  data = place ? place : memory.Data();
  executor = writer;
  layers = cache.layers();
  layer_page_bytes = cache.page_bytes() / layers;
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

Status KvPool::Take(uint32_t *out_page) {
  const uint32_t page = free_pages.back();
  for (uint32_t layer = 0; was_used[page] && layer < layers; ++layer)
    HEADRACE_RETURN_IF_ERROR(
        executor->Fill(Page(layer, page), 0, layer_page_bytes));
  *out_page = Pop();
  was_used[*out_page] = 1;
  return Status();
}

Status KvPool::TakeCopy(uint32_t from, uint32_t *out_page) {
  for (uint32_t layer = 0; layer < layers; ++layer)
    HEADRACE_RETURN_IF_ERROR(executor->Copy(
        Page(layer, free_pages.back()), Page(layer, from), layer_page_bytes));
  *out_page = Pop();
  was_used[*out_page] = 1;
  return Status();
}

void KvPool::Drop(uint32_t page) {
  if (--references[page] == 0)
    free_pages.push_back(page);
}

} // namespace headrace::runtime
