// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tests of the expert cache: what holds for every policy, and what each is for.
#include "runtime/src/tier/expert_cache.h"

#include "gtest/gtest.h"

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <vector>

namespace headrace::tests {
namespace {

using runtime::CachePolicy;
using runtime::DefaultAllocator;
using runtime::ExpertCache;
using Decisions = std::vector<ExpertCache::Decision>;

constexpr CachePolicy kPolicies[] = {CachePolicy::kLru, CachePolicy::kLfu,
                                     CachePolicy::kPinned,
                                     CachePolicy::kPredict};

struct Cache {
  Cache(std::vector<uint32_t> experts, uint32_t slots, CachePolicy policy,
        uint32_t min_slots = 1)
      : cache(DefaultAllocator()) {
    ExpertCache::Options options;
    options.group_experts = experts.data();
    options.group_count = uint32_t(experts.size());
    options.slots = slots;
    options.min_slots = min_slots;
    options.policy = policy;
    cache.Create(options);
  }
  Decisions Plan(uint32_t group, std::vector<int32_t> active) {
    Decisions out(active.size());
    cache.Plan(group, active.data(), uint32_t(active.size()), out.data());
    return out;
  }
  Decisions Prefetch(uint32_t group, std::vector<int32_t> predicted,
                     uint32_t most) {
    Decisions out(most);
    out.resize(cache.PlanPrefetch(
        group, predicted.data(), uint32_t(predicted.size()), most, out.data()));
    return out;
  }
  ExpertCache cache;
};

/// `count` different experts in ascending order, low numbers more often.
std::vector<int32_t> Routing(std::mt19937 &random, int32_t experts,
                             size_t count) {
  std::set<int32_t> picked;
  while (picked.size() < count)
    picked.insert(std::min<int32_t>(int32_t(random() % uint32_t(experts)),
                                    int32_t(random() % uint32_t(experts))));
  return {picked.begin(), picked.end()};
}

/// Replays decisions as a session does: what is in each slot at each moment.
TEST(ExpertCache, DecisionsCanBeCarriedOut) {
  for (CachePolicy policy : kPolicies)
    for (uint32_t slots : {1, 2, 3, 5, 8, 40}) {
      Cache c({16, 16, 8}, slots, policy, 1);
      std::mt19937 random(slots);
      std::map<uint32_t, uint32_t> in_slot; // slot -> bundle
      for (int step = 0; step < 300; ++step) {
        const uint32_t group = uint32_t(step % 3);
        auto active = Routing(random, group == 2 ? 8 : 16, 1 + random() % 8);
        Decisions plan = c.Plan(group, active);
        for (uint32_t i = 0; i < plan.size(); ++i) {
          ASSERT_EQ(plan[i].bundle,
                    c.cache.FirstBundle(group) + uint32_t(active[i]));
          ASSERT_LT(plan[i].slot, slots);
          if (plan[i].hit) {
            ASSERT_EQ(in_slot[plan[i].slot], plan[i].bundle);
          }
          if (plan[i].after != ExpertCache::kNone) {
            // Only the slot of one that has been computed long enough ago.
            ASSERT_LT(plan[i].after, i);
            ASSERT_EQ(plan[plan[i].after].slot, plan[i].slot);
          }
          for (uint32_t j = i - std::min(i, c.cache.Window() - 1); j < i; ++j)
            ASSERT_NE(plan[j].slot, plan[i].slot);
          // Whoever had the slot in this step is named.
          for (uint32_t j = i; j-- > 0;)
            if (plan[j].slot == plan[i].slot) {
              ASSERT_EQ(plan[i].after, j);
              break;
            }
          in_slot[plan[i].slot] = plan[i].bundle;
        }
        std::set<uint32_t> used;
        for (auto &decision : plan)
          used.insert(decision.slot);
        const uint32_t next = (group + 1) % 3;
        for (auto &decision :
             c.Prefetch(next, Routing(random, next == 2 ? 8 : 16, 5), 4)) {
          ASSERT_EQ(policy, CachePolicy::kPredict);
          ASSERT_EQ(used.count(decision.slot), 0u);
          in_slot[decision.slot] = decision.bundle;
          used.insert(decision.slot);
        }
        for (auto [slot, bundle] : in_slot)
          ASSERT_EQ(c.cache.SlotOf(bundle), slot);
      }
      auto count = c.cache.Count();
      EXPECT_GT(count.misses, 0u);
      EXPECT_LE(count.prefetches_used, count.prefetches);
      if (slots == 40) { // all fit: each is fetched once
        EXPECT_LE(count.misses + count.prefetches, 40u);
        EXPECT_EQ(count.evictions, 0u);
      }
    }
}

TEST(ExpertCache, WantedOnesStay) {
  Cache c({8}, 4, CachePolicy::kLru);
  c.Plan(0, {4, 5, 6, 7});
  // By age alone 4 would make way for 0; but it is asked for in this step.
  Decisions plan = c.Plan(0, {0, 4, 5});
  EXPECT_FALSE(plan[0].hit);
  EXPECT_TRUE(plan[1].hit);
  EXPECT_TRUE(plan[2].hit);
}

TEST(ExpertCache, LruDropsTheOldest) {
  Cache c({8}, 3, CachePolicy::kLru);
  c.Plan(0, {0});
  c.Plan(0, {1});
  c.Plan(0, {2});
  c.Plan(0, {0});
  c.Plan(0, {3});
  EXPECT_EQ(c.cache.SlotOf(1), ExpertCache::kNone);
  EXPECT_NE(c.cache.SlotOf(0), ExpertCache::kNone);
}

TEST(ExpertCache, LfuKeepsTheFrequentOneThroughAScan) {
  for (CachePolicy policy : {CachePolicy::kLru, CachePolicy::kLfu}) {
    // One expert is asked for at every fourth visit, the others hardly ever.
    Cache c({64}, 2, policy);
    uint64_t hits = 0;
    for (int32_t i = 0; i < 400; ++i)
      hits += c.Plan(0, {i % 4 ? 1 + i % 63 : 0})[0].hit;
    if (policy == CachePolicy::kLru)
      EXPECT_EQ(hits, 0u);
    else
      EXPECT_GT(hits, 80u);
  }
}

TEST(ExpertCache, LfuForgetsInTime) {
  Cache c({16}, 2, CachePolicy::kLfu);
  for (int i = 0; i < 200; ++i)
    c.Plan(0, {0});
  for (int i = 0; i < 200; ++i) {
    c.Plan(0, {1});
    c.Plan(0, {2});
  }
  // Counts have halved often enough for two newcomers to share the slots.
  const uint64_t before = c.cache.Count().misses;
  c.Plan(0, {1});
  c.Plan(0, {2});
  EXPECT_EQ(c.cache.Count().misses, before);
}

TEST(ExpertCache, PinnedOnesStayThroughAnyScan) {
  Cache c({64}, 4, CachePolicy::kPinned, 2);
  for (int i = 0; i < 100; ++i)
    c.Plan(0, {0, 1});
  for (int i = 0; i < 20; ++i)
    for (int32_t e = 2; e < 64; ++e)
      c.Plan(0, {e});
  // The rest shared two slots and never took those of 0 and 1, until the
  // counts had aged away; by then somebody else is pinned.
  EXPECT_GE(c.cache.Count().hits, 190u);
  Cache d({64}, 4, CachePolicy::kPinned, 2);
  for (int i = 0; i < 100; ++i)
    d.Plan(0, {0, 1});
  for (int32_t e = 2; e < 32; ++e)
    d.Plan(0, {e});
  EXPECT_NE(d.cache.SlotOf(0), ExpertCache::kNone);
  EXPECT_NE(d.cache.SlotOf(1), ExpertCache::kNone);
}

TEST(ExpertCache, RightPredictionsAreHits) {
  Cache c({8, 8}, 4, CachePolicy::kPredict);
  std::mt19937 random(1);
  for (int i = 0; i < 400; ++i) {
    const int32_t e = int32_t(random() % 8);
    c.Plan(0, {e});
    EXPECT_LE(c.Prefetch(1, {7 - e}, 4).size(), 1u);
    Decisions next = c.Plan(1, {7 - e});
    EXPECT_TRUE(next[0].hit) << i;
  }
  // Only the first layer, for which nobody predicted, misses.
  const auto count = c.cache.Count();
  EXPECT_LE(count.misses, 400u);
  EXPECT_GT(count.prefetches, 100u);
  EXPECT_EQ(count.prefetches_used, count.prefetches);
}

TEST(ExpertCache, WrongPredictionsAreNotFollowedForLong) {
  Cache c({8, 8}, 4, CachePolicy::kPredict);
  std::mt19937 random(1);
  for (int i = 0; i < 400; ++i) {
    const int32_t e = int32_t(random() % 8);
    c.Plan(0, {e});
    // The first rank is right, the second never is.
    c.Prefetch(1, {e, (e + 3) % 8}, 4);
    ASSERT_TRUE(c.Plan(1, {e})[0].hit) << i;
  }
  const auto count = c.cache.Count();
  EXPECT_GT(count.prefetches_used, 100u);
  EXPECT_LT(count.prefetches - count.prefetches_used, 40u);
}

TEST(ExpertCache, PredictionsAreBoundedAndLeaveWhatIsUsed) {
  Cache c({8, 8}, 4, CachePolicy::kPredict);
  EXPECT_TRUE(c.cache.WantsPrediction(1));
  Decisions now = c.Plan(0, {1, 2});
  EXPECT_EQ(c.Prefetch(1, {5, 6, 7}, 1).size(), 1u);
  Cache d({8, 8}, 4, CachePolicy::kPredict);
  now = d.Plan(0, {1, 2});
  Decisions ahead = d.Prefetch(1, {5, 6, 7}, 3);
  ASSERT_EQ(ahead.size(), 2u); // as many as there are other slots
  EXPECT_EQ(ahead[0].bundle, 8u + 5);
  EXPECT_EQ(ahead[1].bundle, 8u + 6);
  for (auto &one : ahead)
    for (auto &other : now)
      EXPECT_NE(one.slot, other.slot);
  // What was guessed wrongly may still be under way: its slot is the last to
  // be given away, and is like any other afterwards.
  Decisions next = d.Plan(1, {0, 1});
  for (auto &one : next)
    for (auto &other : ahead)
      EXPECT_NE(one.slot, other.slot);
  d.Plan(0, {3, 4, 5});
  EXPECT_EQ(d.cache.SlotOf(8 + 5) == ExpertCache::kNone ||
                d.cache.SlotOf(8 + 6) == ExpertCache::kNone,
            true);
  // Without predictions nothing asks for any.
  Cache e({8, 8}, 4, CachePolicy::kLfu);
  EXPECT_FALSE(e.cache.WantsPrediction(1));
  Cache f({2, 2}, 4, CachePolicy::kPredict);
  f.Plan(1, {0, 1});
  EXPECT_FALSE(f.cache.WantsPrediction(1));
  EXPECT_TRUE(f.cache.WantsPrediction(0));
}

TEST(ExpertCache, PredictionBeatsAgeOnACycle) {
  // Eight layers of one expert each in use: LRU with six slots never hits.
  for (CachePolicy policy : {CachePolicy::kLru, CachePolicy::kPredict}) {
    Cache c(std::vector<uint32_t>(8, 4), 6, policy);
    for (int run = 0; run < 100; ++run)
      for (uint32_t layer = 0; layer < 8; ++layer)
        c.Plan(layer, {int32_t(layer % 4)});
    if (policy == CachePolicy::kLru)
      EXPECT_EQ(c.cache.Count().hits, 0u);
    else
      EXPECT_GT(c.cache.Count().hits, 400u);
  }
}

TEST(ExpertCache, LfuFollowsAChangeOfSubject) {
  // Eight layers that use two experts each, with room for all of these but two;
  // after a long time, two others.
  Cache c(std::vector<uint32_t>(8, 8), 14, CachePolicy::kLfu);
  auto hits = [&](int runs, int32_t first) {
    const uint64_t before = c.cache.Count().hits;
    for (int run = 0; run < runs; ++run)
      for (uint32_t layer = 0; layer < 8; ++layer)
        c.Plan(layer, {first, first + 1});
    return c.cache.Count().hits - before;
  };
  hits(100, 0);
  EXPECT_GE(hits(20, 0), 20u * 11u);
  hits(4, 5);
  EXPECT_GE(hits(20, 5), 20u * 11u);
}

TEST(ExpertCache, SameRoutingSameDecisions) {
  for (CachePolicy policy : kPolicies) {
    Cache a({32, 32}, 9, policy, 4), b({32, 32}, 9, policy, 4);
    std::mt19937 random(3);
    for (int i = 0; i < 500; ++i) {
      auto active = Routing(random, 32, 4);
      Decisions x = a.Plan(uint32_t(i % 2), active);
      Decisions y = b.Plan(uint32_t(i % 2), active);
      const auto guess = Routing(random, 32, 4);
      Decisions p = a.Prefetch(uint32_t(i + 1) % 2, guess, 4);
      Decisions q = b.Prefetch(uint32_t(i + 1) % 2, guess, 4);
      ASSERT_EQ(p.size(), q.size());
      for (size_t k = 0; k < x.size(); ++k)
        ASSERT_EQ(x[k].slot, y[k].slot);
    }
    EXPECT_EQ(a.cache.Count().misses, b.cache.Count().misses);
  }
}

} // namespace
} // namespace headrace::tests
