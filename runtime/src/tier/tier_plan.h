// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tier plan: a package's static plan, resolved to ranges, slots and steps.
#ifndef HEADRACE_RUNTIME_SRC_TIER_TIER_PLAN_H
#define HEADRACE_RUNTIME_SRC_TIER_TIER_PLAN_H

#include "runtime/src/tier/expert_cache.h"
#include "runtime/src/tier/page_mover.h"

namespace headrace::runtime {

/// How the slots of a pool are given out.
enum class PoolKind : uint8_t {
  kRing, // by the schedule: layers that stream through
  kCache // by what the router picked
};

/// Equal slots of a level, one after the other.
struct TierPool {
  const char *name = "";
  uint64_t offset = 0; // of the first slot, in the level's arena
  uint64_t slot_bytes = 0;
  uint32_t min_slots = 0; // fewer can deadlock
  uint32_t slots = 0;     // that the plan has room for
  PoolKind kind = PoolKind::kRing;
  CachePolicy policy = CachePolicy::kLru;
  uint32_t bundle_count = 0;
  bool has_pages = false;   // rings: of layers' key-value pages, never grows
  uint32_t first_group = 0; // caches: in TierPlan::groups
  uint32_t group_count = 0;
};

/// The experts of one routed part of the model, as consecutive bundles.
struct TierGroup {
  uint32_t bundle = 0; // of expert 0
  uint32_t experts = 0;
};

/// Where the host finds what a router picked.
struct TierRouting {
  uint32_t buffer = 0;
  uint64_t count_offset = 0;  // of an int32: how many experts are active
  uint64_t active_offset = 0; // of int32s: which, ascending
  uint32_t experts = 0;
  // Of predictions: where each expert's picks begin, int32s, and the float32
  // weights of all picks.
  uint64_t picks_offset = 0;
  uint64_t weights_offset = 0;
  uint32_t most_picks = 0;
};

/// One step of an entry's schedule.
struct TierStep {
  enum class Kind : uint8_t {
    kLaunch,
    kFetch,
    kWait,
    kRelease,
    kRouted,
    kPredict,
    kFetchPages, // of the layer `bundle` of TierPlan::page_layers, as are those
    kWaitPages,  // that follow
    kStorePages,
    kReleasePages
  };
  Kind kind = Kind::kLaunch;
  uint32_t launch = 0; // kLaunch, kPredict; kRouted: the first
  uint32_t end_launch = 0;
  uint32_t bundle = 0; // kRouted, kPredict: of expert 0
  uint32_t slot = 0;   // kFetch
  uint32_t pool = 0;   // kRouted, kPredict
  uint32_t group = 0;  // kRouted, kPredict: its number in the pool
  uint32_t routing = 0;
  uint32_t most = 0; // kPredict: experts that are fetched ahead, at most
};

/// Of a bundle that lies in the package alone.
constexpr uint64_t kNoHome = UINT64_MAX;

/// All of it. Bundles point into `pieces`.
struct TierPlan {
  explicit TierPlan(const Allocator &allocator)
      : pieces(StdAllocator<TransferPiece>(allocator)),
        piece_weights(StdAllocator<uint32_t>(allocator)),
        bundles(StdAllocator<Bundle>(allocator)),
        bundle_pools(StdAllocator<uint32_t>(allocator)),
        bundle_numbers(StdAllocator<uint32_t>(allocator)),
        bundle_homes(StdAllocator<uint64_t>(allocator)),
        pools(StdAllocator<TierPool>(allocator)),
        routings(StdAllocator<TierRouting>(allocator)),
        groups(StdAllocator<TierGroup>(allocator)),
        page_layers(StdAllocator<PageMover::Layer>(allocator)),
        steps(StdAllocator<TierStep>(allocator)),
        schedule_steps(StdAllocator<uint32_t>(allocator)),
        entry_schedules(StdAllocator<uint32_t>(allocator)) {}

  Vector<TransferPiece> pieces;
  Vector<uint32_t> piece_weights; // binding slot of each piece
  Vector<Bundle> bundles;
  Vector<uint32_t> bundle_pools;   // by bundle
  Vector<uint32_t> bundle_numbers; // by bundle, among those of its pool
  Vector<uint64_t> bundle_homes;   // by bundle, in the home level's arena
  Vector<TierPool> pools;
  Vector<TierRouting> routings;
  Vector<TierGroup> groups; // a pool's are consecutive
  Vector<PageMover::Layer> page_layers;
  uint32_t page_pool = 0; // that their slots are of, if there are any
  Vector<TierStep> steps; // of all schedules
  // Where the steps of each schedule begin, and the end; by entry its first
  // schedule, one for each class of steps where there are any.
  Vector<uint32_t> schedule_steps;
  Vector<uint32_t> entry_schedules;
  Bundle resident;                  // placed by offsets in the arena
  uint32_t home_level = UINT32_MAX; // UINT32_MAX: bundles have no home
  uint64_t staging_offset = 0;      // in that level's arena
  uint64_t staging_bytes = 0;
  const char *level = ""; // of the arena
  uint64_t min_bytes = 0; // certified with `min_slots` everywhere
};

/// Slots of each pool under a budget of `bytes` for the level. What is above
/// the minimum goes to rings first, where a slot saves its bytes in every pass,
/// then to the caches, each slot to the cache with the smallest share of its
/// bundles in slots. 0 bytes: the slots of the plan. `slots` has a place for
/// each pool.
/// Codes: resource exhausted, with the number of bytes that are missing.
Status ChooseSlots(const Allocator &allocator, const TierPlan &plan,
                   uint64_t bytes, uint32_t *slots);

} // namespace headrace::runtime

#endif // HEADRACE_RUNTIME_SRC_TIER_TIER_PLAN_H
