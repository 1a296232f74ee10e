// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Key-value pool: pages of positions, counted by the sequences that share them.
// A page number stands for a page in each layer; those of a layer are together.
#ifndef HEADRACE_RUNTIME_SRC_KV_POOL_H
#define HEADRACE_RUNTIME_SRC_KV_POOL_H

#include "runtime/abi/kernel_abi.h"
#include "runtime/src/device.h"
#include "runtime/src/tier/page_mover.h"

namespace headrace::runtime {

/// Pages that `positions` positions take.
inline uint32_t PagesOf(uint64_t positions) {
  return static_cast<uint32_t>((positions + HEADRACE_KV_PAGE_POSITIONS - 1) /
                               HEADRACE_KV_PAGE_POSITIONS);
}

class KvPool {
public:
  explicit KvPool(const Allocator &allocator)
      : layers(StdAllocator<uint8_t *>(allocator)),
        free_pages(StdAllocator<uint32_t>(allocator)),
        references(StdAllocator<uint32_t>(allocator)),
        was_used(StdAllocator<uint8_t>(allocator)) {}

  /// The pool lies on `device`, at `place`, which is zeroed and outlives it, or
  /// in memory of its own for null; `executor` writes its pages, in order with
  /// the steps that read them. Layers that `mover` moves have their pages with
  /// it; null: none does.
  Status Create(headrace_device_t *device, Executor *executor, uint8_t *place,
                uint32_t page_count, const abi::KvCache &cache,
                PageMover *mover);

  /// Takes a zeroed page; there must be a free one. Where pages move, a run
  /// zeroes those that begin with it.
  /// Codes: device lost.
  Status Take(uint32_t *out_page);
  /// Takes a page with the bytes of `page`; there must be a free one.
  /// Codes: device lost, and those of PageMover.
  Status TakeCopy(uint32_t page, const WaitLimits &limits, uint32_t *out_page);
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
  uint64_t PageBytes() const { return layer_page_bytes * layers.size(); }
  /// Of one layer.
  uint64_t LayerPageBytes() const { return layer_page_bytes; }
  /// Page 0 of a layer, as kernels see it.
  uint8_t *LayerData(uint32_t layer) const { return layers[layer]; }
  /// Layers whose pages stay.
  uint32_t ResidentLayers() const { return resident; }

private:
  uint32_t Pop();
  bool Moves(uint32_t layer) const {
    return mover && mover->SlotOf(layer) != nullptr;
  }

  DeviceMemory memory; // empty where the plan has a place
  Executor *executor = nullptr;
  PageMover *mover = nullptr;
  Vector<uint8_t *> layers; // page 0 of each
  uint32_t resident = 0;
  uint64_t layer_page_bytes = 0;
  Vector<uint32_t> free_pages; // a stack
  Vector<uint32_t> references;
  Vector<uint8_t> was_used; // fresh pages are zero already
};

} // namespace headrace::runtime

#endif // HEADRACE_RUNTIME_SRC_KV_POOL_H
