// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Key-value pool: handing out, sharing and taking back pages.
#include "runtime/src/kv_pool.h"

namespace headrace::runtime {

Status KvPool::Create(headrace_device_t *device, Executor *writer,
                      uint8_t *place, uint32_t page_count,
                      const abi::KvCache &cache, PageMover *moves) {
  uint64_t bytes;
  if (__builtin_mul_overflow(cache.page_bytes(), uint64_t(page_count), &bytes))
    bytes = UINT64_MAX;
  if (!place)
    HEADRACE_RETURN_IF_ERROR(
        device->Allocate(bytes, "the key-value pool", &memory));
  uint8_t *next = place ? place : memory.Data();
  executor = writer;
  mover = moves;
  layer_page_bytes = cache.page_bytes() / cache.layers();
  layers.assign(cache.layers(), nullptr);
  for (uint32_t layer = 0; layer < cache.layers(); ++layer) {
    if (Moves(layer)) {
      layers[layer] = mover->SlotOf(layer);
      continue;
    }
    layers[layer] = next;
    next += layer_page_bytes * page_count;
    ++resident;
  }
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
  for (uint32_t i = 0; was_used[page] && i < layers.size(); ++i)
    if (!Moves(i))
      HEADRACE_RETURN_IF_ERROR(executor->Fill(
          layers[i] + layer_page_bytes * page, 0, layer_page_bytes));
  *out_page = Pop();
  was_used[*out_page] = 1;
  return Status();
}

Status KvPool::TakeCopy(uint32_t from, const WaitLimits &limits,
                        uint32_t *out_page) {
  const uint32_t to = free_pages.back();
  for (uint32_t i = 0; i < layers.size(); ++i)
    if (!Moves(i))
      HEADRACE_RETURN_IF_ERROR(executor->Copy(
          layers[i] + layer_page_bytes * to,
          layers[i] + layer_page_bytes * from, layer_page_bytes));
  if (resident != layers.size())
    HEADRACE_RETURN_IF_ERROR(mover->CopyPage(from, to, limits));
  *out_page = Pop();
  was_used[to] = 1;
  return Status();
}

void KvPool::Drop(uint32_t page) {
  if (--references[page] == 0)
    free_pages.push_back(page);
}

} // namespace headrace::runtime
