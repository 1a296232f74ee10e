// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Expert cache: which expert is in which slot, and who goes when one comes.
#ifndef HEADRACE_RUNTIME_SRC_TIER_EXPERT_CACHE_H
#define HEADRACE_RUNTIME_SRC_TIER_EXPERT_CACHE_H

#include "runtime/src/memory.h"

namespace headrace::runtime {

/// Which bundle leaves when all slots are taken.
enum class CachePolicy : uint8_t {
  kLru,    // the one not used for longest
  kLfu,    // the one that is worth least for as long as it would have to stay
  kPinned, // the most used ones stay, the rest share `min_slots` by LRU
  kPredict // as kLfu; and what a router says is likely next is fetched ahead
};

/// Decides; moves nothing. What it decides follows from the sequence of active
/// and predicted experts alone, never from time, so that a simulator that is
/// given the same routing knows every byte.
///
/// Bundles are numbered by group (one routed layer each, in the order in which
/// a run uses them) and expert. Used by one thread at a time.
class ExpertCache {
public:
  static constexpr uint32_t kNone = UINT32_MAX;

  struct Options {
    /// Experts of each group.
    const uint32_t *group_experts = nullptr;
    uint32_t group_count = 0;
    uint32_t slots = 0;     // at least 1
    uint32_t min_slots = 0; // of kPinned: left to what is not pinned
    CachePolicy policy = CachePolicy::kLru;
  };

  /// Where one expert of a step is to be.
  struct Decision {
    uint32_t bundle = kNone;
    uint32_t slot = kNone;
    bool hit = false; // it is there already, or on its way
    /// Index in the step's list of the expert whose slot this was: it must have
    /// been computed before the slot is filled. kNone: fill it at once.
    uint32_t after = kNone;
  };

  struct Counters {
    uint64_t hits = 0;
    uint64_t misses = 0;
    uint64_t evictions = 0;
    uint64_t prefetches = 0;
    uint64_t prefetches_used = 0; // asked for by the group they were for
  };

  explicit ExpertCache(const Allocator &allocator);

  /// Allocates; throws std::bad_alloc.
  void Create(const Options &options);

  /// Decides for the `count` active experts of `group`, given in ascending
  /// order, and takes note of their use. `out` has a place for each.
  ///
  /// At most `Window()` experts are in slots for good at one time, so that
  /// while one is computed the next ones can arrive: an expert's slot is never
  /// given to one of the Window() - 1 experts that follow it.
  void Plan(uint32_t group, const int32_t *active, uint32_t count,
            Decision *out);

  /// Whether a prediction for `group` could be of use: with kPredict, while not
  /// all of its experts are in slots and there are more slots than a group
  /// uses.
  bool WantsPrediction(uint32_t group) const;

  /// kPredict, behind the Plan() of another group: decides which of the `count`
  /// experts that `group` is likely to have active, the most likely first, to
  /// fetch ahead, no more than `most`. Their slots are none of those that the
  /// planned group uses, so they are free at once. A prediction is trusted as
  /// far as others of its rank, of experts used as recently, were right.
  /// Returns how many; `out` has a place for each. Other policies: 0.
  uint32_t PlanPrefetch(uint32_t group, const int32_t *predicted,
                        uint32_t count, uint32_t most, Decision *out);

  uint32_t Window() const { return window; }
  uint32_t SlotOf(uint32_t bundle) const { return slot_of[bundle]; }
  uint32_t BundleIn(uint32_t slot) const { return slots[slot].bundle; }
  uint32_t SlotCount() const { return static_cast<uint32_t>(slots.size()); }
  uint32_t FirstBundle(uint32_t group) const { return groups[group].first; }
  uint32_t BundleCount() const { return static_cast<uint32_t>(slot_of.size()); }
  const Counters &Count() const { return counters; }

private:
  struct Group {
    uint32_t first = 0;
    uint32_t experts = 0;
    uint32_t visits = 0; // that were planned, as far as they matter
  };
  struct Slot {
    uint32_t bundle = kNone;
    uint64_t last_use = 0;
    bool ahead = false;        // fetched for a visit that is still to come
    uint32_t position = kNone; // in the list being planned
  };

  /// Of the visits to a bundle's group, the share in which it was active, by
  /// bundle: a weighted mean that forgets.
  struct Estimate {
    explicit Estimate(const Allocator &allocator)
        : shares(StdAllocator<float>(allocator)) {}
    Vector<float> shares;
    float error = 0; // of its guesses, squared; forgets too
  };

  uint32_t Victim(uint32_t index, bool may_wait) const;
  float Share(uint32_t bundle) const;
  bool IsBetterVictim(uint32_t a, uint32_t b) const;
  float Worth(const Slot &slot) const;
  void Put(uint32_t bundle, uint32_t slot);
  void NoteUses(uint32_t group, const int32_t *active, uint32_t count);
  void ChoosePinned();
  void Judge(uint32_t group, const int32_t *active, uint32_t count);

  CachePolicy policy = CachePolicy::kLru;
  uint32_t window = 1;
  uint32_t unpinned = 0;
  Vector<Group> groups;
  Vector<uint32_t> group_of; // by bundle
  Vector<uint32_t> slot_of;  // by bundle
  Vector<Slot> slots;
  Estimate slow, fast;
  float mean_error = 0;     // of the mean of both
  Vector<uint8_t> pinned;   // by bundle
  Vector<uint32_t> ranking; // of bundles, for ChoosePinned()
  // kPredict: of the last prediction, what was in no slot, by rank (kNone: what
  // was in one), and the group that it is for.
  Vector<uint32_t> guesses;
  uint32_t guess_count = 0;
  uint32_t guess_group = kNone;
  // How often predictions of a kind were right, a mean that forgets, by rank
  // and recency; and the kind of each guess.
  Vector<float> trust;
  Vector<uint32_t> guess_trust;
  uint32_t last_group = kNone; // that was planned, and how many were active
  uint32_t last_count = 1;
  uint64_t passes = 0; // of kPinned: visits of group 0
  uint64_t clock = 0;
  Counters counters;
};

} // namespace headrace::runtime

#endif // HEADRACE_RUNTIME_SRC_TIER_EXPERT_CACHE_H
