// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Expert cache: planning a step, choosing victims, learning what follows what.
#include "runtime/src/tier/expert_cache.h"

#include <algorithm>

namespace headrace::runtime {
namespace {

/// Uses between two halvings of the counts, for each slot: long enough to tell
/// bundles apart, short enough to follow a change of subject.
constexpr uint64_t kAgingPeriod = 32;
/// Share of past routings from which on an expert is fetched ahead.
constexpr float kLikely = 0.5f;
constexpr uint16_t kMostTransitions = 1 << 14;

} // namespace

ExpertCache::ExpertCache(const Allocator &allocator)
    : groups(StdAllocator<Group>(allocator)),
      group_of(StdAllocator<uint32_t>(allocator)),
      slot_of(StdAllocator<uint32_t>(allocator)),
      slots(StdAllocator<Slot>(allocator)),
      uses(StdAllocator<uint32_t>(allocator)),
      pinned(StdAllocator<uint8_t>(allocator)),
      ranking(StdAllocator<uint32_t>(allocator)),
      transitions(StdAllocator<uint16_t>(allocator)),
      chance(StdAllocator<float>(allocator)),
      last(StdAllocator<int32_t>(allocator)) {}

void ExpertCache::Create(const Options &options) {
  policy = options.policy;
  slots.assign(options.slots, Slot());
  // Half of the slots may hold what is being computed or waits for it; from
  // the others the policy chooses. With one slot fetching and computing take
  // turns.
  window = std::max(std::min(options.slots, 2u), (options.slots + 1) / 2);
  unpinned = std::min(options.slots, std::max(options.min_slots, 1u));
  uint32_t bundles = 0, most = 0;
  size_t pairs = 0;
  groups.reserve(options.group_count);
  for (uint32_t i = 0; i < options.group_count; ++i) {
    const uint32_t experts = options.group_experts[i];
    const uint32_t after = options.group_experts[(i + 1) % options.group_count];
    groups.push_back({bundles, experts, 0, pairs});
    pairs += size_t(experts) * after;
    group_of.insert(group_of.end(), experts, i);
    bundles += experts;
    most = std::max(most, experts);
  }
  slot_of.assign(bundles, kNone);
  uses.assign(bundles, 0);
  if (policy == CachePolicy::kPinned) {
    pinned.assign(bundles, 0);
    ranking.resize(bundles);
  }
  if (policy == CachePolicy::kPredict) {
    transitions.assign(pairs, 0);
    chance.assign(most, 0);
    last.assign(most, 0);
  }
}

//===----------------------------------------------------------------------===//
// Victims
//===----------------------------------------------------------------------===//

/// The expected distance of the next use of the slot's bundle, in groups. The
/// group after the planned one is known best: the router's picks of the planned
/// one tell what tends to follow.
double ExpertCache::NextUse(const Slot &slot) const {
  const uint32_t group = group_of[slot.bundle];
  const auto count = static_cast<uint32_t>(groups.size());
  uint32_t distance = (group + count - last_group) % count;
  if (distance == 0)
    distance = count;
  double likely = (uses[slot.bundle] + 0.5) / (kAgingPeriod + 1.0);
  if (distance == 1 && count > 1)
    likely = double(chance[slot.bundle - groups[group].first]) + 1e-3;
  return distance / std::min(likely, 1.0);
}

bool ExpertCache::IsBetterVictim(uint32_t a, uint32_t b) const {
  const Slot &x = slots[a], &y = slots[b];
  switch (policy) {
  case CachePolicy::kLru:
    break;
  case CachePolicy::kLfu:
    if (uses[x.bundle] != uses[y.bundle])
      return uses[x.bundle] < uses[y.bundle];
    break;
  case CachePolicy::kPinned:
    if (pinned[x.bundle] != pinned[y.bundle])
      return pinned[x.bundle] < pinned[y.bundle];
    break;
  case CachePolicy::kPredict: {
    const double one = NextUse(x), other = NextUse(y);
    if (one != other)
      return one > other;
    break;
  }
  }
  return x.last_use < y.last_use;
}

/// The slot that the expert at `index` of the list gets. Without `may_wait` it
/// must be free of the list's experts. kNone: there is none.
uint32_t ExpertCache::Victim(uint32_t index, bool may_wait) const {
  uint32_t best = kNone, latest = kNone;
  for (uint32_t i = 0; i < slots.size(); ++i) {
    const Slot &slot = slots[i];
    if (slot.bundle == kNone)
      return i;
    if (slot.position != kNone) {
      if (!may_wait)
        continue;
      if (slot.position > index) { // still wanted: the last resort
        if (latest == kNone || slot.position > slots[latest].position)
          latest = i;
        continue;
      }
      if (index - slot.position < window)
        continue;
    }
    if (best == kNone || IsBetterVictim(i, best))
      best = i;
  }
  return best != kNone ? best : latest;
}

void ExpertCache::Put(uint32_t bundle, uint32_t index) {
  Slot &slot = slots[index];
  if (slot.bundle != kNone) {
    slot_of[slot.bundle] = kNone;
    ++counters.evictions;
  }
  slot = Slot();
  slot.bundle = bundle;
  slot_of[bundle] = index;
}

//===----------------------------------------------------------------------===//
// Planning
//===----------------------------------------------------------------------===//

void ExpertCache::NoteUse(uint32_t bundle) {
  ++uses[bundle];
  if (++clock % (kAgingPeriod * slots.size()) != 0)
    return;
  if (policy == CachePolicy::kPinned)
    ChoosePinned();
  for (uint32_t &count : uses)
    count /= 2;
}

/// The most used bundles, as many as leave `unpinned` slots to the others.
void ExpertCache::ChoosePinned() {
  std::fill(pinned.begin(), pinned.end(), 0);
  const size_t count =
      std::min<size_t>(slots.size() - unpinned, ranking.size());
  for (uint32_t i = 0; i < ranking.size(); ++i)
    ranking[i] = i;
  std::partial_sort(ranking.begin(),
                    ranking.begin() + static_cast<ptrdiff_t>(count),
                    ranking.end(), [&](uint32_t a, uint32_t b) {
                      return uses[a] != uses[b] ? uses[a] > uses[b] : a < b;
                    });
  for (size_t i = 0; i < count; ++i)
    pinned[ranking[i]] = 1;
}

void ExpertCache::Plan(uint32_t group, const int32_t *active, uint32_t count,
                       Decision *out) {
  const uint32_t first = groups[group].first;
  if (policy == CachePolicy::kPredict) {
    Learn(group, active, count);
    Predict((group + 1) % static_cast<uint32_t>(groups.size()), active, count);
  }
  for (Slot &slot : slots)
    slot.position = kNone;
  // Who is there and wanted should not make way for who is not there.
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t slot = slot_of[first + static_cast<uint32_t>(active[i])];
    if (slot != kNone)
      slots[slot].position = i;
  }
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t bundle = first + static_cast<uint32_t>(active[i]);
    Decision &decision = out[i];
    decision = Decision();
    decision.bundle = bundle;
    decision.slot = slot_of[bundle];
    decision.hit = decision.slot != kNone;
    if (decision.hit) {
      ++counters.hits;
      counters.prefetches_used += slots[decision.slot].unused;
    } else {
      ++counters.misses;
      decision.slot = Victim(i, /*may_wait=*/true);
      const uint32_t position = slots[decision.slot].position;
      if (position < i) // kNone is larger than any
        decision.after = position;
      Put(bundle, decision.slot);
    }
    Slot &slot = slots[decision.slot];
    slot.unused = false;
    slot.position = i;
    slot.last_use = clock;
    NoteUse(bundle);
  }
}

