// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Expert cache: planning a step, choosing victims, judging predictions.
#include "runtime/src/tier/expert_cache.h"

#include <algorithm>

namespace headrace::runtime {
namespace {

/// Visits of a group that shares remember. The first is long enough to tell
/// experts apart that are used almost evenly, the second short enough to follow
/// a change of subject. Of the two and their mean, the one that has guessed
/// better is believed; who is pinned follows from the first.
constexpr uint32_t kSlowMemory = 33;
constexpr uint32_t kFastMemory = 3;
/// Visits of any group that their errors remember.
constexpr float kErrorMemory = 50;
/// An expert that nobody has asked for is worth a little all the same: where
/// two are, the one needed sooner should stay.
constexpr float kLeastShare = 1e-3f;
/// Passes between two choices of what is pinned, after the first few.
constexpr uint64_t kPinningPeriod = 16;
/// Experts of a list that are neither computed nor overwritten yet, at most:
/// enough for a link to have work while one is computed. Each of them keeps a
/// slot from one that may be asked for again.
constexpr uint32_t kMostInWindow = 3;
/// Share of right ones from which on predictions of a kind are followed: a
/// wrong one costs its bytes and takes the slot of another expert.
constexpr float kLikely = 0.5f;
/// Kinds of predictions are told apart by rank, and by how recently the expert
/// was used, in so many steps: an expert that was active just now and is named
/// is seldom named wrongly. Layers share what they learn: a few tokens are
/// enough.
constexpr uint32_t kRecencies = 3;
/// Predictions that this share remembers, and what it begins with.
constexpr float kTrustMemory = 33;
constexpr float kFirstTrust = 0.75f;
/// A position behind all of a list.
constexpr uint32_t kPredicted = UINT32_MAX - 1;

} // namespace

ExpertCache::ExpertCache(const Allocator &allocator)
    : groups(StdAllocator<Group>(allocator)),
      group_of(StdAllocator<uint32_t>(allocator)),
      slot_of(StdAllocator<uint32_t>(allocator)),
      slots(StdAllocator<Slot>(allocator)), slow(allocator), fast(allocator),
      pinned(StdAllocator<uint8_t>(allocator)),
      ranking(StdAllocator<uint32_t>(allocator)),
      guesses(StdAllocator<uint32_t>(allocator)),
      trust(StdAllocator<float>(allocator)),
      guess_trust(StdAllocator<uint32_t>(allocator)) {}

void ExpertCache::Create(const Options &options) {
  policy = options.policy;
  slots.assign(options.slots, Slot());
  // With one slot fetching and computing take turns; with few, half of them
  // are left to the policy.
  window = std::clamp((options.slots + 1) / 2, std::min(options.slots, 2u),
                      kMostInWindow);
  unpinned = std::min(options.slots, std::max(options.min_slots, 1u));
  uint32_t bundles = 0, most = 0;
  groups.reserve(options.group_count);
  for (uint32_t i = 0; i < options.group_count; ++i) {
    const uint32_t experts = options.group_experts[i];
    groups.push_back({bundles, experts, 0});
    group_of.insert(group_of.end(), experts, i);
    bundles += experts;
    most = std::max(most, experts);
  }
  slot_of.assign(bundles, kNone);
  slow.shares.assign(bundles, 0);
  fast.shares.assign(bundles, 0);
  if (policy == CachePolicy::kPinned) {
    pinned.assign(bundles, 0);
    ranking.resize(bundles);
  }
  if (policy == CachePolicy::kPredict) {
    guesses.assign(most, kNone);
    trust.assign(size_t(most) * kRecencies, kFirstTrust);
    guess_trust.resize(most);
  }
}

//===----------------------------------------------------------------------===//
// Victims
//===----------------------------------------------------------------------===//

/// What keeping the slot's bundle is worth: how likely its group asks for it
/// the next time, over the square root of how many groups later that is. The
/// likelihood alone would let what was just used take the slots of what is
/// needed next; over the full distance, what was just used would never stay.
/// Squared, to do without the root.
float ExpertCache::Worth(const Slot &slot) const {
  const uint32_t group = group_of[slot.bundle];
  const auto count = static_cast<uint32_t>(groups.size());
  uint32_t distance = (group + count - last_group) % count;
  if (distance == 0)
    distance = count;
  const float share = Share(slot.bundle) + kLeastShare;
  return share * share / static_cast<float>(distance);
}

bool ExpertCache::IsBetterVictim(uint32_t a, uint32_t b) const {
  const Slot &x = slots[a], &y = slots[b];
  switch (policy) {
  case CachePolicy::kLru:
    break;
  case CachePolicy::kPinned:
    if (pinned[x.bundle] != pinned[y.bundle])
      return pinned[x.bundle] < pinned[y.bundle];
    break;
  case CachePolicy::kLfu:
  case CachePolicy::kPredict: {
    const float one = Worth(x), other = Worth(y);
    if (one != other)
      return one < other;
    break;
  }
  }
  return x.last_use < y.last_use;
}

/// The slot that the expert at `index` of the list gets. Without `may_wait` it
/// must be free of the list's experts and of what was fetched ahead. kNone:
/// there is none.
uint32_t ExpertCache::Victim(uint32_t index, bool may_wait) const {
  uint32_t best = kNone, arriving = kNone, latest = kNone;
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
    } else if (slot.ahead) {
      // A wrong guess that may still be on its way: its end had to be awaited.
      if (may_wait && arriving == kNone)
        arriving = i;
      continue;
    }
    if (best == kNone || IsBetterVictim(i, best))
      best = i;
  }
  if (best == kNone)
    best = arriving;
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

