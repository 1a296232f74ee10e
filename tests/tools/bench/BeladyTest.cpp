// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tests of offline-optimal replacement, against trying everything.
#include "tools/headrace/bench/Belady.h"

#include "gtest/gtest.h"

#include <random>
#include <set>

namespace headrace::tools::bench {
namespace {

/// The fewest misses of any replacement, by trying each victim.
uint64_t fewest(const std::vector<uint64_t> &all, size_t at,
                std::set<uint64_t> held, size_t slots, size_t from) {
  for (; at < all.size() && held.count(all[at]); ++at) {
  }
  if (at == all.size())
    return 0;
  uint64_t miss = at >= from;
  if (held.size() < slots) {
    held.insert(all[at]);
    return miss + fewest(all, at + 1, held, slots, from);
  }
  uint64_t best = UINT64_MAX;
  for (uint64_t victim : held) {
    std::set<uint64_t> next = held;
    next.erase(victim);
    next.insert(all[at]);
    best = std::min(best, fewest(all, at + 1, next, slots, from));
  }
  return miss + best;
}

TEST(Belady, NoReplacementMissesLess) {
  std::mt19937 random(1);
  for (int i = 0; i < 200; ++i) {
    std::vector<uint64_t> all(1 + random() % 10);
    for (uint64_t &one : all)
      one = random() % 5;
    for (size_t slots : {1, 2, 3})
      EXPECT_EQ(optimalMisses(all, slots), fewest(all, 0, {}, slots, 0));
  }
}

TEST(Belady, CountsFromAPlaceOn) {
  const std::vector<uint64_t> all = {1, 2, 3, 1, 2, 3};
  EXPECT_EQ(optimalMisses(all, 3, 3), 0u);
  EXPECT_EQ(optimalMisses(all, 2, 3), 1u);
  EXPECT_EQ(optimalMisses(all, 1, 0), 6u);
  EXPECT_EQ(optimalMisses({}, 1), 0u);
}

} // namespace
} // namespace headrace::tools::bench
