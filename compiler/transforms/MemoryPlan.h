// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What a plan of the fast memory decides, and the making of ops of it.
#ifndef HEADRACE_COMPILER_TRANSFORMS_MEMORYPLAN_H
#define HEADRACE_COMPILER_TRANSFORMS_MEMORYPLAN_H

#include "compiler/tiering/Placement.h"
#include "compiler/transforms/MemoryUse.h"
#include "compiler/transforms/PlanMemory.h"

namespace headrace {

/// The pages of a layer of the key-value cache.
struct CacheLayer {
  uint64_t layer;
  Span span;         ///< Units that read and write them.
  mlir::Value token; ///< Of their prefetch, once that is made.
};

/// What is decided. Addresses are in the arena of the level, unless they say
/// otherwise.
struct MemoryPlan {
  llvm::StringRef level; ///< That is planned.
  uint64_t end = 0;      ///< Of what has an address so far.
  uint64_t minimum = 0;  ///< Bytes with which a plan exists.
  tiering::Placement placement;
  bool isCached = false;  ///< Experts have fewer slots than they are.
  uint64_t slotBytes = 0; ///< Of an expert's slot.
  int64_t mostAhead = 0;  ///< Experts that are fetched ahead for a layer.
  llvm::SmallVector<std::pair<tier::BufferOp, uint64_t>> hostBuffers;
  llvm::SmallVector<std::pair<const KernelBuffer *, uint64_t>> kernelBuffers;
  uint64_t workers = 1, workerBytes = 0, scratchOffset = 0;

  // The key-value cache.
  uint64_t kvPages = 0, kvLayers = 0;
  uint64_t layerPageBytes = 0; ///< Of a page of one layer.
  uint64_t layerBytes = 0;     ///< Of all pages of a layer, in pages of memory.
  std::vector<CacheLayer> cacheLayers; ///< Whose pages may move; then: do.
  uint32_t pageSlots = 0;              ///< For these.
  /// Bytes of the pages of layers that stay.
  uint64_t residentPageBytes() const {
    return (kvLayers - cacheLayers.size()) * kvPages * layerPageBytes;
  }

  // Where what moves is meanwhile: bundles in memory of the host, or in the
  // package; pages there, or on the disk.
  llvm::StringRef homeLevel, homeOfPages;
  uint64_t homeEnd = 0; ///< Bytes of that level's arena; 0: there is none.
  uint64_t homeStaging = 0;

  bool stays(size_t bundle) const { return placement.resident[bundle]; }
  /// The ring whose slots a bundle takes.
  int ringOf(const Bundle &bundle) const {
    return bundle.bytes <= placement.ringBytes[1] ? 1 : 0;
  }

  // Names of symbols.
  static std::string nameOfRing(int ring) {
    return "ring" + std::to_string(ring);
  }
  static std::string nameOfBundle(size_t number) {
    return "bundle" + std::to_string(number);
  }
  static std::string nameOfExperts(size_t group) {
    return "experts" + std::to_string(group);
  }
  static std::string nameOf(const CacheLayer &one) {
    return "pages" + std::to_string(one.layer);
  }
};

/// Gives what has none yet its address, and makes `tier.plan`, pins, pools and
/// bundles of it all.
void emitPlaces(MemoryUse &program, const MemoryPlanOptions &options,
                MemoryPlan &plan);

/// Puts the transfers between the launches.
void emitTransfers(MemoryUse &program, MemoryPlan &plan);

} // namespace headrace

#endif // HEADRACE_COMPILER_TRANSFORMS_MEMORYPLAN_H