/// Lets an error forget, and adds how far guesses of a visit were off.
static void AddError(float *error, float squares) {
  *error += (squares - *error) / kErrorMemory;
}

/// How likely the bundle's group asks for it.
float ExpertCache::Share(uint32_t bundle) const {
  const float one = slow.shares[bundle], other = fast.shares[bundle];
  if (mean_error < std::min(slow.error, fast.error))
    return (one + other) / 2;
  return slow.error <= fast.error ? one : other;
}

/// Takes note of which experts a visit of the group asked for.
void ExpertCache::NoteUses(uint32_t index, const int32_t *active,
                           uint32_t count) {
  Group &group = groups[index];
  group.visits = std::min(group.visits + 1, kSlowMemory);
  const auto visits = static_cast<float>(group.visits);
  float slow_squares = 0, fast_squares = 0, mean_squares = 0;
  uint32_t i = 0;
  for (uint32_t expert = 0; expert < group.experts; ++expert) {
    const bool is_active =
        i < count && static_cast<uint32_t>(active[i]) == expert;
    i += is_active;
    float &one = slow.shares[group.first + expert];
    float &other = fast.shares[group.first + expert];
    const float slow_off = static_cast<float>(is_active) - one;
    const float fast_off = static_cast<float>(is_active) - other;
    const float mean_off = (slow_off + fast_off) / 2;
    slow_squares += slow_off * slow_off;
    fast_squares += fast_off * fast_off;
    mean_squares += mean_off * mean_off;
    one += slow_off / visits;
    other += fast_off / std::min<float>(visits, kFastMemory);
  }
  AddError(&slow.error, slow_squares);
  AddError(&fast.error, fast_squares);
  AddError(&mean_error, mean_squares);
  if (policy != CachePolicy::kPinned || index != 0)
    return;
  const bool is_early = (passes & (passes - 1)) == 0;
  if (++passes > 1 && (is_early || passes % kPinningPeriod == 0))
    ChoosePinned();
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
                      const float x = slow.shares[a], y = slow.shares[b];
                      return x != y ? x > y : a < b;
                    });
  for (size_t i = 0; i < count; ++i)
    pinned[ranking[i]] = 1;
}

