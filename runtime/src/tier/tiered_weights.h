// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tiered weights: the arena loader of a session with what it reads and obeys.
#ifndef HEADRACE_RUNTIME_SRC_TIER_TIERED_WEIGHTS_H
#define HEADRACE_RUNTIME_SRC_TIER_TIERED_WEIGHTS_H

#include "runtime/src/package.h"
#include "runtime/src/tier/arena_loader.h"
#include "runtime/src/tier/scratch_file.h"

namespace headrace::runtime {

/// The loader `arena` of a session.
class TieredWeights final : public WeightLoader {
public:
  TieredWeights(const Allocator &allocator, const PackageSource &package)
      : plan(allocator), memory(package.memory, package.bytes),
        pages(allocator), loader(allocator, &plan), allocator(allocator) {}

  Status Bind(Vector<const void *> *table) override {
    return loader.Bind(table);
  }
  void Destroy() override { Delete(Allocator(allocator), this); }

  TierPlan plan;
  MemorySource memory;    // of a package in memory
  FileSource file;        // of one in a file
  HomeMemory homes;       // of what moves, where the plan has memory for it
  ScratchFile page_homes; // of key-value pages, where it has none
  // These end first: their threads use the sources.
  PageMover pages;
  ArenaLoader loader;

private:
  const Allocator allocator;
};

} // namespace headrace::runtime

#endif // HEADRACE_RUNTIME_SRC_TIER_TIERED_WEIGHTS_H
