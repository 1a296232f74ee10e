// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Key-value pool: pages of positions, counted by the sequences that share them.
// A page number stands for a page in each layer; those of a layer are together.
#ifndef HEADRACE_RUNTIME_SRC_KV_POOL_H
#define HEADRACE_RUNTIME_SRC_KV_POOL_H

#include "runtime/src/device.h"

namespace headrace::runtime {

class KvPool {
public:
  explicit KvPool(const Allocator &allocator)
      : free_pages(StdAllocator<uint32_t>(allocator)),
        references(StdAllocator<uint32_t>(allocator)),
        was_used(StdAllocator<uint8_t>(allocator)) {}

  /// The pool lies on `device`, at `place`, which is zeroed and outlives it, or
  /// in memory of its own for null; `executor` writes its pages, in order with
  /// the steps that read them.
  Status Create(headrace_device_t *device, Executor *executor, uint8_t *place,
                uint32_t page_count, const abi::KvCache &cache);

  /// Takes a zeroed page; there must be a free one.
  /// Codes: device lost.
  Status Take(uint32_t *out_page);
  /// Takes a page with the bytes of `page`; there must be a free one.
  /// Codes: device lost.
  Status TakeCopy(uint32_t page, uint32_t *out_page);
  void Share(uint32_t page) { ++references[page]; }
  void Drop(uint32_t page);
  bool IsShared(uint32_t page) const { return references[page] > 1; }

  uint32_t FreeCount() const {
    return static_cast<uint32_t>(free_pages.size());
  }
  uint32_t PageCount() const {
    return static_cast<uint32_t>(references.size());
  }
  /// Of all layers.
  uint64_t PageBytes() const { return layer_page_bytes * layers; }
  uint8_t *Data() const { return data; }

private:
  uint32_t Pop();
  uint8_t *Page(uint32_t layer, uint32_t page) const {
    return data +
           layer_page_bytes * (uint64_t(layer) * references.size() + page);
  }

  DeviceMemory memory; // empty where the plan has a place
  uint8_t *data = nullptr;
  Executor *executor = nullptr;
  uint32_t layers = 0;
  uint64_t layer_page_bytes = 0;
  Vector<uint32_t> free_pages; // a stack
  Vector<uint32_t> references;
  Vector<uint8_t> was_used; // fresh pages are zero already
};

} // namespace headrace::runtime

#endif // HEADRACE_RUNTIME_SRC_KV_POOL_H