void ExpertCache::Plan(uint32_t group, const int32_t *active, uint32_t count,
                       Decision *out) {
  const uint32_t first = groups[group].first;
  last_group = group;
  last_count = count;
  Judge(group, active, count);
  NoteUses(group, active, count);
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
      counters.prefetches_used += slots[decision.slot].ahead;
    } else {
      ++counters.misses;
      decision.slot = Victim(i, /*may_wait=*/true);
      const uint32_t position = slots[decision.slot].position;
      if (position < i) // kNone is larger than any
        decision.after = position;
      Put(bundle, decision.slot);
    }
    Slot &slot = slots[decision.slot];
    slot.ahead = false;
    slot.position = i;
    slot.last_use = ++clock;
  }
  // What was fetched for this visit and is not active is an expert like others.
  for (uint32_t i = 0; i < groups[group].experts; ++i)
    if (const uint32_t slot = slot_of[first + i]; slot != kNone)
      slots[slot].ahead = false;
}

//===----------------------------------------------------------------------===//
// Prediction
//===----------------------------------------------------------------------===//

bool ExpertCache::WantsPrediction(uint32_t index) const {
  const Group &group = groups[index];
  // The planned group needs all slots, if the next one does as the last did.
  if (policy != CachePolicy::kPredict || slots.size() <= last_count)
    return false;
  for (uint32_t i = 0; i < group.experts; ++i)
    if (slot_of[group.first + i] == kNone)
      return true;
  return false;
}

uint32_t ExpertCache::PlanPrefetch(uint32_t index, const int32_t *predicted,
                                   uint32_t count, uint32_t most,
                                   Decision *out) {
  if (policy != CachePolicy::kPredict || index == last_group)
    return 0;
  const Group &group = groups[index];
  guess_group = index;
  guess_count = count;
  for (uint32_t rank = 0; rank < count; ++rank) {
    const uint32_t bundle =
        group.first + static_cast<uint32_t>(predicted[rank]);
    const uint32_t slot = slot_of[bundle];
    guesses[rank] = slot == kNone ? bundle : kNone;
    const auto recency =
        std::min(static_cast<uint32_t>(fast.shares[bundle] * kRecencies),
                 kRecencies - 1);
    guess_trust[rank] = rank * kRecencies + recency;
    // One that is there does not make way for a less likely one.
    if (slot != kNone && slots[slot].position == kNone)
      slots[slot].position = kPredicted;
  }
  uint32_t planned = 0;
  for (; planned < most; ++planned) {
    uint32_t best = kNone;
    for (uint32_t rank = 0; rank < count; ++rank) {
      const float likely = trust[guess_trust[rank]];
      if (guesses[rank] != kNone && slot_of[guesses[rank]] == kNone &&
          likely >= kLikely &&
          (best == kNone || likely > trust[guess_trust[best]]))
        best = rank;
    }
    const uint32_t slot =
        best == kNone ? kNone : Victim(kNone, /*may_wait=*/false);
    if (slot == kNone)
      break;
    Put(guesses[best], slot);
    slots[slot].ahead = true;
    slots[slot].last_use = clock;
    out[planned] = Decision();
    out[planned].bundle = guesses[best];
    out[planned].slot = slot;
    ++counters.prefetches;
  }
  return planned;
}

/// Learns from the last prediction, if it was for this group, which kinds were
/// right. Those of experts that were there say nothing about the others.
void ExpertCache::Judge(uint32_t index, const int32_t *active, uint32_t count) {
  if (guess_group != index)
    return;
  guess_group = kNone;
  const uint32_t first = groups[index].first;
  for (uint32_t rank = 0; rank < guess_count; ++rank) {
    if (guesses[rank] == kNone)
      continue;
    const bool right = std::binary_search(
        active, active + count, static_cast<int32_t>(guesses[rank] - first));
    float &share = trust[guess_trust[rank]];
    share += (static_cast<float>(right) - share) / kTrustMemory;
  }
}

} // namespace headrace::runtime
