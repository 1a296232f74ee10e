// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Which bytes stay in fast memory and which move in each run: the choice that a
// memory plan is built on. Plain numbers, so that the choice can be tested and
// compared with an exact optimum without a compiler around it.
#ifndef HEADRACE_COMPILER_TIERING_PLACEMENT_H
#define HEADRACE_COMPILER_TIERING_PLACEMENT_H

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace headrace::tiering {

/// Unit of transfers: offsets and sizes of weights are multiples of it.
constexpr uint64_t kPage = 4096;

inline uint64_t alignToPage(uint64_t bytes) {
  return (bytes + kPage - 1) / kPage * kPage;
}

/// Weights that move together: in fast memory for good, or read through a ring
/// of slots `fetches` times a run.
struct StreamedBundle {
  uint64_t bytes = 0;
  uint32_t fetches = 1;
};

/// The key-value pages of a layer: in fast memory for good, or elsewhere, from
/// where those in use come through a ring of its own and go back.
struct CacheLayer {
  uint64_t bytes = 0;
  uint64_t traffic = 0; ///< Bytes that a run moves if they are elsewhere.
};

/// Bytes that are written: an activation, a host's buffer.
/// In fast memory, or used where they are in slower memory, `traffic` bytes a
/// run, if kernels can address that.
struct Object {
  uint64_t bytes = 0;
  uint32_t first = 0, last = 0; ///< Launches between which it is alive.
  uint64_t traffic = 0;
  bool maySpill = false;
};

/// The experts of one routed layer, all of one size: chosen at run time, so
/// they share a cache with all other groups.
struct ExpertGroup {
  uint32_t experts = 0;
  uint64_t bytes = 0;  ///< Of one expert.
  double active = 0.0; ///< Of them in a run, on average.
};

struct Problem {
  uint64_t capacity = 0;   ///< Of fast memory.
  uint64_t fixedBytes = 0; ///< That are in it in any case.
  uint32_t launches = 1;
  std::vector<StreamedBundle> bundles;
  std::vector<CacheLayer> cacheLayers; ///< Those whose pages may leave.
  std::vector<Object> objects;
  std::vector<ExpertGroup> groups;

  /// Slots of the cache are as large as the largest expert.
  uint64_t slotBytes() const;
  uint64_t expertCount() const;
  /// Bytes that a run reads for experts when the cache has `slots` slots. A
  /// choice that keeps the same experts misses all others, so this is linear.
  double expertTraffic(uint64_t slots) const;
};

/// An answer to a problem.
struct Placement {
  std::vector<bool> resident; ///< Of each bundle.
  std::vector<bool> cached;   ///< Of each cache layer: its pages stay.
  std::vector<bool> fast;     ///< Of each object.
  /// Bytes of a slot of the two rings, larger first; 0: there is no such ring.
  /// A streamed bundle goes through the smaller ring that it fits.
  uint64_t ringBytes[2] = {0, 0};
  uint32_t ringSlots = 2;
  /// Of a slot for a layer's pages, of which there are as many; 0: all stay.
  uint64_t pageRingBytes = 0;
  uint64_t cacheSlots = 0;
  double traffic = 0.0; ///< Bytes moved a run.

  /// Bytes of fast memory at the fullest launch, if addresses cost nothing.
  uint64_t bytes(const Problem &problem) const;
};

enum class Strategy {
  joint,          ///< Fewest bytes moved over weights, caches and buffers.
  smallestTraffic ///< What moves the fewest bytes in all leaves first.
};
std::string_view strategyName(Strategy strategy);
std::optional<Strategy> parseStrategy(std::string_view name);

/// A placement that fits, with double buffers where there is room for them;
/// none if nothing fits.
std::optional<Placement> choosePlacement(const Problem &problem,
                                         Strategy strategy);

/// The placement that takes the fewest bytes, whatever it moves: all that can
/// leave does, through one slot.
Placement smallestPlacement(const Problem &problem);

} // namespace headrace::tiering

#endif // HEADRACE_COMPILER_TIERING_PLACEMENT_H