uint32_t ExpertCache::PlanPrefetch(Decision *out, uint32_t most) {
  uint32_t planned = 0;
  const auto count = static_cast<uint32_t>(groups.size());
  if (policy == CachePolicy::kPredict && last_group != kNone && count > 1) {
    const Group &next = groups[(last_group + 1) % count];
    most = std::min(most, next.last_active);
    for (uint32_t expert = 0; expert < next.experts && planned < most;
         ++expert) {
      const uint32_t bundle = next.first + expert;
      if (chance[expert] < kLikely || slot_of[bundle] != kNone)
        continue;
      const uint32_t slot = Victim(kNone, /*may_wait=*/false);
      if (slot == kNone)
        break;
      // Not in place of somebody who is as likely to be asked for next.
      const uint32_t victim = slots[slot].bundle;
      if (victim != kNone && group_of[victim] == group_of[bundle] &&
          chance[victim - next.first] >= chance[expert])
        continue;
      Put(bundle, slot);
      slots[slot].unused = true;
      slots[slot].position = last_count; // not for the next one either
      slots[slot].last_use = clock;
      out[planned].bundle = bundle;
      out[planned].slot = slot;
      out[planned].hit = false;
      out[planned].after = kNone;
      ++planned;
      ++counters.prefetches;
    }
  }
  return planned;
}

//===----------------------------------------------------------------------===//
// Prediction
//===----------------------------------------------------------------------===//

/// Adds that `active` of `group` came after what was active in the group
/// before.
void ExpertCache::Learn(uint32_t group, const int32_t *active, uint32_t count) {
  const auto groups_count = static_cast<uint32_t>(groups.size());
  if (last_group != kNone && (last_group + 1) % groups_count == group) {
    const Group &before = groups[last_group];
    uint16_t *table = transitions.data() + before.transitions;
    for (uint32_t i = 0; i < last_count; ++i) {
      uint16_t *line = table + size_t(last[i]) * groups[group].experts;
      bool full = false;
      for (uint32_t j = 0; j < count; ++j)
        full |= ++line[active[j]] >= kMostTransitions;
      if (full)
        for (uint32_t j = 0; j < groups[group].experts; ++j)
          line[j] /= 2;
    }
  }
  last_group = group;
  last_count = count;
  groups[group].last_active = count;
  std::copy(active, active + count, last.begin());
}

/// How likely each expert of group `next` is, after these ones: the mean over
/// them of the share of the times that it followed.
void ExpertCache::Predict(uint32_t next, const int32_t *active,
                          uint32_t count) {
  const Group &group = groups[last_group];
  const uint32_t experts = groups[next].experts;
  std::fill(chance.begin(), chance.end(), 0.0f);
  if (count == 0)
    return;
  const uint16_t *table = transitions.data() + group.transitions;
  const float picked = static_cast<float>(groups[next].last_active);
  for (uint32_t i = 0; i < count; ++i) {
    const uint16_t *line = table + size_t(active[i]) * experts;
    uint64_t sum = 0;
    for (uint32_t j = 0; j < experts; ++j)
      sum += line[j];
    if (sum == 0)
      continue;
    // A line counts `picked` experts for each time.
    const float scale =
        picked / (static_cast<float>(sum) * static_cast<float>(count));
    for (uint32_t j = 0; j < experts; ++j)
      chance[j] += static_cast<float>(line[j]) * scale;
  }
}

} // namespace headrace::runtime
